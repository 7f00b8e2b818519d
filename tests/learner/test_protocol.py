"""What the loop asks of every learner."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.config import Config, replace
from mjx_dm.groups import LEARNERS
from mjx_dm.learner import make_learner, networks
from mjx_dm.learner.protocol import Distribution
from mjx_dm.types import Spaces, Transition

BATCH, UPDATES = 16, 3
SPACES = Spaces(7, 3, (-1.0,) * 3, (1.0,) * 3)
CONFIG = replace(
    Config(),
    batch_size=BATCH,
    actor_batch_size=8,
    actor_widths=(16, 16),
    critic_widths=(16, 16),
    num_components=2,
    num_proposals=4,
    num_atoms=21,
)
RATE = CONFIG.policy.actor_lr


class Case:
    """A learner with its functions compiled once, and UPDATES single updates of it."""

    def __init__(self, name: str):
        self.config = replace(CONFIG, learner=name)
        self.learner = make_learner(self.config, SPACES)
        self.start = jax.jit(self.learner.init)(jax.random.key(0))
        update = jax.jit(self.learner.update)
        self.state, self.rows = self.start, []
        for i in range(UPDATES):
            batch, key = jax.tree.map(lambda x, i=i: x[i], (BATCHES, KEYS))
            self.state, metrics = update(self.state, batch, key)
            self.rows.append(metrics)


def batches() -> Transition:
    rng = np.random.default_rng(0)

    def f(x: Any) -> jax.Array:
        return jnp.asarray(x, jnp.float32)

    return Transition(
        obs=f(rng.normal(size=(UPDATES, BATCH, 7))),
        action=f(rng.uniform(-1, 1, (UPDATES, BATCH, 3))),
        reward=f(5 * rng.normal(size=(UPDATES, BATCH))),
        discount=f(rng.integers(2, size=(UPDATES, BATCH))),
        next_obs=f(rng.normal(size=(UPDATES, BATCH, 7))),
        valid=jnp.asarray(np.arange(UPDATES * BATCH).reshape(UPDATES, BATCH) % 4 != 1),
    )


BATCHES, KEYS = batches(), jax.random.split(jax.random.key(1), UPDATES)
networks_of = operator.attrgetter("actor", "average_actor", "critic", "target_critic")
moments_of = operator.attrgetter("actor_optimizer", "critic_optimizer")


@pytest.fixture(scope="module", params=LEARNERS)
def case(request):
    return Case(request.param)


def test_actions_have_the_tasks_size_stay_in_the_box_and_follow_the_key(case):
    obs, act = BATCHES.obs[0], jax.jit(case.learner.act)
    a, b, again = (np.asarray(act(case.start, obs, jax.random.key(k))) for k in (0, 1, 0))
    assert a.shape == (BATCH, 3) and np.abs(a).max() <= 1.0
    assert np.mean(a != b) > 0.8
    np.testing.assert_array_equal(a, again)


def test_the_policys_network_makes_a_distribution(case):
    network = networks.policy_network(case.config, SPACES)
    policy = jax.jit(network.apply)(case.state.average_actor, BATCHES.obs[0])
    assert isinstance(policy, Distribution)
    assert policy.sample(jax.random.key(0), (5,)).shape == (5, BATCH, 3)
    assert policy.mean().shape == (BATCH, 3)
    assert policy.log_prob(policy.mean()).shape == (BATCH,)


def test_an_update_counts_moves_all_networks_and_reports_finite_scalars(case):
    assert case.start.updates == 0 and case.state.updates == UPDATES
    for before, after in zip(networks_of(case.start), networks_of(case.state), strict=True):
        moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, after)
        assert any(jax.tree.leaves(moved))
    for metrics in case.rows:
        assert tuple(sorted(metrics)) == case.learner.names
        assert all(x.shape == () and np.isfinite(x) for x in metrics.values())


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_several_updates_are_the_single_ones_in_turn(case, platform, monkeypatch):
    """Within the rounding of two programs; Adam turns a gradient's last bits into its step. Where
    a leaf is kernels of its own, networks and moments are one vector each."""
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    learner = make_learner(case.config, SPACES)

    @jax.jit
    def program(state):
        carry = learner.pack(state)
        if platform == "gpu":
            # Four networks and two moments of each optimiser.
            assert sum(x.ndim > 0 for x in jax.tree.leaves(carry)) == 8
        else:
            assert len(jax.tree.leaves(carry)) == len(jax.tree.leaves(state))
        carry, means = learner.updates(carry, BATCHES, KEYS)
        return learner.unpack(carry), learner.unpack(learner.pack(state)), means

    many, back, means = program(case.start)
    jax.tree.map(np.testing.assert_array_equal, back, case.start)
    assert tuple(sorted(means)) == learner.names
    for name in learner.names:
        single = np.mean([row[name] for row in case.rows])
        np.testing.assert_allclose(means[name], single, rtol=1e-3, atol=1e-6)
    assert many.updates == UPDATES
    assert jax.tree.structure(many) == jax.tree.structure(case.state)
    for a, b in zip(*map(jax.tree.leaves, map(networks_of, (many, case.state))), strict=True):
        np.testing.assert_allclose(a, b, atol=0.1 * RATE)
    for a, b in zip(*map(jax.tree.leaves, map(moments_of, (many, case.state))), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-2)
