"""What a score says besides its mean; several rules, runs and physics by one command each."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eval_render
from mjx_dm.checkpoints.policy import keep_policy
from mjx_dm.config import Config, ConfigError, replace
from mjx_dm.evaluation import transfer
from mjx_dm.evaluation.evaluate import Evaluation, evaluate
from mjx_dm.evaluation.transfer import Transfer, transfers
from mjx_dm.learner import networks
from mjx_dm.report import across
from mjx_dm.report.across import RunScore
from mjx_dm.report.intervals import chance_of_more
from mjx_dm.report.scores import rule_report
from mjx_dm.tasks import LibraryTask, get_task
from mjx_dm.training import normalisation

PENDULUM = "InvertedPendulum-v5"
SMALL = {"actor_widths": (8,), "critic_widths": (8,), "num_components": 2, "task": PENDULUM}


def limited(name: str, steps: int):
    return dataclasses.replace(get_task(name), options={"max_episode_steps": steps})


def test_a_fall_is_counted_and_a_time_limit_is_not() -> None:
    def tip_over(episode: int, data) -> None:
        if episode == 1:
            data.qpos[1] = 1.0

    found = evaluate(lambda obs: 0 * obs[:, :1], limited(PENDULUM, 5), episodes=3, on_step=tip_over)
    assert found.lengths == (5, 1, 5) and found.terminated == (False, True, False)
    assert found.to_json()["falls"] == 1


def test_speed_is_that_of_the_root_where_gymnasium_tells_none() -> None:
    x: list[float] = []
    found = evaluate(
        lambda obs: 0.4 * np.ones((len(obs), 17)),
        limited("HumanoidStandup-v4", 3),
        episodes=1,
        on_step=lambda episode, data: x.append(float(data.qpos[0])),
    )
    assert found.speeds[0] == pytest.approx((x[-1] - x[0]) / (3 * 0.015)) and x[-1] != x[0]
    assert not evaluate(lambda obs: 0 * obs[:, :1], limited(PENDULUM, 2), episodes=1).speeds


def test_the_interquartile_mean_leaves_out_the_lowest_and_highest_quarter() -> None:
    returns = (700.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 0.0)
    played = Evaluation(returns, (1,) * 8, 0, "Ant-v5", "Ant-v5", terms={"a": (1.0, 2.0)})
    policy = SimpleNamespace(checkpoint="1", env_steps=1, action_rule="")
    report = json.loads(json.dumps(rule_report(played, policy, "mean"), allow_nan=False))
    assert report["iqm"] == 35.0 and report["terms"] == {"a": 1.5}
    low, high = report["iqm_interval"]
    assert 10.0 <= low < 35.0 < high <= 365.0
    one = rule_report(dataclasses.replace(played, returns=(3.0,)), policy, "mean")
    assert one["mean_interval"] is None, "one episode tells no interval"


def test_the_chance_that_one_beats_another_counts_pairs_and_half_of_ties() -> None:
    # 1 beats 0; 2 beats 0 and ties with 2; 3 beats both.
    chance = chance_of_more(np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0]))
    assert chance.value == 4.5 / 6 and 0.0 <= chance.low < chance.value < chance.high <= 1.0
    assert chance_of_more(np.array([5.0, 6.0]), np.array([1.0, 2.0])) == (1.0, 1.0, 1.0)
    assert np.isnan(chance_of_more(np.array([5.0]), np.array([1.0])).low)


def run(path, seed, level, **settings) -> RunScore:
    played = Evaluation((level, level + 2.0), (9, 9), 0, "Ant-v5", "Ant-v5")
    return RunScore(path, 100, played, seed, {"num_envs": 8, "gamma": 0.9} | settings)


def test_runs_that_differ_in_their_seed_alone_are_one_group(tmp_path) -> None:
    runs = [run(tmp_path / "a", 1, 10.0), run(tmp_path / "b", 2, 20.0)]
    runs += [run(tmp_path / "c", 1, 4.0, num_envs=16), run(tmp_path / "d", 2, 15.0, num_envs=16)]
    report = across.report(across.grouped(runs))
    assert [group["settings"] for group in report["groups"]] == ["num_envs 8", "num_envs 16"]
    assert [group["seeds"] for group in report["groups"]] == [[1, 2], [1, 2]]
    assert [group["mean"] for group in report["groups"]] == [16.0, 10.5]
    assert report["groups"][0]["mean_interval"] == [11.0, 21.0]
    others = run(tmp_path / "f", 1, 1.0, **dict.fromkeys("wxyz", 1))
    labels = [group.label for group in across.grouped([*runs, others])]
    assert labels[2] == f"as in {tmp_path / 'f'}"
    (comparison,) = report["comparisons"]
    # 10 loses to 15: three pairs of four.
    assert comparison["probability_a_above_b"] == 0.75
    with pytest.raises(ConfigError, match="a and .*e are one seed of the same settings"):
        across.grouped([*runs, run(tmp_path / "e", 1, 11.0)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two seeds of the same settings and one of others: kept policies, untrained."""
    spaces, folder = get_task(PENDULUM).spaces, tmp_path_factory.mktemp("policies")
    config = replace(Config(), **SMALL)
    network = networks.policy_network(config, spaces)
    actor = network.init(jax.random.key(0), jnp.zeros((1, spaces.obs_size)))
    start = normalisation.init((spaces.obs_size,))
    for name, changed in (("a1", {"seed": 1}), ("a2", {"seed": 2}), ("b", {"num_envs": 9})):
        keep_policy(folder / name, replace(config, **changed), spaces, 7, actor, start, 1)
    return folder


