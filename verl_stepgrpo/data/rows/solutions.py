"""Tell in which format a dataset's solution is written, read its steps so, and say what it would not be paid for. Pure.

A solution need not be in the format that a run pays: GSM8K's and geometry's are prose, a thinking model's stand in
``<think>``. Their key steps are searched as they are written; the warm-up takes those in the paid format alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from verl_stepgrpo.judging.answers.last_answer import find_last_answer
from verl_stepgrpo.judging.answers.verdict import require_judged
from verl_stepgrpo.judging.formats import FORMATS
from verl_stepgrpo.judging.sections import Kind, Section, parse_sections
from verl_stepgrpo.rewards import ScoredResponse, faults_of_form
from verl_stepgrpo.settings import RewardSettings

_VALUES = ("number", "choice", "yes_no")
"""Layers of a verdict that hold a value of the answer against one of the reference."""


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


def settings_of_row(reward: RewardSettings, *, has_images: bool) -> RewardSettings:
    """Return what the solution of a row is judged by: a prompt without images asks for no description of any."""
    return reward if has_images else dataclasses.replace(reward, image_description="optional")


def wrong_in_solution(solution: str, scored: ScoredResponse, reward: RewardSettings) -> list[str]:
    """Return what keeps a solution from full marks, one clause each.

    Of one in another format than that of ``reward``, or in none, the answer alone is looked at, if it gives one: it
    shows what is right, and not how a response is written.

    Raises:
        VerifierFailedError: math-verify could not be asked about its answer; that is not the solution's fault.
    """
    in_format = is_response(scored.sections)
    verdict = require_judged(scored.answer if in_format else scored.last_answer)
    is_wrong = not verdict.correct and (in_format or _gives_answer(solution, scored))
    wrong = [f"its answer is judged wrong ({verdict.layer}: {verdict.reason})"] if is_wrong else []
    if not in_format:
        return wrong
    missing, disorder = faults_of_form(scored, reward)
    if not scored.complete:
        wrong.append(f"it is not complete ({', '.join(missing)})")
    if not scored.ordered:
        wrong.append(f"it is not in order ({', '.join(disorder)})")
    return wrong


def _gives_answer(solution: str, scored: ScoredResponse) -> bool:
    """Return whether a solution marks an answer, or its last line has a value to hold against the reference.

    That such a line has other words than the reference says nothing: "West Virginia is the farthest north."
    """
    given = find_last_answer(solution, scored.sections)
    return given is not None and (given.is_marked or scored.last_answer.layer in _VALUES)
