"""Curves of one run or of several seeds, in few enough points to be drawn."""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mjx_dm.report.run import Columns, Run

# What a curve can be drawn over; "wall_seconds" with everything that is not training.
OVER = ("step", "train_seconds", "wall_seconds")
_NOT_DRAWN = {*OVER, "time"}
# Wider than a screen has room for, at half a pixel a point.
MOST_POINTS = 300


class Curve(NamedTuple):
    """Points of one line for each metric.

    x: OVER -> (N,), NaN where not recorded.
    y: metric -> (3, N): the middle, the lower and the upper edge of its band, NaN where there is
        none.
    """

    x: Mapping[str, np.ndarray]
    y: Mapping[str, np.ndarray]


def of_launches(runs: Sequence[Run]) -> Curve:
    """What was recorded of launches. One run: the mean of so many launches that there are at most
    MOST_POINTS, within their least and greatest. Several: the mean over the runs at equal
    environment steps, within their least and greatest."""
    curves = [_thinned(run.launches) for run in runs]
    return curves[0] if len(curves) == 1 else _over_runs(curves)


def of_evaluations(runs: Sequence[Run]) -> Curve:
    """The run's own evaluations. One run: the mean return ± its standard deviation over episodes.
    Several: the mean over the runs, within their least and greatest."""
    curves = [_scored(run.evaluations) for run in runs]
    return curves[0] if len(curves) == 1 else _over_runs(curves)


def _thinned(rows: Columns) -> Curve:
    count = len(rows["step"])
    if not count:
        return Curve(_all_of({}, 0), {})
    buckets = np.array_split(np.arange(count), min(MOST_POINTS, count))
    starts = np.array([bucket[0] for bucket in buckets], int)
    y = {}
    for name in rows.keys() - _NOT_DRAWN:
        if np.isfinite(rows[name]).any():
            values = np.where(np.isfinite(rows[name]), rows[name], np.nan)
            y[name] = np.stack([_mean_of(values, starts), *_ends_of(values, starts)])
    x = {name: _mean_of(rows[name], starts) for name in OVER if name in rows}
    return Curve(_all_of(x, len(starts)), y)


def _mean_of(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mean of the finite values of each bucket: (N,) -> (len(starts),)."""
    known = np.isfinite(values)
    total = np.add.reduceat(np.where(known, values, 0.0), starts)
    with np.errstate(invalid="ignore"):
        return total / np.add.reduceat(known.astype(float), starts)


def _ends_of(values: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)


def _scored(rows: Columns) -> Curve:
    count = len(rows["step"])
    if not count:
        return Curve(_all_of({}, 0), {})
    shown = np.unique(np.linspace(0, count - 1, min(MOST_POINTS, count)).round().astype(int))
    x = {name: rows[name][shown] for name in OVER if name in rows}
    mean = rows["eval_return"][shown]
    std = rows.get("eval_return_std", np.full(count, np.nan))[shown]
    return Curve(_all_of(x, len(shown)), {"eval_return": np.stack([mean, mean - std, mean + std])})


def _all_of(x: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    return {name: x.get(name, np.full(count, np.nan)) for name in OVER}


def _over_runs(curves: Sequence[Curve]) -> Curve:
    """Mean, least and greatest at equal steps, over those runs that have come so far; the time is
    the mean of theirs."""
    curves = [curve for curve in curves if len(curve.x["step"])]
    if not curves:
        return Curve(_all_of({}, 0), {})
    at = max((curve.x["step"] for curve in curves), key=lambda x: (len(x), x[-1]))
    furthest = max(curve.x["step"][-1] for curve in curves)
    if at[-1] < furthest:
        at = np.append(at, furthest)
    x = {"step": at} | {
        name: _mean_over([_at(at, curve.x["step"], curve.x[name]) for curve in curves])
        for name in OVER[1:]
    }
    names = dict.fromkeys(name for curve in curves for name in curve.y)
    y = {}
    for name in names:
        known = [curve for curve in curves if name in curve.y]
        values = np.array([_at(at, curve.x["step"], curve.y[name][0]) for curve in known])
        y[name] = np.stack(
            [_mean_over(values), np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)]
        )
    return Curve(x, y)


def _at(at: np.ndarray, step: np.ndarray, value: np.ndarray) -> np.ndarray:
    """`value` of `step` on straight lines; NaN before its first and after its last."""
    known = np.isfinite(value)
    if not known.any():
        return np.full(len(at), np.nan)
    return np.interp(at, step[known], value[known], left=np.nan, right=np.nan)


def _mean_over(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of points that no run has
        return np.nanmean(np.asarray(values), axis=0)
