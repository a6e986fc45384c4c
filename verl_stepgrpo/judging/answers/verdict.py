"""What judging an answer gives, and the two texts that are compared.

Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from verl_stepgrpo.judging.answers.symbolic import Equality, VerifierFailedError

MAX_SHOWN_CHARS = 60
"""Longer texts are cut where a reason shows them."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one final answer.

    Attributes:
        correct: The answer equals the reference.
        answered: An answer was given at all.
        layer: The layer that decided: ``none``, ``text``, ``choice``, ``hedge``, ``form``, ``number``, ``yes_no``,
            ``list`` or ``symbolic``.
        reason: Why, in one line for a person, as "the letters differ: B, C": the answer's side first.
        text: The answer as it was judged.
        timeout: A checker ran out of time; the verdict is a default.
        unparseable: No layer could read the answer; the verdict is a default.
        failed: A checker could not be asked, for a reason that is not the answer's; the verdict is a default.
    """

    correct: bool
    answered: bool
    layer: str
    reason: str
    text: str = ""
    timeout: bool = False
    unparseable: bool = False
    failed: bool = False

    def on(self, text: str) -> Verdict:
        """Return the verdict as one on ``text``."""
        return Verdict(
            self.correct,
            self.answered,
            self.layer,
            self.reason,
            text,
            self.timeout,
            self.unparseable,
            self.failed,
        )


@dataclass(frozen=True)
class Answer:
    """One side of the comparison.

    Attributes:
        full: The normalised text, letter case kept.
        core: What it states, without explanation and lead-in; of a reference the same as ``full``.
        folded: ``core`` in lower case.
    """

    full: str
    core: str

    @property
    def folded(self) -> str:
        return self.core.casefold()


class TimedOutError(Exception):
    """Ends the judging of an answer: no layer may take a part that was not decided for a wrong one, and the time limit
    holds for the answer, not for each of its parts."""


class Judge(Protocol):
    """How a layer has a part of an answer judged; both raise ``TimedOutError`` and ``VerifierFailedError``.

    Attributes:
        tolerance: How far a decimal may be from the reference, as a share of it; 0 for not at all.
    """

    @property
    def tolerance(self) -> float: ...

    def verdict_on(self, answer: str, gold: str) -> Verdict:
        """Return the verdict on a text as somebody wrote it."""

    def compare(self, given: Answer, wanted: Answer) -> Verdict:
        """Return the verdict on two normalised texts."""

    def by_math_verify(self, given: str, wanted: str) -> Verdict:
        """Return what math-verify says of two expressions."""


def decided(correct: bool, layer: str, reason: str) -> Verdict:
    """Return the verdict of a layer on an answer that was given."""
    return Verdict(correct, True, layer, reason)


def shown(text: str) -> str:
    """Return ``text`` as a reason shows it: on one line, and cut where it is long."""
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 1]}…"


def symbolic_verdict(outcome: Equality, *, answered: bool, text: str) -> Verdict:
    """Return the verdict that an outcome of the symbolic checker stands for."""
    reasons = {
        Equality.EQUAL: "equal to the reference by math-verify",
        Equality.DIFFERENT: "different from the reference by math-verify",
        Equality.UNREADABLE: "math-verify could not read it",
        Equality.TIMEOUT: "math-verify ran out of time",
        Equality.CRASHED: "math-verify's process dies of it",
    }
    return Verdict(
        outcome is Equality.EQUAL,
        answered,
        "symbolic",
        reasons[outcome],
        text,
        timeout=outcome is Equality.TIMEOUT,
        unparseable=outcome in (Equality.UNREADABLE, Equality.CRASHED),
    )


def failed_verdict(error: VerifierFailedError, *, answered: bool, text: str) -> Verdict:
    """Return the verdict on an answer that the symbolic checker could not be asked about."""
    return Verdict(False, answered, "symbolic", str(error), text, failed=True)


def require_judged(verdict: Verdict) -> Verdict:
    """Return ``verdict``, for work that can be done again where math-verify fails, and would be wrong without it.

    Raises:
        VerifierFailedError: math-verify could not be asked.
    """
    if verdict.failed:
        raise VerifierFailedError(verdict.reason)
    return verdict
