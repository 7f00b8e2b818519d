"""A policy in its task, one episode after another, for somebody who watches and pushes."""

import threading
import time
from typing import Any, NamedTuple, cast

import mujoco
import numpy as np

from mjx_dm.checkpoints.policy import Policy
from mjx_dm.evaluation.evaluate import make_world
from mjx_dm.learner.gmm import GMM
from mjx_dm.tasks.task import Task

PUSH_SECONDS = 0.2
GRAVITY = 9.81  # m/s², which weighs a robot that hangs in none too
# The double pendulum calls two of its terms otherwise.
_TERMS = ("reward_", "distance_penalty", "velocity_penalty")


class Moment(NamedTuple):
    """What the newest step was: seconds of its episode, reward and its terms, the return so far,
    and of a mixture the weights (K,) and the mean sigma, in the policy's units."""

    seconds: float = 0.0
    reward: float = 0.0
    episode_return: float = 0.0
    terms: dict[str, float] = {}
    weights: np.ndarray = np.zeros(0)
    sigma: float = 0.0


class Simulation:
    """The task's environment under a policy: Gymnasium's own, or the task's functions in C.

    Threads may call its methods; a caller that reads `data` holds `lock`. Episode i is reset with
    `seed` + i. `is_playing` and `speed`, 1 for the pace of a clock, are for `advance`. `fault` says
    why it stopped by itself, `ended` how the episode before ended.
    """

    def __init__(self, task: Task, policy: Policy, seed: int = 1000) -> None:
        self.task, self.policy = task, policy
        self.lock = threading.RLock()
        self.is_playing, self.speed = True, 1.0
        self.episode, self.steps = -1, 0
        self.moment = Moment()
        self.fault = self.ended = ""
        self._seed, self._owed, self._pushed_for = seed, 0.0, 0
        self._world = make_world(task)
        unwrapped = cast(Any, getattr(self._world, "unwrapped", self._world))
        self.data: mujoco.MjData = unwrapped.data
        self.model: mujoco.MjModel = getattr(unwrapped, "model", task.model)
        self.root = int(self.model.jnt_bodyid[0]) if self.model.njnt else 1
        self.reset()

    def reset(self) -> None:
        """Begins the next episode."""
        with self.lock:
            self.episode += 1
            self.steps, self._owed, self._pushed_for = 0, 0.0, 0
            self.moment, self.fault = Moment(), ""
            self._obs = self._world.reset(seed=self._seed + self.episode)[0]
            self.data.xfrc_applied[:] = 0.0

    def use(self, policy: Policy) -> None:
        """Goes on with another policy of the task, from where the robot is."""
        with self.lock:
            self.policy = policy

    def push(self, direction: np.ndarray, strength: float) -> None:
        """Presses on the robot's root for PUSH_SECONDS of its time, with `strength` times its
        weight along `direction` (3,), in the world's frame."""
        weight = GRAVITY * float(self.model.body_subtreemass[self.root])
        force = strength * weight * direction / np.linalg.norm(direction)
        with self.lock:
            self.data.xfrc_applied[self.root, :3] = force
            self._pushed_for = max(1, round(PUSH_SECONDS / self.task.step_seconds))

    def advance(self, seconds: float, most_seconds: float = 0.05) -> bool:
        """Plays what is due after `seconds` of a clock, for `most_seconds` of it at the most; what
        is still due then is let go. Returns whether the robot moved."""
        with self.lock:
            if not self.is_playing:
                self._owed = 0.0
                return False
            self._owed += seconds * self.speed
            until, before = time.monotonic() + most_seconds, self._owed
            while self.is_playing and self._owed >= self.task.step_seconds:
                self._owed -= self.task.step_seconds
                self.step()
                if time.monotonic() > until:
                    self._owed = min(self._owed, self.task.step_seconds)
                    break
            return self._owed < before

    def step(self) -> None:
        """One step of the environment; after an episode's last, the next begins."""
        with self.lock:
            obs = np.asarray(self._obs, np.float32)
            action = self.policy.act(obs)
            if not np.isfinite(action).all():
                self._stop("The policy returned an action that is not finite.")
                return
            self._obs, reward, terminated, truncated, info = self._world.step(
                action.astype(np.float64)
            )
            if not np.isfinite(self._obs).all():
                self._stop("The simulation broke down.")
                return
            self.steps += 1
            self._pushed_for -= 1
            if self._pushed_for == 0:
                self.data.xfrc_applied[self.root, :3] = 0.0
            named = getattr(self._world, "terms", None)
            if named is None:
                named = {name: x for name, x in info.items() if name.startswith(_TERMS)}
            self.moment = Moment(
                self.steps * self.task.step_seconds,
                float(reward),
                self.moment.episode_return + float(reward),
                {name: float(x) for name, x in named.items()},
                *self._mixture(obs),
            )
            if terminated or truncated:
                how = "ended" if terminated else "reached its time limit"
                total = self.moment.episode_return
                told = (
                    f"Episode {self.episode} {how} after {self.steps:,} steps, return {total:,.1f}."
                )
                self.reset()
                self.ended = told

    def close(self) -> None:
        """Ends the environment."""
        self._world.close()

    def directions(self) -> dict[str, np.ndarray]:
        """Directions (3,) by name along which the root can move at all."""
        jacobian = np.zeros((3, self.model.nv))
        with self.lock:
            mujoco.mj_jacBody(self.model, self.data, jacobian, None, self.root)
        axes = zip(np.eye(3), (("+x", "-x"), ("+y", "-y"), ("+z",)), strict=True)
        return {
            name: axis if name[0] == "+" else -axis
            for axis, names in axes
            if np.abs(axis @ jacobian).max(initial=0.0) > 1e-6
            for name in names
        }

    def radius(self) -> float:
        """Of the ball around the root that holds all that moves, m, and some ground with it."""
        model, data = self.model, self.data
        moves = model.body_weldid[model.geom_bodyid] != 0
        if not moves.any():
            return 1.0
        apart = np.linalg.norm(data.geom_xpos[moves] - data.xpos[self.root], axis=1)
        return float(max((apart + model.geom_rbound[moves]).max(), 0.25))

    def _stop(self, why: str) -> None:
        self.is_playing, self.fault = False, why

    def _mixture(self, obs: np.ndarray) -> tuple[np.ndarray, float]:
        """Weights (K,) and the mean sigma of a mixture; none of another distribution."""
        gmm = self.policy.distribute(obs[None])
        if not isinstance(gmm, GMM):
            return np.zeros(0), 0.0
        logits, log_std = np.asarray(gmm.logits[0]), np.asarray(gmm.log_std[0])
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        return weights, float((weights[:, None] * np.exp(log_std)).sum(0).mean())
