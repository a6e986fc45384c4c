"""Take a word out of a table of the rules of judging, and have verdicts made anew."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest


def replace(patch: pytest.MonkeyPatch, old: object, new: object) -> None:
    """Replace a table wherever it was imported."""
    for module in _modules():
        for attribute, value in list(vars(module).items()):
            if value is old:
                patch.setattr(module, attribute, new)


def forget() -> None:
    """Forget what the modules of judging remember of earlier verdicts."""
    for module in _modules():
        for value in list(vars(module).values()):
            clear: Callable[[], None] | None = getattr(value, "cache_clear", None)
            # A class that remembers has the method too; what is emptied are its objects.
            if clear is not None and not isinstance(value, type):
                clear()


def _modules() -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name.startswith("verl_stepgrpo.judging")]
