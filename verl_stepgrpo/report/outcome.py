"""The first validation of a run against its last: what changed, and how sure that is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from verl_stepgrpo.evaluation.intervals import Estimate, estimate
from verl_stepgrpo.report.collect import Question, Validation
from verl_stepgrpo.rewards import SHARES

COMPARED = {
    "acc": "Accuracy",
    "score": "Reward",
    "key_step_match": "Key steps found",
    "step_rvr": "StepRVR",
    "answered": "Answered",
}
"""Components, and what the report calls them."""

Responses = Mapping[Question, Sequence[Mapping[str, float]]]


@dataclass(frozen=True)
class Line:
    """One component over the questions of one or two validations.

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
    """The first validation against the last on the questions of both, or one validation alone.

    Attributes:
        questions: How many questions.
        first: Step of the first; None where there is one.
        last: Step of the last.
        lines: One for each component of ``COMPARED``.
    """

    questions: int
    first: int | None
    last: int
    lines: Sequence[Line]


def compare(first: Validation, last: Validation) -> Comparison:
    """Return the comparison of two validations; of the last alone where they share no question."""
    shared = [question for question in first.questions if question in last.questions]
    if first.step == last.step or not shared:
        lines = [_level(name, last.questions.values()) for name in COMPARED]
        return Comparison(len(last.questions), None, last.step, lines)
    lines = [_change(name, first.questions, last.questions, shared) for name in COMPARED]
    return Comparison(len(shared), first.step, last.step, lines)


def _level(name: str, questions: Iterable[Sequence[Mapping[str, float]]]) -> Line:
    values = [[one[name] for one in own] for own in questions]
    # As verl-stepgrpo eval has it: StepRVR is 0 or 1 where a valid response is paid 1.
    is_share = name in SHARES or (name == "step_rvr" and {v for own in values for v in own} <= {0.0, 1.0})
    return Line(COMPARED[name], estimate(values, is_share=is_share))


def _change(name: str, first: Responses, last: Responses, shared: Sequence[Question]) -> Line:
    before, after = ([_mean(responses[q], name) for q in shared] for responses in (first, last))
    difference = estimate([[b - a] for a, b in zip(before, after, strict=True)])
    means = (sum(values) / len(shared) for values in (after, before))
    return Line(COMPARED[name], Estimate(next(means), None), next(means), difference)


def _mean(responses: Sequence[Mapping[str, float]], name: str) -> float:
    return sum(one[name] for one in responses) / len(responses)
