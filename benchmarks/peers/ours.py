"""This package's side: ours.py worlds TASK PHYSICS WORLDS, physics WORLDS, updates NAME BATCH ROWS,
or insert|sample WORLDS BATCH ROWS."""

import functools
import math
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from worker import serve

import mjx_dm
from mjx_dm import host
from mjx_dm.bench.cases import full_ring
from mjx_dm.config import replace
from mjx_dm.device import compiler_options
from mjx_dm.engines.mujoco import MujocoEngine
from mjx_dm.envs.batch import make_env
from mjx_dm.learner import make_learner
from mjx_dm.presets import PRESETS
from mjx_dm.tasks import get_task
from mjx_dm.training import replay
from mjx_dm.training.worlds import task_of

STEPS, UPDATES, TURNS = 5, 32, 200

# What sbx's SAC does; its target entropy is one nat a dimension too.
SAC = replace(
    PRESETS["cpu"],
    learner="sac",
    actor_widths=(256, 256),
    critic_widths=(256, 256),
    activation="relu",
    layer_norm=False,
    critic="scalar",
    normalize_obs=False,
    mirror="off",
    recency=1.0,
    polyak=0.005,
    max_grad_norm=math.inf,
)
LEARNERS = {"sac": SAC, "cpu": PRESETS["cpu"]}

Work = Callable[[], int]


def worlds(task: str, physics: str, num_envs: int) -> Work:
    """Whole environments in a scan: random actions, physics, observations, rewards, resets."""
    env = make_env(num_envs, task=task, engine="mujoco", physics=physics)
    low, high = (jnp.asarray(x) for x in (env.spaces.action_low, env.spaces.action_high))

    @functools.partial(jax.jit, donate_argnums=0)
    def roll(carry: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            state, key = carry
            key, action_key = jax.random.split(key)
            shape = (num_envs, env.spaces.action_size)
            action = jax.random.uniform(action_key, shape, minval=low, maxval=high)
            return (env.step(state, action), key), None

        return jax.lax.scan(step, carry, length=STEPS)[0]

    held = (jax.jit(env.reset)(jax.random.key(0)), jax.random.key(1))

    def launch() -> int:
        nonlocal held
        held = jax.block_until_ready(roll(held))
        return STEPS * num_envs

    return launch


def physics(num_envs: int) -> Work:
    """The engine's threads alone, called from Python; worlds that fall are put back up."""
    task = get_task("Humanoid-v4")
    engine = MujocoEngine(task, task.model, num_envs, host.cores())
    rng = np.random.default_rng(0)
    out = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), engine.shape)
    first = np.tile(task.model.qpos0.astype(np.float32), (num_envs, 1))
    low, high = task.options["healthy_z_range"]
    out.state.qpos[:] = first

    def launch() -> int:
        action = rng.uniform(-0.4, 0.4, (num_envs, 17)).astype(np.float32)
        qpos, qvel, warmstart = out.state
        engine.advance(out, qpos.copy(), qvel.copy(), warmstart.copy(), action)
        fallen = ~((low < qpos[:, 2]) & (qpos[:, 2] < high))
        qpos[fallen], qvel[fallen], warmstart[fallen] = first[fallen], 0.0, 0.0
        return num_envs

    return launch


def updates(name: str, batch: int, rows: int) -> Work:
    """A learner's updates on batches that are drawn all at once, as in training and as sbx does."""
    config = replace(LEARNERS[name], batch_size=batch)
    if name == "sac":
        config = replace(config, actor_batch_size=batch)
    learner = make_learner(config, task_of(config).spaces)
    ring, gamma = _ring(config.physics.num_envs, rows), config.critic.discount
    recency = config.replay.recency

    @functools.partial(jax.jit, donate_argnums=0, compiler_options=compiler_options())
    def chunk(state: Any, ring: Any, key: jax.Array) -> Any:
        draw_key, key = jax.random.split(key)
        drawn = replay.sample(ring, draw_key, UPDATES * batch, 1, gamma, recency=recency)
        batches = jax.tree.map(lambda x: x.reshape(UPDATES, batch, *x.shape[1:]), drawn)
        keys = jax.random.split(key, UPDATES)
        carry, metrics = learner.updates(learner.pack(state), batches, keys)
        return learner.unpack(carry), metrics

    state, key = learner.init(jax.random.key(0)), jax.random.key(1)

    def launch() -> int:
        nonlocal state, key
        key, now = jax.random.split(key)
        state, _ = jax.block_until_ready(chunk(state, ring, now))
        return UPDATES

    return launch


def insert(ring: replay.Replay) -> Work:
    """Rows of all worlds, one after another in a scan."""
    n, obs, action = ring.obs.shape[1], ring.obs[0], ring.action[0]
    row = (obs, action, jnp.ones(n), jnp.ones(n), jnp.ones(n, jnp.bool_))

    @functools.partial(jax.jit, donate_argnums=0)
    def add(ring: Any, row: Any) -> Any:
        return jax.lax.scan(lambda r, _: (replay.add(r, *row), None), ring, length=TURNS)[0]

    def launch() -> int:
        nonlocal ring
        ring = jax.block_until_ready(add(ring, row))
        return TURNS * n

    return launch


def sample(ring: replay.Replay, batch: int) -> Work:
    """Uniform draws, one after another in a scan."""

    @jax.jit
    def draw(ring: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        def turn(carry: Any, _: None) -> tuple[Any, None]:
            key, draw_key = jax.random.split(carry[1])
            return (replay.sample(ring, draw_key, batch), key), None

        return jax.lax.scan(turn, (replay.sample(ring, key, batch), key), length=TURNS)[0]

    key = jax.random.key(0)

    def launch() -> int:
        nonlocal key
        _, key = jax.block_until_ready(draw(ring, key))
        return TURNS * batch

    return launch


def _ring(num_envs: int, rows: int) -> replay.Replay:
    spaces = task_of(PRESETS["cpu"]).spaces
    obs = jax.random.normal(jax.random.key(0), (num_envs, spaces.obs_size))
    return jax.jit(lambda obs: full_ring(replay.init(rows, num_envs, spaces), obs))(obs)


def main() -> None:
    what, *given = sys.argv[1:]
    about: dict[str, Any] = {"version": f"mjx_dm {mjx_dm.__version__}, jax {jax.__version__}"}
    if what == "worlds":
        serve(worlds(given[0], given[1], int(given[2])), **about)
    elif what == "physics":
        serve(physics(int(given[0])), **about)
    elif what == "updates":
        serve(updates(given[0], int(given[1]), int(given[2])), **about)
    else:
        num_envs, batch, rows = map(int, given)
        ring = _ring(num_envs, rows)
        about["bytes"] = sum(x.nbytes for x in ring)
        serve(insert(ring) if what == "insert" else sample(ring, batch), **about)


if __name__ == "__main__":
    main()
