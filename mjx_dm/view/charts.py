"""What the panel tells: where the episode is, the reward by its terms, the mixture's weights."""

import html
from collections import deque
from typing import Any

import numpy as np

from mjx_dm.view.simulation import Moment, Simulation

KEPT = 200  # moments that a chart holds
# Okabe and Ito's palette, told apart by every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#F0E442")
_MOST_BARS = 8


class History:
    """The newest moments of the episode that is played."""

    def __init__(self) -> None:
        self.moments: deque[Moment] = deque(maxlen=KEPT)
        self._episode, self._steps = -1, 0

    def take(self, simulation: Simulation) -> None:
        """Adds the simulation's moment, if it is a new one."""
        with simulation.lock:
            moment, episode, steps = simulation.moment, simulation.episode, simulation.steps
        if episode != self._episode:
            self.moments.clear()
        elif steps == self._steps:
            return
        self._episode, self._steps = episode, steps
        if steps:
            self.moments.append(moment)


class RewardChart:
    """Bars of the reward's terms, and the reward over the last seconds."""

    def __init__(self, gui: Any) -> None:
        self._bars = gui.add_html("")
        self._lines = _Lines(gui, "reward of a step")

    def show(self, history: History) -> None:
        if not history.moments:
            return
        newest = history.moments[-1]
        terms = newest.terms or {"reward": newest.reward}
        largest = max(map(abs, terms.values())) or 1.0
        colours = {name: _colour(i) for i, name in enumerate(terms)}
        self._bars.content = _bars(
            [(_plain(x), v / largest, f"{v:.3g}", colours[x]) for x, v in terms.items()]
        )
        self._lines.show(
            np.array([x.seconds for x in history.moments]),
            {
                _plain(name): [x.terms.get(name, x.reward) for x in history.moments]
                for name in terms
            },
        )


class MixtureChart:
    """Bars of the weights, heaviest first, and the weights over the last seconds."""

    def __init__(self, gui: Any) -> None:
        self._bars = gui.add_html("")
        self._lines = _Lines(gui, "weights")

    def show(self, history: History) -> None:
        """Components keep their colours; those that are never heavy are left out."""
        if not history.moments:
            return
        weights = history.moments[-1].weights
        if not len(weights):
            self._bars.content = _text("The policy is one Gaussian, squashed by tanh.")
            return
        kept = [x for x in history.moments if len(x.weights) == len(weights)]
        over_time = np.stack([x.weights for x in kept])
        shown = sorted(np.argsort(-over_time.max(0))[:_MOST_BARS].tolist())
        names = {k: f"component {k + 1}" for k in shown}
        entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-30)))
        told = (
            f"{np.exp(entropy):.1f} of {len(weights)} components in use, "
            f"mean &sigma; {kept[-1].sigma:.2f}"
        )
        self._bars.content = _text(told) + _bars(
            [(names[k], float(weights[k]), f"{weights[k]:.2f}", _colour(k)) for k in shown]
        )
        colours = [_colour(k) for k in shown]
        lines = {names[k]: over_time[:, k] for k in shown}
        self._lines.show(np.array([x.seconds for x in kept]), lines, colours)


class _Lines:
    """A chart of uPlot's over the seconds of the episode, made anew where its lines change."""

    def __init__(self, gui: Any, title: str) -> None:
        self._gui, self._title = gui, title
        self._folder = gui.add_folder(title, expand_by_default=True)
        self._names: tuple[str, ...] = ()
        self._chart: Any = None

    def show(self, seconds: np.ndarray, lines: Any, colours: Any = COLOURS) -> None:
        data = (seconds, *(np.asarray(y, float) for y in lines.values()))
        if tuple(lines) != self._names:
            if self._chart is not None:
                self._chart.remove()
            self._names = tuple(lines)
            series = [{"label": "s"}] + [
                {"label": name, "stroke": colours[i % len(colours)], "width": 2}
                for i, name in enumerate(lines)
            ]
            with self._folder:
                self._chart = self._gui.add_uplot(
                    data,
                    tuple(series),
                    scales={"x": {"time": False}},
                    legend={"show": False},
                    height=150,
                )
        else:
            self._chart.data = data


def status(simulation: Simulation, loading: str) -> str:
    """Which policy plays, where the episode is, and what is to be said besides."""
    policy, moment = simulation.policy, simulation.moment
    score = "" if policy.eval_return is None else f", scored {policy.eval_return:,.0f}"
    lines = [
        f"<b>{html.escape(simulation.task.name)}</b>, "
        f"policy after {policy.env_steps:,} steps{score}",
        f"Episode {simulation.episode}: {moment.seconds:.1f} s, return "
        f"<b>{moment.episode_return:,.1f}</b>",
    ]
    said = (simulation.fault, loading, simulation.ended)
    lines += [f"<i>{html.escape(text)}</i>" for text in said if text]
    return _text("<br>".join(lines))


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _plain(term: str) -> str:
    return term.removeprefix("reward_").replace("_", " ")


def _text(markup: str) -> str:
    return (
        f'<div style="padding: 0 0.9em 0.5em; font-size: 0.85em; line-height: 1.4">{markup}</div>'
    )


def _bars(rows: list[tuple[str, float, str, str]]) -> str:
    """Rows of a name, a length in [-1, 1], a value and a colour."""
    cells = "".join(
        f'<tr><td style="white-space: nowrap; padding-right: 0.6em">{html.escape(name)}</td>'
        f'<td style="width: 100%">{_bar(length, colour)}</td>'
        f'<td style="text-align: right; padding-left: 0.6em">{value}</td></tr>'
        for name, length, value, colour in rows
    )
    return _text(f'<table style="width: 100%; border-spacing: 0 0.15em">{cells}</table>')


def _bar(length: float, colour: str) -> str:
    """Paler where it is below zero."""
    width, opacity = 100 * min(abs(length), 1.0), 1.0 if length >= 0 else 0.45
    style = f"width: {width:.1f}%; height: 0.7em; background: {colour}; opacity: {opacity}"
    return f'<div style="{style}"></div>'
