"""The score: whole episodes of CPU Gymnasium, the same twice, never out of a NaN."""

import dataclasses
import json
import warnings
from types import SimpleNamespace

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.evaluation.evaluate import (
    ACT_ROWS,
    Evaluation,
    NoScore,
    evaluate,
    random_policy,
)
from mjx_dm.evaluation.own_world import OwnWorld, judge_of
from mjx_dm.tasks import get_task

# (returns, lengths) of two episodes, with mujoco 3.17.0.
GOLDEN_RANDOM = ((101.91604680859221, 99.63970825569949), (20, 20))
GOLDEN_FEEDBACK = ((365.76956658260434, 558.0965242962205), (69, 108))


def still(obs: np.ndarray) -> np.ndarray:
    return np.zeros((len(obs), 17))


def feedback(obs: np.ndarray) -> np.ndarray:
    """Depends on every observation row, so a swapped or stale row changes the score."""
    return np.clip(-obs[:, 5:22], -0.4, 0.4)


def test_random_actions_score_what_they_are_known_to() -> None:
    # 112 ± 22 over 20 episodes and 123 ± 38 over 100 were measured: the mean of 40 lies within
    # 120 ± 25 by four standard errors.
    evaluation = evaluate(random_policy(), episodes=40)
    assert 95 < evaluation.mean < 145
    assert 15 < np.mean(evaluation.lengths) < 35


def test_humanoid_v4_scores_what_it_always_has() -> None:
    drawn = evaluate(random_policy(seed=3), episodes=2, seed=11)
    assert (drawn.returns, drawn.lengths) == GOLDEN_RANDOM
    fed_back = evaluate(feedback, episodes=2, seed=7)
    assert (fed_back.returns, fed_back.lengths) == GOLDEN_FEEDBACK


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Humanoid-v4", {}),
        ("InvertedPendulum-v5", {}),
        ("HalfCheetah-v4", {}),
        ("Reacher-v5", {"reward_control_weight": 0.5}),
    ],
)
def test_episode_scores_what_a_plain_gymnasium_loop_gives(name: str, options: dict) -> None:
    task = get_task(name, **options)
    size, high = task.spaces.action_size, np.array(task.spaces.action_high)

    def lean(obs: np.ndarray) -> np.ndarray:
        """Depends on every observation row, and goes beyond the box."""
        return 1.2 * high * np.clip(3 * obs[:, -size - 1 : -1] + obs[:, :1], -1.0, 1.0)

    ends: dict[int, np.ndarray] = {}

    def keep(episode: int, data) -> None:
        ends[episode] = data.qpos.copy()

    evaluation = evaluate(lean, task, episodes=2, seed=7, on_step=keep)
    assert evaluate(lean, task, episodes=2, seed=7) == evaluation
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*-v4 is out of date.*")
        env = gymnasium.make(name, **options)
    for episode in range(2):
        obs, _ = env.reset(seed=7 + episode)
        total, infos, ended = 0.0, [], False
        while not ended:
            action = lean(obs[None].astype(np.float32))[0]
            obs, reward, terminated, truncated, info = env.step(action.astype(np.float64))
            total, ended = total + reward, terminated or truncated
            infos.append(info)
        found = evaluation.returns[episode], evaluation.lengths[episode]
        assert found == (total, len(infos)) and evaluation.terminated[episode] == terminated
        np.testing.assert_array_equal(ends[episode], env.unwrapped.data.qpos)
        terms = {x for x in infos[0] if x.startswith("reward_")}
        assert set(evaluation.terms) == terms and terms
        for term in terms:
            assert evaluation.terms[term][episode] == sum(info[term] for info in infos)
        if "x_velocity" in infos[0]:
            speed = np.mean([info["x_velocity"] for info in infos])
            assert evaluation.speeds[episode] == pytest.approx(speed)


def test_policy_may_act_by_a_method() -> None:
    policy = SimpleNamespace(act=still)
    assert evaluate(policy, episodes=1) == evaluate(still, episodes=1)


@pytest.mark.parametrize("name", ["InvertedPendulum-v5", "Ant-v5"])
def test_a_task_played_by_its_own_functions_is_gymnasiums(name: str) -> None:
    task = get_task(name)
    own, peer = OwnWorld(task, judge_of(task)), gymnasium.make(name).unwrapped
    own.reset(seed=0)
    peer.reset(seed=0)
    peer.set_state(own.data.qpos, own.data.qvel)
    rng, high = np.random.default_rng(0), np.array(task.spaces.action_high)
    for step in range(12):
        action = rng.uniform(-1.5 * high, 1.5 * high)
        obs, reward, terminated, truncated, _ = own.step(action)
        expected = peer.step(action)
        # The functions compute in float32; Ant's contact forces reach hundreds of newtons.
        np.testing.assert_allclose(obs, expected[0], rtol=1e-4, atol=1e-4, err_msg=f"step {step}")
        assert reward == pytest.approx(expected[1], rel=1e-4, abs=1e-4)
        assert (terminated, truncated) == (expected[2], False)


