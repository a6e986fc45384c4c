"""Take a word out of a table of the rules of judging and of all that is made of it, and have verdicts made anew."""

from __future__ import annotations
import __future__

import ast
import functools
import graphlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, ModuleType

import pytest

MADE_ANEW = ("verl_stepgrpo.judging.answers.", "verl_stepgrpo.judging.reading.")
"""Modules whose tables are made of each other's."""

SYMBOLIC = "verl_stepgrpo.judging.answers.symbolic"
"""The module that asks math-verify, whose replies rest on no table."""


def replace(patch: pytest.MonkeyPatch, old: object, new: object) -> None:
    """Replace a table wherever it was imported."""
    for module in _modules():
        for attribute, value in list(vars(module).items()):
            if value is old:
                patch.setattr(module, attribute, new)


def forget() -> None:
    """Forget what the modules of judging remember of earlier verdicts, but not what math-verify said."""
    for module in _modules():
        if module.__name__ == SYMBOLIC:
            continue
        for value in list(vars(module).values()):
            clear: Callable[[], None] | None = getattr(value, "cache_clear", None)
            # A class that remembers has the method too; what is emptied are its objects.
            if clear is not None and not isinstance(value, type):
                clear()


def made_anew(changed: Mapping[tuple[str, str], object]) -> Iterator[tuple[object, object]]:
    """Yield every table of words that another table makes differ, as it is and as it is made then.

    Args:
        changed: What a module, by its name, has under an attribute instead of what its text says.
    """
    with pytest.MonkeyPatch.context() as patch:
        anew: set[str] = set()
        for name, imported in in_order().items():
            values = {attribute: value for (module, attribute), value in changed.items() if module == name}
            if not values and not anew & imported:
                continue
            anew.add(name)
            module = sys.modules[name]
            made = _execute(patch, module, values)
            for attribute, old in list(vars(module).items()):
                if attribute[:2] != "__" and _is_of_words(old) and made[attribute] != old:
                    yield old, made[attribute]


def _execute(patch: pytest.MonkeyPatch, old: ModuleType, values: Mapping[str, object]) -> dict[str, object]:
    """Execute a module again, beside the one that there is, with some values in place of its own."""
    module = ModuleType(old.__name__)
    patch.setitem(sys.modules, old.__name__, module)  # whom the modules behind it import from
    made = vars(module)
    for statement in _statements(str(old.__file__)):
        exec(statement, made)
        made.update({attribute: value for attribute, value in values.items() if attribute in made})
    return made


@functools.cache
def _statements(file: str) -> list[CodeType]:
    flags = __future__.annotations.compiler_flag
    return [
        compile(ast.Module([statement], []), file, "exec", flags=flags, dont_inherit=True)
        for statement in ast.parse(Path(file).read_text()).body
    ]


def _is_of_words(value: object) -> bool:
    if isinstance(value, (tuple, list, frozenset)):
        return all(map(_is_of_words, value))
    if isinstance(value, dict):
        return all(map(_is_of_words, (*value, *value.values())))
    return isinstance(value, (str, int, re.Pattern))


@functools.cache
def in_order() -> dict[str, frozenset[str]]:
    """Return the modules of answers and of reading, each behind those that it imports from, and which these are."""
    imported = {m.__name__: set(_imports(m)) for m in _modules() if m.__name__.startswith(MADE_ANEW)}
    ours = {name: frozenset(names & set(imported)) for name, names in imported.items()}
    return {name: ours[name] for name in graphlib.TopologicalSorter(ours).static_order()}


def _imports(module: ModuleType) -> Iterator[str]:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom):
            yield from (str(node.module), *(f"{node.module}.{name.name}" for name in node.names))


def _modules() -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name.startswith("verl_stepgrpo.judging")]
