"""A reward function of a user's: how it is loaded, and how its parts are asked for. In a run and to try it alike.

It is verl's own ``reward.custom_reward_function``, called as verl's reward managers call it (0.9.1,
experimental/reward_loop/reward_manager/naive.py). Imports neither torch nor verl.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from verl_stepgrpo.errors import ConfigError, one_line
from verl_stepgrpo.parts import checked

GROUP = "reward.custom_reward_function"
"""Where verl's configuration names it."""

FUNCTION = f"{GROUP}.path"
ARGUMENTS = ("data_source", "solution_str", "ground_truth", "extra_info")
"""What verl hands to it in every run."""

ROUTER = ("reward_router_address", "reward_model_tokenizer")
"""What verl hands to it beside, where it serves a reward model (``reward.reward_model.enable``)."""


@dataclass(frozen=True)
class Function:
    """A reward function with what its parts are paid.

    Attributes:
        call: As verl loaded it, with its ``reward_kwargs`` bound.
        path: The value of ``FUNCTION``, for messages.
        weights: What one unit of each part is paid.
        router: verl's address of a reward model's server, and its tokenizer, by the names of ``ROUTER``.
    """

    call: Callable[..., Any]
    path: str
    weights: Mapping[str, float]
    router: Mapping[str, Any] = field(default_factory=dict)

    async def parts(self, row: Mapping[str, Any], text: str, loop: Any) -> dict[str, float]:
        """Return the parts that it gives a response, by name.

        Args:
            row: The row of the data, as verl hands it to a reward manager.
            text: What the model wrote.
            loop: Runs functions that are not asynchronous in its threads.

        Raises:
            ConfigError: It returned something else than parts; says which row of the data.
            RuntimeError: It failed.
        """
        arguments = {
            "data_source": row.get("data_source"),
            "solution_str": text,
            "ground_truth": row["reward_model"]["ground_truth"],
            "extra_info": _extra_info(row),
            **self.router,
        }
        try:
            returned = await _called(self.call, arguments, loop)
        except Exception as error:  # whatever a user's own function raises
            where, kind = self._said(row), type(error).__name__
            raise RuntimeError(f"{where}: it failed in {_place(error)}: {kind}: {one_line(error)}") from error
        try:
            return checked(returned, self.weights)
        except ConfigError as error:
            raise ConfigError(f"{self._said(row)}: {error}") from None

    def _said(self, row: Mapping[str, Any]) -> str:
        index = (row.get("extra_info") or {}).get("index")
        known = index is not None or row.get("data_source") is not None
        said = f", of the row with index {index!r} of {row.get('data_source')}" if known else ""
        return f"{FUNCTION}={self.path}{said}"


def tried(
    given: Mapping[str, Any], weights: Mapping[str, float], row: Mapping[str, Any], text: str
) -> dict[str, float]:
    """Return the parts that a function gives a response outside of a run, by name.

    Args:
        given: What verl's configuration has in ``GROUP``, by the names of its keys: ``path``, and maybe ``name`` and
            ``reward_kwargs.NAME``.
        weights: What one unit of each part is paid.
        row: As verl hands it to a reward manager.
        text: What the model wrote.

    Raises:
        ConfigError: It has another key, cannot be loaded, or does not give parts; or fails.
    """
    path, name = str(given.get("path", "")), str(given.get("name", "compute_score"))
    kwargs = {
        key.removeprefix("reward_kwargs."): one
        for key, one in given.items()
        if key.startswith("reward_kwargs.")
    }
    for key in given.keys() - {"path", "name", *(f"reward_kwargs.{one}" for one in kwargs)}:
        raise ConfigError(f"{GROUP}.{key}: verl reads path, name and reward_kwargs.NAME there.")
    if not path:
        raise ConfigError(f"Name the file of the function, too: --set {FUNCTION}=FILE.")
    try:
        function = getattr(_module(path), name)
    except Exception as error:  # a user's own file may raise anything
        raise ConfigError(
            f"{FUNCTION}={path}: its function {name} cannot be loaded: {type(error).__name__}: {one_line(error)}"
        ) from error
    check_arguments(function, path, name, kwargs)
    own = Function(functools.partial(function, **kwargs), path, weights)

    async def asked() -> dict[str, float]:
        return await own.parts(row, text, asyncio.get_running_loop())

    try:
        return asyncio.run(asked())
    except RuntimeError as error:
        raise ConfigError(str(error)) from error


def check_arguments(
    function: Callable[..., Any],
    path: str,
    name: str,
    kwargs: Mapping[str, Any],
    handed: Sequence[str] = ARGUMENTS,
) -> None:
    """Raise ConfigError where a function cannot be called with what verl hands to it beside its ``reward_kwargs``."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # of one that is not written in Python
        return
    try:
        signature.bind(**{**dict.fromkeys(handed), **kwargs})
    except TypeError as error:
        router = ROUTER[0] in str(error) and ROUTER[0] not in handed
        more = f" verl hands over {ROUTER[0]} with reward.reward_model.enable=True." if router else ""
        raise ConfigError(
            f"{FUNCTION}={path}: its function {name} cannot be called as verl calls it ({error}): with "
            f"{', '.join([*handed, *kwargs])}, each by its name. Write it as def {name}(data_source, solution_str, "
            f"ground_truth, extra_info=None, **settings).{more}"
        ) from None


def _module(path: str) -> ModuleType:
    """Return the module of a path as verl takes it: a file, ``file://FILE``, or ``pkg://dotted.module``."""
    if path.startswith("pkg://"):
        return importlib.import_module(path.removeprefix("pkg://").replace("/", "."))
    spec = importlib.util.spec_from_file_location("_verl_stepgrpo_tried", path.removeprefix("file://"))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _extra_info(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row's ``extra_info`` with what verl's managers add to it, in an object of its own."""
    return {
        **(row.get("extra_info") or {}),
        **dict(row.get("tool_extra_fields") or {}),
        "num_turns": row.get("__num_turns__"),
        "rollout_reward_scores": row.get("reward_scores", {}),
    }


def _place(error: Exception) -> str:
    """Return where an error arose, which is in a file of the user's or what that calls."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"line {last.lineno} of {last.filename}"


async def _called(function: Callable[..., Any], arguments: Mapping[str, Any], loop: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    returned = await loop.run_in_executor(None, lambda: function(**arguments))
    return await returned if inspect.isawaitable(returned) else returned
