"""A task that has no Gymnasium environment, played as if it had one: in C, by its own functions."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import mujoco
import numpy as np

from mjx_dm.engines.mujoco import Moves
from mjx_dm.tasks.task import Fields, Task

SCORED_BY = (
    "the task's own functions under exact physics in MuJoCo's C engine; no Gymnasium environment "
    "was asked"
)

Judge = Callable[[Fields, Fields, np.ndarray], tuple[Any, ...]]


@functools.lru_cache(maxsize=8)
def judge_of(task: Task) -> Judge:
    """(before, after, action) -> (obs, reward, its terms, infos, terminated), compiled once for a
    task."""

    @jax.jit
    def judge(before: Fields, after: Fields, action: Any) -> tuple[Any, ...]:
        reward, terms = task.reward(before, after, action)
        ended = task.terminated(after)
        return task.observe(after), reward, terms, task.info(before, after), ended

    return judge


class OwnWorld:
    """One world with the `reset` and `step` of a Gymnasium environment.

    The state is MuJoCo's, in float64, as the robot's own integrator and solver leave it; the
    task's functions see it in float32. `data` is the simulator's own, `terms` are those of the
    newest reward.
    """

    def __init__(self, task: Task, judge: Judge):
        self._task, self._judge = task, judge
        self._moves = Moves(task, task.model)
        self.data = mujoco.MjData(task.model)
        self.terms: dict[str, float] = {}
        self._fields: Fields = {}
        self._steps = 0

    def reset(self, *, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins the episode that `seed` draws; its first observation (obs,), and no infos."""
        with jax.default_device(jax.devices("cpu")[0]):
            qpos, qvel = _start_of(self._task)(jax.random.key(seed))
            mujoco.mj_resetData(self._task.model, self.data)
            self.data.qpos[:], self.data.qvel[:] = qpos, qvel
            self._moves.place(self.data)
            self._fields, self._steps = self._read(), 0
            obs = _seen_by(self._task)(self._fields)
        return np.asarray(obs), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """(obs, reward, terminated, truncated, infos) of one step under `action` (act,)."""
        self.data.ctrl[:] = action
        self._moves.step(self.data)
        after, self._steps = self._read(), self._steps + 1
        carried = ("qpos", "qvel", *self._task.carries)
        before = {name: self._fields[name] for name in carried}
        with jax.default_device(jax.devices("cpu")[0]):
            judged = self._judge(before, after, np.asarray(action, np.float32))
        # All at once: a scalar takes as long as the lot.
        obs, reward, self.terms, infos, ended = jax.device_get(judged)
        self._fields = after
        truncated = self._steps >= self._task.max_episode_steps
        return obs, float(reward), bool(ended), truncated, infos

    def close(self) -> None:
        """Nothing is held open."""

    def _read(self) -> dict[str, Any]:
        names = self._task.field_shapes
        return {name: np.array(getattr(self.data, name), np.float32) for name in names}


@functools.lru_cache(maxsize=8)
def _start_of(task: Task) -> Callable[[Any], Any]:
    return jax.jit(task.reset)


@functools.lru_cache(maxsize=8)
def _seen_by(task: Task) -> Callable[[Any], Any]:
    return jax.jit(task.observe)
