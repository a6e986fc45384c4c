"""What has to be known of a run before any of its figures is read: that it trained nothing, say. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from verl_stepgrpo.curves import NO_ADVANTAGE, WITH_KEY_STEPS
from verl_stepgrpo.evaluation.summary import ALMOST_ALL
from verl_stepgrpo.report.collect import Run, StepSummary
from verl_stepgrpo.traces.rows import TRAIN, VAL


def notices(run: Run) -> list[str]:
    """Return one sentence for each thing that makes a run another one than it looks like; nothing of a sound run."""
    train, val = run.of(TRAIN), run.of(VAL)
    said = [*_of_training(train), *_of_answers(train, "training response")]
    # Before training a model may well be wrong everywhere.
    return said + _of_answers(val[-1:], "response of the last validation" if train else "response")


def trains(run: Run) -> bool:
    """Return whether any advantage of a run differs from 0."""
    return _have_advantages(run.of(TRAIN))


def _have_advantages(steps: Sequence[StepSummary]) -> bool:
    return any(abs(a) > NO_ADVANTAGE for step in steps for a in step.advantages)


def _of_training(steps: Sequence[StepSummary]) -> list[str]:
    if not steps:
        return []
    said = []
    equal = _mean(steps, "groups_without_variance")
    if not _have_advantages(steps):
        why = "all advantages are 0" if any(step.advantages for step in steps) else "the run ended before"
        said.append(f"Nothing was trained: {why}.")
    if equal is not None and equal >= ALMOST_ALL:
        share = "Every group has" if equal == 1 else f"{equal:.1%} of the groups have"
        said.append(f"{share} equal rewards, which train nothing.")
    if _mean(steps, WITH_KEY_STEPS) == 0:
        said.append("No training prompt has key steps: StepRAR pays the answer alone.")
    return said


def _of_answers(steps: Sequence[StepSummary], what: str) -> list[str]:
    """Return what is to be said of responses of which none is answered, or none right."""
    if not steps or _mean(steps, "acc") != 0:
        return []
    is_answered = _mean(steps, "answered") != 0
    said = "is right" if is_answered else "has an answer under “### The final answer is:”"
    flexible = _mean(steps, "acc_flexible")
    behind = "" if flexible is None else f" In any format the last answer is right in {flexible:.1%} of them."
    return [f"No {what} {said}.{behind}"]


def _mean(steps: Sequence[StepSummary], name: str) -> float | None:
    """Return the mean over the responses of all steps; None where no step has it."""
    known = [(step.means[name], len(step.rewards)) for step in steps if name in step.means]
    total = sum(count for _, count in known)
    return sum(mean * count for mean, count in known) / total if total else None
