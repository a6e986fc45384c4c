"""Read the traces of a run once: what each step is summed up in, and which groups there are.

Holds the components of one step at a time, beside 16 bytes a rollout, one entry a group, and the components of the
first and the last validation. Reads files, and is pure otherwise.
"""

from __future__ import annotations

import itertools
import statistics
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from verl_stepgrpo.curves import GROUP_CURVES, WITH_KEY_STEPS, Outcome, curve_name, curves
from verl_stepgrpo.files import SetAside
from verl_stepgrpo.parts import keys_with_parts
from verl_stepgrpo.rewards import SCORE_KEYS
from verl_stepgrpo.traces.files import iter_traces, stands_twice
from verl_stepgrpo.traces.rows import TRAIN, VAL, TraceRow

PARTS_PAID = "parts_paid"
"""Name of the mean of what parts beside StepRAR and StepRVR were paid."""

Question = tuple[str | None, Any]
"""``data_source`` and ``index`` of a row of the data."""


class GroupKey(NamedTuple):
    """Which group a rollout belongs to; ``uid`` alone may come again in another step."""

    split: str
    step: int
    uid: str


@dataclass(frozen=True)
class Rollout:
    """The numbers of one trace row.

    Attributes:
        key: Its group.
        question: The row of the data that it answers.
        outcome: Its components, as far as they mean something, and how much it moves the policy.
        key_step_share: What it was paid for key steps.
        advantage: That of its first token; None where it was not trained, as in a validation.
        has_step_credit: Whether its tokens have several advantages.
        characters: Length of the response.
    """

    key: GroupKey
    question: Question
    outcome: Outcome
    key_step_share: float
    advantage: float | None
    has_step_credit: bool
    characters: int

    @property
    def components(self) -> Mapping[str, float]:
        return self.outcome.components

    @property
    def parts_paid(self) -> float:
        """What parts beside StepRAR and StepRVR were paid in sum."""
        return self.components["score"] - self.components["step_rar"] - self.components["step_rvr"]


@dataclass(frozen=True)
class StepSummary:
    """What is drawn of one training step or validation.

    Attributes:
        split: ``train`` or ``val``.
        step: Number of the training step.
        means: By name, the means over its rollouts, and of a training step ``GROUP_CURVES``.
        rewards: Of each rollout.
        advantages: Of each rollout that was trained; empty in a validation.
    """

    split: str
    step: int
    means: Mapping[str, float]
    rewards: array[float]
    advantages: array[float]


@dataclass(frozen=True)
class Validation:
    """The components of every response of one validation, by question."""

    step: int
    questions: Mapping[Question, Sequence[Mapping[str, float]]]


@dataclass
class Run:
    """What a run's traces hold, but for its texts."""

    steps: list[StepSummary] = field(default_factory=list)
    groups: dict[GroupKey, int] = field(default_factory=dict)
    """How many rollouts each group has, in the order in which they stand."""
    first_validation: Validation | None = None
    last_validation: Validation | None = None
    alphas: set[float] = field(default_factory=set)
    rvr_weights: set[float] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    has_step_credit: bool = False

    @property
    def rollouts(self) -> int:
        return sum(self.groups.values())

    def of(self, split: str) -> list[StepSummary]:
        """Return the steps of a split in their order."""
        return sorted((s for s in self.steps if s.split == split), key=lambda s: s.step)


def read_run(files: Sequence[Path], *, set_aside: Callable[[SetAside], None]) -> Run:
    """Return what the traces in ``files`` hold, each step in one piece.

    Raises:
        DataError: They are of several runs.
    """
    run, seen = Run(), set()
    for file in files:
        rollouts = map(rollout_of, iter_traces([file], set_aside=set_aside))
        for (split, step), own in itertools.groupby(rollouts, key=lambda r: r.key[:2]):
            if (split, step) in seen:
                raise stands_twice(file, f"{step} of {split}")
            seen.add((split, step))
            _add_step(run, split, step, list(own))
    return run


