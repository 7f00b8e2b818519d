"""A run of the second learner, through the same program as the first."""

import json
import shutil

import jax
import numpy as np
import pytest

import eval_render
import train
from mjx_dm.checkpoints.policy import load_policy
from mjx_dm.checkpoints.saving import restore_arrays
from mjx_dm.drawing.opengl import find_gl
from mjx_dm.groups import LEARNERS
from mjx_dm.records import read_metrics
from mjx_dm.runs.scoring import EVAL_SEED

SMOKE = ["--preset", "smoke", "--task", "InvertedPendulum-v5", "--learner", "sac"]
OF_A_MIXTURE = {
    "ess", "effective_components", "mean_sigma", "weights_kl", "temperature", "sigma_spread",
    "clipped_share",
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a run that ended by itself."""
    directory = tmp_path_factory.mktemp("runs") / "sac"
    assert train.main([*SMOKE, "--run-dir", str(directory)]) == 0
    return directory


def test_it_records_what_it_has_and_nothing_of_a_mixture(finished):
    metrics = read_metrics(finished / "metrics.jsonl")
    assert {"alpha", "entropy", "critic_loss", "q_error", "policy_kl", "actor_norm"} <= set(metrics)
    assert not OF_A_MIXTURE & set(metrics)
    assert np.isfinite(metrics["entropy"][-2])
    assert (finished / "plots" / "diagnostics.png").exists()


def test_its_policy_acts_alone_or_in_a_batch_and_scores_what_it_scored(finished, tmp_path):
    policy = load_policy(str(finished / "best"))
    obs = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    batch, one = policy.act(obs), policy.act(obs[0])
    assert batch.shape == (5, 1) and one.shape == (1,) and np.abs(batch).max() <= 3.0
    np.testing.assert_allclose(one, batch[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(batch, load_policy(finished).act(obs), rtol=1e-5, atol=1e-6)
    arguments = [str(finished / "best"), "--episodes", "1", "--seed", str(EVAL_SEED)]
    small = ["--width", "64", "--height", "48", "--seconds", "0.2", "--out", str(tmp_path)]
    assert eval_render.main([*arguments, *small]) == 0
    report = json.loads((tmp_path / "eval.json").read_text())
    assert report["action_rule"] == "tanh of the mean"
    assert report["mean"] == read_metrics(finished / "metrics.jsonl")["eval_return"][-1]
    assert len(list(tmp_path.glob("*.mp4"))) == (find_gl() is not None)


@pytest.mark.slow
def test_it_resumes_to_the_weights_of_a_run_that_was_never_interrupted(finished, tmp_path):
    halves, whole = tmp_path / "halves", tmp_path / "whole"
    shutil.copytree(finished, halves)
    assert train.main(["--run-dir", str(halves), "--resume", "--env-steps", "768"]) == 0
    assert train.main([*SMOKE, "--run-dir", str(whole), "--env-steps", "768"]) == 0
    learners = [restore_arrays(x / "checkpoints")[1]["learner"] for x in (halves, whole)]
    jax.tree.map(np.testing.assert_array_equal, *learners)


@pytest.mark.slow
@pytest.mark.parametrize("learner", LEARNERS)
def test_both_learn_to_balance_a_pole(learner, tmp_path):
    """Random actions hold it for 10 steps of 1,000, the policy of 3,700 updates for all."""
    small = "--actor-widths 64 64 --critic-widths 64 64 --batch-size 64 --actor-batch-size 32"
    long = "--env-steps 30000 --replay-size 30000 --chunk-iterations 250 --actor-average 0.01"
    arguments = ["--preset", "smoke", "--task", "InvertedPendulum-v5", "--learner", learner]
    arguments += [*small.split(), *long.split(), "--eval-episodes", "5"]
    assert train.main([*arguments, "--run-dir", str(tmp_path / "run")]) == 0
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")["eval_return"][-1] > 500
