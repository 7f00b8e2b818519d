"""Claims about policies as files: what they hold is enough to act, and damage is told."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.checkpoints import policy_file
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.acting import act_of_run
from mjx_dm.checkpoints.manifest import CheckpointError, seal
from mjx_dm.checkpoints.policy import (
    Policy,
    export_policy,
    keep_policy,
    load_policy,
)
from mjx_dm.config import Config, replace, to_json
from mjx_dm.learner import make_learner, networks
from mjx_dm.tasks import get_task
from mjx_dm.training import normalisation
from mjx_dm.types import Spaces

SPACES = Spaces(6, 3, (-1.0, 0.0, -3.0), (1.0, 2.0, -1.0))
CONFIG = replace(Config(), actor_widths=(8,), critic_widths=(8,), num_components=2)
OBS = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def state():
    """(learner, normalizer) of which the policy looks at what it sees."""
    learner = make_learner(CONFIG, SPACES).init(jax.random.key(0))
    actor = jax.tree.map(lambda x: 20.0 * x, learner.average_actor)
    normalizer = normalisation.update(normalisation.init((6,)), jnp.asarray(3.0 * OBS))
    return learner._replace(average_actor=actor), normalizer


@pytest.fixture(scope="module")
def kept(state, tmp_path_factory):
    """A folder with the policy of that learner."""
    folder = tmp_path_factory.mktemp("policy")
    learner, normalizer = state
    keep_policy(folder, CONFIG, SPACES, 120, learner.average_actor, normalizer, 3, 77.5)
    return folder


@pytest.fixture(scope="module")
def run_dir(state, tmp_path_factory):
    """A run whose newest checkpoint holds that learner."""
    folder = tmp_path_factory.mktemp("run")
    learner, normalizer = state
    checkpoint.save(folder / "checkpoints", 120, {"learner": learner, "normalizer": normalizer})
    of_task = {"spaces": SPACES._asdict(), "task_version": 3}
    (folder / "config.json").write_text(json.dumps(to_json(CONFIG) | of_task))
    return folder


def test_a_policy_acts_the_same_from_every_place_it_is_kept_in(state, kept, run_dir, tmp_path):
    learner, normalizer = state
    expected = act_of_run(CONFIG, SPACES, learner.average_actor, normalizer)(OBS)
    assert np.ptp(expected, 0).min() > 0.1, "it should look at what it sees"
    export_policy(run_dir, tmp_path / "out")
    for place in (kept, str(kept), kept / "policy.json", kept / "policy.safetensors", run_dir):
        policy = load_policy(place)
        np.testing.assert_array_equal(policy.act(OBS), expected)
        assert (policy.task, policy.task_version, policy.spaces) == ("Humanoid-v4", 3, SPACES)
        assert (policy.env_steps, policy.checkpoint) == (120, "000000000120")
    np.testing.assert_array_equal(load_policy(tmp_path / "out").act(OBS), expected)
    assert load_policy(kept).eval_return == 77.5
    assert np.all(expected >= SPACES.action_low) and np.all(expected <= SPACES.action_high)


def test_one_observation_gives_one_action(kept):
    policy = load_policy(kept)
    one = policy.act(OBS[0])
    assert one.shape == (3,)
    np.testing.assert_allclose(one, policy.act(OBS)[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"of shape \(6,\) or \(N, 6\), not \(16, 5\)"):
        policy.act(OBS[:, :5])


def test_a_rule_that_asks_the_critic_works_from_a_checkpoint_alone(kept, run_dir):
    best, mean = load_policy(run_dir, "best_component"), load_policy(run_dir)
    assert best.action_rule == "component mean with the highest Q, clipped"
    assert np.abs(best.act(OBS) - mean.act(OBS)).max() > 1e-3
    with pytest.raises(CheckpointError, match="best_of asks the critic.* use sample, mean"):
        load_policy(kept, "best_of")


@pytest.fixture(scope="module")
def squashed(tmp_path_factory):
    """(actor, folder) of a policy of SAC."""
    folder, settings = tmp_path_factory.mktemp("squashed"), replace(CONFIG, learner="sac")
    start = make_learner(settings, SPACES).init(jax.random.key(0))
    actor = jax.tree.map(lambda x: 3.0 * x, start.average_actor)
    keep_policy(folder, settings, SPACES, 120, actor, normalisation.init((6,)), 3)
    return actor, folder


def test_a_tanh_gaussian_is_kept_and_acts_by_its_own_rules(squashed):
    actor, folder = squashed
    settings = replace(CONFIG, learner="sac")
    mean, sample = load_policy(folder), load_policy(folder, "sample")
    expected = act_of_run(settings, SPACES, actor, normalisation.init((6,)))(OBS)
    np.testing.assert_array_equal(mean.act(OBS), expected)
    policy = jax.jit(networks.policy_network(settings, SPACES).apply)(actor, jnp.asarray(OBS))
    # The box's centres are 0, 1 and -2 and its half widths 1.
    squeezed = np.tanh(policy.centre) + np.array([0.0, 1.0, -2.0])
    np.testing.assert_allclose(mean.act(OBS), squeezed, rtol=1e-4, atol=1e-5)
    assert np.abs(sample.act(OBS) - expected).max() > 0.1
    assert (mean.action_rule, sample.action_rule) == ("tanh of the mean", "a sample")
    with pytest.raises(CheckpointError, match="heaviest is for a mixture.*: use sample, mean or"):
        load_policy(folder, "heaviest")
    with pytest.raises(CheckpointError, match="best_of asks the critic.*: use sample or mean"):
        load_policy(folder, "best_of")


def test_a_description_from_before_there_were_other_policies_is_of_a_mixture(kept, tmp_path):
    def older(raw):
        return raw | {"network": {k: v for k, v in raw["network"].items() if k != "distribution"}}

    copy(kept, tmp_path, older)
    np.testing.assert_array_equal(load_policy(tmp_path).act(OBS), load_policy(kept).act(OBS))


def test_a_description_needs_none_of_the_settings(kept, tmp_path):
    copy(kept, tmp_path, lambda raw: raw | {"settings": {"policy_delay": 2}, "versions": {}})
    np.testing.assert_array_equal(load_policy(tmp_path).act(OBS), load_policy(kept).act(OBS))


def copy(kept, folder, change):
    """The policy with its description changed, and sealed anew."""
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    raw = json.loads((folder / "policy.json").read_text())
    del raw["seal"]
    changed = change(raw)
    (folder / "policy.json").write_text(json.dumps(changed | {"seal": seal(changed)}))


def within(name, **changed):
    return lambda raw: raw | {name: raw[name] | changed}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda raw: raw | {"format": 99}, "has format 99 and this mjx_dm reads 1 and 2"),
        (lambda raw: {}, "is not the description of a policy"),
        (lambda raw: raw | {"sha256": "0"}, "does not have the SHA-256"),
        (lambda raw: raw | {"network": {}}, "does not describe a policy"),
        (within("network", activation="foo"), "foo is not one of relu, silu"),
        (within("network", distribution="beta"), "beta is not one of mixture, tanh_gaussian"),
        (within("network", distribution="tanh_gaussian"), "are not those of the network"),
        (within("network", num_components=3), "are not those of the network"),
        (within("network", layer_norm=False), "are not those of the network"),
        (within("spaces", action_size=4), "the box of actions has another size"),
        (within("spaces", obs_size=7), "not one of the 7 observations"),
    ],
)
def test_what_is_wrong_with_a_description_is_one_sentence(kept, tmp_path, change, sentence):
    copy(kept, tmp_path, change)
    with pytest.raises(CheckpointError, match=sentence) as refusal:
        load_policy(tmp_path)
    assert str(tmp_path) in str(refusal.value) and "\n" not in str(refusal.value)


def test_damaged_and_missing_weights_are_told(kept, tmp_path):
    copy(kept, tmp_path, dict)
    weights = tmp_path / "policy.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged, or of another policy"):
        load_policy(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match="policy.safetensors cannot be read"):
        load_policy(tmp_path)


def test_where_there_is_no_policy_it_says_what_to_give(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="There is no policy in .*: give a run directory"):
            load_policy(place)


@pytest.mark.parametrize("broken", ["policy.safetensors", "policy.json"])
def test_a_write_that_is_cut_off_leaves_the_policy_that_was_there(
    state, kept, tmp_path, monkeypatch, broken
):
    copy(kept, tmp_path, dict)
    replace_file = policy_file.os.replace

    def cut_off(source, target):
        if Path(target).name == broken:
            raise OSError("no space left")
        return replace_file(source, target)

    monkeypatch.setattr(policy_file.os, "replace", cut_off)
    learner, normalizer = state
    with pytest.raises(CheckpointError, match="could not be written"):
        keep_policy(tmp_path, CONFIG, SPACES, 240, learner.actor, normalizer, 3, 80.0)
    monkeypatch.undo()
    assert load_policy(tmp_path).env_steps == 120
    np.testing.assert_array_equal(load_policy(tmp_path).act(OBS), load_policy(kept).act(OBS))
    keep_policy(tmp_path, CONFIG, SPACES, 240, learner.actor, normalizer, 3, 80.0)
    assert load_policy(tmp_path).env_steps == 240
    assert {x.name for x in tmp_path.iterdir()} == {"policy.json", "policy.safetensors"}


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("num_components", 3, "are not those of"),
        ("actor_widths", [8, 8], "are not those of"),
        ("log_std_max", -9.0, "holds what cannot run: --log-std-min"),
    ],
)
def test_a_run_of_other_settings_than_its_networks_is_refused(
    run_dir, tmp_path, setting, value, sentence
):
    (tmp_path / "checkpoints").symlink_to(run_dir / "checkpoints")
    raw = json.loads((run_dir / "config.json").read_text())
    raw["policy"][setting] = value
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError) as refusal:
        load_policy(tmp_path)
    assert f"{tmp_path}/config.json" in str(refusal.value) and sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"task": "Foo-v1"}, "task is not to be had: --task Foo-v1 is unknown"),
        ({"task_options": {"wind": 1.0}}, "task is not to be had: Reacher-v5 has no option 'wind'"),
        ({"task_version": 2}, "trained on Reacher-v5 version 2 .* here it is version 1"),
        ({"spaces": SPACES}, "with 6 observations and 3 actions; here .* with 10 and 2"),
    ],
)
def test_a_policy_of_another_task_than_there_is_here_is_refused(changed, sentence):
    fitting = Policy(
        act=lambda obs: obs,
        distribute=lambda obs: obs,
        task="Reacher-v5",
        task_version=1,
        spaces=get_task("Reacher-v5").spaces,
        env_steps=0,
        checkpoint="",
        action_rule="",
        task_options={"reward_dist_weight": 2.0},
    )
    assert fitting.own_task().options["reward_dist_weight"] == 2.0
    with pytest.raises(CheckpointError, match=sentence):
        dataclasses.replace(fitting, **changed).own_task()
