"""The charts of a page as plain values, which assets/page.js draws with uPlot."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mjx_dm.report.curves import OVER, Curve, of_evaluations, of_launches
from mjx_dm.report.panels import PANELS, SUBJECTS, Panel, spans_decades, unit_of
from mjx_dm.report.run import Run

# Not what a learner does but how far it is, and what the return's own charts show.
_ELSEWHERE = {"updates", "episode_return", "eval_return", *(panel.key for panel in PANELS)}
_DIGITS = 5


Number = int | float | None


class Line(NamedTuple):
    """One line of a chart: `x` is the place of its x values in the page's list, `colour` that of
    its colour in the palette; points are marked where they are few."""

    label: str
    colour: int
    x: int
    y: list[list[Number]]
    has_points: bool


class Chart(NamedTuple):
    """A title, a unit, and lines over one and the same thing."""

    id: str
    title: str
    unit: str
    is_log: bool
    lines: list[Line]


class Subject(NamedTuple):
    """Charts under one heading."""

    title: str
    charts: list[Chart]


class Charts:
    """The charts of a page, whose lines share x values."""

    def __init__(self) -> None:
        self.x: list[dict[str, list[Number]]] = []
        self._count = 0

    def of(self, variants: Sequence[Sequence[Run]], labels: Sequence[str]) -> list[Subject]:
        """The charts of some variants, each with its seeds, beside each other."""
        launches = [(self._keep(curve), curve) for curve in map(of_launches, variants)]
        scored = [(self._keep(curve), curve) for curve in map(of_evaluations, variants)]
        subjects = [Subject("Return", list(self._returns(launches, scored, labels)))]
        for title, panels in SUBJECTS.items():
            subjects.append(Subject(title, list(self._panels(panels, launches, labels))))
        names = sorted({name for _, curve in launches for name in curve.y} - _ELSEWHERE)
        others = [Panel(name, name, "", is_log=False) for name in names]
        subjects.append(Subject("Everything else", list(self._panels(others, launches, labels))))
        return [subject for subject in subjects if subject.charts]

    def _keep(self, curve: Curve) -> int:
        self.x.append({name: _plain(curve.x[name]) for name in OVER})
        return len(self.x) - 1

    def _returns(
        self,
        launches: list[tuple[int, Curve]],
        scored: list[tuple[int, Curve]],
        labels: Sequence[str],
    ) -> Iterator[Chart]:
        training = [
            _line(label or "training: the exploring policy", i, x, curve, "episode_return")
            for i, ((x, curve), label) in enumerate(zip(launches, labels, strict=True))
            if "episode_return" in curve.y
        ]
        own = [
            _line(label or "evaluation: mean action", i, x, curve, "eval_return", True)
            for i, ((x, curve), label) in enumerate(zip(scored, labels, strict=True))
            if "eval_return" in curve.y
        ]
        if len(labels) == 1:
            both = training + [line._replace(colour=1) for line in own]
            if both:
                yield self._chart("Return per episode", "", False, both)
            return
        if own:
            yield self._chart("Return in evaluation, mean action", "", False, own)
        if training:
            yield self._chart("Return in training, exploring policy", "", False, training)

    def _panels(
        self, panels: Sequence[Panel], launches: list[tuple[int, Curve]], labels: Sequence[str]
    ) -> Iterator[Chart]:
        for panel in panels:
            found = [(i, x, curve) for i, (x, curve) in enumerate(launches) if panel.key in curve.y]
            if not found:
                continue
            values = np.concatenate([curve.y[panel.key].ravel() for _, _, curve in found])
            if panel.key not in {one.key for one in PANELS} and np.nanmin(values) == np.nanmax(
                values
            ):
                continue  # a counter of faults that never came
            lines = [
                _line(labels[i] or panel.title, i, x, curve, panel.key) for i, x, curve in found
            ]
            is_log = panel.is_log and spans_decades(values)
            yield self._chart(panel.title, unit_of(panel, values), is_log, lines)

    def _chart(self, title: str, unit: str, is_log: bool, lines: list[Line]) -> Chart:
        self._count += 1
        return Chart(f"chart-{self._count}", title, unit, is_log, lines)


def _line(
    label: str, colour: int, x: int, curve: Curve, name: str, has_points: bool = False
) -> Line:
    middle, low, high = curve.y[name]
    rows = [middle]
    if not np.array_equal(low, high, equal_nan=True) and np.isfinite(low).any():
        rows += [low, high]
    return Line(label, colour, x, [_plain(row) for row in rows], has_points)


def _plain(values: np.ndarray) -> list[Number]:
    """In what JSON has, with the digits that a chart can show."""
    return [_rounded(value) if math.isfinite(value) else None for value in values.tolist()]


def _rounded(value: float) -> Number:
    short = float(f"{value:.{_DIGITS}g}")
    return int(value) if value == int(value) else int(short) if short == int(short) else short
