"""Steps/s over worlds, with what the parts alone would allow."""

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mjx_dm.host import variable

with variable("MPLBACKEND", None):  # figures here have a backend of their own
    import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator

from mjx_dm.runs.plots import STYLE

# Okabe and Ito's palette, told apart by every kind of colour vision.
_COLOURS = {"physics": "#0072B2", "rollout": "#009E73", "whole": "#D55E00"}
_LABELS = {"physics": "physics alone", "rollout": "rollout", "whole": "whole loop"}
_MARKERS = "osD^vP"
_DASHED = {"linestyle": "--", "linewidth": 1.2, "markerfacecolor": "white", "markersize": 4}


def draw(path: Path, report: dict[str, Any]) -> None:
    """Writes `path` (PNG): medians in env steps/s over worlds, bars between the quartiles.

    Updates over batch sizes get a panel of their own where there are several.
    """
    rows = report["cases"]
    loops = [row for row in rows if row["part"] in _COLOURS]
    updates = [row for row in rows if row["part"] == "update"]
    panels: list[Callable[[Axes], None]] = []
    if loops or len(updates) < 2:
        panels.append(functools.partial(_draw_loops, rows=loops))
    if len(updates) > 1:
        panels.append(functools.partial(_draw_updates, rows=updates))
    machine = report["machine"]
    device = machine["processor"] if machine["platform"] == "cpu" else machine["device"]
    places = dict.fromkeys(" ".join(_place(row)) for row in loops)
    about = [f"{device}, {machine['cores']} cores", f"preset {report['options']['preset']}"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0 * len(panels), 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, panel in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            panel(axes)
        figure.supxlabel("; ".join([*about, *places]), fontsize=8.5, color="0.4")
        unfinished = path.with_name(f".{path.name}.unfinished")
        figure.savefig(unfinished, format="png")
    os.replace(unfinished, path)


def _draw_loops(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    axes.set_title("Environment steps per second")
    places = list(dict.fromkeys(_place(row) for row in rows))
    for place, marker in zip(places, itertools.cycle(_MARKERS)):
        named = f", {' '.join(place)}" if len(places) > 1 else ""
        for part, colour in _COLOURS.items():
            line = [row for row in rows if row["part"] == part and _place(row) == place]
            line.sort(key=lambda row: row["num_envs"])
            points = [(row["num_envs"], row) for row in line]
            bounds = [(row["num_envs"], row["limit"]) for row in line if "limit" in row]
            style = {"color": colour, "marker": marker}
            _line(axes, bounds, f"physics + updates alone{named}", **style, **_DASHED)
            _line(axes, points, f"{_LABELS[part]}{named}", **style)
    _scale(axes, [row["num_envs"] for row in rows])
    axes.set_xlabel("worlds")


def _draw_updates(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    axes.set_title("Transitions learned from per second")
    points = []
    for row in sorted(rows, key=lambda row: row["batch_size"]):
        size = row["batch_size"]
        points.append((size, {key: size * row[key] for key in ("median", "q1", "q3")}))
    _line(axes, points, "updates × batch size", color="#CC79A7", marker="o")
    _scale(axes, [row["batch_size"] for row in rows])
    axes.set_xlabel("batch size")


def _line(
    axes: Axes, points: Sequence[tuple[int, dict[str, Any]]], label: str, **style: Any
) -> None:
    if not points:
        return
    x = [at for at, _ in points]
    y = [rate["median"] for _, rate in points]
    below = [rate["median"] - rate["q1"] for _, rate in points]
    above = [rate["q3"] - rate["median"] for _, rate in points]
    settings = {"capsize": 2.5, "elinewidth": 1, "markersize": 5} | style
    axes.errorbar(x, y, [below, above], label=label, **settings)


def _scale(axes: Axes, x: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(x))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    low, high = axes.dataLim.intervaly
    if low > 0 and high > 20 * low:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)


def _place(row: dict[str, Any]) -> tuple[str, str]:
    return row["engine"], row["physics"]
