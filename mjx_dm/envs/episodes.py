"""Episodes of many worlds: ends, fresh random resets, quarantine of broken worlds."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mjx_dm.device import in_float32
from mjx_dm.tasks.libraries import LibraryTask
from mjx_dm.tasks.task import Fields, Task
from mjx_dm.types import Spaces

Physics = Any
"""What one step of the simulation hands to the next, a pytree: a PhysicsState, or a library's."""

# rad/s or m/s; a robot that falls or is flung stays well under 100.
MAX_SPEED = 1000.0
# A finite value beyond this in an observation would spoil the running variance for good.
MAX_OBS = 1e8


class Starts(NamedTuple):
    """A fresh start of every world, for its next reset; `used` where it has been reset to.

    Kinematics of a start are as many kernels as many steps' bookkeeping, so all worlds' are drawn
    together, and anew when the first world would need its start again.
    """

    physics: Physics
    carried: Fields
    obs: Float[Array, "N obs"]
    used: Bool[Array, "N"]
    privileged: Float[Array, "N privileged"] | None = None


class EnvState(NamedTuple):
    """`num_envs` worlds after a step. Shapes `(N, ...)`; rewards in the task's units.

    `physics` is what the simulation carries from step to step, `carried` are the fields that the
    next reward compares with. `privileged` is what the critics see in place of `obs`, None where
    they see the same.

    `obs` is what the next action is chosen from, after any auto-reset. `final_obs` is what the
    step itself led to. `valid` is False where a world broke in this step: it was reset, and
    neither its reward nor its successor means anything; `failed` is True where the engine itself
    said so (Warp or MJX ran out of room for contacts, or C met a bad state). `last_return` and
    `last_length` belong to the newest episode that each world has finished (both 0 before the
    first), so that an average over worlds does not favour short episodes. `episode_step` counts
    towards the time limit, `episode_length` the steps really taken: they differ after a staggered
    start.
    """

    physics: Physics
    carried: Fields
    obs: Float[Array, "N obs"]
    reward: Float[Array, "N"]
    terminated: Bool[Array, "N"]
    truncated: Bool[Array, "N"]
    final_obs: Float[Array, "N obs"]
    valid: Bool[Array, "N"]
    failed: Bool[Array, "N"]
    episode_step: Int[Array, "N"]
    episode_length: Int[Array, "N"]
    episode_return: Float[Array, "N"]
    last_return: Float[Array, "N"]
    last_length: Int[Array, "N"]
    starts: Starts
    key: Array
    privileged: Float[Array, "N privileged"] | None = None

    @property
    def seen(self) -> Float[Array, "N seen"]:
        """`obs`, and `privileged` after it where there is any: of `Spaces.seen_size`."""
        if self.privileged is None:
            return self.obs
        return jnp.concatenate([self.obs, self.privileged], -1)


class Outcome(NamedTuple):
    """What one step led to in N worlds; `infos` and the reward are 0 where a world broke."""

    physics: Physics
    carried: Fields
    obs: Float[Array, "N obs"]
    reward: Float[Array, "N"]
    terminated: Bool[Array, "N"]
    valid: Bool[Array, "N"]
    failed: Bool[Array, "N"]
    infos: dict[str, Float[Array, "N"]]
    privileged: Float[Array, "N privileged"] | None = None


