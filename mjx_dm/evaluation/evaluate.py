"""The score that counts: whole episodes of the CPU Gymnasium environment of the task's name.

A task that has none is scored by its own functions: `own_world`.
"""

import re
import threading
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv

from mjx_dm.evaluation import library
from mjx_dm.evaluation.acting import ACT_ROWS, Act, Acts, NoScore, OnStep, actions_of
from mjx_dm.evaluation.own_world import OwnWorld, judge_of
from mjx_dm.evaluation.score import Evaluation, Tally
from mjx_dm.host import cores
from mjx_dm.tasks import LibraryTask, any_task
from mjx_dm.tasks.task import Task

__all__ = ["ACT_ROWS", "Act", "Acts", "Evaluation", "NoScore", "OnStep", "evaluate"]

# MuJoCo's handler of warnings and Python's filters are the process's, and runs in several threads
# may be scored at once.
_MAKING = threading.Lock()


def evaluate(
    policy: Act | Acts,
    task: str | Task | LibraryTask = "Humanoid-v4",
    *,
    episodes: int = 10,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Evaluation:
    """Play whole episodes of the task's environment; the same act and seed give the same numbers.

    policy: maps observations (16, obs) float32 to actions (16, act) in the units of the task's
        actuators, which are not clipped; itself or by its method `act`. Row r is episode
        16 * call + r; rows without a live episode are zero and their actions ignored.
    task: its name or itself. The reward and the time limit are those of
        gymnasium.make(task.gym_id, **task.options), or the task's own where gym_id is None.
    episodes: how many, at least 1; episode i is reset with seed + i.
    on_step: called as on_step(i, data) after episode i's reset and after each of its steps, in
        the calling thread, with the simulator's own MjData, or a Pose of another library's task.

    Raises NoScore, a ValueError, where an action or a reward is not finite or MuJoCo reports a
    broken simulation, ValueError where actions have another shape, ConfigError where the task is
    unknown.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}.")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}.")
    act = policy.act if isinstance(policy, Acts) else policy
    task = any_task(task)
    if isinstance(task, LibraryTask):
        return Evaluation(
            **library.play(task, act, episodes, seed, on_step).total(),
            seed=seed,
            task=task.name,
            gym_id=None,
            options=task.options,
            simulation=task.simulation,
            packages=task.packages,
        )
    envs: list[gymnasium.Env | OwnWorld] = []
    try:
        with _MAKING:
            envs += [make_world(task) for _ in range(episodes)]
        played = _play(envs, act, task, seed, on_step).total()
    finally:
        for env in envs:
            env.close()
    return Evaluation(**played, seed=seed, task=task.name, gym_id=task.gym_id, options=task.options)


def random_policy(task: str | Task | LibraryTask = "Humanoid-v4", seed: int = 0) -> Act:
    """An act that draws every action uniformly from the task's box, seeded once."""
    spaces, rng = any_task(task).spaces, np.random.default_rng(seed)

    def act(obs: np.ndarray) -> np.ndarray:
        shape = len(obs), spaces.action_size
        return rng.uniform(spaces.action_low, spaces.action_high, shape)

    return act


def _play(
    envs: list[gymnasium.Env | OwnWorld],
    act: Act,
    task: Task,
    seed: int,
    on_step: OnStep | None,
) -> Tally:
    """One episode of every env."""
    episodes = len(envs)
    tally, forward = Tally(episodes), _Forward(task, episodes)
    rows = -(-episodes // ACT_ROWS) * ACT_ROWS
    obs = np.zeros((rows, task.spaces.obs_size), np.float32)
    for i, env in enumerate(envs):
        obs[i] = env.reset(seed=seed + i)[0]
        if on_step is not None:
            on_step(i, _data(env))
        forward.begin(i, _data(env))

    live = list(range(episodes))
    with ThreadPoolExecutor(cores()) as pool:
        while live:
            action = actions_of(act, task.spaces.action_size, obs, live)
            still_live = []
            for i, outcome in zip(live, _step_all(pool, envs, action, live), strict=True):
                next_obs, reward, terminated, truncated, info = outcome
                data = _data(envs[i])
                reward = float(reward)  # the pendulum's is an int
                _check_step(data, reward, next_obs, seed + i, tally.lengths[i])
                speed = forward.speed(i, data, info)
                tally.add(i, reward, bool(terminated), speed, _terms(envs[i], info))
                if on_step is not None:
                    on_step(i, data)
                ended = terminated or truncated
                obs[i] = 0.0 if ended else next_obs
                if not ended:
                    still_live.append(i)
            live = still_live
    return tally


class _Forward:
    """Speed along x of a step, m/s: as the environment tells it, else that of the robot's root."""

    def __init__(self, task: Task, episodes: int):
        self._seconds = task.step_seconds
        self._at = _root_x(task.model)
        self._x = [0.0] * episodes

    def begin(self, i: int, data: mujoco.MjData) -> None:
        if self._at is not None:
            self._x[i] = float(data.qpos[self._at])

    def speed(self, i: int, data: mujoco.MjData, info: Mapping[str, Any]) -> float | None:
        if "x_velocity" in info:
            return float(info["x_velocity"])
        if self._at is None:
            return None
        before = self._x[i]
        self.begin(i, data)
        return (self._x[i] - before) / self._seconds


def _root_x(model: mujoco.MjModel) -> int | None:
    """Where in qpos the root's x stands; None for a robot that is fixed to the world."""
    if model.njnt and model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE:
        return int(model.jnt_qposadr[0])
    planar = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, "rootx")
    return int(model.jnt_qposadr[planar]) if planar >= 0 else None


def _terms(env: gymnasium.Env | OwnWorld, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """The reward's terms of a step, under Gymnasium's names, or the task's own."""
    if isinstance(env, OwnWorld):
        return env.terms
    # The double pendulum calls two of its three penalties.
    named = ("reward_", "distance_penalty", "velocity_penalty")
    return {name: x for name, x in info.items() if name.startswith(named)}


def _step_all(
    pool: ThreadPoolExecutor,
    envs: list[gymnasium.Env | OwnWorld],
    action: np.ndarray,
    live: list[int],
) -> list[tuple]:
    """Step the live envs, a contiguous share per core; outcomes in the order of `live`.

    mj_step releases the GIL, and a thread takes less of a core than AsyncVectorEnv's process an
    environment: benchmarks/eval_speed.py. A world's outcome depends on its own state and action
    alone, so the shares cannot change it.
    """
    size = -(-len(live) // cores())
    shares = [live[first : first + size] for first in range(0, len(live), size)]
    stepped = pool.map(lambda share: [envs[i].step(action[i]) for i in share], shares)
    return [outcome for share in stepped for outcome in share]


# MuJoCo answers a broken state by silently starting over, and a broken control by zeroing it:
# the reward stays finite and means nothing.
_BROKEN = [
    int(mujoco.mjtWarning.mjWARN_BADQPOS),
    int(mujoco.mjtWarning.mjWARN_BADQVEL),
    int(mujoco.mjtWarning.mjWARN_BADQACC),
    int(mujoco.mjtWarning.mjWARN_BADCTRL),
]


def _check_step(data: mujoco.MjData, reward: float, obs: np.ndarray, seed: int, step: int) -> None:
    if data.warning.number[_BROKEN].any() or not np.isfinite(obs).all():
        what = "simulation broke down"
    elif not np.isfinite(reward):
        what = "reward is not finite"
    else:
        return
    raise NoScore(f"The {what} at step {step} of the episode with seed {seed}: no score.")


def make_world(task: Task) -> gymnasium.Env | OwnWorld:
    """A world for one episode of the task's environment, or of the task itself without one."""
    if task.gym_id is None:
        return OwnWorld(task, judge_of(task))
    return _make_env(task.gym_id, task.options)


def _make_env(gym_id: str, options: Mapping[str, Any]) -> gymnasium.Env:
    advice = f".*environment {re.escape(gym_id)} is out of date.*"
    said: list[str] = []
    handler = mujoco.get_mju_user_warning()
    # Without a handler MuJoCo prints, and writes a MUJOCO_LOG.TXT where it is run.
    mujoco.set_mju_user_warning(said.append)
    try:
        with warnings.catch_warnings():
            # Published results are measured on v4; only the advice to move on is silenced.
            warnings.filterwarnings("ignore", message=advice)
            return gymnasium.make(gym_id, disable_env_checker=True, **options)
    finally:
        mujoco.set_mju_user_warning(handler)
        for text in said:
            if "settotalmass" not in text:  # an attribute in Gymnasium's own files
                warnings.warn(text, stacklevel=2)


def _data(env: gymnasium.Env | OwnWorld) -> mujoco.MjData:
    """The simulator's own state, not a copy."""
    if isinstance(env, OwnWorld):
        return env.data
    return cast(MujocoEnv, env.unwrapped).data
