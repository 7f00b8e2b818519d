"""Humanoid-v4 as a Brax environment, for Brax's wrappers, evaluator and trainers.

Importing this module registers it: `brax.envs.get_environment("humanoid_v4_mjx", engine="auto")`.
"""

import functools

import jax
import jax.numpy as jnp
from brax import envs as brax_envs
from brax.envs.base import Env, State
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from mjx_dm.engines import Engine, check, choose_engine, make_engine
from mjx_dm.envs.batch import MAX_SPEED
from mjx_dm.tasks import humanoid
from mjx_dm.types import ACTION_SIZE, OBS_SIZE, PhysicsState

NAME = "humanoid_v4_mjx"


class HumanoidV4(Env):
    """One world of Humanoid-v4, to be mapped over many by Brax's `VmapWrapper` or `jax.vmap`.

    engine: mujoco, mjx, warp or auto. physics: v4 (Gymnasium's) or fast. Under any nesting of
    vmap the engine steps all worlds in one batch, so that `mujoco` works here too and Warp's
    contact buffers are sized for the worlds there are.

    Actions are in v4 units: the box is ±0.4, what lies outside is charged unclamped. `done` is
    termination by height; time limits and resets are left to Brax's wrappers, whose
    `AutoResetWrapper` sends each world back to its own first state. A world that broke (a state
    that is not finite, a speed above `MAX_SPEED`, a full contact buffer) is done with reward 0,
    holds its last good state and observation, and counts in `metrics["broken"]`. The other
    metrics are the terms of the reward under Gymnasium's names.
    """

    def __init__(self, engine: str = "auto", physics: str = "v4"):
        check(engine, physics)
        self._engine_name, _ = choose_engine(engine)
        self._physics = physics
        self._engine = functools.cache(self._make_engine)
        self._start = _over_worlds(self._start_worlds)
        self._step = _over_worlds(self._step_worlds)

    def reset(self, rng: Array) -> State:
        """A fresh random state; consumes `rng`. Shapes: obs (376,), reward and done ()."""
        qpos, qvel = (x[0] for x in humanoid.random_state(rng, 1))
        physics, obs = self._start(qpos, qvel)
        zero = jnp.zeros(())
        return State(
            pipeline_state=physics,
            obs=obs,
            reward=zero,
            done=zero,
            metrics=dict.fromkeys(_METRICS, zero),
            info={},
        )

    def step(self, state: State, action: Float[Array, "17"]) -> State:
        """One step of 0.015 s; `action` in v4 units."""
        before: PhysicsState = state.pipeline_state
        after, obs, failed = self._step(before, action)
        reward = humanoid.reward(before.com_x, after.com_x, action)
        finite = jnp.all(jnp.isfinite(obs)) & jnp.isfinite(reward)
        valid = ~failed & finite & (jnp.max(jnp.abs(after.qvel)) < MAX_SPEED)
        done = humanoid.terminated(after.qpos) | ~valid

        control_cost = humanoid.CONTROL_COST_WEIGHT * jnp.sum(jnp.square(action))
        terms = (
            reward - humanoid.HEALTHY_REWARD + control_cost,
            -control_cost,
            jnp.float32(humanoid.HEALTHY_REWARD),
        )
        metrics = [jnp.where(valid, term, 0.0) for term in terms]
        metrics.append((~valid).astype(jnp.float32))
        return state.replace(
            pipeline_state=jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, before),
            obs=jnp.where(valid, obs, state.obs),
            reward=jnp.where(valid, reward, 0.0),
            done=done.astype(jnp.float32),
            # Wrappers keep entries of their own in here.
            metrics={**state.metrics, **dict(zip(_METRICS, metrics, strict=True))},
        )

    @property
    def observation_size(self) -> int:
        return OBS_SIZE

    @property
    def action_size(self) -> int:
        return ACTION_SIZE

    @property
    def backend(self) -> str:
        """Whatever the engine, the nearest of the names that Brax knows."""
        return "mjx"

    @property
    def dt(self) -> float:
        """Seconds between two actions."""
        return humanoid.STEP_SECONDS

    def _make_engine(self, num_envs: int) -> Engine:
        # Called while tracing; the model's arrays must not become part of that trace.
        with jax.ensure_compile_time_eval():
            return make_engine(self._engine_name, self._physics, num_envs)

    def _start_worlds(self, qpos, qvel):
        return self._engine(len(qpos)).start(qpos, qvel)

    def _step_worlds(self, physics, action):
        return self._engine(len(action)).step(physics, action)


def register(name: str = NAME) -> None:
    """Makes `brax.envs.get_environment(name, engine=..., physics=...)` find `HumanoidV4`."""
    brax_envs.register_environment(name, HumanoidV4)


_METRICS = ("reward_linvel", "reward_quadctrl", "reward_alive", "broken")


def _over_worlds(batched):
    """`batched`, a function of pytrees with one leading axis, as a function of a single world.

    However many vmaps are put around the result, `batched` is called once, over all worlds.
    """

    @custom_vmap
    def many(*args):
        return batched(*args)

    @many.def_vmap
    def flatten(axis_size, is_mapped, *args):
        args = jax.tree.map(
            lambda mapped, x: x if mapped else jnp.broadcast_to(x, (axis_size, *x.shape)),
            tuple(is_mapped),
            args,
        )
        out = many(*jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), args))
        out = jax.tree.map(lambda x: x.reshape(axis_size, -1, *x.shape[1:]), out)
        return out, jax.tree.map(lambda _: True, out)

    def one(*args):
        out = many(*jax.tree.map(lambda x: x[None], args))
        return jax.tree.map(lambda x: x[0], out)

    return one


register()
