"""``plain``: prose; steps are its paragraphs, lines or sentences, and the answer is the last that it marks."""

from __future__ import annotations

import re

from verl_stepgrpo.judging.formats import pieces
from verl_stepgrpo.judging.formats.format import Format
from verl_stepgrpo.judging.marks import MARKS
from verl_stepgrpo.judging.sections import Kind, Section

REQUEST = r"Reason step by step, and put the final answer in \boxed{}."


class Plain(Format):
    r"""Steps are what ``Step n`` opens, numbered lines, paragraphs, or else lines or sentences.

    The answer is the mark of one that begins last: ``\boxed{}``, ``<answer>``, ``####``, "the answer is", "option C is
    correct". What stands before it is the steps, the beginning of its own paragraph included.
    """

    name = "plain"
    asks = re.compile(r"\\boxed", re.IGNORECASE)

    def request(self, *, has_image: bool) -> str:
        return REQUEST

    def sections(self, response: str) -> tuple[Section, ...]:
        given = [one for places in MARKS for one in places(response, 0)]
        if not given:
            return tuple(pieces.steps(response, 0, len(response)))
        last = max(given, key=lambda one: one.start)
        steps = pieces.steps(response, 0, last.start)
        final = Section(Kind.FINAL_ANSWER, None, last.start, len(response), last.start, last.text.strip())
        return (*steps, final)
