"""How sure a score is. NumPy alone: five lines each in place of a statistics package."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

_RESAMPLES = 10_000


class Estimate(NamedTuple):
    """A value, with the ends of its 95% interval; both NaN where nothing can be told of it."""

    value: float
    low: float = math.nan
    high: float = math.nan


def interquartile_mean(values: np.ndarray) -> np.ndarray | np.floating:
    """Mean of the middle half along the last axis, (..., N) -> (...): a quarter, rounded down, is
    cut off at either end, as scipy.stats.trim_mean and rliable (Agarwal et al. 2021) do."""
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


def bootstrapped(values: np.ndarray, *, of_middle: bool = False) -> Estimate:
    """Mean of `values` (N,), or that of its middle half, with the percentile bootstrap's interval.

    The draws are the same for the same N, so that a page is the same when it is written again.
    """
    statistic = interquartile_mean if of_middle else (lambda x: x.mean(axis=-1))
    value = float(statistic(values))
    if len(values) < 2:
        return Estimate(value)
    drawn = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.percentile(statistic(values[drawn]), [2.5, 97.5]).tolist()
    return Estimate(value, low, high)


def of_moments(mean: float, std: float, count: int | float) -> Estimate:
    """Student's interval of a mean, where only the moments of `count` values are left; `std` is
    the population's (ddof 0)."""
    if not (count >= 2 and math.isfinite(std)):
        return Estimate(mean)
    reach = float(stdtrit(count - 1, 0.975)) * std / math.sqrt(count - 1)
    return Estimate(mean, mean - reach, mean + reach)
