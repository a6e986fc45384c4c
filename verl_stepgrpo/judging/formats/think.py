"""``think``: reasoning in ``<think>``, then ``<answer>`` or a box."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from verl_stepgrpo.judging.formats import pieces
from verl_stepgrpo.judging.formats.format import Format, section
from verl_stepgrpo.judging.marks import boxes, tags
from verl_stepgrpo.judging.sections import Kind, Section, says_something

REQUEST = r"""First think in steps inside <think> and </think>, with an empty line between two steps. Then give the \
final answer in \boxed{}."""

_MARK = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)


class _Thought(NamedTuple):
    """A thought: where its mark begins and ends, and where its end begins and ends."""

    start: int
    inside: int
    end: int
    behind: int
    is_closed: bool


def _thoughts(response: str) -> list[_Thought]:
    """Return the thoughts of a response; a mark within one is text of it, and the last may lack its end."""
    found: list[_Thought] = []
    # A chat template may have opened the first.
    marks = list(_MARK.finditer(response))
    opened: tuple[int, int] | None = (0, 0) if marks and marks[0][1] else None
    for mark in marks:
        if not mark[1]:
            opened = opened or mark.span()
        elif opened is not None:
            found.append(_Thought(*opened, *mark.span(), is_closed=True))
            opened = None
    if opened is not None:
        found.append(_Thought(*opened, len(response), len(response), is_closed=False))
    return found


class Think(Format):
    r"""``<think>`` with the steps, and behind it the answer in ``<answer>...</answer>``, or else the last ``\boxed{}``.

    Steps are what ``Step n`` opens, numbered lines or paragraphs. A chat template may have written ``<think>`` already,
    so that the response has its end alone. Of several thoughts all are read, and the answer stands behind the last.
    """

    name = "think"
    asks = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
    thinks = True

    def request(self, *, has_image: bool) -> str:
        return REQUEST.replace("\\\n", "")

    def sections(self, response: str) -> tuple[Section, ...]:
        found: list[Section] = []
        behind = 0
        for thought in _thoughts(response):
            if says_something(response[behind : thought.start]):
                found.append(section(response, Kind.OTHER, behind, thought.start, behind))
            if thought.is_closed:
                found.append(
                    section(response, Kind.STEP_BY_STEP, thought.start, thought.inside, thought.start)
                )
            found += pieces.steps(response, thought.inside, thought.end)
            behind = thought.behind
        return (*found, *self._answers(response, behind))

    def missing(self, sections: Sequence[Section], *, needs_description: bool) -> list[str]:
        is_closed = any(one.kind is Kind.STEP_BY_STEP for one in sections)
        return ["no <think>...</think>"] * (not is_closed) + super().missing(
            sections, needs_description=needs_description
        )

    def disorder(self, sections: Sequence[Section]) -> list[str]:
        said = [i for i, one in enumerate(sections) if one.kind is Kind.OTHER]
        before, between = 0 in said, any(said)
        faults = ["text before <think>"] * before + ["text between two thoughts"] * between
        return faults + super().disorder(sections)

    def _answers(self, response: str, start: int) -> list[Section]:
        tagged = list(tags(response, start))
        given = tagged or boxes(response, start)[-1:]
        ends = [*(one.start for one in given[1:]), len(response)][: len(given)]
        return [
            Section(
                Kind.FINAL_ANSWER, None, one.start, end, response.index(one.text, one.start), one.text.strip()
            )
            if one.text in response[one.start : end]
            else section(response, Kind.FINAL_ANSWER, one.start, end, one.start)
            for one, end in zip(given, ends, strict=True)
        ]
