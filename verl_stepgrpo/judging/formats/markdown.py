"""``markdown``: steps under headings or as a numbered list, and a line with the final answer."""

from __future__ import annotations

import re

from verl_stepgrpo.judging.formats import pieces
from verl_stepgrpo.judging.formats.format import Format, section
from verl_stepgrpo.judging.marks import boxes
from verl_stepgrpo.judging.sections import Kind, Section

REQUEST = """Reason in numbered steps, each under a heading of its own, and state the final answer in the last line:
**Step 1:**
**Step 2:**
**Final answer:** """

_FINAL = re.compile(
    pieces.LINE_OPENS + r"(?:the[ \t]{1,4})?final answer(?:[ \t]{1,4}is)?"
    r"[ \t]{0,4}[:：]?[ \t]{0,4}[*_]{0,3}[ \t]{0,4}[:：]?",
    re.IGNORECASE | re.MULTILINE,
)


class Markdown(Format):
    r"""``**Step 1:**``, ``## Step 1`` or ``1.`` opens a step, ``Final answer:`` the answer; else it is the last box."""

    name = "markdown"
    asks = re.compile(r"\*\*(?:step 1|final answer):?\*\*|^#{1,6} *step 1", re.IGNORECASE | re.MULTILINE)

    def request(self, *, has_image: bool) -> str:
        return REQUEST

    def sections(self, response: str) -> tuple[Section, ...]:
        finals = self._finals(response)
        begin = finals[0].start if finals else len(response)
        found = [*self._steps(response, 0, begin), *finals]
        for one in finals:
            # What stands behind an answer may be steps, which is not in order.
            found += self._steps(response, one.start, one.end) if one.kind is Kind.FINAL_ANSWER else []
        return tuple(sorted(found, key=lambda one: one.start))

    @staticmethod
    def _steps(response: str, start: int, end: int) -> list[Section]:
        return pieces.headed(response, start, end, pieces.STEP_HEADER) or pieces.headed(
            response, start, end, pieces.NUMBERED
        )

    @staticmethod
    def _finals(response: str) -> list[Section]:
        marks = list(_FINAL.finditer(response))
        if not marks:
            return [
                section(response, Kind.FINAL_ANSWER, one.start, len(response), one.start)
                for one in boxes(response, 0)[-1:]
            ]
        ends = [*(mark.start() for mark in marks[1:]), len(response)]
        return [
            section(response, Kind.FINAL_ANSWER, mark.start(), end, mark.end())
            for mark, end in zip(marks, ends, strict=True)
        ]