def test_each_action_rule_plays_the_same_episodes(folders, tmp_path, capsys) -> None:
    asked = [str(folders / "b"), "--episodes", "2", "--no-video", "--out", str(tmp_path)]
    assert eval_render.main([*asked, "--action-rule", "mean", "sample"]) == 0
    report = json.loads((tmp_path / "eval.json").read_text())
    mean, sample = report["rules"]
    assert (mean["rule"], sample["rule"]) == ("mean", "sample")
    assert mean["seeds"] == sample["seeds"] == [1000, 1001]
    assert mean["returns"] != sample["returns"]
    assert mean == {name: x for name, x in report.items() if name != "rules"}
    assert report["falls"] == 2 and report["terms"]["reward_survive"] == report["mean"]
    assert eval_render.main([*asked, "--action-rule", "sample"]) == 0
    alone = json.loads((tmp_path / "eval.json").read_text())
    assert alone["returns"] == sample["returns"]
    said = capsys.readouterr().out
    assert f"{sample['mean']:.1f} ± {sample['std']:.1f}" in said and "fall" in said


def test_runs_are_compared_and_played_once(folders, tmp_path, capsys) -> None:
    asked = ["--across", *(str(folders / name) for name in ("a1", "a2", "b"))]
    asked += ["--out", str(tmp_path)]
    assert eval_render.main([*asked, "--episodes", "3"]) == 0
    first = json.loads((tmp_path / "across.json").read_text())
    said = capsys.readouterr().out
    assert said.count("playing 3 episodes") == 3 and "beats one of" in said
    assert [len(group["runs"]) for group in first["groups"]] == [2, 1]
    assert first["groups"][1]["settings"] == "num_envs 9"
    # Fewer of the same episodes are among those that are there.
    assert eval_render.main([*asked, "--episodes", "2"]) == 0
    assert capsys.readouterr().out.count("read from") == 3
    kept = json.loads((folders / "a1" / "eval" / "eval.json").read_text())
    again = json.loads((tmp_path / "across.json").read_text())
    assert again["groups"][0]["runs"][0]["mean"] == np.mean(kept["returns"][:2])
    # Others are played, and what is there stays.
    assert eval_render.main([*asked, "--episodes", "2", "--seed", "5"]) == 0
    assert capsys.readouterr().out.count("playing 2 episodes") == 3
    assert json.loads((folders / "a1" / "eval" / "eval.json").read_text()) == kept


