"""What whole episodes came to: returns, lengths, falls, speed and the terms of the reward."""

import math
import platform
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from mjx_dm.evaluation.own_world import SCORED_BY

_OWN_SIMULATION = "the task's own simulation; no Gymnasium environment was asked"


@dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of whole episodes; episode i was reset with seed + i.

    returns: undiscounted sums of the environment's reward, one per episode, finite.
    lengths: environment steps, 1 to the environment's time limit.
    task, gym_id, options: the task's name, its Gymnasium environment (None where the task has none
        and its own functions were asked), and what that was made with.
    simulation: what simulated a task of another library, which has no gym_id.
    terminated: whether each episode ended for good, as a fall does, and not by its time limit;
        empty where that is not known.
    speeds: mean speed along x of each episode, m/s; empty for a robot that goes nowhere.
    terms: sums over each episode of the reward's terms, under the environment's own names.
    """

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    seed: int
    task: str
    gym_id: str | None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    simulation: str | None = None
    packages: tuple[str, ...] = ("gymnasium",)
    terminated: tuple[bool, ...] = ()
    speeds: tuple[float, ...] = ()
    terms: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.returns)

    @property
    def std(self) -> float:
        """The spread between episodes, as a population (numpy's default, ddof=0)."""
        return statistics.pstdev(self.returns)

    @property
    def median(self) -> float:
        return statistics.median(self.returns)

    @property
    def median_episode(self) -> int:
        """The episode whose return is the median, or the lower of the two middle ones."""
        return self.returns.index(statistics.median_low(self.returns))

    @property
    def played_in(self) -> str:
        """What the episodes were, in words: the Gymnasium environment, or that there is none."""
        if self.simulation:
            return f"{self.task} in its own simulation, {self.simulation}"
        return self.gym_id or f"{self.task}, scored by {SCORED_BY}"

    def to_json(self) -> dict[str, Any]:
        """A dict of plain values: the scores, what was played and with which versions.

        "env" is null where no Gymnasium environment was asked; "scored_by" says what was, then.
        "options", "falls" and "terminated", "speed" and "speeds", "terms" are there where there is
        something to tell. JSON knows no infinity: a bound that is infinite is written as a string,
        "inf" or "-inf".
        """
        options = {"options": _plain(self.options)} if self.options else {}
        own: dict[str, Any] = {} if self.gym_id else {"task": self.task, "scored_by": SCORED_BY}
        if self.simulation:
            own |= {"simulation": self.simulation, "scored_by": _OWN_SIMULATION}
        more: dict[str, Any] = {}
        if self.terminated:
            more |= {"falls": sum(self.terminated), "terminated": list(self.terminated)}
        if self.speeds:
            more |= {"speed": statistics.fmean(self.speeds), "speeds": list(self.speeds)}
        if self.terms:
            means = {name: statistics.fmean(sums) for name, sums in self.terms.items()}
            more["terms"] = _plain(means)
        return {
            "env": self.gym_id,
            **own,
            **options,
            "episodes": len(self.returns),
            "mean": self.mean,
            "std": self.std,
            "median": self.median,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "seeds": [self.seed + i for i in range(len(self.returns))],
            **more,
            "versions": _versions(self.packages),
        }


class Tally:
    """The episodes while they are played: sums so far, a number for each episode."""

    def __init__(self, episodes: int):
        self._episodes = episodes
        self.returns, self.lengths = [0.0] * episodes, [0] * episodes
        self._terminated = [False] * episodes
        self._speeds: list[float] | None = None
        self._terms: dict[str, list[float]] = {}

    def add(
        self,
        i: int,
        reward: float,
        terminated: bool,
        speed: float | None,
        terms: Mapping[str, Any],
    ) -> None:
        """A step of episode `i`: its reward and the terms of it, and the speed along x in m/s."""
        self.returns[i] += reward
        self.lengths[i] += 1
        self._terminated[i] = terminated
        if speed is not None:
            if self._speeds is None:
                self._speeds = [0.0] * self._episodes
            self._speeds[i] += speed
        for name, value in terms.items():
            if name not in self._terms:
                self._terms[name] = [0.0] * self._episodes
            self._terms[name][i] += float(value)

    def total(self) -> dict[str, Any]:
        """The fields of an Evaluation that the episodes make."""
        speeds = zip(self._speeds or (), self.lengths, strict=False)
        return {
            "returns": tuple(self.returns),
            "lengths": tuple(self.lengths),
            "terminated": tuple(self._terminated),
            "speeds": tuple(total / length for total, length in speeds),
            "terms": {name: tuple(sums) for name, sums in self._terms.items()},
        }


def _plain(value: Any) -> Any:
    """The same in what JSON has: lists, and strings for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _versions(packages: tuple[str, ...]) -> dict[str, str | None]:
    """Of Python, MuJoCo, NumPy, JAX and `packages`, on which a score depends."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("mujoco", *packages, "numpy", "jax"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
