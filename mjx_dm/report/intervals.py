"""How sure a score is: 95% intervals of a mean and of an interquartile mean."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats


class Estimate(NamedTuple):
    """A value, with the ends of its 95% interval; both NaN where nothing can be told of it."""

    value: float
    low: float = math.nan
    high: float = math.nan


def bootstrapped(values: np.ndarray, *, of_middle: bool = False) -> Estimate:
    """Mean of `values` (N,), or that of its middle half, with the percentile bootstrap's interval.

    The middle half is rliable's interquartile mean (Agarwal et al. 2021). The draws are the same
    for the same N, so that a page is the same when it is written again.
    """
    statistic = functools.partial(stats.trim_mean, proportiontocut=0.25 if of_middle else 0.0)
    value = float(statistic(values))
    if len(values) < 2:
        return Estimate(value)
    drawn = stats.bootstrap((values,), statistic, method="percentile", rng=0)
    interval = drawn.confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def of_moments(mean: float, std: float, count: int | float) -> Estimate:
    """Student's interval of a mean, where only the moments of `count` values are left; `std` is
    the population's (ddof 0)."""
    if not (count >= 2 and math.isfinite(std)):
        return Estimate(mean)
    reach = float(stats.t.ppf(0.975, count - 1)) * std / math.sqrt(count - 1)
    return Estimate(mean, mean - reach, mean + reach)


def chance_of_more(a: np.ndarray, b: np.ndarray) -> Estimate:
    """The probability that one of `a` (N,) is above one of `b` (M,), an equal one counting half.

    rliable's probability of improvement, with the percentile bootstrap's interval, drawn from each
    of the two by itself.
    """

    def share(a: np.ndarray, b: np.ndarray, axis: int = -1) -> Any:
        # SciPy draws many samples at once, along the axes before.
        apart = a[..., :, None] - b[..., None, :]
        return (0.5 * (np.sign(apart) + 1.0)).mean((-2, -1))

    value = float(share(a, b))
    if min(len(a), len(b)) < 2:
        return Estimate(value)
    drawn = stats.bootstrap((a, b), share, method="percentile", rng=0)
    interval = drawn.confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))