class Worlds(ABC):
    """`reset(key)` and `step(state, action)`, both jittable, of `num_envs` worlds.

    All that training needs of an environment. What simulates says what a step leads to
    (`advance`) and how an episode may start (`draw_starts`).
    """

    task: Task | LibraryTask

    def __init__(self, num_envs: int, seed: int, max_episode_steps: int):
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self._seed = seed

    @property
    def spaces(self) -> Spaces:
        """Sizes and the box of actions."""
        return self.task.spaces

    @abstractmethod
    def advance(self, physics: Physics, carried: Fields, action: Float[Array, "N act"]) -> Outcome:
        """What a step leads to in every world, before any is reset."""

    @abstractmethod
    def draw_starts(self, key: Array) -> Starts:
        """A fresh start of every world; consumes `key`."""

    def draw_two(self, first: Array, second: Array) -> tuple[Starts, Starts]:
        """`draw_starts` of each key: this episode's and the next one's."""
        return self.draw_starts(first), self.draw_starts(second)

    @in_float32
    def reset(self, key: Array, stagger: bool = False) -> EnvState:
        """Fresh episodes in every world; consumes `key`.

        With `stagger` the worlds start at random episode steps, so that they do not reach the
        time limit together.
        """
        start_key, stagger_key, next_key, run_key = jax.random.split(
            jax.random.fold_in(key, self._seed), 4
        )
        n = self.num_envs
        start, following = self.draw_two(start_key, next_key)
        first = jax.random.randint(stagger_key, (n,), 0, self.max_episode_steps)
        return EnvState(
            physics=start.physics,
            carried=start.carried,
            obs=start.obs,
            reward=jnp.zeros(n),
            terminated=jnp.zeros(n, jnp.bool_),
            truncated=jnp.zeros(n, jnp.bool_),
            # A buffer of its own: the state is donated, and no buffer may be donated twice.
            final_obs=start.obs + 0.0,
            valid=jnp.ones(n, jnp.bool_),
            failed=jnp.zeros(n, jnp.bool_),
            episode_step=first if stagger else jnp.zeros(n, jnp.int32),
            episode_length=jnp.zeros(n, jnp.int32),
            episode_return=jnp.zeros(n),
            last_return=jnp.zeros(n),
            last_length=jnp.zeros(n, jnp.int32),
            starts=following,
            key=run_key,
            privileged=start.privileged,
        )

    def step(self, state: EnvState, action: Float[Array, "N act"]) -> EnvState:
        """One step in every world; `action` in the actuators' units, charged unclipped."""
        return self.step_with_info(state, action)[0]

    @in_float32
    def step_with_info(
        self, state: EnvState, action: Float[Array, "N act"]
    ) -> tuple[EnvState, dict[str, Float[Array, "N"]]]:
        """`step`, and what Gymnasium reports of it: the reward's terms, positions, velocities.

        Of a world that broke all of them are 0.
        """
        action = jnp.asarray(action, jnp.float32)
        key, start_key = jax.random.split(state.key)
        led_to = self.advance(state.physics, state.carried, action)
        reward, terminated, valid = led_to.reward, led_to.terminated, led_to.valid
        episode_step = state.episode_step + 1
        truncated = ((episode_step >= self.max_episode_steps) & ~terminated) | ~valid
        done = terminated | truncated

        with jax.named_scope("fresh_starts"):
            starts = jax.lax.cond(
                jnp.any(done & state.starts.used),
                lambda: self.draw_starts(start_key),
                lambda: state.starts,
            )

        episode_length = state.episode_length + 1
        episode_return = state.episode_return + reward
        finished = done & valid
        state = EnvState(
            physics=_restart(done, starts.physics, led_to.physics),
            carried=_restart(done, starts.carried, led_to.carried),
            obs=_where(done, starts.obs, led_to.obs),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            final_obs=_where(valid, led_to.obs, starts.obs),
            valid=valid,
            failed=led_to.failed,
            episode_step=jnp.where(done, 0, episode_step),
            episode_length=jnp.where(done, 0, episode_length),
            episode_return=jnp.where(done, 0.0, episode_return),
            last_return=jnp.where(finished, episode_return, state.last_return),
            last_length=jnp.where(finished, episode_length, state.last_length),
            starts=starts._replace(used=starts.used | done),
            key=key,
            privileged=_restart(done, starts.privileged, led_to.privileged),
        )
        return state, led_to.infos


def is_sound(
    obs: Float[Array, "N obs"], reward: Float[Array, "N"], action: Float[Array, "N act"]
) -> Bool[Array, "N"]:
    """Whether what a step gave, and was given, is finite and of a size that can be learned from."""
    sound = jnp.all(jnp.abs(obs) < MAX_OBS, -1) & jnp.isfinite(reward)
    # MuJoCo's C engine takes a control that is not finite for 0, and no reward need see it.
    return sound & jnp.all(jnp.isfinite(action), -1)


def _restart(done: Bool[Array, "N"], start: Any, now: Any) -> Any:
    return jax.tree.map(lambda new, old: _where(done, new, old), start, now)


def _where(mask: Bool[Array, "N"], new: Array, old: Array) -> Array:
    """Row-wise choice: `new` where `mask`."""
    return jnp.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)
