"""What a format is: how it reads a response, what it asks for, and what it says is missing."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from verl_stepgrpo.judging.formats.emphasis import opened_before, without_halves
from verl_stepgrpo.judging.sections import Kind, Section


class Format(ABC):
    """A way to write a response down, in steps and with an answer.

    A format of one's own is a subclass, named by the entry point group ``verl_stepgrpo.formats`` or as ``module:Class``
    in the setting ``format``; or a YAML file of patterns (``formats.patterns``). Nothing here may raise on what a model
    wrote, or take more than linear time over it.

    ``request`` and ``sections`` have to be written; all else has a default. A class of one's own is tried when it is
    loaded (``formats.trial``).

    Attributes:
        name: What the setting ``format`` calls one of this package.
        asks: Found in a prompt that asks for it; None where that is the request as it stands.
        thinks: Whether ``<think>...</think>`` is a part of it. Of other formats what stands there is a draft.
        has_description: Whether an image description is a part of it.
    """

    name: ClassVar[str] = ""
    asks: ClassVar[re.Pattern[str] | None] = None
    thinks: ClassVar[bool] = False
    has_description: ClassVar[bool] = False

    @abstractmethod
    def request(self, *, has_image: bool) -> str:
        """Return what stands behind a question and asks for the format."""

    def is_asked_in(self, text: str) -> bool:
        """Return whether a prompt asks for it."""
        if self.asks is not None:
            return self.asks.search(text) is not None
        requests = (self.request(has_image=has_image).strip() for has_image in (True, False))
        return any(request and request in text for request in requests)

    @abstractmethod
    def sections(self, response: str) -> tuple[Section, ...]:
        """Return the sections of a response, in the order they stand; text outside of them counts for nothing.

        Steps are sections of the kind ``STEP``, and what they say is searched for key steps; the last one of the kind
        ``FINAL_ANSWER`` that says something is the answer that is paid.
        """

    def missing(self, sections: Sequence[Section], *, needs_description: bool) -> list[str]:
        """Return, in words, what a complete response has and this one has not."""
        present = {section.kind for section in sections if section.says_something}
        needed = {Kind.STEP: "no step", Kind.FINAL_ANSWER: "no final answer"}
        return [said for kind, said in needed.items() if kind not in present]

    def disorder(self, sections: Sequence[Section]) -> list[str]:
        """Return, in words, what is not in order: steps numbered 1 to n, and one final answer behind the last.

        A section that says nothing counts as missing. Steps without numbers have none to be in order.
        """
        sections = [section for section in sections if section.says_something]
        steps = [i for i, section in enumerate(sections) if section.kind is Kind.STEP]
        finals = [i for i, section in enumerate(sections) if section.kind is Kind.FINAL_ANSWER]
        numbers = [sections[i].number for i in steps]
        counted = any(number is not None for number in numbers)
        faults = [] if steps else ["no step"]
        if len(finals) != 1:
            faults.append(f"{len(finals)} final answers" if finals else "no final answer")
        if counted and numbers != list(range(1, len(steps) + 1)):
            faults.append(f"steps numbered {listed(numbers)}")
        if steps and finals and steps[-1] > finals[0]:
            faults.append("a step behind the final answer")
        return faults


def listed(numbers: Sequence[int | None], most: int = 12) -> str:
    """Return numbers in words, a dash for none."""
    more = ", …" if len(numbers) > most else ""
    return ", ".join("-" if number is None else str(number) for number in numbers[:most]) + more


def section(
    response: str, kind: Kind, start: int, end: int, body_start: int, number: int | None = None
) -> Section:
    """Return a section of ``response`` whose header ends at ``body_start``.

    Marks of emphasis that the header opens, or that open what stands behind, are blanks in its body.
    """
    header = response[opened_before(response, start) : body_start] if start < body_start else ""
    text = without_halves(header, response[body_start:end])
    return Section(kind, number, start, end, end - len(text.lstrip()), text.strip())
