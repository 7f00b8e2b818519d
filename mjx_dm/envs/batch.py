"""A task in batches: episode ends, fresh random resets, quarantine of broken worlds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mjx_dm.config import ConfigError
from mjx_dm.device import float32, in_float32
from mjx_dm.engines import Engine, check, choose_engine, make_engine
from mjx_dm.tasks import get_task
from mjx_dm.tasks.task import Fields, Task
from mjx_dm.types import PhysicsState, Spaces

# rad/s or m/s; a robot that falls or is flung stays well under 100.
MAX_SPEED = 1000.0
# A finite value beyond this in an observation would spoil the running variance for good.
MAX_OBS = 1e8


class Starts(NamedTuple):
    """A fresh start of every world, for its next reset; `used` where it has been reset to.

    Kinematics of a start are as many kernels as many steps' bookkeeping, so all worlds' are drawn
    together, and anew when the first world would need its start again.
    """

    physics: PhysicsState
    carried: Fields
    obs: Float[Array, "N obs"]
    used: Bool[Array, "N"]


class EnvState(NamedTuple):
    """`num_envs` worlds after a step. Shapes `(N, ...)`; rewards in the task's units.

    `carried` are the fields that the next reward compares with.

    `obs` is what the next action is chosen from, after any auto-reset. `final_obs` is what the
    step itself led to. `valid` is False where a world broke in this step: it was reset, and
    neither its reward nor its successor means anything; `failed` is True where the engine itself
    said so (Warp or MJX ran out of room for contacts, or C met a bad state). `last_return` and
    `last_length` belong to the newest episode that each world has finished (both 0 before the
    first), so that an average over worlds does not favour short episodes. `episode_step` counts
    towards the time limit, `episode_length` the steps really taken: they differ after a staggered
    start.
    """

    physics: PhysicsState
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


class Outcome(NamedTuple):
    """What one step led to in N worlds; `infos` and the reward are 0 where a world broke."""

    physics: PhysicsState
    carried: Fields
    obs: Float[Array, "N obs"]
    reward: Float[Array, "N"]
    terminated: Bool[Array, "N"]
    valid: Bool[Array, "N"]
    failed: Bool[Array, "N"]
    infos: dict[str, Float[Array, "N"]]


def make_env(
    num_envs: int,
    task: str | Task = "Humanoid-v4",
    engine: str = "auto",
    physics: str = "v4",
    seed: int = 0,
    max_episode_steps: int | None = None,
) -> "BatchEnv":
    """A batch of worlds of one task.

    task: a name of `mjx_dm.tasks.task_names()` or a Task. engine: mujoco, mjx, warp or auto.
    physics: exact (v4 is the same), fast, or auto, the task's own choice. `seed` is folded into
    every key given to `reset`. max_episode_steps: the time limit; the task's own if left out.
    Raises ConfigError, a ValueError, with one sentence where one of them cannot be.
    """
    check(engine, physics)
    task = get_task(task)
    limit = task.max_episode_steps if max_episode_steps is None else max_episode_steps
    for argument, value in (("num_envs", num_envs), ("max_episode_steps", limit)):
        if value < 1:
            raise ConfigError(f"{argument} must be at least 1, got {value}.")
    name, _ = choose_engine(engine)
    with float32():
        return BatchEnv(task, make_engine(task, name, physics, num_envs), num_envs, seed, limit)


class BatchEnv:
    """`reset(key)`, `step(state, action)` and `set_state(state, qpos, qvel)`, all jittable.

    All numbers are float32 and int32, whatever JAX_ENABLE_X64 says.
    """

    def __init__(
        self,
        task: Task,
        engine: Engine,
        num_envs: int,
        seed: int = 0,
        max_episode_steps: int | None = None,
    ):
        self.task = task
        self.engine = engine
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps or task.max_episode_steps
        self._seed = seed

    @property
    def spaces(self) -> Spaces:
        """Sizes and the box of actions."""
        return self.task.spaces

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
        physics, carried, obs, _ = self._draw_starts(start_key)
        first = jax.random.randint(stagger_key, (n,), 0, self.max_episode_steps)
        return EnvState(
            physics=physics,
            carried=carried,
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
            last_return=jnp.zeros(n),
            last_length=jnp.zeros(n, jnp.int32),
            starts=self._draw_starts(next_key),
            key=run_key,
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
        physics, carried, final_obs, reward, terminated, valid, failed, infos = led_to
        episode_step = state.episode_step + 1
        truncated = ((episode_step >= self.max_episode_steps) & ~terminated) | ~valid
        done = terminated | truncated

        with jax.named_scope("fresh_starts"):
            starts = jax.lax.cond(
                jnp.any(done & state.starts.used),
                lambda: self._draw_starts(start_key),
                lambda: state.starts,
            )

        episode_length = state.episode_length + 1
        episode_return = state.episode_return + reward
        finished = done & valid
        state = EnvState(
            physics=_restart(done, starts.physics, physics),
            carried=_restart(done, starts.carried, carried),
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
        return state, infos

    @in_float32
    def advance(
        self, physics: PhysicsState, carried: Fields, action: Float[Array, "N act"]
    ) -> Outcome:
        """What a step leads to in every world, before any is reset."""
        before = _fields(physics, carried)
        with jax.named_scope("physics"):
            physics, derived, failed = self.engine.step(physics, action)
        after = _fields(physics, derived)
        with jax.named_scope("observe"):
            obs = jax.vmap(self.task.observe)(after)
        with jax.named_scope("reward"):
            reward, terms = jax.vmap(self.task.reward)(before, after, action)
            infos = jax.vmap(self.task.info)(before, after) | terms
            speed = jnp.max(jnp.abs(physics.qvel), -1)
            sound = jnp.all(jnp.abs(obs) < MAX_OBS, -1) & jnp.isfinite(reward)
            # MuJoCo's C engine takes a control that is not finite for 0, and no reward need see it.
            sound &= jnp.all(jnp.isfinite(action), -1)
            valid = ~failed & sound & (speed < MAX_SPEED)
            return Outcome(
                physics=physics,
                carried=self._carried(derived),
                obs=obs,
                reward=jnp.where(valid, reward, 0.0),
                terminated=jax.vmap(self.task.terminated)(after) & valid,
                valid=valid,
                failed=failed,
                infos={name: jnp.where(valid, x, 0.0) for name, x in infos.items()},
            )

    @in_float32
    def set_state(
        self, state: EnvState, qpos: Float[Array, "N nq"], qvel: Float[Array, "N nv"]
    ) -> EnvState:
        """Every world placed at (qpos, qvel), its episode begun anew."""
        qpos, qvel = jnp.asarray(qpos, jnp.float32), jnp.asarray(qvel, jnp.float32)
        physics, carried, obs = self.place(qpos, qvel)
        return state._replace(
            physics=physics,
            carried=carried,
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

    @in_float32
    def place(
        self, qpos: Float[Array, "N nq"], qvel: Float[Array, "N nv"]
    ) -> tuple[PhysicsState, Fields, Float[Array, "N obs"]]:
        """Worlds placed at rest of actuation: their physics, what they carry, what they see."""
        physics, derived = self.engine.start(qpos, qvel)
        obs = jax.vmap(self.task.observe)(_fields(physics, derived))
        return physics, self._carried(derived), obs

    def _carried(self, derived: Fields) -> Fields:
        return {name: derived[name] for name in self.task.carries}

    def _draw_starts(self, key: Array) -> Starts:
        qpos, qvel = jax.vmap(self.task.reset)(jax.random.split(key, self.num_envs))
        physics, carried, obs = self.place(qpos, qvel)
        return Starts(physics, carried, obs, jnp.zeros(self.num_envs, jnp.bool_))


def _fields(physics: PhysicsState, derived: Fields) -> Fields:
    return {"qpos": physics.qpos, "qvel": physics.qvel, **derived}


def _restart(done: Bool[Array, "N"], start: Any, now: Any) -> Any:
    return jax.tree.map(lambda new, old: _where(done, new, old), start, now)


def _where(mask: Bool[Array, "N"], new: Array, old: Array) -> Array:
    """Row-wise choice: `new` where `mask`."""
    return jnp.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)
