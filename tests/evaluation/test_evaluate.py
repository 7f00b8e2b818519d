"""The score: whole episodes of CPU Humanoid-v4, the same twice, never out of a NaN."""

import json
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from mjx_dm.checkpoints.policy import load_policy
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.evaluation.evaluate import (
    ACT_ROWS,
    ACTION_SIZE,
    OBS_SIZE,
    Evaluation,
    NoScore,
    evaluate,
    random_policy,
)


def still(obs: np.ndarray) -> np.ndarray:
    return np.zeros((len(obs), ACTION_SIZE))


def feedback(obs: np.ndarray) -> np.ndarray:
    """Depends on every observation row, so a swapped or stale row changes the score."""
    return np.clip(-obs[:, 5:22], -0.4, 0.4)


def test_random_actions_score_what_they_are_known_to() -> None:
    # 112 ± 22 over 20 episodes and 123 ± 38 over 100 were measured: the mean of 40 lies within
    # 120 ± 25 by four standard errors.
    evaluation = evaluate(random_policy(0), episodes=40, seed=0)
    assert 95 < evaluation.mean < 145
    assert 15 < np.mean(evaluation.lengths) < 35


def test_an_episode_scores_what_a_plain_gymnasium_loop_gives() -> None:
    evaluation = evaluate(feedback, episodes=2, seed=7)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Humanoid-v4 is out of date.*")
        env = gymnasium.make("Humanoid-v4")
    obs, _ = env.reset(seed=8)
    total, length, ended = 0.0, 0, False
    while not ended:
        action = feedback(obs[None].astype(np.float32))[0]
        obs, reward, terminated, truncated, _ = env.step(action.astype(np.float64))
        total, length, ended = total + reward, length + 1, terminated or truncated
    assert (evaluation.returns[1], evaluation.lengths[1]) == (total, length)


def test_same_policy_and_seed_give_the_same_numbers() -> None:
    first = evaluate(random_policy(3), episodes=5, seed=11)
    assert evaluate(random_policy(3), episodes=5, seed=11) == first
    assert evaluate(random_policy(3), episodes=5, seed=12) != first


def test_number_of_threads_does_not_change_the_score(monkeypatch) -> None:
    many = evaluate(feedback, episodes=5, seed=0)
    monkeypatch.setattr("mjx_dm.evaluation.evaluate._cores", lambda: 1)
    assert evaluate(feedback, episodes=5, seed=0) == many


def test_episode_does_not_depend_on_its_company() -> None:
    among_others = evaluate(feedback, episodes=4, seed=0)
    assert evaluate(feedback, episodes=1, seed=3).returns == among_others.returns[3:]


def test_policy_always_sees_one_shape_and_dtype() -> None:
    seen = set()

    def act(obs: np.ndarray) -> np.ndarray:
        seen.add((obs.shape, obs.dtype))
        return still(obs)

    evaluate(act, episodes=ACT_ROWS + 2, seed=0)
    assert seen == {((ACT_ROWS, OBS_SIZE), np.dtype(np.float32))}


def test_episode_ends_where_the_torso_is_too_low() -> None:
    def knock_over(episode: int, data) -> None:
        if episode == 1:
            data.qpos[2] = 0.5

    evaluation = evaluate(still, episodes=3, seed=0, on_step=knock_over)
    assert evaluation.lengths[1] == 1
    # v4 pays the 5 for health on the terminal step too.
    assert evaluation.returns[1] > 0
    assert min(evaluation.lengths[0], evaluation.lengths[2]) > 10


def test_episode_ends_at_the_time_limit_of_1000_steps() -> None:
    def hold_upright(episode: int, data) -> None:
        data.qpos[:] = upright
        data.qvel[:] = 0.0

    upright = gymnasium_start()
    evaluation = evaluate(still, episodes=1, seed=0, on_step=hold_upright)
    assert evaluation.lengths == (1000,)
    # Standing still earns 5 a step; each step's small sway adds or takes a little.
    assert 4000 < evaluation.returns[0] < 6000


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_action_that_is_not_finite_never_becomes_a_score(bad: float) -> None:
    def act(obs: np.ndarray) -> np.ndarray:
        action = still(obs)
        action[1, 3] = bad
        return action

    with pytest.raises(NoScore, match="not finite"):
        evaluate(act, episodes=2, seed=0)


def test_nan_in_a_row_without_an_episode_is_ignored() -> None:
    def act(obs: np.ndarray) -> np.ndarray:
        action = still(obs)
        action[(obs == 0).all(axis=1)] = np.nan
        return action

    assert evaluate(act, episodes=2, seed=0) == evaluate(still, episodes=2, seed=0)


def test_silent_reset_of_a_broken_simulation_never_becomes_a_score(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo leaves a MUJOCO_LOG.TXT where it is run.

    def explode(episode: int, data) -> None:
        data.qvel[:] = 1e12

    with pytest.raises(NoScore, match="simulation broke down at step 0 .* seed 5"):
        evaluate(still, episodes=1, seed=5, on_step=explode)


def test_actions_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(17,\)"):
        evaluate(lambda obs: np.zeros(17), episodes=1, seed=0)


@pytest.mark.parametrize(("episodes", "seed"), [(0, 0), (1, -1)])
def test_impossible_requests_are_refused(episodes: int, seed: int) -> None:
    with pytest.raises(ValueError):
        evaluate(still, episodes=episodes, seed=seed)


def test_no_warning_reaches_the_user() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(still, episodes=1, seed=0)


def test_report_holds_every_episode_and_plain_json() -> None:
    report = json.loads(json.dumps(evaluate(still, episodes=3, seed=4).to_json(), allow_nan=False))
    assert report["env"] == "Humanoid-v4"
    assert report["seeds"] == [4, 5, 6]
    assert len(report["returns"]) == len(report["lengths"]) == report["episodes"] == 3
    assert report["mean"] == pytest.approx(np.mean(report["returns"]))
    assert report["std"] == pytest.approx(np.std(report["returns"]))
    assert report["median"] == np.median(report["returns"])
    assert set(report["versions"]) == {"python", "mujoco", "gymnasium", "numpy", "jax"}


def test_median_episode_is_one_that_was_played() -> None:
    assert Evaluation((3.0, 9.0, 5.0), (1, 1, 1), 0).median_episode == 2
    assert Evaluation((3.0, 9.0, 5.0, 4.0), (1,) * 4, 0).median_episode == 3


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("num_components", 3, "are not those of"),
        ("layer_norm", False, "are not those of"),
        ("activation", "foo", "holds what cannot run: --activation foo is unknown"),
        ("discount", "x", '"discount" is "x" and must be a number'),
    ],
)
def test_policy_of_other_settings_than_it_was_trained_with_is_refused(
    setting, value, sentence, tmp_path
) -> None:
    kept = Path(__file__).parents[2] / "benchmarks" / "policies" / "humanoid_cpu"
    (tmp_path / "checkpoints").symlink_to(kept / "checkpoints")
    raw = json.loads((kept / "config.json").read_text())
    raw["learner"][setting] = value
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError) as refusal:
        load_policy(tmp_path)
    assert f"{tmp_path}/config.json" in str(refusal.value) and sentence in str(refusal.value)


def gymnasium_start() -> np.ndarray:
    start: list[np.ndarray] = []
    with pytest.raises(StopIteration):

        def first(episode: int, data) -> None:
            start.append(data.qpos.copy())
            raise StopIteration

        evaluate(still, episodes=1, seed=0, on_step=first)
    return start[0]
