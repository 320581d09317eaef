"""Sum up numbers of several prompts: mean, a bootstrap interval of it, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
SHARE = 0.95  # of the resampled means that lie within the interval


@dataclass(frozen=True)
class Mean:
    """A mean over prompts with its interval; one prompt has none (None)."""

    mean: float
    low: float | None
    high: float | None
    n: int


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of numbers, with the interval in which 95 % of means of resampled numbers lie.

    Args:
        values: one for each prompt, at least one.

    Returns:
        The mean. The resampling is seeded, so that the same numbers have the same interval.
    """
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2:
        return Mean(float(found.mean()), None, None, len(found))
    drawn = np.random.default_rng(0).integers(len(found), size=(RESAMPLES, len(found)))
    low, high = np.quantile(found[drawn].mean(1), [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return Mean(float(found.mean()), float(low), float(high), len(found))
