"""The figure of a mixture, drawn: densities in one state above, an episode's weights below."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mjx_dm.runs.plots import STYLE
from mjx_dm.view.charts import COLOURS
from mjx_dm.view.densities import Plane, at
from mjx_dm.view.mixture import Episode

# A component with less than this all along is drawn with the others of its kind, in grey.
_LEAST_WEIGHT = 0.02
_REST = "0.75"


def write(path: Path, episode: Episode, shown: Plane, step: int) -> None:
    """Draws `shown`, the densities at `step`, and the whole episode. Raises OSError."""
    with rc_context(STYLE):
        figure = Figure(figsize=(11.0, 6.6), layout="constrained")
        FigureCanvasAgg(figure)
        seconds = step * episode.task.step_seconds
        figure.suptitle(
            f"{episode.task.name} after {episode.env_steps:,} steps: the mixture {seconds:.2f} s "
            "into an episode",
            x=0.01,
            ha="left",
            fontweight="bold",
        )
        grid = figure.add_gridspec(2, 6, height_ratios=(1.45, 1.0))
        above = [figure.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3)]
        draw_plane(above, episode, shown, step)
        of_weights = figure.add_subplot(grid[1, :3])
        draw_weights(of_weights, episode, step)
        draw_sigmas(figure.add_subplot(grid[1, 3:]), episode, step)
        handles, named = of_weights.get_legend_handles_labels()
        where = "weights at the dotted line"
        figure.legend(handles, named, title=where, loc="outside lower left", ncols=6, fontsize=9)
        figure.savefig(path, dpi=110)


def draw_plane(panels: list[Axes], episode: Episode, shown: Plane, step: int) -> None:
    """Three panels: the policy with its components, exp(Q/T), and what the policy is fitted to."""
    gmm = at(episode.gmm, step)
    means = np.asarray(gmm.component_mean)[:, list(shown.coordinates)]
    weights, total = np.asarray(gmm.weights()), np.asarray(gmm.mean())[list(shown.coordinates)]
    names = [_actuator(episode, c) for c in shown.coordinates]
    half = (shown.x[1] - shown.x[0]) / 2
    drawn = (
        ("the policy", shown.policy, "Blues"),
        ("exp(Q/T)", shown.boltzmann, "Oranges"),
        ("what it is fitted to", shown.target, "Greens"),
    )
    for axes, (title, density, colours) in zip(panels, drawn, strict=True):
        axes.set(title=title, xlabel=names[0], aspect="equal")
        axes.grid(False)
        axes.imshow(
            density,
            origin="lower",
            cmap=colours,
            interpolation="bilinear",
            vmin=0.0,
            extent=(shown.x[0] - half, shown.x[-1] + half, shown.y[0] - half, shown.y[-1] + half),
        )
        if density is not shown.policy:
            levels = shown.policy.max() * np.array([0.1, 0.5])
            axes.contour(shown.x, shown.y, shown.policy, levels, colors=COLOURS[0], linewidths=0.8)
    panels[0].set_ylabel(names[1])
    for k, (mean, weight) in enumerate(zip(means, weights, strict=True)):
        if weight < _LEAST_WEIGHT:
            continue
        panels[0].plot(*mean, "o", ms=5 + 9 * weight, mfc=_colour(k), mec="w", mew=1.0)
    panels[0].plot(*total, "k+", ms=9)
    # Contours and marks outside of the box would widen it.
    for axes in panels:
        axes.set(xlim=axes.get_images()[0].get_extent()[:2])
        axes.set(ylim=axes.get_images()[0].get_extent()[2:])


def draw_weights(axes: Axes, episode: Episode, step: int) -> None:
    """The components' shares over the episode."""
    weights = np.asarray(episode.gmm.weights())
    kept = _kept(weights)
    rest = 1 - weights[:, kept].sum(1)
    shares, colours = [*weights[:, kept].T], [_colour(k) for k in kept]
    labels = [f"component {k + 1}: {weights[step, k]:.2f}" for k in kept]
    if len(kept) < weights.shape[1]:
        shares, colours = [*shares, np.maximum(rest, 0.0)], [*colours, _REST]
        labels.append(f"others: {max(rest[step], 0.0):.2f}")
    axes.stackplot(_seconds(episode), *shares, colors=colours, labels=labels, linewidth=0)
    axes.set(title="weights", xlabel="s", ylim=(0, 1))
    _mark(axes, episode, step)


def draw_sigmas(axes: Axes, episode: Episode, step: int) -> None:
    """Each component's sigma, mean over coordinates, where it has weight; black their mean."""
    weights = np.asarray(episode.gmm.weights())
    sigma = np.exp(np.asarray(episode.gmm.log_std)).mean(-1)
    axes.plot(_seconds(episode), (weights * sigma).sum(1), "k", lw=2.4)
    for k in _kept(weights):
        line = np.where(weights[:, k] >= _LEAST_WEIGHT, sigma[:, k], np.nan)
        axes.plot(_seconds(episode), line, color=_colour(k), lw=1.2)
    axes.set(
        title="sigma, in the policy's units (black: weighted mean)", xlabel="s", ylim=(0, None)
    )
    _mark(axes, episode, step)


def _mark(axes: Axes, episode: Episode, step: int) -> None:
    seconds = _seconds(episode)
    axes.axvline(seconds[step], color="k", lw=1, ls=":")
    axes.set_xlim(0, max(seconds[-1], episode.task.step_seconds))


def _kept(weights: np.ndarray) -> list[int]:
    """The components that are ever heavy, the eight heaviest at most, by number."""
    most = weights.max(0)
    heaviest = np.argsort(-most, kind="stable")[: len(COLOURS)]
    return sorted(int(k) for k in heaviest if most[k] >= _LEAST_WEIGHT)


def _seconds(episode: Episode) -> np.ndarray:
    return np.arange(len(episode.obs)) * episode.task.step_seconds


def _actuator(episode: Episode, number: int) -> str:
    name = episode.task.model.actuator(number).name
    return f"action {number}" + (f", {name}" if name else "")


def _colour(component: int) -> Any:
    return COLOURS[component % len(COLOURS)]
