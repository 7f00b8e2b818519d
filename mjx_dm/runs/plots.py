"""Curves of a run, drawn from its metrics.jsonl: the return, and what the learner did to get it."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter

from mjx_dm.runs.metrics import METRICS, read_metrics

PLOTS = "plots"

# Any: matplotlib has no name for the type of its settings that all its versions share.
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "0.55",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "xtick.color": "0.3",
    "ytick.color": "0.3",
    "legend.frameon": False,
    "savefig.dpi": 150,
}
# Blue and vermilion of Okabe and Ito's palette, told apart by every kind of colour vision.
BLUE, VERMILION = "#0072B2", "#D55E00"


class _Panel(NamedTuple):
    """One small multiple; `is_log` allows a logarithmic axis where the values span decades."""

    key: str
    title: str
    unit: str
    is_log: bool = False


_PANELS = (
    _Panel("temperature", "Temperature T", "units of Q", is_log=True),
    _Panel("alpha", "Entropy weight α", "units of Q per nat", is_log=True),
    _Panel("entropy", "Entropy of the policy", "nats"),
    _Panel("ess", "Effective sample size", "actions"),
    _Panel("mean_sigma", "Mean σ of the policy", "normalised action"),
    _Panel("effective_components", "Effective components", "components"),
    _Panel("sigma_spread", "Spread of log σ over components", "nats"),
    _Panel("policy_kl", "KL of the policy over a launch", "nats", is_log=True),
    _Panel("clipped_share", "Sampled actions outside the box", "share"),
    _Panel("q_error", "Q less the realised return", "scaled return"),
    _Panel("critic_loss", "Critic loss", "loss", is_log=True),
    _Panel("q_mean", "Mean Q", "scaled return"),
    _Panel("actor_grad_norm", "Gradient norm, actor", "norm", is_log=True),
    _Panel("critic_grad_norm", "Gradient norm, critic", "norm", is_log=True),
    _Panel("actor_norm", "Weight norm, actor", "norm"),
    _Panel("critic_norm", "Weight norm, critic", "norm"),
    _Panel("dead_units_actor", "Dormant units, actor", "share"),
    _Panel("dead_units_critic", "Dormant units, critic", "share"),
    _Panel("episode_length", "Episode length", "env steps"),
    _Panel("steps_per_second", "Throughput", "env steps / s"),
)


def plot_run(
    run_dir: str | os.PathLike, task: str = "", time_limit: int | None = None
) -> list[Path]:
    """Draws `plots/learning_curve.png` and `plots/diagnostics.png` from `run_dir/metrics.jsonl`.

    The learning curve of `task`, a name for its title, shows `episode_return` (sampled behaviour in
    training; under a time limit of `time_limit` steps, if it is not the task's own) and
    `eval_return` with a band of ± `eval_return_std` over env steps. The diagnostics show what the
    run recorded of the learner, its episodes and its speed.

    Returns:
        The files written; a figure of which the run has no finite value is left out.

    Raises:
        OSError: metrics.jsonl cannot be read or a figure cannot be written.
        ValueError: metrics.jsonl holds a broken line before its last.
    """
    run_dir = Path(run_dir)
    metrics = read_metrics(run_dir / METRICS)
    columns = {name: np.asarray(values, float) for name, values in metrics.items()}
    written = []
    with matplotlib.rc_context(STYLE):
        run = run_dir.resolve().name
        figures = {
            "learning_curve": _learning_curve(
                columns, f"{task}, {run}" if task else run, time_limit
            ),
            "diagnostics": _diagnostics(columns, run),
        }
        for name, figure in figures.items():
            if figure is not None:
                (run_dir / PLOTS).mkdir(exist_ok=True)
                written.append(run_dir / PLOTS / f"{name}.png")
                figure.savefig(written[-1])
    return written


def _learning_curve(
    columns: Mapping[str, np.ndarray], title: str, time_limit: int | None
) -> Figure | None:
    if not (_has(columns, "episode_return") or _has(columns, "eval_return")):
        return None
    figure = _figure(7.5, 4.5)
    axes = figure.add_subplot()
    axes.set(title=f"Return of {title}", xlabel="env steps", ylabel="return per episode")
    if _has(columns, "episode_return"):
        limit = f", at most {time_limit} steps" if time_limit else ""
        _draw_line(axes, columns, "episode_return", f"training, sampled{limit}")
    if _has(columns, "eval_return"):
        _draw_evaluations(axes, columns)
    _finish(axes)
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def _diagnostics(columns: Mapping[str, np.ndarray], run: str) -> Figure | None:
    panels = [panel for panel in _PANELS if _has(columns, panel.key)]
    if not panels:
        return None
    width = min(3, len(panels))
    height = math.ceil(len(panels) / width)
    figure = _figure(max(4.0 * width, 5.0), 2.6 * height + 0.4)
    figure.suptitle(f"Diagnostics of {run}", x=0.01, ha="left", fontweight="bold")
    for position, panel in enumerate(panels):
        axes = figure.add_subplot(height, width, position + 1)
        axes.set(title=panel.title, ylabel=_unit(panel, columns[panel.key]))
        _draw_line(axes, columns, panel.key)
        is_lowest = position + width >= len(panels)
        axes.set_xlabel("env steps" if is_lowest else "")
        if panel.is_log and _spans_decades(columns[panel.key]):
            axes.set_yscale("log")
        _finish(axes)
    return figure


def _unit(panel: _Panel, values: np.ndarray) -> str:
    # An effective sample size is at least 1, so values up to 1 are shares of the M actions.
    is_share = panel.key == "ess" and np.nanmax(values) <= 1
    return "share of the M actions" if is_share else panel.unit


# Drawing ------------------------------------------------------------------------------------------


def _draw_line(axes: Axes, columns: Mapping[str, np.ndarray], key: str, label: str = "") -> None:
    """The values; where they are many, faintly behind their running mean."""
    step, value = _finite(columns, key)
    reach = len(value) // 50
    if reach < 2:
        marker = "o" if len(value) == 1 else ""
        axes.plot(step, value, color=BLUE, marker=marker, markersize=5, label=label)
        return
    label = f"{label} (bold: running mean)" if label else ""
    axes.plot(step, value, color=BLUE, alpha=0.25, linewidth=0.8)
    axes.plot(step[reach:-reach], _running_mean(value, reach), color=BLUE, label=label)


def _draw_evaluations(axes: Axes, columns: Mapping[str, np.ndarray]) -> None:
    step, mean = _finite(columns, "eval_return")
    if _has(columns, "eval_return_std"):
        std = np.nan_to_num(columns["eval_return_std"][np.isfinite(columns["eval_return"])])
        label = "evaluation, mean action (± 1 std)"
    else:
        std, label = np.zeros_like(mean), "evaluation, mean action"
    if len(mean) == 1:
        axes.errorbar(step, mean, std, color=VERMILION, marker="o", capsize=3, label=label)
        return
    axes.fill_between(step, mean - std, mean + std, color=VERMILION, alpha=0.2, linewidth=0)
    axes.plot(step, mean, color=VERMILION, marker="o", markersize=3.5, label=label)


def _figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches, that leaves pyplot's state and backend alone."""
    layout = ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.09)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _finish(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.locator_params(axis="x", nbins=6)
    if axes.get_yscale() == "linear" and max(map(abs, axes.get_ylim())) >= 1e4:
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(left=0)


# Values -------------------------------------------------------------------------------------------


def _has(columns: Mapping[str, np.ndarray], key: str) -> bool:
    return key in columns and bool(np.isfinite(columns[key]).any())


def _finite(columns: Mapping[str, np.ndarray], key: str) -> tuple[np.ndarray, np.ndarray]:
    is_finite = np.isfinite(columns[key])
    return columns["step"][is_finite], columns[key][is_finite]


def _running_mean(value: np.ndarray, reach: int) -> np.ndarray:
    """Mean of each value and `reach` on either side, where both are whole: (N,) -> (N - 2 reach,).

    Centred, since a trailing mean would draw a rising curve later than it rose.
    """
    window = 2 * reach + 1
    return np.convolve(value, np.full(window, 1 / window), mode="valid")


def _spans_decades(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.min() > 0 and finite.max() / finite.min() > 10)
