"""What a policy earns under every engine and physics of this package, beside its score."""

import contextlib
import importlib.util
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from mjx_dm.config import ConfigError
from mjx_dm.envs.batch import BatchEnv, make_env
from mjx_dm.evaluation.acting import Acts
from mjx_dm.tasks import LibraryTask
from mjx_dm.tasks.task import Task

PHYSICS = ("exact", "fast")
# Entered with the name of something that takes long, for as long as it goes on.
Phase = Callable[[str], contextlib.AbstractContextManager[None]]


def untold(name: str) -> contextlib.AbstractContextManager[None]:
    """A Phase that nobody hears of."""
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Transfer:
    """Whole episodes, one a world, under one engine and physics.

    returns, lengths, terminated: of each episode; empty where there are none.
    problem: one sentence where the engine cannot run the task or the simulation broke, else "".
    """

    engine: str
    physics: str
    returns: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()
    terminated: tuple[bool, ...] = ()
    problem: str = ""

    @property
    def in_words(self) -> str:
        """The mean return ± its spread over episodes, or why there is none."""
        if self.problem:
            return self.problem
        return f"{statistics.fmean(self.returns):.1f} ± {statistics.pstdev(self.returns):.1f}"

    def to_json(self) -> dict[str, Any]:
        """A dict of plain values."""
        named = {"engine": self.engine, "physics": self.physics}
        if self.problem:
            return {**named, "problem": self.problem}
        return {
            **named,
            "mean": statistics.fmean(self.returns),
            "std": statistics.pstdev(self.returns),
            "falls": sum(self.terminated),
            "returns": list(self.returns),
            "lengths": list(self.lengths),
        }


def engines_here() -> tuple[str, ...]:
    """The engines that can run on this machine."""
    has_warp = importlib.util.find_spec("warp") is not None
    return ("mujoco", "mjx", "warp") if has_warp else ("mujoco", "mjx")


def transfers(
    policy: Acts,
    task: Task | LibraryTask,
    *,
    episodes: int,
    seed: int,
    engines: Iterable[str] | None = None,
    physics: Iterable[str] = PHYSICS,
    phase: Phase = untold,
) -> Iterator[Transfer]:
    """One Transfer for each engine, by default each that can run here, and each physics, played as
    it is asked for.

    Starts are those of `seed`, the same for every physics of an engine. `phase` hears when one is
    compiled and when it is played. Raises ConfigError where
    the task is one of a library, which alone simulates it.
    """
    if isinstance(task, LibraryTask):
        raise ConfigError(f"--transfer: {task.name} is simulated by its own library alone.")
    robot = task

    def one(engine: str, kind: str) -> Transfer:
        try:
            env = make_env(episodes, robot, engine, kind)
        except ConfigError as error:
            return Transfer(engine, kind, problem=str(error))
        return played(policy, env, seed, engine, kind, phase)

    chosen = engines_here() if engines is None else engines
    return (one(engine, kind) for engine in chosen for kind in physics)


def played(
    policy: Acts, env: BatchEnv, seed: int, engine: str, physics: str, phase: Phase = untold
) -> Transfer:
    """One episode of every world of `env`, from the starts of `seed`."""
    step = jax.jit(env.step)
    with phase(f"Compiling {engine} {physics}"):
        state = jax.jit(env.reset)(jax.random.key(seed))
        # Compiled by its first call, of which nothing is kept.
        jax.block_until_ready(step(state, policy.act(np.asarray(state.obs))))
    with phase(f"Playing under {engine} {physics}"):
        return _episodes(policy, env, step, state, engine, physics)


def _episodes(
    policy: Acts, env: BatchEnv, step: Any, state: Any, engine: str, physics: str
) -> Transfer:
    returns, lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, int)
    fell, broke = np.zeros((2, env.num_envs), bool)
    live = np.ones(env.num_envs, bool)
    while live.any():
        state = step(state, policy.act(np.asarray(state.obs)))
        returns[live] += np.asarray(state.reward)[live]
        lengths[live] += 1
        terminated, valid = np.asarray(state.terminated), np.asarray(state.valid)
        fell |= live & terminated
        broke |= live & ~valid
        live &= ~(terminated | np.asarray(state.truncated))
    if broke.any():
        what = f"The simulation broke down in {broke.sum()} of {env.num_envs} episodes: no score."
        return Transfer(engine, physics, problem=what)
    ends = tuple(map(bool, fell))
    return Transfer(engine, physics, tuple(returns.tolist()), tuple(lengths.tolist()), ends)
