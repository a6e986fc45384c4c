"""``think``: reasoning in ``<think>``, then ``<answer>`` or a box."""

from __future__ import annotations

import re
from collections.abc import Sequence

from verl_stepgrpo.judging.formats import pieces
from verl_stepgrpo.judging.formats.format import Format, section
from verl_stepgrpo.judging.marks import boxes, tags
from verl_stepgrpo.judging.sections import Kind, Section, says_something

REQUEST = r"""First think in steps inside <think> and </think>, with an empty line between two steps. Then give the \
final answer in \boxed{}."""

_OPEN, _CLOSE = re.compile(r"<think(?:ing)?>", re.IGNORECASE), re.compile(r"</think(?:ing)?>", re.IGNORECASE)


class Think(Format):
    r"""``<think>`` with the steps, and behind it the answer in ``<answer>...</answer>``, or else the last ``\boxed{}``.

    Steps are what ``Step n`` opens, numbered lines or paragraphs. A chat template may have written ``<think>`` already,
    so that the response has its end alone.
    """

    name = "think"
    asks = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
    thinks = True

    def request(self, *, has_image: bool) -> str:
        return REQUEST.replace("\\\n", "")

    def sections(self, response: str) -> tuple[Section, ...]:
        opened, closed = _OPEN.search(response), _CLOSE.search(response)
        if opened is None and closed is None:
            return tuple(self._answers(response, 0))
        start = opened.start() if opened and (closed is None or opened.start() < closed.start()) else 0
        inside = opened.end() if opened and start == opened.start() else 0
        end = closed.start() if closed else len(response)
        before = [section(response, Kind.OTHER, 0, start, 0)] if says_something(response[:start]) else []
        thought = [section(response, Kind.STEP_BY_STEP, start, inside, start)] if closed else []
        behind = closed.end() if closed else len(response)
        return (*before, *thought, *pieces.steps(response, inside, end), *self._answers(response, behind))

    def missing(self, sections: Sequence[Section], *, needs_description: bool) -> list[str]:
        is_closed = any(one.kind is Kind.STEP_BY_STEP for one in sections)
        return ["no <think>...</think>"] * (not is_closed) + super().missing(
            sections, needs_description=needs_description
        )

    def disorder(self, sections: Sequence[Section]) -> list[str]:
        said_before = bool(sections) and sections[0].kind is Kind.OTHER
        return ["text before <think>"] * said_before + super().disorder(sections)

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
