"""What the responses to a set of questions show, and how two sets of responses differ, question by question. Pure.

The one place where means and changes are computed: `eval`, `eval --against` and `report` show the same figures of the
same responses.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np

from verl_stepgrpo.evaluation.intervals import Estimate, estimate
from verl_stepgrpo.parts import keys_with_parts
from verl_stepgrpo.rewards import SCORE_KEYS, SHARES

ALMOST_ALL = 0.95
"""Where fewer responses than this have an answer under its header, accuracy is as much about the header."""

Key = TypeVar("Key", bound=Hashable)
Responses = Mapping[Key, Sequence[Mapping[str, float]]]
"""By question, the components of each response to it that are known and mean something (``rewards.defined``)."""


@dataclass(frozen=True)
class Change:
    """One component in two sets of responses to the same questions.

    Attributes:
        before, after: Its estimates.
        difference: After less before, with the interval of a paired bootstrap over the questions: what makes one
            question harder than another does not widen it.
    """

    before: Estimate
    after: Estimate
    difference: Estimate


def estimates(
    questions: Iterable[Sequence[Mapping[str, float]]], shares: Collection[str] = SHARES
) -> dict[str, Estimate]:
    """Return the estimate of each component that a response has, over the questions that have it.

    ``shares`` names the components that are 0 or 1.
    """
    questions = list(questions)
    keys = keys_with_parts(SCORE_KEYS, chain.from_iterable(questions))
    values = {key: [own for own in (_of(key, one) for one in questions) if own] for key in keys}
    return {key: estimate(own, is_share=key in shares) for key, own in values.items() if own}


def changes(
    before: Responses[Key], after: Responses[Key], shares: Collection[str] = SHARES
) -> dict[str, Change]:
    """Return the change of each component, over the questions that both have it of, in the order to be read in.

    Where accuracy depends on the format (``depends_on_format``), the accuracy that does not comes first.
    """
    shared = [question for question in before if question in after]
    keys = keys_with_parts(SCORE_KEYS, chain.from_iterable(before[q] for q in shared))
    found = {}
    for key in keys:
        pairs = [(_of(key, before[q]), _of(key, after[q])) for q in shared]
        pairs = [pair for pair in pairs if all(pair)]
        if pairs:
            difference = estimate([float(np.mean(b)) - float(np.mean(a))] for a, b in pairs)
            first, last = (estimate(own, is_share=key in shares) for own in zip(*pairs, strict=True))
            found[key] = Change(first, last, difference)
    first_of_all = ["acc_flexible", "acc"] if depends_on_format(found) else []
    return {key: found[key] for key in dict.fromkeys([*first_of_all, *keys]) if key in found}


def shares_of(responses: Iterable[Sequence[Mapping[str, float]]]) -> tuple[str, ...]:
    """Return the components that are 0 or 1: ``SHARES``, and StepRVR where each valid response was paid 1."""
    paid = {one["step_rvr"] for own in responses for one in own}
    return (*SHARES, "step_rvr") if paid <= {0.0, 1.0} else SHARES


def depends_on_format(found: Mapping[str, Change]) -> bool:
    """Return whether a change in ``acc`` may be one of the format instead of the answers.

    It may where fewer than ``ALMOST_ALL`` responses of either set have an answer under its header, or where their share
    changed beyond chance.
    """
    answered = found.get("answered")
    if answered is None:
        return False
    low, high = answered.difference.interval or (0.0, 0.0)
    return min(answered.before.mean, answered.after.mean) < ALMOST_ALL or low > 0 or high < 0


def on_format(answered: Sequence[Estimate], *, has_flexible: bool) -> str:
    """Return how to read ``acc`` where it depends on the format.

    Args:
        answered: Which share of responses is answered in the format: of one set, or before and after.
        has_flexible: Whether ``acc_flexible`` is known of all of them.
    """
    shares = " and ".join(f"{one.mean:.1%}" for one in answered)
    sets = ", before and after," if len(answered) > 1 else ""
    remedy = (
        "acc_flexible takes the last answer in any format"
        if has_flexible
        else "acc_flexible would not, and an evaluation of an older version does not have it: make it anew"
    )
    return (
        f"acc asks for the header as well as the answer: {shares} of the responses{sets} have an answer under "
        f"`### The final answer is:`. {remedy}."
    )


def _of(key: str, responses: Sequence[Mapping[str, float]]) -> list[float]:
    return [one[key] for one in responses if key in one]
