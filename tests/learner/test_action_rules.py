"""Each rule on a mixture whose answers can be read off."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eval_render
from mjx_dm.checkpoints.acting import act_of_run
from mjx_dm.checkpoints.policy import load_policy
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.config import Config, replace
from mjx_dm.learner import action_rules, networks
from mjx_dm.learner.gmm import GMM
from mjx_dm.training import normalisation
from mjx_dm.types import Spaces

COMMITTED = Path(__file__).parents[2] / "benchmarks" / "policies" / "humanoid_cpu"

MEANS = jnp.array([[[0.5, 0.5], [-0.5, 0.0], [0.0, -0.9]]])
MIXTURE = GMM(jnp.log(jnp.array([[0.2, 0.5, 0.3]])), MEANS, jnp.full((1, 3, 2), -4.0))


def highest_first_coordinate(actions):
    return actions[..., 0]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("mean", [-0.15, -0.17]), ("heaviest", [-0.5, 0.0]), ("best_component", [0.5, 0.5])],
)
def test_rules_without_chance_pick_what_they_say(rule, expected):
    action = action_rules.choose(rule, MIXTURE, highest_first_coordinate, jax.random.key(0))
    np.testing.assert_allclose(action, [expected], atol=1e-6)


def test_the_best_of_the_samples_is_better_than_a_sample():
    keys = jax.random.split(jax.random.key(0), 200)

    def first(rule):
        choose = jax.vmap(
            lambda key: action_rules.choose(rule, MIXTURE, highest_first_coordinate, key)[0, 0]
        )
        return np.asarray(choose(keys))

    # All of 16 samples miss the component of weight 0.2 with probability 0.03.
    assert np.mean(first("best_of") > 0.4) > 0.9
    assert np.mean(first("sample") > 0.4) == pytest.approx(0.2, abs=0.1)


def test_a_sampled_policy_acts_alike_on_the_same_observation_whatever_is_beside_it():
    policy = load_policy(COMMITTED, "sample")
    obs = np.random.default_rng(0).normal(size=(16, 376)).astype(np.float32)
    beside_others, alone = policy.act(obs), policy.act(np.tile(obs[3], (16, 1)))
    np.testing.assert_allclose(alone[0], beside_others[3], atol=1e-5)
    assert np.abs(beside_others).max() <= np.float32(0.4)
    # Not the mean, and not one noise for all.
    mean = load_policy(COMMITTED).act(obs)
    assert np.abs(beside_others - mean).max() > 0.02


def test_a_rule_that_asks_a_missing_critic_is_refused():
    with pytest.raises(CheckpointError, match="best_of asks the critic.* use sample, mean"):
        load_policy(COMMITTED, "best_of")


def test_an_unknown_rule_gets_one_sentence(capsys):
    assert eval_render.main([str(COMMITTED), "--action-rule", "boldest"]) == 2
    assert "--action-rule boldest is unknown; choose from sample, mean" in capsys.readouterr().err


def test_a_scored_policy_sees_what_it_learned_from():
    """Features that never change would otherwise stand far from their mean, by the rounding."""
    spaces = Spaces(24, 5, (-1.0,) * 5, (1.0,) * 5)
    obs = np.full((16, 24), 1.001, np.float32)
    rounded = np.asarray(normalisation.rounded(jnp.asarray(obs), "bfloat16"))
    assert not np.array_equal(rounded, obs)
    normalizer = normalisation.init((24,))
    for obs_dtype, alike in (("bfloat16", True), ("float32", False)):
        config = replace(Config(), obs_dtype=obs_dtype, actor_widths=(8,), num_components=1)
        network = networks.mixture_network(config, spaces)
        actor = network.init(jax.random.key(0), jnp.zeros((1, 24)))
        # Far more sensitive than at its start, when it barely looks at what it sees.
        actor = jax.tree.map(lambda x: x * 30.0, actor)
        act = act_of_run(config, spaces, actor, normalizer)
        assert np.array_equal(act(obs), act(rounded)) is alike
