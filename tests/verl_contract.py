"""Says by name what of verl and vLLM is other than the bridge builds on; tests/test_contracts.py lists what that is."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any, NamedTuple

from verl_stepgrpo.imports import installed_version


class Signature(NamedTuple):
    """What a function of verl's takes.

    Attributes:
        parameters: The names of its first parameters, with ``self``.
        user: The file of ``verl_stepgrpo/`` that calls or replaces it.
        may_take_more: Whether others may follow: the plugin hands them on, or leaves them at their defaults.
    """

    parameters: str
    user: str
    may_take_more: bool = False


def find(place: str) -> Any:
    """Return what stands at ``module:name`` or ``module:Class.name`` of verl, without the plugin's wrap.

    Raises:
        AssertionError: It is gone; the message names it.
    """
    module, _, names = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise AssertionError(f"{_named(place)} is gone: {error}") from error
    return inspect.unwrap(found)


def check_signature(place: str, expected: Signature) -> None:
    """Raise AssertionError, naming function and user, where the function at ``place`` takes other parameters."""
    found, wanted = list(inspect.signature(find(place)).parameters), expected.parameters.split()
    compared = found[: len(wanted)] if expected.may_take_more else found
    assert compared == wanted, (
        f"{_named(place)} takes ({', '.join(found)}); verl_stepgrpo/{expected.user} builds on ({', '.join(wanted)}"
        f"{', ...' if expected.may_take_more else ''})"
    )


def check_source(what: Any, *pieces: str) -> None:
    """Raise AssertionError, naming function and piece, where the source of ``what`` lacks a piece, or has it earlier.

    Args:
        what: A function, class or module of verl's, or its place as ``find`` takes it.
        pieces: What the bridge builds on, in the order that it stands there.
    """
    what = find(what) if isinstance(what, str) else inspect.unwrap(what)
    name = what.__name__ if isinstance(what, ModuleType) else f"{what.__module__}:{what.__qualname__}"
    source, at = inspect.getsource(what), 0
    for piece in pieces:
        assert piece in source, f"{_named(name)} has no {piece!r} any more, which the bridge builds on"
        at = source.find(piece, at)
        assert at >= 0, (
            f"{_named(name)} has {piece!r} in another order than {pieces}, which the bridge builds on"
        )
        at += len(piece)


def _named(place: str) -> str:
    package = place.partition(".")[0]
    version = installed_version(package) or installed_version(f"{package}-cpu")
    return f"{place.replace(':', '.')} of {package} {version}"
