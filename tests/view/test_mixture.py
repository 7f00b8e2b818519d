"""The figure of a mixture shows what the policy and the critics say."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import norm

from mjx_dm.checkpoints.critic import load_critic
from mjx_dm.checkpoints.policy import load_policy
from mjx_dm.view.densities import at
from mjx_dm.view.figure import draw_weights
from mjx_dm.view.mixture import look, main

SEED = 1000


@pytest.fixture(scope="module")
def looked(run):
    """(episode, plane, step) of the run's newest checkpoint, in a state of its own choice."""
    return look(run.folder, seed=SEED)


def test_the_density_integrates_to_what_the_mixture_has_in_the_box(looked):
    episode, shown, step = looked
    gmm = at(episode.gmm, step)
    weights, mean = np.asarray(gmm.weights(), float), np.asarray(gmm.component_mean, float)
    sigma, action = np.exp(np.asarray(gmm.log_std, float)), np.asarray(gmm.mean(), float)
    pair = list(shown.coordinates)
    (other,) = {0, 1, 2} - set(pair)
    # Given the third coordinate, components count by how likely they make it.
    given = weights * norm.pdf(action[other], mean[:, other], sigma[:, other])
    ends = norm.cdf([[[-1.0]], [[1.0]]], mean[None, :, pair], sigma[None, :, pair])
    expected = given / given.sum() @ np.prod(ends[1] - ends[0], -1)
    cell = (shown.x[1] - shown.x[0]) * (shown.y[1] - shown.y[0])
    assert 0.1 < expected < 1
    assert shown.policy.sum() * cell == pytest.approx(expected, rel=2e-3)
    assert shown.boltzmann.sum() * cell == pytest.approx(1.0)
    assert shown.target.sum() * cell == pytest.approx(1.0)


def test_exp_q_is_of_the_critics_at_the_actions_of_the_grid(run, looked):
    episode, shown, step = looked
    critic = load_critic(run.folder)
    assert critic.temperature == pytest.approx(0.05)
    actions = np.repeat(np.asarray(at(episode.gmm, step).mean())[None], 2, 0)
    first, second = shown.coordinates
    actions[0, first], actions[0, second] = shown.x[3], shown.y[70]
    actions[1, first], actions[1, second] = shown.x[60], shown.y[11]
    q = critic.min_q(episode.obs[step], actions)
    expected = (q[0] - q[1]) / critic.temperature
    assert abs(expected) > 1e-3
    found = np.log(shown.boltzmann[70, 3] / shown.boltzmann[11, 60])
    assert found == pytest.approx(expected, abs=1e-3)


def test_the_weights_over_the_episode_are_those_that_acted(run, looked):
    episode, _, step = looked
    weights = np.asarray(episode.gmm.weights())
    acted = np.sum(weights[..., None] * np.asarray(episode.gmm.component_mean), 1)
    np.testing.assert_allclose(
        load_policy(run.folder).act(episode.obs), np.clip(acted, -1, 1), atol=1e-4
    )
    axes = Figure().add_subplot()
    draw_weights(axes, episode, step)
    seconds = np.arange(len(weights)) * episode.task.step_seconds
    drawn = axes.collections[0].get_paths()[0].vertices
    for x, weight in zip(seconds, weights[:, 0], strict=True):
        assert drawn[np.isclose(drawn[:, 0], x), 1].max() == pytest.approx(weight, abs=1e-6)


def test_the_command_writes_the_figure_or_one_sentence(run, looked, tmp_path, capsys):
    out = tmp_path / "mixture.png"
    with pytest.MonkeyPatch.context() as patch:
        # Played already.
        patch.setattr("mjx_dm.view.mixture.look", lambda *args: looked)
        assert main([str(run.folder), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG") and out.stat().st_size > 10_000
    assert main([str(run.folder / "best")]) == 2
    assert "Q is of the critics, which a run's checkpoints hold" in capsys.readouterr().err
    assert main([str(run.folder), "--checkpoint", "5"]) == 2
    assert "no policy of 5 steps; it has: newest; best; 200 steps" in capsys.readouterr().err
