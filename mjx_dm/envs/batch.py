"""A task's worlds under one of this program's engines."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.config import ConfigError
from mjx_dm.engines import Engine, check, choose_engine, make_engine
from mjx_dm.envs.episodes import MAX_OBS, MAX_SPEED, EnvState, Outcome, Starts, Worlds, is_sound
from mjx_dm.tasks import get_task
from mjx_dm.tasks.task import Fields, Task
from mjx_dm.types import PhysicsState

__all__ = ["MAX_OBS", "MAX_SPEED", "BatchEnv", "EnvState", "Outcome", "Starts", "make_env"]


def make_env(
    num_envs: int,
    task: str | Task = "Humanoid-v4",
    engine: str = "auto",
    physics: str = "v4",
    seed: int = 0,
    max_episode_steps: int | None = None,
) -> "BatchEnv":
    """A batch of worlds of one task.

    task: a name of `mjx_dm.tasks.task_names()`, a Python file with one, or a Task. engine: mujoco,
    mjx, warp or auto. physics: exact (v4 is the same), fast, or auto, the task's own choice. `seed`
    is folded into every key given to `reset`. max_episode_steps: the time limit; the task's own if
    left out.
    Raises ConfigError, a ValueError, with one sentence where one of them cannot be.
    """
    check(engine, physics)
    task = get_task(task)
    limit = task.max_episode_steps if max_episode_steps is None else max_episode_steps
    for argument, value in (("num_envs", num_envs), ("max_episode_steps", limit)):
        if value < 1:
            raise ConfigError(f"{argument} must be at least 1, got {value}.")
    name, _ = choose_engine(engine)
    return BatchEnv(task, make_engine(task, name, physics, num_envs), num_envs, seed, limit)


class BatchEnv(Worlds):
    """`reset(key)`, `step(state, action)` and `set_state(state, qpos, qvel)`, all jittable."""

    task: Task

    def __init__(
        self,
        task: Task,
        engine: Engine,
        num_envs: int,
        seed: int = 0,
        max_episode_steps: int | None = None,
    ):
        super().__init__(num_envs, seed, max_episode_steps or task.max_episode_steps)
        self.task = task
        self.engine = engine

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
            valid = ~failed & is_sound(obs, reward, action) & (speed < MAX_SPEED)
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

    def place(
        self, qpos: Float[Array, "N nq"], qvel: Float[Array, "N nv"]
    ) -> tuple[PhysicsState, Fields, Float[Array, "N obs"]]:
        """Worlds placed at rest of actuation: their physics, what they carry, what they see."""
        physics, derived = self.engine.start(qpos, qvel)
        obs = jax.vmap(self.task.observe)(_fields(physics, derived))
        return physics, self._carried(derived), obs

    def _carried(self, derived: Fields) -> Fields:
        return {name: derived[name] for name in self.task.carries}

    def draw_starts(self, key: Array) -> Starts:
        """A fresh start of every world; consumes `key`."""
        qpos, qvel = jax.vmap(self.task.reset)(jax.random.split(key, self.num_envs))
        physics, carried, obs = self.place(qpos, qvel)
        return Starts(physics, carried, obs, jnp.zeros(self.num_envs, jnp.bool_))


def _fields(physics: PhysicsState, derived: Fields) -> Fields:
    return {"qpos": physics.qpos, "qvel": physics.qvel, **derived}
