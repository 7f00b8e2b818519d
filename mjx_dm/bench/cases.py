"""What is measured: compiled programs, each with the state that it goes on from.

Every program takes a state and returns one of the same shapes, donated, so that it can be launched
again and again and memory is what it is in training.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.config import Config
from mjx_dm.device import compiler_options
from mjx_dm.learner import make_learner
from mjx_dm.training import program as training
from mjx_dm.training import replay as ring
from mjx_dm.training.program import TrainState
from mjx_dm.training.replay import Replay
from mjx_dm.training.worlds import make_worlds, task_of
from mjx_dm.types import Transition

# A step of the replay is so short that a launch of few of them would time the launch itself.
REPLAY_STEPS = 10
# Of every step that is not simulated, in the task's units.
REWARD = 5.0


@dataclasses.dataclass(eq=False)
class Case:
    """A compiled program. One launch does `work` of `unit` (per second); `rates` are in it too.

    settings: what tells this case from others of its part. Memory in MiB, by the compiler's
    account: `state_mib` is what the program is handed, `temporary_mib` what it needs besides.
    """

    part: str
    settings: dict[str, Any]
    unit: str
    work: int
    launch: Callable[[Any], Any] | None
    state: Any
    compile_seconds: float
    state_mib: float
    temporary_mib: float
    rates: list[float] = dataclasses.field(default_factory=list)
    shares: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def release(self) -> None:
        """Gives its memory back; its figures stay."""
        self.launch = self.state = None


def physics_case(config: Config) -> Case:
    """The engine alone under random actions. A world whose episode ends is put back where it
    started: lying on the ground costs another number of contacts than learning ever sees."""
    env = make_worlds(config)
    start = jax.jit(env.reset)(jax.random.key(0)).physics
    num_envs, iterations = config.physics.num_envs, config.run.chunk_iterations
    low, high = (jnp.asarray(x) for x in (env.spaces.action_low, env.spaces.action_high))

    def program(carry: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
        def step(carry: tuple[Any, Any, Array], _: None) -> tuple[tuple[Any, Any, Array], None]:
            state, first, key = carry
            key, action_key = jax.random.split(key)
            shape = (num_envs, env.spaces.action_size)
            action = jax.random.uniform(action_key, shape, minval=low, maxval=high)
            state, derived, failed = env.engine.step(state, action)
            fields = {"qpos": state.qpos, "qvel": state.qvel, **derived}
            down = jax.vmap(env.task.terminated)(fields) | failed

            def put_back(now: Array, then: Array) -> Array:
                return jnp.where(down.reshape(-1, *[1] * (now.ndim - 1)), then, now)

            return (jax.tree.map(put_back, state, first), first, key), None

        return jax.lax.scan(step, carry, length=iterations)[0]

    state = (jax.tree.map(jnp.copy, start), start, jax.random.key(1))
    work = num_envs * iterations
    return _compile("physics", _where(config), "env steps/s", work, program, state)


def loop_cases(config: Config, parts: tuple[str, ...]) -> list[Case]:
    """rollout and whole: the training program, before learning begins and while it learns.

    Both run the same compiled program. The replay is full from the start, so that samples come from
    all of it. The diagnostics are left out: training makes them once a launch of 50 or 100 steps,
    and would seem slower than it is if the few steps of a launch here had to pay for them.
    """
    env = make_worlds(config)

    def start(key: Array, learn_from: Array) -> TrainState:
        state = training.init(config, env, key)
        return state._replace(
            replay=full_ring(state.replay, state.env.obs),
            learn_from=learn_from,
        )

    chunk = training.make_chunk(config, env)
    names = (*make_learner(config, env.spaces).names, *training.OF_WORLDS)

    def program(carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
        state, metrics = chunk(carry[0])
        # Carried on, or the compiler would leave out what makes them, as it does the diagnostics.
        return state, jnp.stack([metrics[name] for name in names])

    begin = jax.jit(start)
    work = config.physics.num_envs * config.run.chunk_iterations
    cases: list[Case] = []
    for part, learn_from in (("rollout", 2**30), ("whole", 0)):
        if part not in parts:
            continue
        begun = begin(jax.random.key(0), jnp.asarray(learn_from, jnp.int32))
        state = (begun, jnp.zeros(len(names)))
        settings = _where(config)
        if part == "whole":
            settings |= _batch(config) | {"updates_per_step": config.replay.updates_per_step}
        if cases:
            cases.append(dataclasses.replace(cases[0], part=part, settings=settings, state=state))
            cases[-1].rates, cases[-1].shares = [], {}
        else:
            cases.append(_compile(part, settings, "env steps/s", work, program, state))
    return cases


def insert_case(config: Config) -> Case:
    """One row of all worlds at a time into a full ring."""
    num_envs, spaces = config.physics.num_envs, task_of(config).spaces
    obs = jax.random.normal(jax.random.key(0), (num_envs, spaces.obs_size))
    length = REPLAY_STEPS * config.run.chunk_iterations

    def program(carry: tuple[Replay, Array]) -> tuple[Replay, Array]:
        def step(carry: tuple[Replay, Array], _: None) -> tuple[tuple[Replay, Array], None]:
            replay, obs = carry
            action, reward = obs[:, : spaces.action_size], obs[:, 0]
            valid = jnp.ones(num_envs, jnp.bool_)
            return (ring.add(replay, obs, action, reward, jnp.ones_like(reward), valid), obs), None

        return jax.lax.scan(step, carry, length=length)[0]

    state = (_new_ring(config), obs)
    work = num_envs * length
    return _compile("insert", {"num_envs": num_envs}, "transitions/s", work, program, state)


def sample_case(config: Config) -> Case:
    """One draw at a time from a full ring; as in training, all batches of a step are one draw."""
    kept = config.replay
    draw = kept.updates_per_step * kept.batch_size
    length = REPLAY_STEPS * config.run.chunk_iterations

    def drawn(replay: Replay, key: Array) -> Transition:
        steps, gamma = kept.num_steps, config.critic.discount
        return ring.sample(replay, key, draw, steps, gamma, recency=kept.recency)

    def program(carry: tuple[Replay, Array, Transition]) -> tuple[Replay, Array, Transition]:
        def step(
            carry: tuple[Replay, Array, Transition], _: None
        ) -> tuple[tuple[Replay, Array, Transition], None]:
            replay, key, _last = carry
            key, sample_key = jax.random.split(key)
            # Carried on, or the draws that nobody reads would not be made.
            return (replay, key, drawn(replay, sample_key)), None

        return jax.lax.scan(step, carry, length=length)[0]

    replay, key = _new_ring(config), jax.random.key(0)
    first = jax.jit(drawn)(replay, key)
    settings = {"num_envs": config.physics.num_envs} | _batch(config)
    settings |= {"updates_per_step": kept.updates_per_step}
    work, state = draw * length, (replay, key, first)
    return _compile("sample", settings, "transitions/s", work, program, state)


def update_case(config: Config) -> Case:
    """The learner on a batch that stays on the device, in rounds as in training."""
    spaces, size = task_of(config).spaces, config.replay.batch_size
    learner = make_learner(config, spaces)
    updates = config.replay.updates_per_step
    rounds = max(1, config.run.chunk_iterations // updates)
    obs_key, action_key, init_key, run_key = jax.random.split(jax.random.key(0), 4)
    obs = jax.random.normal(obs_key, (2, size, spaces.obs_size))
    batch = Transition(
        obs=obs[0],
        action=jax.random.uniform(action_key, (size, spaces.action_size), minval=-1.0, maxval=1.0),
        reward=jnp.full(size, REWARD),
        discount=jnp.ones(size),
        next_obs=obs[1],
        valid=jnp.ones(size, jnp.bool_),
    )

    def program(carry: tuple[Any, Transition, Array, Array]) -> tuple[Any, ...]:
        state, batch, key, _last = carry
        key, update_key = jax.random.split(key)

        batches = jax.tree.map(lambda x: jnp.broadcast_to(x, (updates, *x.shape)), batch)

        def step(learning: Any, keys: Array) -> tuple[Any, Array]:
            learning, metrics = learner.updates(learning, batches, keys)
            return learning, jnp.stack([metrics[name] for name in learner.names])

        with jax.default_matmul_precision(config.networks.matmul_precision):
            keys = jax.random.split(update_key, (rounds, updates))
            learning, rows = jax.lax.scan(step, learner.pack(state), keys)
        return learner.unpack(learning), batch, key, jnp.mean(rows, 0)

    state = (jax.jit(learner.init)(init_key), batch, run_key, jnp.zeros(len(learner.names)))
    work = rounds * updates
    return _compile("update", _batch(config), "updates/s", work, program, state)


def full_ring(replay: Replay, obs: Float[Array, "N obs"]) -> Replay:
    """A ring that has been written all over, every row `obs` with one reward and no ends."""
    return Replay(
        obs=jnp.broadcast_to(ring.pack(obs, replay.obs.dtype), replay.obs.shape),
        action=jnp.zeros_like(replay.action),
        reward=jnp.full_like(replay.reward, REWARD),
        discount=jnp.ones_like(replay.discount),
        valid=jnp.ones_like(replay.valid),
        written=jnp.asarray(replay.obs.shape[0], jnp.int32),
    )


def _new_ring(config: Config) -> Replay:
    num_envs, kept, spaces = config.physics.num_envs, config.replay, task_of(config).spaces
    obs = jax.random.normal(jax.random.key(1), (num_envs, spaces.obs_size))

    def full(obs: Array) -> Replay:
        return full_ring(ring.init(kept.replay_size, num_envs, spaces, kept.obs_dtype), obs)

    return jax.jit(full)(obs)


def _where(config: Config) -> dict[str, Any]:
    physics = config.physics
    return {"engine": physics.engine, "physics": physics.physics, "num_envs": physics.num_envs}


def _batch(config: Config) -> dict[str, Any]:
    return {"batch_size": config.replay.batch_size}


def _compile(
    part: str,
    settings: dict[str, Any],
    unit: str,
    work: int,
    program: Any,
    state: Any,
) -> Case:
    start = time.perf_counter()
    lowered = jax.jit(program, donate_argnums=0).lower(state)
    compiled = lowered.compile(compiler_options())
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    sizes = (memory.argument_size_in_bytes, memory.temp_size_in_bytes) if memory else (0, 0)
    handed, temporary = (size / 2**20 for size in sizes)
    return Case(part, settings, unit, work, compiled, state, seconds, handed, temporary)
