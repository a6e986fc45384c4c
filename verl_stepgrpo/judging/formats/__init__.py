"""Formats: how a response is read as steps and an answer, what is complete and in order, and how it is asked for.

``find`` gives the one that the setting ``format`` names; ``docs/formats.md`` has what is paid in each.
"""

from __future__ import annotations

import functools
import importlib
from importlib.metadata import entry_points
from pathlib import Path

from verl_stepgrpo.errors import ConfigError, one_line
from verl_stepgrpo.judging.formats.format import Format
from verl_stepgrpo.judging.formats.markdown import Markdown
from verl_stepgrpo.judging.formats.mulberry import Mulberry
from verl_stepgrpo.judging.formats.plain import Plain
from verl_stepgrpo.judging.formats.think import Think
from verl_stepgrpo.judging.formats.trial import faults_of

FORMATS: dict[str, Format] = {one.name: one for one in (Mulberry(), Think(), Markdown(), Plain())}
"""Those of this package, by name."""

ENTRY_POINTS = "verl_stepgrpo.formats"
"""Group in which another package may name its own."""

__all__ = ["ENTRY_POINTS", "FORMATS", "Format", "find"]


@functools.cache
def find(name: str) -> Format:
    """Return the format of a name, of a YAML file, of ``module:Class``, or of an entry point.

    Raises:
        ConfigError: There is none, or it cannot be loaded.
    """
    if name in FORMATS:
        return FORMATS[name]
    if name.endswith((".yaml", ".yml")):
        from verl_stepgrpo.judging.formats.patterns import Patterns

        return Patterns(Path(name))
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            return _made(name, point.value)
    if ":" in name:
        return _made(name, name)
    known = ", ".join(FORMATS)
    raise ConfigError(
        f"format={name!r} is no format: it must be one of {known}, a YAML file of patterns (.yaml), module:Class, or "
        f"the name of an entry point in {ENTRY_POINTS}."
    )


def _made(name: str, place: str) -> Format:
    module, _, attribute = place.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except Exception as error:  # a user's own file may raise anything
        raise ConfigError(
            f"format={name}: {place} cannot be loaded: {type(error).__name__}: {one_line(error)}."
        ) from error
    if not isinstance(made, Format):
        raise ConfigError(f"format={name}: {place} is no subclass of verl_stepgrpo.judging.formats.Format.")
    for fault in faults_of(made):
        raise ConfigError(f"format={name}: {fault} (docs/formats.md, One's own).")
    return made