def rollout_of(row: TraceRow) -> Rollout:
    """Return the numbers of a trace row."""
    weight = 0.0 if row.credit is None else row.credit.mean_absolute
    return Rollout(
        key=GroupKey(row.split, row.step, row.uid),
        question=row.question,
        outcome=Outcome(row.uid, row.defined, weight),
        key_step_share=row.key_step_share,
        advantage=None if row.credit is None else row.credit.first,
        has_step_credit=row.credit is not None and row.credit.is_by_step,
        characters=len(row.response or ""),
    )


def _add_step(run: Run, split: str, step: int, rollouts: Sequence[Rollout]) -> None:
    advantages = array("d", (r.advantage for r in rollouts if r.advantage is not None))
    rewards = array("d", (r.components["score"] for r in rollouts))
    run.steps.append(StepSummary(split, step, _means(split, rollouts), rewards, advantages))
    for rollout in rollouts:
        run.groups[rollout.key] = run.groups.get(rollout.key, 0) + 1
        _note_settings(run, rollout)
    if split == VAL:
        run.last_validation = _validation(step, rollouts)
        run.first_validation = run.first_validation or run.last_validation


def _means(split: str, rollouts: Sequence[Rollout]) -> dict[str, float]:
    metrics = curves([r.outcome for r in rollouts])
    keys = keys_with_parts(SCORE_KEYS, (r.components for r in rollouts))
    names = (*keys, WITH_KEY_STEPS, *(GROUP_CURVES if split == TRAIN else ()))
    means = {name: metrics[curve_name(name)] for name in names if curve_name(name) in metrics}
    means["score"] = statistics.fmean(r.components["score"] for r in rollouts)
    means["key_step_share"] = statistics.fmean(r.key_step_share for r in rollouts)
    if len(keys) > len(SCORE_KEYS):
        means[PARTS_PAID] = statistics.fmean(r.parts_paid for r in rollouts)
    means["characters"] = statistics.fmean(r.characters for r in rollouts)
    for name, is_right in (("match_right", True), ("match_wrong", False)):
        matches = [
            r.components["key_step_match"]
            for r in rollouts
            if "key_step_match" in r.components and bool(r.components["acc"]) is is_right
        ]
        if matches:
            means[name] = statistics.fmean(matches)
    return means


def _note_settings(run: Run, rollout: Rollout) -> None:
    """Traces may have no header, but a paid key step and a valid response tell what they are paid."""
    match, validity = rollout.components.get("key_step_match"), rollout.components["step_rvr"]
    if match and rollout.components["answered"]:
        run.alphas.add(round(rollout.key_step_share / match, 4))
    if rollout.components["complete"] and rollout.components["ordered"]:
        run.rvr_weights.add(round(validity, 4))
    if rollout.question[0] is not None:
        run.sources.add(rollout.question[0])
    run.has_step_credit |= rollout.has_step_credit


def _validation(step: int, rollouts: Iterable[Rollout]) -> Validation:
    questions: dict[Question, list[Mapping[str, float]]] = {}
    for rollout in rollouts:
        # Without an index the group is all that tells questions apart; its uid is new in each validation.
        source, index = rollout.question
        question = (source, rollout.key.uid if index is None else index)
        questions.setdefault(question, []).append(rollout.components)
    return Validation(step, questions)


def sample(groups: Mapping[GroupKey, int], limit: int) -> set[GroupKey]:
    """Return whole groups, evenly spread over the run, with at most ``limit`` rollouts; at least one group."""
    share = min(1.0, limit / sum(groups.values()))
    chosen, due = set(), 0.0
    for key, size in groups.items():
        due += size * share
        # Sums of shares fall a little short of whole numbers.
        if due >= size - 1e-6:
            chosen.add(key)
            due -= size
    return chosen or set(itertools.islice(groups, 1))
