"""Tell key steps that were cut out of their text: a bracket does not close, or a mark stands at an edge. Pure.

Nothing but a copy of the text earns such a key step (``10元：160-10=150元。``), or anything does (``= 3/8``).
"""

from __future__ import annotations

import re

_OPENING, _CLOSING = "([{（［【〔", ")]}）］】〕"
_BETWEEN = ",;:，、；："
"""Marks between two parts of a sentence."""
_ENDS = "。！？"
"""Marks at the end of a sentence that are read as a part of it; those of ASCII are not."""
MARKS = frozenset(_BETWEEN + _ENDS)
"""Marks of a sentence that are in no equation."""
_NEVER_FIRST = frozenset(_BETWEEN + _ENDS + _CLOSING + "=≈≠≤≥<>×÷/")
_NEVER_LAST = frozenset(_BETWEEN + _ENDS + _OPENING + "=≈≠≤≥<>×÷/")
_AROUND = ' \t$`"“”*_'
_OPEN_INTERVAL = re.compile(r"[\[\]][^\[\]]{1,40}[,;][^\[\]]{1,40}[\[\]]")
_ESCAPED = re.compile(r"\\[{}]|\\(?:left|right)\s*\.")
_TEX_SPACE = re.compile(r"\\[,;:!]")


def cut_of(text: str) -> str | None:
    """Return in words how a key step is cut out of its text, or None where it is whole."""
    text = _TEX_SPACE.sub(" ", text).strip(_AROUND)
    if not text:
        return None  # nothing is another fault
    if not _balances(text):
        return "its brackets do not close"
    if text[0] in _NEVER_FIRST:
        return f"it begins with {text[0]}"
    if text[-1] in _NEVER_LAST:
        return f"it ends with {text[-1]}"
    return None


def without_edges(text: str) -> str:
    """Return a stretch of text without marks of its sentence at its ends, or brackets that it opens at its end."""
    text = text.strip(" \t$")
    while text and text[-1] in f"{_BETWEEN}{_ENDS}{_OPENING}." and not text.endswith((r"\,", r"\;", r"\:")):
        text = text[:-1].rstrip()
    return text.lstrip(f"{_BETWEEN}{_ENDS} ")


def _balances(text: str) -> bool:
    """Return whether brackets open and close; half-open intervals may mix their kinds: ``[0, 5)``, ``]0, 5]``."""
    depth = 0
    for character in _OPEN_INTERVAL.sub(" ", _ESCAPED.sub(" ", text)):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth < 0:
            return False
    return depth == 0
