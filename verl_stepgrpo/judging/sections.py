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

from verl_stepgrpo.judging.lazy import lazy


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

    @lazy
    def says_something(self) -> bool:
        """Whether the body has a letter, a digit or a mathematical sign; without one the section is missing."""
        return says_something(self.body)


def says_something(text: str) -> bool:
    """Return whether ``text`` has a letter, a digit or a mathematical sign."""
    if _LETTER_OR_DIGIT.search(text):
        return True
    return not text.isascii() and any(c > "\x7f" and unicodedata.category(c) == "Sm" for c in text)


_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_HEADERS = (
    (Kind.DESCRIPTION, r"image description\b[ \t]*:?"),
    (Kind.RATIONALES, r"rationales?\b[ \t]*:?"),
    (Kind.STEP_BY_STEP, r"let[’']?s think step by step[ \t]*[.:]*"),
    # Six digits are more steps than any response has tokens for, and int() stays cheap.
    (Kind.STEP, r"step[ \t]*(?P<number>\d{1,6})(?!\d|\.\d)[ \t]*[:.]?"),
    (Kind.FINAL_ANSWER, r"the final answer is[ \t]*:?"),
    (Kind.OTHER, r"[^\r\n]*"),
)
_OPENING = re.compile(
    r"^[ \t]*(?P<hashes>###)(?!#)[ \t]*(?:"
    + "|".join(f"(?P<{kind.value}>{text})" for kind, text in _HEADERS)
    + ")",
    re.MULTILINE | re.IGNORECASE,
)
_KINDS = {kind.value: kind for kind, _ in _HEADERS}
_FENCE = re.compile(r"^[ \t]*(```|~~~)(.*)$", re.MULTILINE)


def parse_sections(response: str) -> tuple[Section, ...]:
    """Return the sections of ``response`` in the order they stand; text before the first is in none.

    A header is a line that opens with ``###`` (case-insensitive; lines may end in ``\\n``, ``\\r\\n`` or
    ``\\r``), so a header quoted inside a line or in a code fence is not one. An empty response has no sections.
    """
    # "\r" alone ends a line for a reader but not for re.MULTILINE; lengths stay the same.
    text = response.replace("\r", "\n")
    openings = list(_OPENING.finditer(_without_fences(text)))
    ends = [*[opening.start() for opening in openings[1:]], len(text)][: len(openings)]
    return tuple([_section(response, opening, end) for opening, end in zip(openings, ends, strict=True)])


def _without_fences(text: str) -> str:
    """Return ``text`` with the contents of closed code fences blanked out, every offset kept."""
    if "```" not in text and "~~~" not in text:
        return text
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


def _section(response: str, opening: re.Match[str], end: int) -> Section:
    kind = _KINDS[opening.lastgroup or ""]
    number = int(opening["number"]) if kind is Kind.STEP else None
    behind_header = response[opening.end() : end]
    body = behind_header.strip()
    body_start = end - len(behind_header.lstrip())
    return Section(kind, number, opening.start("hashes"), end, body_start, body)


def final_section(sections: Sequence[Section]) -> Section | None:
    """Return the last final-answer section that says something, or None where there is none."""
    found = [s for s in sections if s.kind is Kind.FINAL_ANSWER and s.says_something]
    return found[-1] if found else None


def final_answer(sections: Sequence[Section]) -> str | None:
    """Return the body of ``final_section``, or None where there is none."""
    section = final_section(sections)
    return None if section is None else section.body
