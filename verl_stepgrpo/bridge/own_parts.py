"""Parts of the reward beside StepRAR and StepRVR in a run: those of a user's function, and ``overlong``.

The function is verl's own ``reward.custom_reward_function``, called as verl's reward managers call it (0.9.1,
experimental/reward_loop/reward_manager/naive.py). What it returns wrongly is said with the row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_stepgrpo.bridge.asked import FUNCTION
from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.parts import OVERLONG, READY, checked, overlong
from verl_stepgrpo.settings import RunSettings

LONGEST = "data.max_response_length"


class OwnParts:
    """The parts of one run's rewards.

    Args:
        config: verl's whole configuration.
        settings: Those of the run.
        function: The reward function, as verl loaded it; called where a part has a weight that is not a ready one.
        router: verl's address of a reward model's server, and its tokenizer, by the names that functions take them by.
    """

    def __init__(
        self, config: DictConfig, settings: RunSettings, function: Any, router: Mapping[str, Any]
    ) -> None:
        self._weights = settings.reward.extra_weights
        self._buffer = settings.overlong_buffer
        self._longest = OmegaConf.select(config, LONGEST)
        self._place = f"{FUNCTION}={OmegaConf.select(config, FUNCTION)}"
        self._router = dict(router) if router.get("reward_router_address") is not None else {}
        self._function = function if set(self._weights) - set(READY) else None

    async def of(self, row: Mapping[str, Any], text: str, tokens: int, loop: Any) -> dict[str, float]:
        """Return the parts of a response, by name; but for ``repetition``, which every score knows.

        Args:
            row: The row of the data, as verl hands it to a reward manager.
            text: What the model wrote.
            tokens: Length of the whole response.
            loop: Runs functions that are not asynchronous in its threads.

        Raises:
            ConfigError: The function returned something else than parts; says which row of the data.
            RuntimeError: The function failed.
        """
        function = self._function
        found = {} if function is None else await self._returned(function, row, text, loop)
        if OVERLONG in self._weights:
            found[OVERLONG] = overlong(tokens, self._longest, self._buffer)
        return found

    async def _returned(
        self, function: Callable[..., Any], row: Mapping[str, Any], text: str, loop: Any
    ) -> dict[str, float]:
        arguments = {
            "data_source": row.get("data_source"),
            "solution_str": text,
            "ground_truth": row["reward_model"]["ground_truth"],
            "extra_info": self._extra_info(row),
            **self._router,
        }
        try:
            returned = await _called(function, arguments, loop)
        except Exception as error:  # whatever a user's own function raises
            raise RuntimeError(f"{self._said(row)}: it failed: {type(error).__name__}: {error}") from error
        try:
            return checked(returned, self._weights)
        except ConfigError as error:
            raise ConfigError(f"{self._said(row)}: {error}") from None

    @staticmethod
    def _extra_info(row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row's ``extra_info`` with what verl's managers add to it, in an object of its own."""
        return {
            **(row.get("extra_info") or {}),
            **dict(row.get("tool_extra_fields") or {}),
            "num_turns": row.get("__num_turns__"),
            "rollout_reward_scores": row.get("reward_scores", {}),
        }

    def _said(self, row: Mapping[str, Any]) -> str:
        index = (row.get("extra_info") or {}).get("index")
        return f"{self._place}, of the row with index {index!r} of {row.get('data_source')}"


async def _called(function: Callable[..., Any], arguments: Mapping[str, Any], loop: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    returned = await loop.run_in_executor(None, lambda: function(**arguments))
    return await returned if inspect.isawaitable(returned) else returned
