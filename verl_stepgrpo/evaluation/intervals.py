"""Means with 95% intervals. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, bootstrap

CONFIDENCE = 0.95
N_RESAMPLES = 10_000
MAX_DRAWN = 10_000_000
"""Values that the bootstrap holds at one time; the result does not depend on it."""


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95% interval; the interval is None where the questions are too few or too alike to give one."""

    mean: float
    interval: tuple[float, float] | None


def estimate(values: Sequence[Sequence[float]], *, is_share: bool = False, seed: int = 0) -> Estimate:
    """Return the mean over questions, and how far chance in which questions were asked may move it.

    Args:
        values: For each question the values of its responses; at least one of each.
        is_share: Each value is 0 or 1.
        seed: Of the bootstrap.

    The interval of a share with one response a question is Wilson's, which does not look certain near 0 and 1; any
    other is a percentile bootstrap over questions, whose responses stay together. Of a single question, and of
    questions that are all alike, a bootstrap knows no interval.
    """
    means = np.array([np.mean(own) for own in values])
    mean = float(means.mean())
    if len(means) > 1 and is_share and all(len(own) == 1 for own in values):
        found = binomtest(int(means.sum()), len(means)).proportion_ci(CONFIDENCE, method="wilson")
    elif (means == means[0]).all():
        return Estimate(mean, None)
    else:
        found = bootstrap(
            (means,),
            np.mean,
            n_resamples=N_RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(seed),
            batch=max(1, MAX_DRAWN // len(means)),
        ).confidence_interval
    return Estimate(mean, (float(found.low), float(found.high)))
