"""What the episodes that are played leave behind for films and their overlay."""

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import mujoco
import numpy as np
from jaxtyping import Float

from mjx_dm.tasks import LibraryTask
from mjx_dm.tasks.libraries.task import Pose
from mjx_dm.tasks.task import Task


class Episode(NamedTuple):
    """T states, the one after the reset first, and the rewards of the T - 1 steps between them.

    ctrl: what led to each state; zeros for the first. reward, terms: None where they are not
    known, and terms by the names of Gymnasium.
    """

    qpos: Float[np.ndarray, "T nq"]
    qvel: Float[np.ndarray, "T nv"]
    ctrl: Float[np.ndarray, "T nu"]
    reward: Float[np.ndarray, "T-1"] | None
    terms: dict[str, Float[np.ndarray, "T-1"]]


class Trace:
    """The states of every episode that is played: give it to evaluate as on_step.

    rewards: also work out the reward and its terms, by the task's own functions from the
        simulator's state: 0.1 ms a step. Not for another library's task, whose states lack it.

    Numbers are float32: 100 episodes of 1,000 steps of a robot of 23 joints take 26 MB.
    """

    def __init__(self, task: Task | LibraryTask, rewards: bool = False) -> None:
        self._task = task
        self._states: dict[int, array] = {}
        self._rewards: dict[int, array] = {}
        self._before: dict[int, dict[str, Any]] = {}
        self._reward: Callable[..., Any] | None = None
        self._names: tuple[str, ...] = ()
        if rewards and isinstance(task, Task):
            self._reward = jax.jit(task.reward)

    def __call__(self, episode: int, data: mujoco.MjData | Pose) -> None:
        model = self._task.model
        ctrl = getattr(data, "ctrl", np.zeros(model.nu))
        state = np.concatenate([data.qpos, data.qvel, ctrl]).astype(np.float32)
        self._states.setdefault(episode, array("f")).frombytes(state.tobytes())
        if self._reward is not None and not isinstance(data, Pose):
            self._judge(episode, data)

    def __contains__(self, episode: int) -> bool:
        return episode in self._states

    def __len__(self) -> int:
        return len(self._states)

    def episode(self, number: int) -> Episode:
        """What is known of an episode. Raises KeyError where it was not played."""
        model = self._task.model
        width = model.nq + model.nv + model.nu
        states = np.frombuffer(self._states[number], np.float32).reshape(-1, width)
        qpos, qvel, ctrl = np.split(states, [model.nq, model.nq + model.nv], axis=1)
        if number not in self._rewards:
            return Episode(qpos, qvel, ctrl, None, {})
        rewards = np.frombuffer(self._rewards[number], np.float32)
        reward, *terms = rewards.reshape(-1, 1 + len(self._names)).T
        return Episode(qpos, qvel, ctrl, reward, dict(zip(self._names, terms, strict=True)))

    def _judge(self, episode: int, data: mujoco.MjData) -> None:
        """Works out the reward of the step that led here; of none after a reset."""
        assert isinstance(self._task, Task) and self._reward is not None
        task, before = self._task, self._before.get(episode)
        after: dict[str, Any] = {
            x: np.array(getattr(data, x), np.float32) for x in task.field_shapes
        }
        kept = ("qpos", "qvel", *task.carries)
        self._before[episode] = {name: after[name] for name in kept}
        if before is None:
            return
        with jax.default_device(jax.devices("cpu")[0]):
            reward, terms = self._reward(before, after, np.array(data.ctrl, np.float32))
        self._names = tuple(terms)
        row = np.array([reward, *terms.values()], np.float32)
        self._rewards.setdefault(episode, array("f")).frombytes(row.tobytes())
