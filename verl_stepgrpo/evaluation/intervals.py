"""Means with 95% intervals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, bootstrap

CONFIDENCE = 0.95
N_RESAMPLES = 10_000
MAX_DRAWN = 10_000_000
"""Values that the bootstrap holds at one time; the result does not depend on it."""


@dataclass(frozen=True)
class Estimate:
    """A mean over questions, and how sure it is.

    Attributes:
        mean: The mean.
        interval: Its 95% interval; None where the questions are too few or too alike to give one.
        questions, responses: How many it is over.
    """

    mean: float
    interval: tuple[float, float] | None
    questions: int
    responses: int


def estimate(values: Iterable[Sequence[float]], *, is_share: bool = False) -> Estimate:
    """Return the mean over questions, and how far chance in which questions were asked may move it.

    Args:
        values: For each question, in any order, the values of its responses; at least one of each.
        is_share: Each value is 0 or 1.

    The interval of a share with one response a question is Wilson's, which does not look certain near 0 and 1; any
    other is a percentile bootstrap over questions, whose responses stay together. Of a single question, and of
    questions that are all alike, a bootstrap knows no interval. The same values give the same interval, in whatever
    order they come.
    """
    by_question = list(values)
    means = np.sort([np.mean(own) for own in by_question])
    mean, counts = float(means.mean()), (len(means), sum(map(len, by_question)))
    if len(means) > 1 and is_share and counts[0] == counts[1]:
        found = binomtest(round(means.sum()), len(means)).proportion_ci(CONFIDENCE, method="wilson")
    elif means[0] == means[-1]:
        return Estimate(mean, None, *counts)
    else:
        found = bootstrap(
            (means,),
            np.mean,
            n_resamples=N_RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
            batch=max(1, MAX_DRAWN // len(means)),
        ).confidence_interval
    return Estimate(mean, (float(found.low), float(found.high)), *counts)
