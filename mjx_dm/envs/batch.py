"""Humanoid-v4 in batches: episode ends, fresh random resets, quarantine of broken worlds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mjx_dm.engines import Engine, check, choose_engine, make_engine
from mjx_dm.tasks import humanoid
from mjx_dm.types import PhysicsState

# rad/s or m/s; a humanoid that falls or is flung stays well under 100.
MAX_SPEED = 1000.0


class Starts(NamedTuple):
    """A fresh start of every world, for its next reset; `used` where it has been reset to.

    Kinematics of a start are as many kernels as many steps' bookkeeping, so all worlds' are drawn
    together, and anew when the first world would need its start again.
    """

    physics: PhysicsState
    obs: Float[Array, "N 376"]
    used: Bool[Array, "N"]


class EnvState(NamedTuple):
    """`num_envs` worlds after a step. Shapes `(N, ...)`; rewards in v4 units.

    `obs` is what the next action is chosen from, after any auto-reset. `final_obs` is what the
    step itself led to. `valid` is False where a world broke in this step: it was reset, and
    neither its reward nor its successor means anything; `failed` is True where the engine itself
    said so (Warp or MJX ran out of room for contacts, or C met a bad state). `last_return` and
    `last_length` belong to the newest episode that each world has finished (NaN and 0 before the
    first), so that an average over worlds does not favour short episodes. `episode_step` counts
    towards the time limit, `episode_length` the steps really taken: they differ after a staggered
    start.
    """

    physics: PhysicsState
    obs: Float[Array, "N 376"]
    reward: Float[Array, "N"]
    terminated: Bool[Array, "N"]
    truncated: Bool[Array, "N"]
    final_obs: Float[Array, "N 376"]
    valid: Bool[Array, "N"]
    failed: Bool[Array, "N"]
    episode_step: Int[Array, "N"]
    episode_length: Int[Array, "N"]
    episode_return: Float[Array, "N"]
    last_return: Float[Array, "N"]
    last_length: Int[Array, "N"]
    starts: Starts
    key: Array


def make_env(
    num_envs: int,
    engine: str = "auto",
    physics: str = "v4",
    seed: int = 0,
    max_episode_steps: int = humanoid.EPISODE_STEPS,
) -> "HumanoidEnv":
    """A batch of Humanoid-v4 worlds.

    engine: mujoco, mjx, warp or auto. physics: v4 (Gymnasium's) or fast. `seed` is folded into
    every key given to `reset`. max_episode_steps: the time limit. Raises ValueError with one
    sentence where one of them cannot be.
    """
    check(engine, physics)
    for argument, value in (("num_envs", num_envs), ("max_episode_steps", max_episode_steps)):
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}.")
    name, _ = choose_engine(engine)
    return HumanoidEnv(make_engine(name, physics, num_envs), num_envs, seed, max_episode_steps)


class HumanoidEnv:
    """`reset(key)`, `step(state, action)` and `set_state(state, qpos, qvel)`, all jittable."""

    def __init__(
        self,
        engine: Engine,
        num_envs: int,
        seed: int = 0,
        max_episode_steps: int = humanoid.EPISODE_STEPS,
    ):
        self.engine = engine
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self._seed = seed

    def reset(self, key: Array, stagger: bool = False) -> EnvState:
        """Fresh episodes in every world; consumes `key`.

        With `stagger` the worlds start at random episode steps, so that they do not reach the
        time limit together.
        """
        start_key, stagger_key, next_key, run_key = jax.random.split(
            jax.random.fold_in(key, self._seed), 4
        )
        n = self.num_envs
        physics, obs, _ = self._draw_starts(start_key)
        first = jax.random.randint(stagger_key, (n,), 0, self.max_episode_steps)
        return EnvState(
            physics=physics,
            obs=obs,
            reward=jnp.zeros(n),
            terminated=jnp.zeros(n, jnp.bool_),
            truncated=jnp.zeros(n, jnp.bool_),
            # A buffer of its own: the state is donated, and no buffer may be donated twice.
            final_obs=obs + 0.0,
            valid=jnp.ones(n, jnp.bool_),
            failed=jnp.zeros(n, jnp.bool_),
            episode_step=first if stagger else jnp.zeros(n, jnp.int32),
            episode_length=jnp.zeros(n, jnp.int32),
            episode_return=jnp.zeros(n),
            last_return=jnp.full(n, jnp.nan, jnp.float32),
            last_length=jnp.zeros(n, jnp.int32),
            starts=self._draw_starts(next_key),
            key=run_key,
        )

    def step(self, state: EnvState, action: Float[Array, "N 17"]) -> EnvState:
        """One step of 0.015 s in every world; `action` in v4 units, charged unclamped."""
        key, start_key = jax.random.split(state.key)
        with jax.named_scope("physics"):
            physics, final_obs, failed = self.engine.step(state.physics, action)
        with jax.named_scope("observe"):
            reward = humanoid.reward(state.physics.com_x, physics.com_x, action)
            speed = jnp.max(jnp.abs(physics.qvel), -1)
            finite = jnp.all(jnp.isfinite(final_obs), -1) & jnp.isfinite(reward)
            valid = ~failed & finite & (speed < MAX_SPEED)
            terminated = humanoid.terminated(physics.qpos) & valid

        episode_step = state.episode_step + 1
        truncated = ((episode_step >= self.max_episode_steps) & ~terminated) | ~valid
        done = terminated | truncated

        with jax.named_scope("fresh_starts"):
            starts = jax.lax.cond(
                jnp.any(done & state.starts.used),
                lambda: self._draw_starts(start_key),
                lambda: state.starts,
            )

        reward = jnp.where(valid, reward, 0.0)
        episode_length = state.episode_length + 1
        episode_return = state.episode_return + reward
        finished = done & valid
        return EnvState(
            physics=jax.tree.map(lambda new, old: _where(done, new, old), starts.physics, physics),
            obs=_where(done, starts.obs, final_obs),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            final_obs=_where(valid, final_obs, starts.obs),
            valid=valid,
            failed=failed,
            episode_step=jnp.where(done, 0, episode_step),
            episode_length=jnp.where(done, 0, episode_length),
            episode_return=jnp.where(done, 0.0, episode_return),
            last_return=jnp.where(finished, episode_return, state.last_return),
            last_length=jnp.where(finished, episode_length, state.last_length),
            starts=starts._replace(used=starts.used | done),
            key=key,
        )

    def set_state(
        self, state: EnvState, qpos: Float[Array, "N 24"], qvel: Float[Array, "N 23"]
    ) -> EnvState:
        """Every world placed at (qpos, qvel), its episode begun anew."""
        qpos, qvel = jnp.asarray(qpos, jnp.float32), jnp.asarray(qvel, jnp.float32)
        physics, obs = self.engine.start(qpos, qvel)
        return state._replace(
            physics=physics,
            obs=obs,
            final_obs=obs,
            reward=jnp.zeros_like(state.reward),
            terminated=jnp.zeros_like(state.terminated),
            truncated=jnp.zeros_like(state.truncated),
            valid=jnp.ones_like(state.valid),
            failed=jnp.zeros_like(state.failed),
            episode_step=jnp.zeros_like(state.episode_step),
            episode_length=jnp.zeros_like(state.episode_length),
            episode_return=jnp.zeros_like(state.episode_return),
        )

    def _draw_starts(self, key: Array) -> Starts:
        qpos, qvel = humanoid.random_state(key, self.num_envs)
        physics, obs = self.engine.start(qpos, qvel)
        return Starts(physics, obs, jnp.zeros(self.num_envs, jnp.bool_))


def _where(mask: Bool[Array, "N"], new: Array, old: Array) -> Array:
    """Row-wise choice: `new` where `mask`."""
    return jnp.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)
