"""Claims about an exported policy: every form of it acts as load_policy does, and it tells what it
is."""

import contextlib
import importlib.util
import io
import json
import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from mjx_dm.checkpoints import policy_file
from mjx_dm.checkpoints.policy import keep_policy, load_policy
from mjx_dm.config import Config, replace
from mjx_dm.export import checking
from mjx_dm.export.__main__ import main
from mjx_dm.export.example import example_of
from mjx_dm.learner import networks
from mjx_dm.tasks import get_task
from mjx_dm.training.normalisation import Normalizer
from mjx_dm.types import Spaces

SPACES = Spaces(6, 3, (-1.0, 0.0, -3.0), (1.0, 2.0, 2.0))
OBS = 3.0 * np.random.default_rng(0).normal(size=(32, 6)).astype(np.float32)
SMALL = replace(Config(), actor_widths=(8, 8), critic_widths=(8,), num_components=3)
FORMS = {
    "mixture": SMALL,
    "unbounded": replace(SMALL, bounded=False, normalize_obs=False, layer_norm=False),
    "rounded": replace(SMALL, obs_dtype="bfloat16", activation="relu", num_components=1),
    "sac": replace(SMALL, learner="sac", layer_norm=False),
}
needs_onnx = pytest.mark.skipif(
    not (importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime")),
    reason="the extra export is not installed",
)


def keep(folder, settings, spaces):
    """A policy that looks at what it sees, in `folder`."""
    network = networks.policy_network(settings, spaces)
    rng = np.random.default_rng(1)
    of = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, spaces.obs_size)))
    actor = jax.tree.map(lambda x: rng.normal(size=x.shape, scale=0.5).astype(np.float32), of)
    mean, var = rng.normal(size=spaces.obs_size), rng.uniform(1.0, 4.0, spaces.obs_size)
    normalizer = Normalizer(*(jnp.asarray(x, jnp.float32) for x in (64.0, mean, var)))
    keep_policy(folder, settings, spaces, 120, actor, normalizer, 1, 7.5)
    return policy_file.read(folder / "policy.json")


@pytest.fixture(scope="module", params=FORMS)
def form(request, tmp_path_factory):
    """(folder, PolicyFile, Policy, its actions) of one form of policy."""
    folder = tmp_path_factory.mktemp(request.param)
    kept = keep(folder, FORMS[request.param], SPACES)
    policy = load_policy(folder)
    expected = policy.act(OBS)
    assert np.ptp(expected, 0).min() > 0.01, "it should look at what it sees"
    return folder, kept, policy, expected


def test_the_example_acts_as_the_policy_in_numpy_alone(form):
    folder, kept, _, expected = form
    (folder / "example.py").write_text(example_of(kept))
    found = runpy.run_path(str(folder / "example.py"))["act"](OBS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@needs_onnx
def test_the_onnx_model_acts_as_the_policy(form):
    from mjx_dm.export.onnx_graph import model_of

    folder, kept, policy, _ = form
    (folder / "policy.onnx").write_bytes(model_of(kept).SerializeToString())
    act = checking.onnx_act(folder / "policy.onnx")
    assert checking.difference(policy, act, OBS) < checking.TOLERANCE
    assert act(OBS[:1]).shape == (1, 3)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with a policy for Reacher-v5 and its score."""
    folder = tmp_path_factory.mktemp("reacher")
    settings = replace(SMALL, task="Reacher-v5")
    keep(folder, settings, get_task("Reacher-v5").spaces)
    score = {"returns": [-4.0, -6.0], "lengths": [50, 50], "seeds": [1000, 1001]}
    score |= {"env_steps": 120, "action_rule": "mixture mean, clipped"}
    (folder / "eval.json").write_text(json.dumps(score))
    return folder


@pytest.fixture(scope="module")
def exported(kept):
    """The folder that the command made of it, and what it printed."""
    out = kept / "export"
    command = [str(kept)] if importlib.util.find_spec("onnx") else [str(kept), "--no-onnx"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(command) == 0
    return out, said.getvalue()


def test_an_export_names_its_observations_and_actions_and_is_a_policy(kept, exported):
    out, said = exported
    described = json.loads((out / "policy.json").read_text())["layout"]
    assert described["observations"][0] == {"name": "cos(qpos.joint0)", "unit": ""}
    assert described["observations"][-1] == {
        "name": "xpos.fingertip.y - xpos.target.y",
        "unit": "m",
    }
    assert described["actions"][1] == {"name": "joint1", "low": -1.0, "high": 1.0}
    assert described["normalizer"] == "clip((obs - mean) / sqrt(var + 1e-08), -10, 10)"
    before, after = (policy_file.read(x / "policy.json") for x in (kept, out))
    jax.tree.map(np.testing.assert_array_equal, before.actor, after.actor)
    assert "120 steps of training" in said


@needs_onnx
def test_the_command_says_how_far_the_onnx_model_is_from_the_policy(exported):
    import onnx

    out, said = exported
    # 64 drawn, and 50 of an episode of 50 steps.
    assert "differs from load_policy by at most" in said and "over 114 observations" in said
    model = onnx.load(out / "policy.onnx")
    about = {x.key: x.value for x in model.metadata_props}
    assert about["task"] == "Reacher-v5" and "cos(qpos.joint0)" in about["observations"]


def test_the_card_has_the_hubs_front_matter_and_the_score(exported):
    _, front, text = (exported[0] / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["library_name"] == "mjx_dm" and "Reacher-v5" in about["tags"]
    (result,) = about["model-index"][0]["results"]
    assert result["dataset"]["name"] == "Reacher-v5"
    assert result["metrics"][0]["type"] == "mean_reward"
    assert result["metrics"][0]["value"] == "-5.00 +/- 1.00"
    assert "over 2 episodes, seeds 1000–1001" in text
    assert "| 0 | `cos(qpos.joint0)` |" in text


def test_without_onnx_all_else_is_written_and_one_sentence_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "mjx_dm.export.onnx_graph", raising=False)
    robot = "examples/pendulum.py"
    keep(tmp_path, replace(SMALL, task=robot), get_task(robot).spaces)
    out = tmp_path / "export"
    (out / "task").mkdir(parents=True)
    for name in ("policy.json", "policy.onnx", "task/pendulum.py"):
        (out / name).write_text("of an export before")
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "policy.onnx is not written: it needs onnx" in said
    names = {"README.md", "example.py", "policy.json", "policy.safetensors", "task"}
    assert {path.name for path in out.iterdir()} == names
    assert (out / "task" / "pendulum.py").read_text() == Path(robot).read_text()
    card = (out / "README.md").read_text()
    assert "onnx" not in card and "policy for pendulum.py (version 1" in card


def test_what_cannot_be_exported_gets_one_sentence(kept, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    for arguments, said in (
        ([str(tmp_path / "nowhere")], "There is no"),
        ([str(tmp_path), "--out", str(tmp_path / "out")], "config.json is not"),
        ([str(kept), "--out", str(kept)], "holds the policy itself"),
        ([str(kept), "--out", str(tmp_path)], "holds other files"),
        ([str(kept), "--step", "3", "--out", str(tmp_path / "out")], "--step names a checkpoint"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
