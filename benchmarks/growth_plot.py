"""Panels of growth.py: rates over sizes in log-log, the exponent beside each stretch."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mjx_dm.runs.plots import BLUE, STYLE, VERMILION

_TITLES = {
    "worlds": "physics",
    "insert": "replay, insert",
    "sample": "replay, sample",
    "batch_size": "learner",
    "num_proposals": "learner",
    "num_components": "learner",
}


def draw(path: Path, report: dict[str, Any]) -> None:
    """Writes `path` (PNG), a panel for each curve of `report`."""
    curves = report["curves"]
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * columns, 2.9 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes in panels[len(curves) :]:
            axes.set_visible(False)
        for axes, (name, curve) in zip(panels, curves.items(), strict=False):
            _panel(axes, _TITLES[name], curve)
        figure.savefig(path, format="png")


def _panel(axes: Axes, title: str, curve: dict[str, Any]) -> None:
    points = curve["points"]
    x, y, wall = ([row[key] for row in points] for key in ("value", "of_a_core", "median"))
    axes.plot(x, y, color=BLUE, marker="o", markersize=4, label="in a second of a core")
    axes.plot(x, wall, color=VERMILION, marker="s", markersize=3, linewidth=1, label="by the clock")
    axes.set(title=title, xlabel=curve["setting"], ylabel=curve["unit"], xscale="log", yscale="log")
    axes.legend(fontsize=7)
    # A decade at least, so that noise does not look like growth.
    middle = (min(y) * max(y)) ** 0.5
    both = y + wall
    axes.set_ylim(min(min(both) / 1.5, middle / 3.2), max(max(both) * 2.0, middle * 3.2))
    for i, slope in enumerate(curve["core_slopes"]):
        at = ((x[i] * x[i + 1]) ** 0.5, (y[i] * y[i + 1]) ** 0.5)
        axes.annotate(
            f"{slope:+.2f}", at, (0, 7), textcoords="offset points", fontsize=7, ha="center"
        )
