"""Several devices do what one does: the same gradients, statistics and state, and draws of their
own. What a mesh axis does is the same under `jax.vmap` as over devices, so one device shows it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.collectives import AXIS, Devices
from mjx_dm.config import Config, ConfigError, replace
from mjx_dm.envs.episodes import EnvState
from mjx_dm.groups import CriticSettings
from mjx_dm.learner import networks
from mjx_dm.learner.actor_critic import Rule, actor_critic
from mjx_dm.learner.critic import TwinCritic
from mjx_dm.presets import PRESETS
from mjx_dm.training import mesh, normalisation, return_scale
from mjx_dm.types import Spaces, Transition
from mjx_dm.validation import validate

COUNT = 4
FOUR = Devices(COUNT)
SPACES = Spaces(3, 2, (-1.0, -1.0), (1.0, 1.0))
CONFIG = replace(
    PRESETS["smoke"], learner="sac", actor_widths=(8,), critic_widths=(8,), batch_size=32,
    actor_batch_size=16, critic_lr=1e-3, critic="scalar",
)  # fmt: skip


def on_four(function, *arguments):
    """`function` of each device's arguments, which lie along the first axis."""
    return jax.jit(jax.vmap(function, axis_name=AXIS))(*arguments)


def assert_alike(found, expected, rtol=1e-5, atol=1e-6):
    """`found` has the result of each device along the first axis."""
    for path, x in jax.tree_util.tree_leaves_with_path(found):
        wanted = dict(jax.tree_util.tree_leaves_with_path(expected))[path]
        name = jax.tree_util.keystr(path)
        for of_device in np.asarray(x):
            np.testing.assert_array_equal(of_device, x[0], f"{name} differs between devices")
        np.testing.assert_allclose(x[0], wanted, rtol, atol, err_msg=name)


def test_the_normaliser_of_four_devices_is_that_of_one():
    obs = np.random.default_rng(0).normal(3.0, 2.0, (3, 8, 5)).astype(np.float32)
    obs += np.arange(8)[None, :, None]  # no device sees what another does
    one = normalisation.init((5,))
    four = jax.tree.map(lambda x: jnp.stack([x] * COUNT), one)
    for batch in obs:
        one = normalisation.update(one, jnp.asarray(batch))
        shared = jnp.asarray(batch.reshape(COUNT, 2, 5))
        four = on_four(lambda state, x: normalisation.update(state, x, FOUR), four, shared)
    assert_alike(four, one)


def step_of(reward):
    """What `return_scale` reads of a step, in which no episode ended."""
    never = jnp.zeros(reward.shape, jnp.bool_)
    fields = dict.fromkeys(EnvState._fields) | {
        "reward": reward, "terminated": never, "truncated": never, "valid": ~never,
    }  # fmt: skip
    return EnvState(**fields)


def test_the_scale_of_returns_of_four_devices_is_that_of_one():
    rewards = np.random.default_rng(0).normal(1.0, 3.0, (3, 8)).astype(np.float32)
    one = return_scale.init(8)
    four = jax.vmap(lambda _: return_scale.init(2))(jnp.arange(COUNT))
    for reward in rewards:
        one = return_scale.update(one, step_of(jnp.asarray(reward)), 0.9)
        four = on_four(
            lambda state, x: return_scale.update(state, step_of(x), 0.9, FOUR),
            four,
            jnp.asarray(reward.reshape(COUNT, 2)),
        )
    np.testing.assert_allclose(four.discounted.reshape(8), one.discounted, 1e-5)
    whole = [x._replace(discounted=jnp.zeros(())) for x in (four, one)]
    assert_alike(whole[0]._replace(discounted=jnp.zeros(COUNT)), whole[1])
    divisor = return_scale.divisor(CriticSettings(), one)
    assert divisor > 1


def learner_of(devices):
    """Twin critics and a policy that draw nothing, so that a batch alone decides what they learn;
    alpha follows what the policy reports."""
    config = mesh.share(CONFIG, devices.size)
    network, critic = networks.tanh_gaussian_network(config, SPACES), TwinCritic(config, SPACES)

    def mean(actor, obs):
        return network.apply(actor, obs).mean()

    def loss(actor, state, obs, key):
        action = mean(actor, obs)
        return -jnp.mean(critic.min_q(state.critic, obs, action[:, None])), {
            "entropy": jnp.mean(action)
        }

    rule = Rule(
        act=lambda state, obs, key: mean(state.actor, obs),
        bootstrap=lambda state, _, obs, key: (mean(state.actor, obs), 0.0),
        loss=loss,
        duals=lambda state, seen: (
            {"log_alpha": state.log_alpha + seen["entropy"]},
            {"alpha": jnp.exp(state.log_alpha)},
        ),
        log_temperature=None,
        names=(),
    )
    return actor_critic(config, SPACES, network, critic, rule, devices)


