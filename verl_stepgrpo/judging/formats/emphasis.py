"""Markdown's emphasis around a header and what stands behind it: ``**Final answer: Jupiter**``. Pure.

A section begins after its header, so that what the header opens is closed in the section's text. There the mark would
be read as text of the answer, or as a power. Not covered: emphasis that opens and closes within a section.
"""

from __future__ import annotations

import re

MAX_MARK = 3
"""Characters of a mark: ``*``, ``**`` or ``***``, or underscores."""

_MARK = re.compile(r"\*{1,3}|(?<!\w)_{1,3}|_{1,3}(?!\w)")
_RUN = re.compile(r"(?<!\\)\*+|(?<!\\)_+")
_BULLET = re.compile(r"[\s>]*\*\s")
_BLOCK = re.compile(r"\s*(?:[^\n]|\n(?![ \t]{0,8}\n))*")
_ENDS_OPERAND, _BEGINS_OPERAND = re.compile(r"[a-zA-Z0-9)}\]]"), re.compile(r"[-a-zA-Z0-9({\[\\]")


def without_halves(header: str, text: str) -> str:
    """Return ``text`` with blanks for the marks of emphasis whose other half stands before or behind it.

    Offsets stay. These are the marks that close what ``header``, which stands before ``text``, opens; and one in the
    last line that opens what stands behind: "**The" of "**The answer is 2.**".
    """
    for mark in reversed(_left_open(header)):
        place = _closing(mark, header[-1:], text)
        if place is not None:
            text = _blanked(text, place, place + len(mark))
    last = _opened_last(text)
    return text if last is None else _blanked(text, *last.span())


def opened_before(response: str, start: int) -> int:
    """Return where the marks of emphasis begin that stand directly before ``start``."""
    begin = max(0, start - MAX_MARK)
    return begin + len(response[begin:start].rstrip("*_"))


def _blanked(text: str, start: int, end: int) -> str:
    return f"{text[:start]}{' ' * (end - start)}{text[end:]}"


def _left_open(header: str) -> list[str]:
    """Return the marks of a header that it does not close itself."""
    bullet = _BULLET.match(header)
    opened: list[str] = []
    for mark in _MARK.finditer(header, bullet.end() if bullet else 0):
        if opened and opened[-1] == mark[0]:
            opened.pop()
        else:
            opened.append(mark[0])
    return opened


def _closing(mark: str, before: str, text: str) -> int | None:
    """Return where ``mark`` is closed in the first block of ``text``; None where it is not, or another one opens."""
    block = _BLOCK.match(text)
    for run in _RUN.finditer(text, 0, block.end() if block else 0):
        if run[0][0] != mark[0] or len(run[0]) not in (len(mark), MAX_MARK):
            continue
        left, right = text[run.start() - 1 : run.start()] or before, text[run.end() : run.end() + 1]
        if _is_operator(left, right):
            continue
        return None if left.isspace() else run.end() - len(mark)
    return None


def _opened_last(text: str) -> re.Match[str] | None:
    """Return the mark in the last line of ``text`` that opens emphasis, at its end or before a word, and stays open."""
    end = len(text.rstrip())
    runs = list(_RUN.finditer(text, text.rfind("\n", 0, end) + 1, end))
    if not runs or len(runs[-1][0]) > MAX_MARK:
        return None
    last = runs[-1]
    left, right = text[max(0, last.start() - 1) : last.start()], text[last.end() : min(end, last.end() + 1)]
    begins_word = right.isalpha() and len(last[0]) > 1
    opens = (not left or left.isspace()) and (not right or begins_word)
    return last if opens else None


def _is_operator(left: str, right: str) -> bool:
    """Return whether a mark between these characters may be a product or a power: ``2 * 3``, ``2**3``."""
    is_spaced = left.isspace() and right.isspace()
    return is_spaced or bool(_ENDS_OPERAND.match(left) and _BEGINS_OPERAND.match(right))
