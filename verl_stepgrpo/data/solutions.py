"""Tell in which format a dataset's solution is written, and read its steps so. Pure.

A solution need not be in the format that a run pays: GSM8K's and geometry's are prose, a thinking model's stand in
``<think>``. Their key steps are searched as they are written; the warm-up takes those in the paid format alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from verl_stepgrpo.judging.formats import FORMATS
from verl_stepgrpo.judging.sections import Kind, Section, parse_sections


def is_response(sections: Sequence[Section]) -> bool:
    """Return whether a solution, read in a format, has a step and a final answer in it."""
    said = {section.kind for section in sections if section.says_something}
    return {Kind.STEP, Kind.FINAL_ANSWER} <= said


def sections_of_solution(solution: str, paid: Sequence[Section] = ()) -> tuple[Section, ...]:
    """Return the sections of a solution, in the format that it is written in.

    Args:
        solution: The solution.
        paid: Its sections in the format that is paid, which are returned if they make it a response.
    """
    if is_response(paid):
        return tuple(paid)
    if any(section.kind is not Kind.OTHER for section in parse_sections(solution)):
        return parse_sections(solution)
    for name in ("think", "markdown"):
        sections = FORMATS[name].sections(solution)
        if any(section.kind is Kind.STEP for section in sections):
            return sections
    return FORMATS["plain"].sections(solution)
