"""Split a response into the sections of the StepGRPO format.

The format is Mulberry's: sections that each open with a line beginning with ``###``, namely the image
description, the rationales, "Let's think step by step", the numbered steps and the final answer.

Pure: no I/O, no torch, no verl. Whatever a model wrote yields sections; nothing here raises on text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(str, Enum):
    """What a section is, by its header."""

    DESCRIPTION = "description"
    RATIONALES = "rationales"
    STEP_BY_STEP = "step_by_step"
    STEP = "step"
    FINAL_ANSWER = "final_answer"
    OTHER = "other"


@dataclass(frozen=True)
class Section:
    """One section of a response. Offsets count characters of the response; ends are exclusive.

    Attributes:
        kind: What the header says the section is.
        number: The step's number where ``kind`` is a step, else None.
        start: Where the header's ``###`` begins.
        end: Where the next section begins, or the response ends.
        body_start: Where the text behind the header begins, white space skipped.
        body: That text, without surrounding white space; empty where the section has none.
    """

    kind: Kind
    number: int | None
    start: int
    end: int
    body_start: int
    body: str

    @property
    def says_something(self) -> bool:
        """Whether the body has a letter, a digit or a mathematical sign; without one the section is missing."""
        return says_something(self.body)


def says_something(text: str) -> bool:
    """Return whether ``text`` has a letter, a digit or a mathematical sign."""
    return any(c.isalnum() or (c > "\x7f" and unicodedata.category(c) == "Sm") for c in text)


_LINE_WITH_HASHES = re.compile(r"^[ \t]*###(?!#)[ \t]*", re.MULTILINE)
_HEADERS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (Kind.DESCRIPTION, re.compile(r"image description\b[ \t]*:?", re.IGNORECASE)),
    (Kind.RATIONALES, re.compile(r"rationales?\b[ \t]*:?", re.IGNORECASE)),
    (Kind.STEP_BY_STEP, re.compile(r"let[’']?s think step by step[ \t]*[.:]*", re.IGNORECASE)),
    # Six digits are more steps than any response has tokens for, and int() stays cheap.
    (Kind.STEP, re.compile(r"step[ \t]*(\d{1,6})(?!\d|\.\d)[ \t]*[:.]?", re.IGNORECASE)),
    (Kind.FINAL_ANSWER, re.compile(r"the final answer is[ \t]*:?", re.IGNORECASE)),
)
_FENCE = re.compile(r"^[ \t]*(```|~~~)(.*)$", re.MULTILINE)
_OTHER_HEADER = re.compile(r"[^\r\n]*")


def parse_sections(response: str) -> tuple[Section, ...]:
    """Return the sections of ``response`` in the order they stand; text before the first is in none.

    A header is a line that opens with ``###`` (case-insensitive; lines may end in ``\\n``, ``\\r\\n`` or
    ``\\r``), so a header quoted inside a line or in a code fence is not one. An empty response has no sections.
    """
    # "\r" alone ends a line for a reader but not for re.MULTILINE; lengths stay the same.
    text = response.replace("\r", "\n")
    openings = list(_LINE_WITH_HASHES.finditer(_without_fences(text)))
    ends = [*(opening.start() for opening in openings[1:]), len(text)][: len(openings)]
    return tuple(_section(response, text, o, end) for o, end in zip(openings, ends, strict=True))


def _without_fences(text: str) -> str:
    """Return ``text`` with the contents of closed code fences blanked out, every offset kept."""
    opened: re.Match[str] | None = None
    pieces, behind = [], 0
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[1] == opened[1] and not fence[2].strip():
            inside = text[opened.start() : fence.end()]
            pieces += [text[behind : opened.start()], re.sub("[^\n]", " ", inside)]
            opened, behind = None, fence.end()
    return "".join((*pieces, text[behind:]))


def _section(response: str, text: str, opening: re.Match[str], end: int) -> Section:
    start = opening.end() - len(opening.group().lstrip())
    for kind, pattern in _HEADERS:
        header = pattern.match(text, opening.end(), end)
        if header:
            number = int(header.group(1)) if kind is Kind.STEP else None
            break
    else:
        kind, number, header = Kind.OTHER, None, _OTHER_HEADER.match(text, opening.end(), end)
    behind_header = response[header.end() if header else opening.end() : end]
    body = behind_header.strip()
    body_start = end - len(behind_header.lstrip())
    return Section(kind, number, start, end, body_start, body)


def final_section(sections: Sequence[Section]) -> Section | None:
    """Return the last final-answer section that says something, or None where there is none."""
    found = [s for s in sections if s.kind is Kind.FINAL_ANSWER and s.says_something]
    return found[-1] if found else None


def final_answer(sections: Sequence[Section]) -> str | None:
    """Return the body of ``final_section``, or None where there is none."""
    section = final_section(sections)
    return None if section is None else section.body
