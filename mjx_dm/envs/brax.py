"""Tasks as Brax environments, for Brax's wrappers, evaluator and trainers.

`brax.envs.get_environment("humanoid_v4_mjx", engine="auto")` finds them once this module has been
imported: a task's name in lower case with underscores, and "_mjx".
"""

import functools
import re
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
from brax import envs as brax_envs
from brax.envs.base import Env, State
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from mjx_dm.config import ConfigError
from mjx_dm.device import float32, in_float32
from mjx_dm.engines import check, choose_engine, make_engine
from mjx_dm.envs.batch import BatchEnv
from mjx_dm.tasks import get_task, task_names
from mjx_dm.tasks.task import Fields, Task
from mjx_dm.types import PhysicsState


class World(NamedTuple):
    """What Brax calls the pipeline state: the physics, and what the next reward compares with."""

    physics: PhysicsState
    carried: Fields

    @property
    def qpos(self) -> Float[Array, "*B nq"]:
        return self.physics.qpos

    @property
    def qvel(self) -> Float[Array, "*B nv"]:
        return self.physics.qvel


class BraxEnv(Env):
    """One world of a task, to be mapped over many by Brax's `VmapWrapper` or `jax.vmap`.

    task: a name or a Task; other keyword arguments are its options. engine: mujoco, mjx, warp or
    auto; backend="mjx", as Brax's own environments have it, is engine="mjx". physics: exact (v4 is
    the same), fast or auto. Under any nesting of vmap the engine steps
    all worlds in one batch, so that `mujoco` works here too and Warp's contact buffers are sized
    for the worlds there are.

    Actions are in the actuators' units; what lies outside the box is charged unclipped. `done` is
    termination alone; time limits and resets are left to Brax's wrappers, whose `AutoResetWrapper`
    sends each world back to its own first state. A world that broke (a state that is not finite, a
    speed above `MAX_SPEED`, a full contact buffer) is done with reward 0, holds its last good state
    and observation, and counts in `metrics["broken"]`. The other metrics are the terms of the
    reward under Gymnasium's names.
    """

    def __init__(
        self,
        task: str | Task = "Humanoid-v4",
        engine: str = "auto",
        physics: str = "v4",
        backend: str | None = None,
        **options: Any,
    ):
        if backend not in (None, "mjx"):
            raise ConfigError(
                f"backend {backend!r} is a physics of Brax's own, and {task} is simulated by "
                f"MuJoCo: take backend='mjx', or engine='mujoco' or 'warp'."
            )
        if backend == "mjx":
            if engine not in ("auto", "mjx"):
                raise ConfigError(f"backend 'mjx' and engine {engine!r} differ: give one of them.")
            engine = "mjx"
        check(engine, physics)
        self._arguments = (task, engine, physics)
        self._options = options
        self.task = get_task(task, **options)
        self._engine_name, _ = choose_engine(engine)
        self._physics = physics
        self._worlds = functools.cache(self._make_worlds)
        self._start = _over_worlds(self._start_worlds)
        self._step = _over_worlds(self._step_worlds)
        fields, action = (
            self.task.field_shapes,
            jax.ShapeDtypeStruct((self.action_size,), jnp.float32),
        )
        self._terms = tuple(jax.eval_shape(self.task.reward, fields, fields, action)[1])

    @in_float32
    def reset(self, rng: Array) -> State:
        """A fresh random state; consumes `rng`. Shapes: obs (obs,), reward and done ()."""
        physics, carried, obs = self._start(*self.task.reset(rng))
        zero = jnp.zeros(())
        return State(
            pipeline_state=World(physics, carried),
            obs=obs,
            reward=zero,
            done=zero,
            metrics=dict.fromkeys((*self._terms, "broken"), zero),
            info={},
        )

    @in_float32
    def step(self, state: State, action: Float[Array, "act"]) -> State:
        """One step; `action` in the actuators' units."""
        before, action = state.pipeline_state, jnp.asarray(action, jnp.float32)
        led_to = self._step(before, action)
        valid = led_to.valid
        metrics = {name: led_to.infos[name] for name in self._terms}
        after = World(led_to.physics, led_to.carried)
        return state.replace(
            pipeline_state=jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, before),
            obs=jnp.where(valid, led_to.obs, state.obs),
            reward=led_to.reward,
            done=(led_to.terminated | ~valid).astype(jnp.float32),
            # Wrappers keep entries of their own in here.
            metrics={**state.metrics, **metrics, "broken": (~valid).astype(jnp.float32)},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied as what it was made from: it holds no state of its own."""
        return functools.partial(type(self), **self._options), self._arguments

    @property
    def observation_size(self) -> int:
        return self.task.spaces.obs_size

    @property
    def action_size(self) -> int:
        return self.task.spaces.action_size

    @property
    def backend(self) -> str:
        """Whatever the engine, the nearest of the names that Brax knows."""
        return "mjx"

    @property
    def sys(self) -> NoReturn:
        """Refused: what Brax's randomization_fn changes and its renderer draws. The engines hold a
        compiled model, the same for all worlds, which is not a pytree that could be mapped."""
        # As Python says that there is none, so that hasattr is False.
        raise AttributeError(
            f"{self.task.name} has no brax System for a randomization_fn or a renderer: its "
            "engines simulate one compiled MuJoCo model, which is env.task.model."
        )

    @property
    def dt(self) -> float:
        """Seconds between two actions."""
        return self.task.step_seconds

    def _make_worlds(self, num_envs: int) -> BatchEnv:
        # Called while tracing; the model's arrays must not become part of that trace.
        with jax.ensure_compile_time_eval(), float32():
            engine = make_engine(self.task, self._engine_name, self._physics, num_envs)
        return BatchEnv(self.task, engine, num_envs)

    def _start_worlds(self, qpos, qvel):
        return self._worlds(len(qpos)).place(qpos, qvel)

    def _step_worlds(self, state, action):
        physics, carried = state
        return self._worlds(len(action)).advance(physics, carried, action)


def name_of(task: str) -> str:
    """The name that Brax knows a task by: ant_v5_mjx for Ant-v5."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", task).replace("-", "_").lower()
    return f"{words}_mjx"


def register() -> None:
    """Makes `brax.envs.get_environment(NAME, engine=..., physics=...)` find every task."""
    for name in task_names():
        brax_envs.register_environment(name_of(name), functools.partial(BraxEnv, name))


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
