"""Whole episodes of a task of Brax or MuJoCo Playground, in its own simulation on the CPU."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mjx_dm.evaluation.acting import ACT_ROWS, Act, NoScore, OnStep, actions_of
from mjx_dm.evaluation.score import Tally
from mjx_dm.tasks.libraries import LibraryTask
from mjx_dm.tasks.libraries.task import Pose, split_obs


class Seen(NamedTuple):
    """What is known of a block of worlds after a step."""

    obs: Float[Array, "B obs"]
    reward: Float[Array, "B"]
    done: Bool[Array, "B"]
    pose: Pose | None
    metrics: dict[str, Float[Array, "B"]]


def play(task: LibraryTask, act: Act, episodes: int, seed: int, on_step: OnStep | None) -> Tally:
    """One episode for each of the seeds from `seed` on.

    Episode i starts from the key of seed + i. Worlds are stepped in blocks of constant size, so
    that an episode's return does not depend on how many others are played beside it. Raises NoScore
    where an action, an observation or a reward is not finite.
    """
    start, step = _programs(task)
    rows = -(-episodes // ACT_ROWS) * ACT_ROWS
    blocks = [slice(first, first + ACT_ROWS) for first in range(0, rows, ACT_ROWS)]
    seeds = np.arange(seed, seed + rows, dtype=np.uint64).astype(np.uint32)
    # As jax.random.key makes them of a seed.
    keys = np.stack([np.zeros_like(seeds), seeds], 1)
    tally = Tally(episodes)
    obs = np.zeros((rows, task.spaces.obs_size), np.float32)
    live = list(range(episodes))
    states: list[Any] = []

    def take_in(block: slice, seen: Seen) -> Seen:
        seen = jax.device_get(seen)
        obs[block] = seen.obs
        if on_step is not None and seen.pose is not None:
            for i in (i for i in live if block.start <= i < block.stop):
                at = i - block.start
                on_step(i, Pose(seen.pose.qpos[at], seen.pose.qvel[at]))
        return seen

    with jax.default_device(jax.devices("cpu")[0]):
        for block in blocks:
            state, seen = start(keys[block])
            states.append(state)
            take_in(block, seen)
        obs[episodes:] = 0.0
        while live:
            action = actions_of(act, task.spaces.action_size, obs, live).astype(np.float32)
            ended = []
            for number in sorted({i // ACT_ROWS for i in live}):
                block = blocks[number]
                states[number], seen = step(states[number], action[block])
                seen = take_in(block, seen)
                for i in (i for i in live if block.start <= i < block.stop):
                    at = i - block.start
                    reward = float(seen.reward[at])
                    _check(reward, obs[i], seed + i, tally.lengths[i])
                    metrics = {name: float(x[at]) for name, x in seen.metrics.items()}
                    speed = metrics.pop("x_velocity", None)
                    tally.add(i, reward, bool(seen.done[at]), speed, metrics)
                    if seen.done[at] or tally.lengths[i] == task.max_episode_steps:
                        ended.append(i)
            live = [i for i in live if i not in ended]
            obs[[i for i in range(rows) if i not in live]] = 0.0
    return tally


def _check(reward: float, obs: np.ndarray, seed: int, step: int) -> None:
    if not np.isfinite(obs).all():
        what = "simulation broke down"
    elif not np.isfinite(reward):
        what = "reward is not finite"
    else:
        return
    raise NoScore(f"The {what} at step {step} of the episode with seed {seed}: no score.")


def _is_told(name: str, metric: Array) -> bool:
    """Whether a metric is a term of the reward, by both libraries' habit, or the speed."""
    return (name.startswith("reward") or name == "x_velocity") and metric.ndim == 1


# By the task itself, which a run scores many times.
@functools.lru_cache(maxsize=4)
def _programs(task: LibraryTask) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """start(keys (B, 2)) and step(state, action (B, act)), each -> (state, Seen)."""

    # Of repeated actions only the last one's metrics are left.
    has_metrics = task.options.get("action_repeat", 1) == 1

    def seen(state: Any) -> tuple[Any, Seen]:
        pose = None if task.pose is None else task.pose(state)
        metrics = state.metrics if has_metrics else {}
        return state, Seen(
            jnp.asarray(split_obs(state.obs)[0], jnp.float32),
            jnp.asarray(state.reward, jnp.float32),
            state.done > 0,
            pose,
            {name: x for name, x in metrics.items() if _is_told(name, x)},
        )

    def start(keys: Array) -> tuple[Any, Seen]:
        return seen(jax.vmap(task.start)(jax.random.wrap_key_data(keys)))

    def step(state: Any, action: Array) -> tuple[Any, Seen]:
        return seen(jax.vmap(task.advance)(state, action))

    return jax.jit(start), jax.jit(step)