def test_a_score_without_gymnasium_says_so_and_is_the_same_twice() -> None:
    own = dataclasses.replace(get_task("Reacher-v5"), name="Mine", gym_id=None)
    high = np.array(own.spaces.action_high)

    def act(obs: np.ndarray) -> np.ndarray:
        return high * np.clip(obs[:, -2:] * 5, -1, 1)

    found = evaluate(act, own, episodes=3, seed=2)
    assert found == evaluate(act, own, episodes=3, seed=2) and found.lengths == (50, 50, 50)
    assert len(set(found.returns)) == 3
    assert evaluate(act, own, episodes=1, seed=4).returns == found.returns[2:]
    np.testing.assert_allclose(np.sum(list(found.terms.values()), 0), found.returns, rtol=1e-5)
    report = found.to_json()
    assert report["env"] is None and report["task"] == "Mine"
    assert "no Gymnasium environment was asked" in report["scored_by"]
    with pytest.raises(NoScore, match="reward is not finite at step 0 of the episode with seed 0"):
        ill = dataclasses.replace(own, reward=lambda *step: (jnp.nan * step[2][0], {}))
        evaluate(act, ill, episodes=1)


def test_random_policy_draws_from_the_box_and_by_its_seed() -> None:
    spaces = get_task("Pusher-v5").spaces
    action = random_policy("Pusher-v5", 3)(np.zeros((1000, spaces.obs_size)))
    assert action.min(0) == pytest.approx(spaces.action_low, abs=0.05)
    assert action.max(0) == pytest.approx(spaces.action_high, abs=0.05)
    again = random_policy("Pusher-v5", 3)(np.zeros((1000, spaces.obs_size)))
    np.testing.assert_array_equal(again, action)
    assert (random_policy("Pusher-v5", 4)(np.zeros((1000, 23))) != action).all()


def test_number_of_threads_does_not_change_the_score(monkeypatch) -> None:
    many = evaluate(feedback, episodes=5, seed=0)
    monkeypatch.setattr("mjx_dm.evaluation.evaluate.cores", lambda: 1)
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
    assert seen == {((ACT_ROWS, 376), np.dtype(np.float32))}


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


def test_no_warning_reaches_the_user(capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(still, episodes=1)
        # MuJoCo itself complains of an attribute in this one's file.
        with pytest.raises(ValueError, match=r"shape \(16, 17\), but \(16, 6\)"):
            evaluate(still, "HalfCheetah-v4", episodes=1)
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_report_holds_every_episode_and_plain_json() -> None:
    report = json.loads(json.dumps(evaluate(still, episodes=3, seed=4).to_json(), allow_nan=False))
    assert report["env"] == "Humanoid-v4"
    assert report["seeds"] == [4, 5, 6]
    assert len(report["returns"]) == len(report["lengths"]) == report["episodes"] == 3
    assert report["mean"] == pytest.approx(np.mean(report["returns"]))
    assert report["std"] == pytest.approx(np.std(report["returns"]))
    assert report["median"] == np.median(report["returns"])
    assert set(report["versions"]) == {"python", "mujoco", "gymnasium", "numpy", "jax"}


def test_report_tells_what_the_environment_was_made_with() -> None:
    task = get_task("Hopper-v5", ctrl_cost_weight=0.5)
    report = evaluate(random_policy(task), task, episodes=1).to_json()
    report = json.loads(json.dumps(report, allow_nan=False))
    assert report["env"] == "Hopper-v5"
    assert report["options"]["ctrl_cost_weight"] == 0.5
    assert report["options"]["healthy_z_range"] == [0.7, "inf"]
    assert "options" not in Evaluation((1.0,), (1,), 0, "Reacher-v4", "Reacher-v4").to_json()


def test_median_episode_is_one_that_was_played() -> None:
    env = "Ant-v5", "Ant-v5"
    assert Evaluation((3.0, 9.0, 5.0), (1, 1, 1), 0, *env).median_episode == 2
    assert Evaluation((3.0, 9.0, 5.0, 4.0), (1,) * 4, 0, *env).median_episode == 3


def gymnasium_start() -> np.ndarray:
    start: list[np.ndarray] = []
    with pytest.raises(StopIteration):

        def first(episode: int, data) -> None:
            start.append(data.qpos.copy())
            raise StopIteration

        evaluate(still, episodes=1, seed=0, on_step=first)
    return start[0]
