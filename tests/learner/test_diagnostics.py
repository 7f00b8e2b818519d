"""What `diagnose` says of learners about which it is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.config import Config, replace
from mjx_dm.learner import make_learner, networks
from mjx_dm.learner.diagnostics import dead_units, diagnose
from mjx_dm.types import Spaces, Transition

SPACES = Spaces(24, 5, (-1.0,) * 5, (1.0,) * 5)
CONFIG = replace(Config(), actor_widths=(16, 16), critic_widths=(16, 16), num_components=2)
BATCH = 64


@pytest.fixture(scope="module")
def start():
    return make_learner(CONFIG, SPACES).init(jax.random.key(0))


def batch(**fields):
    obs_key, next_key, action_key = jax.random.split(jax.random.key(1), 3)
    plain = Transition(
        obs=jax.random.normal(obs_key, (BATCH, 24)),
        action=jax.random.uniform(action_key, (BATCH, 5), minval=-1.0, maxval=1.0),
        reward=jnp.zeros(BATCH),
        discount=jnp.zeros(BATCH),
        next_obs=jax.random.normal(next_key, (BATCH, 24)),
        valid=jnp.ones(BATCH, jnp.bool_),
    )
    return plain._replace(**fields)


run = jax.jit(diagnose, static_argnums=(0, 1))


def diagnosed(before, after, transitions, steps=1.0):
    told = run(
        CONFIG, SPACES, before, after, transitions, jnp.full(BATCH, steps), jax.random.key(2)
    )
    return {name: float(value) for name, value in told.items()}


def test_a_policy_that_stood_still_has_no_kl_and_one_that_moved_has(start):
    moved = start._replace(actor=jax.tree.map(lambda x: x + 0.05, start.actor))
    assert diagnosed(start, start, batch())["policy_kl"] == pytest.approx(0.0, abs=1e-6)
    assert diagnosed(start, moved, batch())["policy_kl"] > 0.1


def test_q_error_is_what_q_promises_beyond_the_reward_that_followed(start):
    # A fresh critic promises about 0, and these episodes end with their reward.
    ended = diagnosed(start, start, batch(reward=jnp.full(BATCH, 50.0)))
    assert ended["q_error"] == pytest.approx(-50.0 * CONFIG.critic.reward_scale, abs=0.3)
    half = jnp.arange(BATCH) % 2 == 0
    rows = batch(reward=jnp.where(half, 50.0, 1e6), valid=half)
    assert diagnosed(start, start, rows)["q_error"] == pytest.approx(-5.0, abs=0.3)


def test_q_error_knows_of_the_entropy_that_q_is_promised(start):
    # 30 steps until the end: the first action is given, and 29 later ones bring their entropy.
    steps = sum(CONFIG.critic.discount**i for i in range(30))
    start = start._replace(log_alpha=jnp.log(0.01))
    short, long = (diagnosed(start, start, batch(), x)["q_error"] for x in (1.0, steps))
    rows = batch()
    gmm = networks.mixture_network(CONFIG, SPACES).apply(start.actor, rows.next_obs)
    # By the actions that it draws itself: of so few the mean is nowhere near another draw's.
    drawn = jnp.clip(gmm.sample(jax.random.split(jax.random.key(2))[1]), -1.0, 1.0)
    entropy = -float(jnp.mean(gmm.log_prob(drawn)))
    assert short - long == pytest.approx(0.01 * entropy * (steps - 1), rel=1e-3)
    # Where the episode goes on, so does the entropy, with the action that Q is asked about.
    onward = diagnosed(start, start, batch(discount=jnp.ones(BATCH)), 1.0)["q_error"]
    assert short - onward == pytest.approx(0.01 * entropy * CONFIG.critic.discount, abs=0.05)


def test_mass_at_the_ends_of_the_support_is_seen(start):
    fresh = diagnosed(start, start, batch())
    assert fresh["mass_at_value_min"] < 0.01 and fresh["mass_at_value_max"] < 0.01

    def high(path, leaf):  # the last layer's bias has one number an atom
        is_last = leaf.shape[-1] == CONFIG.critic.num_atoms and path[-1].key == "bias"
        return leaf.at[..., -1].add(1e5) if is_last else leaf

    pressed = start._replace(critic=jax.tree_util.tree_map_with_path(high, start.critic))
    assert diagnosed(start, pressed, batch())["mass_at_value_max"] == pytest.approx(1.0)


def test_norms_are_those_of_the_matrices(start):
    expected = 0.0
    for path, leaf in jax.tree_util.tree_leaves_with_path(start.critic):
        if "kernel" in jax.tree_util.keystr(path):
            expected += float(np.sum(np.square(leaf)))
    told = diagnosed(start, start, batch())
    assert told["critic_norm"] == pytest.approx(np.sqrt(expected), rel=1e-5)
    assert told["critic_norm"] < 100


def test_dead_units_are_those_far_below_their_layer():
    active = jnp.ones((8, 4)).at[:, 1].set(0.0)
    assert float(dead_units([active, jnp.ones((2, 8, 4))])) == pytest.approx(1 / 8)


def test_a_unit_is_dead_though_its_twin_in_the_other_critic_lives(start):
    def silence(path, leaf):
        last = "LayerNorm_1" in jax.tree_util.keystr(path)
        return leaf.at[0, :4].set(0.0) if last else leaf

    silent = start._replace(critic=jax.tree_util.tree_map_with_path(silence, start.critic))
    told = [diagnosed(start, after, batch())["dead_units_critic"] for after in (start, silent)]
    # Four of the 64 units of two critics with two layers of 16.
    assert told[1] - told[0] == pytest.approx(4 / 64)
