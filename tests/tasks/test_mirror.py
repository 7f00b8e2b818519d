"""The humanoid seen in a mirror is the humanoid, but for two numbers of its model."""

import dataclasses

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_dm.learner.density_matching import make_learner
from mjx_dm.presets import PRESETS
from mjx_dm.tasks import humanoid
from mjx_dm.tasks.mirror import mirror, reflect
from mjx_dm.training import program as training
from mjx_dm.training import replay as ring
from mjx_dm.types import Transition


def model(symmetric):
    found = humanoid.load_model(humanoid.PHYSICS["mujoco", "fast"])
    if symmetric:
        found.dof_armature[found.joint("right_hip_y").dofadr] = 0.010
        found.jnt_stiffness[found.joint("right_knee").id] = 1.0
        mujoco.mj_setConst(found, mujoco.MjData(found))
    return found


def played(model, qpos, qvel, actions):
    """What is observed after each of `actions` (T, 17)."""
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = qpos, qvel
    seen = []
    for action in actions:
        data.ctrl[:] = action
        mujoco.mj_step(model, data, nstep=humanoid.FRAME_SKIP)
        mujoco.mj_rnePostConstraint(model, data)
        parts = (data.cinert, data.cvel, data.qfrc_actuator, data.cfrc_ext)
        seen.append(np.concatenate([data.qpos[2:], data.qvel, *(x.ravel() for x in parts)]))
    return np.stack(seen)


def turned(exchange, x):
    """As the exchange does it, in float64."""
    return x[..., exchange.source] * exchange.sign


def both_ways(model, steps):
    """What is seen in worlds that start and act as each other's reflections, the first turned."""
    rng, m = np.random.default_rng(0), mirror()
    start, qvel = np.zeros(376), rng.uniform(-0.3, 0.3, 23)
    qpos = np.r_[0.0, 0.0, 1.4, 1.0, np.zeros(20)] + rng.uniform(-0.01, 0.01, 24)
    actions = rng.uniform(-0.4, 0.4, (steps, 17))
    start[:45] = np.r_[qpos[2:], qvel]
    other, there = turned(m.obs, start), np.r_[qpos[0], -qpos[1]]
    reflected = played(model, np.r_[there, other[:22]], other[22:45], turned(m.action, actions))
    return turned(m.obs, played(model, qpos, qvel, actions)), reflected


def test_a_reflected_world_goes_the_reflected_way():
    """Through a fall: all 376 observations, to the rounding of float64 grown over 60 steps."""
    one, other = both_ways(model(symmetric=True), 60)
    assert np.abs(one).max() > 100.0, "the humanoid has touched the floor"
    np.testing.assert_allclose(one, other, atol=1e-8)


def test_the_real_humanoid_is_as_good_as_symmetric():
    """Over one step, from a random velocity: 0.01 rad/s at most, of velocities that reach 9."""
    ((one,), (other,)) = both_ways(model(symmetric=False), 1)
    assert 1e-4 < np.abs(one - other).max() < 0.02
    assert np.abs(one[22:45]).max() > 5.0


def batch_of(size):
    rng = np.random.default_rng(1)
    obs, next_obs = rng.normal(size=(2, size, 376)).astype(np.float32)
    action = rng.uniform(-1, 1, (size, 17)).astype(np.float32)
    one = jnp.ones(size)
    return Transition(
        jnp.asarray(obs), jnp.asarray(action), one, one, jnp.asarray(next_obs), one > 0
    )


def test_only_the_chosen_rows_are_reflected_and_twice_is_not_at_all():
    batch, chosen = batch_of(6), jnp.arange(6) % 2 == 1
    once = reflect(batch, chosen)
    for name in ("obs", "action", "next_obs"):
        before, after = getattr(batch, name), getattr(once, name)
        np.testing.assert_array_equal(after[::2], before[::2])
        assert np.all(np.any(np.asarray(after != before)[1::2], -1))
    jax.tree.map(np.testing.assert_array_equal, reflect(once, chosen), batch)


@pytest.mark.parametrize("asked", (False, True))
def test_half_of_what_is_learned_from_is_reflected_where_asked(asked, monkeypatch):
    config = dataclasses.replace(PRESETS["smoke"], num_envs=4)
    config = dataclasses.replace(config, learner=dataclasses.replace(config.learner, mirror=asked))
    drawn, learned, sample = [], [], ring.sample

    def draw(*args, **settings):
        drawn.append(sample(*args, **settings))
        return drawn[-1]

    def updates(vectors, as_trees, batches, keys):
        learned.append(batches)
        return vectors, {}

    monkeypatch.setattr(ring, "sample", draw)
    learner = make_learner(config.learner)
    replay = ring.init(config.replay_size, config.num_envs)
    replay = replay._replace(
        obs=jax.random.normal(jax.random.key(0), replay.obs.shape),
        action=jax.random.normal(jax.random.key(1), replay.action.shape),
        written=jnp.asarray(100, jnp.int32),
    )
    training._learn(
        config,
        learner._replace(updates=updates),
        learner.init(jax.random.key(2)),
        lambda vectors: vectors,
        lambda batch: batch,
        replay,
        jax.random.key(3),
    )
    half = jnp.arange(config.learner.batch_size) % 2 == 1
    expected = reflect(drawn[0], half & asked)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[0], y), learned[0], expected)
