"""What one response was paid, as advantages need it. Pure: no torch, no verl."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from verl_stepgrpo.judging.key_steps.match import KeyStepMatch

if TYPE_CHECKING:
    from verl_stepgrpo.rewards import ScoredResponse

COMPONENTS = ("answer", "key_steps", "validity")
"""What a response is paid for; other parts of a reward count with validity."""


@dataclass(frozen=True)
class Earned:
    """What one response was paid, and for which of its steps.

    Attributes:
        correct: Whether its answer is right.
        key_step_share: What its key steps were paid, in [0, alpha].
        validity: What its validity was paid, 0 or ``rvr_weight``.
        step_shares: The part of ``key_step_share`` that each of its steps was paid; the first also what visual key
            steps were paid, since the image description stands before it and shares its advantage.
        found: For each key step of its question the step, from 0, that it was found in; None where it was not.
        is_real: Whether it is a response, not a row that only fills the batch.
        parts: What each other part of the reward was paid, in the order of ``extra_weights``.
    """

    correct: bool
    key_step_share: float
    validity: float
    step_shares: Sequence[float]
    found: Sequence[int | None]
    is_real: bool = True
    parts: Sequence[float] = ()

    @classmethod
    def by(cls, scored: ScoredResponse, extra_weights: Mapping[str, float] | None = None) -> Earned:
        """Return what a scored response earned; ``extra_weights`` are those that it was scored under."""
        return cls(
            scored.answer.correct,
            scored.key_step_share,
            scored.step_rvr,
            with_visual(scored.step_shares, scored.visual_paid),
            steps_found(scored.key_steps),
            parts=parts_paid(scored.parts, extra_weights or {}),
        )


def with_visual(step_shares: Sequence[float], paid: float) -> tuple[float, ...]:
    """Return what each step was paid, the first with what the image description before it was."""
    return tuple(share + paid * (i == 0) for i, share in enumerate(step_shares))


def parts_paid(parts: Mapping[str, float], weights: Mapping[str, float]) -> tuple[float, ...]:
    """Return what each part was paid, in the order of ``weights``; a part that is not known was paid nothing."""
    return tuple(weight * parts.get(name, 0.0) for name, weight in weights.items())


def steps_found(matches: Iterable[KeyStepMatch]) -> tuple[int | None, ...]:
    """Return the step that each key step was found in, as ``Earned.found``."""
    return tuple(match.step if match.matched else None for match in matches)
