"""The figure of a mixture, drawn: densities in one state above, an episode's weights below."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mjx_dm.learner.gmm import GMM
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
    of_policy, *others = panels
    draw_policy(of_policy, at(episode.gmm, step), shown)
    drawn = (
        ("exp(Q/T)", shown.boltzmann, "Oranges"),
        ("what it is fitted to", shown.target, "Greens"),
    )
    levels = shown.policy.max() * np.array([0.1, 0.5])
    for axes, (title, density, colours) in zip(others, drawn, strict=True):
        axes.set(title=title)
        _draw_density(axes, shown, density, colours)
        axes.contour(shown.x, shown.y, shown.policy, levels, colors=COLOURS[0], linewidths=0.8)
    for axes in panels:
        axes.set_xlabel(_actuator(episode, shown.coordinates[0]))
    of_policy.set(title="the policy", ylabel=_actuator(episode, shown.coordinates[1]))


def draw_policy(axes: Axes, gmm: GMM, shown: Plane) -> None:
    """The density of `gmm`, the means of its components, larger where heavier, and their mean."""
    pair = list(shown.coordinates)
    _draw_density(axes, shown, shown.policy, "Blues")
    box = axes.get_xlim(), axes.get_ylim()
    weights, means = np.asarray(gmm.weights()), np.asarray(gmm.component_mean)[:, pair]
    for k in np.flatnonzero(weights >= _LEAST_WEIGHT).tolist():
        axes.plot(*means[k], "o", ms=5 + 9 * weights[k], mfc=_colour(k), mec="w", mew=1.0)
    axes.plot(*np.asarray(gmm.mean())[pair], "k+", ms=9)
    axes.set(xlim=box[0], ylim=box[1])  # which marks beyond them would widen


def _draw_density(axes: Axes, shown: Plane, density: np.ndarray, colours: str) -> None:
    across, up = ((x[1] - x[0]) / 2 for x in (shown.x, shown.y))
    axes.grid(False)
    axes.imshow(
        density,
        origin="lower",
        cmap=colours,
        interpolation="bilinear",
        vmin=0.0,
        extent=(shown.x[0] - across, shown.x[-1] + across, shown.y[0] - up, shown.y[-1] + up),
        aspect="equal" if np.isclose(np.ptp(shown.x), np.ptp(shown.y)) else "auto",
    )


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