def test_gradients_and_weights_of_four_devices_are_those_of_one():
    """The valid rows count alike, of which one device has fewer than the others."""
    draw = np.random.default_rng(0)

    def normal(*shape):
        return draw.normal(size=shape).astype(np.float32)

    valid = np.ones((COUNT, 8), bool)
    valid[0, 1:] = False
    batch = Transition(
        normal(COUNT, 8, 3), np.tanh(normal(COUNT, 8, 2)), 50 * normal(COUNT, 8),
        np.ones((COUNT, 8), np.float32), normal(COUNT, 8, 3), valid,
    )  # fmt: skip
    # The policy learns on the first half of a batch: of every device's here.
    joined = jax.tree.map(
        lambda x: x.reshape(COUNT, 2, 4, *x.shape[2:]).swapaxes(0, 1).reshape(-1, *x.shape[2:]),
        batch,
    )
    key = jax.random.key(0)
    state = learner_of(Devices()).init(key)
    one, told = jax.jit(learner_of(Devices()).update)(state, joined, key)
    four, told_by_each = on_four(lambda b: learner_of(FOUR).update(state, b, key), batch)
    # The first moments of Adam are the gradients, shortened.
    assert_alike(four, one)
    told_by_each.pop("q_mean"), told_by_each.pop("target_mean")  # of the devices' means
    assert_alike(told_by_each, {name: told[name] for name in told_by_each})
    assert float(one.log_alpha) != float(state.log_alpha)


def test_no_two_devices_draw_alike_and_none_as_a_split_of_the_key_does():
    key = jax.random.key(0)
    each = on_four(lambda _: jax.random.key_data(FOUR.own(key)), jnp.arange(COUNT))
    others = jax.random.key_data(jax.random.split(key, 1000))
    assert len(np.unique(np.concatenate([each, others]), axis=0)) == COUNT + 1000


def test_a_share_holds_as_many_rows_and_begins_to_learn_as_soon():
    config = replace(PRESETS["smoke"], num_envs=24, random_steps=101, replay_size=1000)
    config = mesh.share(replace(config, batch_size=48, actor_batch_size=24), 3)
    assert (config.physics.num_envs, config.replay.batch_size) == (8, 16)
    assert config.replay.replay_size // 8 == 1000 // 24
    assert -(-config.replay.random_steps // 8) == -(-101 // 24)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"devices": 3}, "--num-envs 8 does not divide among 3 devices: give 6 or 9, or --devices"),
        ({"devices": 16}, "--num-envs 8 does not divide among 16 devices: give 16, or --devices 8"),
        ({"devices": 8, "batch_size": 36}, "--batch-size 36 .* give 32 or 40, or --devices 4"),
        ({"devices": 8, "actor_batch_size": 12}, "--actor-batch-size 12 .* give 8 or 16"),
        ({"process_id": 1}, "--num-processes go together"),
        ({"distributed": True, "coordinator": "a:1", "process_id": 1}, "go together"),
        (
            {"distributed": True, "coordinator": "a", "process_id": 1, "num_processes": 2},
            "--coordinator a must be HOST:PORT",
        ),
        (
            {"distributed": True, "coordinator": "a:1", "process_id": 2, "num_processes": 2},
            "--process-id 2 must be less than --num-processes 2",
        ),
    ],
)
def test_what_cannot_be_shared_out_is_refused_with_what_can(settings, said):
    with pytest.raises(ConfigError, match=said):
        validate(replace(PRESETS["smoke"], **settings))


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(ConfigError, match="--devices 2 asks for more than the 1 CPU device that"):
        mesh.make_mesh(replace(Config(), devices=2))


@pytest.fixture(scope="module")
def eight():
    """What a process with eight devices reports of its run; see `eight_devices.py`."""
    script = Path(__file__).with_name("eight_devices.py")
    flags = "--xla_force_host_platform_device_count=8"
    found = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    return json.loads(found.stdout.splitlines()[-1])


def test_eight_devices_hold_one_learner_after_updates(eight):
    assert eight["updates"] > 0 and eight["critic_loss"] > 0
    assert eight["fingerprint"] is not None, "copies of the learner or the normaliser differ"
    assert eight["seen"] == pytest.approx(eight["weight"])


def test_copies_that_differ_are_seen(eight):
    assert eight["spoilt_fingerprint"] is None


def test_eight_devices_live_through_worlds_of_their_own(eight):
    assert eight["worlds"] == eight["different_starts"] == eight["different_rows"] == 16


@pytest.mark.parametrize("count", [1, 4])
def test_a_checkpoint_of_eight_devices_is_the_state_of_one_and_of_four(eight, count):
    assert eight[f"restored_on_{count}"] == {"devices": count, "differs": []}
