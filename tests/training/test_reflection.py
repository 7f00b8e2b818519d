"""Half of a batch is learned from with left and right exchanged, where the robot has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.config import ConfigError, replace
from mjx_dm.learner import make_learner
from mjx_dm.presets import PRESETS
from mjx_dm.tasks import get_task
from mjx_dm.tasks.symmetry import symmetry
from mjx_dm.training import program as training
from mjx_dm.training import replay as ring
from mjx_dm.training.reflection import reflect, symmetry_of
from mjx_dm.types import Transition

ANT = get_task("Ant-v4")


def batch_of(size):
    rng = np.random.default_rng(1)
    obs, next_obs = rng.normal(size=(2, size, ANT.spaces.obs_size)).astype(np.float32)
    action = rng.uniform(-1, 1, (size, ANT.spaces.action_size)).astype(np.float32)
    one = jnp.ones(size)
    return Transition(
        jnp.asarray(obs), jnp.asarray(action), one, one, jnp.asarray(next_obs), one > 0
    )


def test_only_the_chosen_rows_are_reflected_and_twice_is_not_at_all():
    batch, chosen = batch_of(6), jnp.arange(6) % 2 == 1
    once = reflect(batch, chosen, symmetry(ANT))
    for name in ("obs", "action", "next_obs"):
        before, after = getattr(batch, name), getattr(once, name)
        np.testing.assert_array_equal(after[::2], before[::2])
        assert np.all(np.any(np.asarray(after != before)[1::2], -1))
    jax.tree.map(np.testing.assert_array_equal, reflect(once, chosen, symmetry(ANT)), batch)


def test_a_robot_without_left_and_right_is_refused_where_it_is_asked_for_one():
    cheetah, ask = get_task("HalfCheetah-v4"), PRESETS["smoke"]
    assert symmetry_of(replace(ask, mirror="auto"), cheetah) is None
    assert symmetry_of(replace(ask, mirror="off"), ANT) is None
    assert symmetry_of(replace(ask, mirror="auto"), ANT) is not None
    with pytest.raises(ConfigError, match="HalfCheetah-v4 is not its own mirror image, as it has"):
        symmetry_of(replace(ask, mirror="on"), cheetah)


@pytest.mark.parametrize("asked", (pytest.param("off", marks=pytest.mark.slow), "on"))
def test_half_of_what_is_learned_from_is_reflected_where_asked(asked, monkeypatch):
    config = replace(PRESETS["smoke"], num_envs=4, mirror=asked)
    drawn, learned, sample = [], [], ring.sample

    def draw(*args, **settings):
        drawn.append(sample(*args, **settings))
        return drawn[-1]

    def updates(carry, batches, keys):
        learned.append(batches)
        return carry, {}

    monkeypatch.setattr(ring, "sample", draw)
    learner = make_learner(config, ANT.spaces)
    replay = ring.init(config.replay.replay_size, 4, ANT.spaces)
    replay = replay._replace(
        obs=jax.random.normal(jax.random.key(0), replay.obs.shape),
        action=jax.random.normal(jax.random.key(1), replay.action.shape),
        written=jnp.asarray(100, jnp.int32),
    )
    training._learn(
        config,
        learner._replace(updates=updates),
        learner.init(jax.random.key(2)),
        lambda batch: batch,
        symmetry_of(config, ANT),
        replay,
        jax.random.key(3),
    )
    half = jnp.arange(config.replay.batch_size) % 2 == 1
    expected = reflect(drawn[0], half & (asked == "on"), symmetry(ANT))
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[0], y), learned[0], expected)
