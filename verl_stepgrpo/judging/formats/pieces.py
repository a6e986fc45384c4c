"""Steps in text that has no section headers: numbered by words or figures, or paragraphs, lines, sentences."""

from __future__ import annotations

import re

from verl_stepgrpo.judging.formats.format import section
from verl_stepgrpo.judging.sections import Kind, Section, says_something

# Bounded, since a line of nothing but spaces may be as long as a response.
LINE_OPENS = r"^[ \t]{0,8}(?:[-*+>•][ \t]{1,4})?(?:#{1,6}[ \t]{0,4})?[*_]{0,3}[ \t]{0,4}"
"""What may stand before a header in its line: a list's or a quotation's mark, hashes, emphasis."""

STEP_HEADER = re.compile(
    LINE_OPENS + r"step[ \t]{0,4}(\d{1,6})(?!\d|\.\d)[ \t]{0,4}[*_]{0,3}[ \t]{0,4}[:.)]?[*_]{0,3}",
    re.IGNORECASE | re.MULTILINE,
)
"""``Step 1:``, ``**Step 1:**``, ``## Step 1``, at the start of a line."""

NUMBERED = re.compile(r"^[ \t]{0,3}[*_]{0,3}(\d{1,3})[.)][*_]{0,3}[ \t]+(?=\S)", re.MULTILINE)
"""``1.`` or ``1)`` at the start of a line."""

_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_LINE = re.compile(r"\n\s*")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])")


def steps(response: str, start: int, end: int) -> list[Section]:
    """Return the steps of ``response[start:end]``.

    Those that ``Step n`` opens; else a numbered list; else paragraphs; of one paragraph its lines, and of one line its
    sentences.
    """
    return (
        headed(response, start, end, STEP_HEADER)
        or headed(response, start, end, NUMBERED)
        or _parted(response, start, end)
    )


def headed(response: str, start: int, end: int, header: re.Pattern[str]) -> list[Section]:
    """Return the steps that ``header``, whose first group is the number, opens."""
    # Of a slice, so that a line begins at ``start`` too.
    opened = list(header.finditer(response[start:end]))
    begins = [start + mark.start() for mark in opened]
    return [
        section(response, Kind.STEP, begin, until, start + mark.end(), number_of(mark))
        for mark, begin, until in zip(opened, begins, [*begins[1:], end], strict=False)
    ]


def number_of(mark: re.Match[str]) -> int | None:
    digits = (mark.group(1) or "").strip() if mark.re.groups else ""
    return int(digits) if digits.isdecimal() and len(digits) <= 6 else None


def _parted(response: str, start: int, end: int) -> list[Section]:
    found: list[Section] = []
    for between in (_PARAGRAPH, _LINE, _SENTENCE):
        found = _split(response, start, end, between)
        if len(found) > 1:
            break
    return found


def _split(response: str, start: int, end: int, between: re.Pattern[str]) -> list[Section]:
    marks = list(between.finditer(response, start, end))
    starts = [start, *(mark.end() for mark in marks)]
    ends = [*(mark.start() for mark in marks), end]
    return [
        section(response, Kind.STEP, a, b, a)
        for a, b in zip(starts, ends, strict=True)
        if says_something(response[a:b])
    ]
