"""The first validation of a run against its last, or an evaluation against an earlier one: what changed, and how sure
that is. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verl_stepgrpo.counts import plural
from verl_stepgrpo.evaluation.comparison import Comparison as Evaluations
from verl_stepgrpo.evaluation.intervals import Estimate
from verl_stepgrpo.evaluation.summary import (
    ALMOST_ALL,
    Change,
    changes,
    depends_on_format,
    estimates,
    on_format,
    shares_of,
)
from verl_stepgrpo.parts import keys_with_parts, part_of
from verl_stepgrpo.report.collect import Validation

COMPARED = {
    "acc": "Accuracy, in the format",
    "acc_flexible": "Accuracy, in any format",
    "score": "Reward",
    "step_rar": "StepRAR",
    "key_step_match": "Key steps found",
    "equations": "Equations",
    "false_equations": "Steps with a false equation",
    "step_rvr": "StepRVR",
    "complete": "Complete",
    "ordered": "In order",
    "answered": "Answered, in the format",
    "verifier_timeout": "Verifier timeouts",
    "verifier_failed": "Verifier failures",
    "unparseable": "Unparseable answers",
}
"""Components, all of them, and what the report calls them; other parts are called by their names."""


def name_of(key: str) -> str:
    """Return what the report calls a component."""
    part = part_of(key)
    return COMPARED[key] if part is None else f"Part {part}"


@dataclass(frozen=True)
class Line:
    """One component over the questions of one or two validations, or evaluations.

    Attributes:
        name: What the report calls it.
        before: Its mean in the first; None where there is one validation.
        after: Its mean in the last, with its interval where there is one validation.
        difference: Of the two, with the interval of a paired bootstrap over the questions.
    """

    name: str
    after: Estimate
    before: float | None = None
    difference: Estimate | None = None


@dataclass(frozen=True)
class Comparison:
    """Two validations or evaluations on the questions of both, or one alone.

    Attributes:
        questions: How many questions.
        before: What the earlier one is called; None where there is one.
        after: What the later one is called.
        skipped: Training steps before the earlier one, of which it does not tell.
        lines: One for each component of ``COMPARED`` that is known, in the order to be read in.
        on_format: How to read the accuracy, where it depends on the format.
    """

    questions: int
    before: str | None
    after: str
    skipped: int
    lines: Sequence[Line]
    on_format: str | None


def compare(first: Validation, last: Validation) -> Comparison:
    """Return the comparison of two validations; of the last alone where they share no question."""
    shared = first.questions.keys() & last.questions.keys()
    shares = shares_of((*first.questions.values(), *last.questions.values()))
    if first.step == last.step or not shared:
        return _alone(last, shares)
    found = changes(first.questions, last.questions, shares)
    return _of_changes(found, len(shared), f"Step {first.step}", f"Step {last.step}", first.step)


def of_evaluations(found: Evaluations, before: Path, after: Path) -> Comparison:
    """Return the comparison of two evaluations, in the folders ``before`` and ``after``."""
    is_told_apart = before.name != after.name
    earlier, later = (folder.name if is_told_apart else str(folder) for folder in (before, after))
    return _of_changes(found.changes, found.rows, earlier, later, 0)


def _of_changes(
    found: dict[str, Change], questions: int, before: str, after: str, skipped: int
) -> Comparison:
    answered = [found["answered"].before, found["answered"].after]
    said = on_format(answered, has_flexible="acc_flexible" in found) if depends_on_format(found) else None
    lines = [_change(key, found[key], questions) for key in _ordered(found)]
    return Comparison(questions, before, after, skipped, lines, said)


def _alone(last: Validation, shares: Sequence[str]) -> Comparison:
    found = estimates(last.questions.values(), shares)
    is_in_format = found["answered"].mean >= ALMOST_ALL
    said = None if is_in_format else on_format([found["answered"]], has_flexible="acc_flexible" in found)
    lines = [Line(_name(key, found[key], len(last.questions)), found[key]) for key in _in_order(found)]
    return Comparison(len(last.questions), None, f"Step {last.step}", 0, lines, said)


def _ordered(found: dict[str, Change]) -> list[str]:
    """Return the components in the order of ``COMPARED``, but for the accuracy that is to be read first."""
    first = [key for key in found if key in ("acc", "acc_flexible")]
    return [*first, *(key for key in _in_order(found) if key not in first)]


def _in_order(found: Mapping[str, object]) -> list[str]:
    return [key for key in keys_with_parts(tuple(COMPARED), [dict.fromkeys(found, 0.0)]) if key in found]


def _change(key: str, change: Change, questions: int) -> Line:
    after = Estimate(change.after.mean, None, change.after.questions, change.after.responses)
    name = _name(key, change.difference, questions)
    return Line(name, after, change.before.mean, change.difference)


def _name(key: str, found: Estimate, questions: int) -> str:
    """Say of how many questions it is, where the others do not have it."""
    of = (
        f" (of {found.questions:,} {plural(found.questions, 'question')})"
        if found.questions < questions
        else ""
    )
    return f"{name_of(key)}{of}"