def test_a_policy_is_played_under_an_engine_and_what_cannot_be_is_told(folders, monkeypatch):
    policy = SimpleNamespace(act=lambda obs: 0 * obs[:, :1])
    task = get_task(PENDULUM)
    asked = {"episodes": 2, "seed": 3, "physics": ("exact",)}
    (found,) = transfers(policy, task, engines=("mujoco",), **asked)
    assert found.terminated == (True, True) and not found.problem
    # A step upright earns 1, the one that falls nothing.
    assert [x - 1 for x in found.lengths] == list(found.returns)
    assert found.to_json()["falls"] == 2
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (missing,) = transfers(policy, task, engines=("warp",), **asked)
    assert "warp-lang" in missing.problem and "mean" not in missing.to_json()


def test_other_physics_stand_beside_the_score(folders, tmp_path, monkeypatch, capsys) -> None:
    def played(policy, env, seed, engine, physics, phase):
        returns = (1.0, 3.0) if physics == "exact" else ()
        problem = "" if returns else "The simulation broke down."
        return Transfer(engine, physics, returns, (1, 3), (True, False), problem)

    monkeypatch.setattr(transfer, "engines_here", lambda: ("mujoco",))
    monkeypatch.setattr(transfer, "played", played)
    asked = ["--episodes", "2", "--no-video", "--out", str(tmp_path), "--transfer"]
    assert eval_render.main([str(folders / "b"), *asked]) == 0
    exact, fast = json.loads((tmp_path / "eval.json").read_text())["transfer"]
    assert (exact["engine"], exact["physics"]) == ("mujoco", "exact")
    assert (exact["mean"], exact["falls"]) == (2.0, 1)
    assert fast == {"engine": "mujoco", "physics": "fast", "problem": "The simulation broke down."}
    assert "mujoco exact" in capsys.readouterr().out


def test_a_library_simulates_its_own_tasks_alone() -> None:
    spaces = get_task(PENDULUM).spaces
    task = LibraryTask("brax:ant", "brax (mjx)", print, print, spaces, 9, 0.1, ("brax",))
    policy = SimpleNamespace(act=lambda obs: obs)
    with pytest.raises(ConfigError, match="--transfer: brax:ant is simulated by its own library"):
        transfers(policy, task, episodes=1, seed=0)


@pytest.mark.slow
def test_a_policy_is_played_under_every_engine(folders, tmp_path, broadcasts) -> None:
    asked = ["--episodes", "3", "--no-video", "--out", str(tmp_path), "--transfer"]
    assert eval_render.main([str(folders / "b"), *asked]) == 0
    report = json.loads((tmp_path / "eval.json").read_text())
    found = {(x["engine"], x["physics"]): x for x in report["transfer"]}
    assert {("mujoco", "exact"), ("mujoco", "fast"), ("mjx", "exact")} <= set(found)
    for one in found.values():
        # Untrained it falls after some five steps, whatever simulates it.
        assert one["mean"] == pytest.approx(report["mean"], abs=2.0) and one["falls"] == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["RUN", "--action-rule", "mean", "boldest"], "boldest is unknown; choose from"),
        (["--action-rule", "mean", "RUN"], "The run stands before --action-rule."),
        (["RUN", "--action-rule", "mean", "mean"], "several different ones"),
        (["--across", "RUN", "EMPTY"], "empty holds no checkpoint and no policy.json"),
        (["--across", "RUN", "RUN"], "is given twice"),
        (["--across", "RUN", "--transfer"], "without --transfer"),
        (["RUN", "--across", "EMPTY"], "give one run, or several with --across"),
        ([], "give one run, or several with --across"),
        (["--across", "RUN", "--episodes", "0"], "--episodes must be at least 1"),
    ],
)
def test_bad_input_gets_one_sentence(folders, tmp_path, capsys, arguments, sentence) -> None:
    (tmp_path / "empty").mkdir()
    places = {"RUN": folders / "b", "EMPTY": tmp_path / "empty"}
    assert eval_render.main([str(places.get(word, word)) for word in arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
