"""Wrong settings are answered with one sentence and exit status 2, before anything is loaded."""

import dataclasses
import json
import subprocess
import sys

import pytest

import train
from mjx_dm import config as configs
from mjx_dm.cli import parse
from mjx_dm.config import Config, ConfigError, replace
from mjx_dm.presets import PRESETS
from mjx_dm.settings import flat
from mjx_dm.validation import validate


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_run_and_survives_its_json(name, tmp_path):
    config = validate(PRESETS[name])
    path = tmp_path / "config.json"
    path.write_text(json.dumps(configs.to_json(config)))
    assert configs.load(path) == config


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--num-envs", "0"], "--num-envs 0"),
        (["--preset", "fastest"], "--preset fastest"),
        (["--preset=fastest"], "--preset fastest"),
        (["--batch-size", "2000000"], "--batch-size 2000000"),
        (["--engine", "bullet"], "--engine bullet"),
        (["--physics", "slow"], "--physics slow"),
        (["--discount", "1.5"], "--discount 1.5"),
        (["--recency", "0"], "--recency 0"),
        (["--env-steps", "-1"], "--env-steps -1"),
        (["--replay-size", "63"], "--replay-size 63"),
        (["--random-steps", "1"], "--random-steps 1"),
        (["--actor-batch-size", "512"], "--actor-batch-size 512"),
        (
            ["--proposal", "sideways"],
            "--proposal sideways is unknown; choose from prior, policy or tilted",
        ),
        (["--task", "Cartwheel-v0"], "--task Cartwheel-v0 is unknown; choose from Ant-v4, "),
        (["--critic-widths", "256", "0"], "--critic-widths 256 0 must be greater than 0"),
        (["--num-atoms", "1"], "--num-atoms 1 must lie above 1 and at most at 100000"),
        (["--alpha", "-1"], "--alpha -1.0 must not be negative"),
        (["--normalize-reward", "--value-max", "0"], "--normalize-reward fits"),
        (["--seed", "-1"], "--seed -1"),
        (["--seed", "4294967296"], "--seed 4294967296"),
        (["--replay-size", "1000000000000"], "--replay-size 1000000000000"),
        (["--max-episode-steps", "2147483648"], "--max-episode-steps 2147483648"),
        (["--value-min", "nan"], "--value-min nan"),
        (["--log-std-min=-inf"], "--log-std-min -inf"),
        (["--actor-lr", "inf"], "--actor-lr inf"),
        (["--ess-target", "0.125"], "with --num-proposals 8 ESS / M is at least 0.125"),
        (["--num-proposals", "1", "--ess-target", "1"], "--ess-target 1.0 is out of reach"),
        (["--std-target", "1"], "--std-target 1.0 is out of reach"),
        (["--learner", "ppo"], "--learner ppo is unknown; choose from density_matching or sac"),
        (["--learner", "sac", "--num-proposals", "9"], "--num-proposals is read by density_match"),
        (["--target-entropy", "-2"], "--target-entropy is read by sac alone; leave it out"),
        (["--learner", "sac", "--target-entropy", "0.7"], "--target-entropy 0.7 is out of reach"),
        (["--learner", "sac", "--alpha", "0"], "give --alpha more than 0"),
        (["--learner", "sac", "--action-rule", "mean"], "give --action-rule sample"),
        (["--learner", "sac", "--no-bounded"], "give --bounded"),
        (["--resume", "--run-dir", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_argument_gets_one_sentence_and_status_2(arguments, named, capsys, tmp_path):
    arguments = arguments if "--run-dir" in arguments else [*arguments, f"--run-dir={tmp_path}/r"]
    assert train.main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert named in said
    assert said.count("\n") == 0 and said.endswith(".")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"ess_target": 0.126},
        {"ess_target": None, "num_proposals": 1},
        {"alpha": 0.0, "std_target": 1.0},
        {"max_grad_norm": float("inf")},
        {"learner": "sac", "std_target": 1.0, "ess_target": 0.1},
    ],
)
def test_what_can_be_reached_or_moves_nothing_can_run(settings):
    validate(replace(PRESETS["cpu"], **settings, seed=2**32 - 1))


def test_a_run_directory_that_exists_is_not_touched(capsys, tmp_path):
    (tmp_path / "kept").write_text("mine")
    assert train.main(["--preset", "smoke", "--run-dir", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_arguments_are_checked_before_jax_is_imported():
    code = (
        "import sys, train\n"
        "assert train.main(['--num-envs', '0']) == 2\n"
        "assert 'jax' not in sys.modules and 'mujoco' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def saved_run(directory, **changes):
    saved = replace(PRESETS["smoke"], run_dir=str(directory), **changes)
    (directory / "config.json").write_text(json.dumps(configs.to_json(saved)))
    return saved


def test_a_resumed_run_keeps_its_settings_and_goes_on_for_longer(tmp_path):
    saved = saved_run(tmp_path, seed=7, num_envs=4)
    again = ["--run-dir", str(tmp_path), "--resume", "--env-steps", "1024"]
    for arguments in (again, [*again, "--preset", "smoke"]):
        assert parse(arguments) == replace(saved, resume=True, env_steps=1024)


@pytest.mark.parametrize(
    "changed", (["--num-envs", "16"], ["--actor-lr", "1e-4"], ["--preset", "cpu"])
)
def test_a_resumed_run_refuses_other_settings(changed, tmp_path, capsys):
    saved_run(tmp_path)
    assert train.main(["--run-dir", str(tmp_path), "--resume", *changed]) == 2
    assert "A resumed run keeps" in capsys.readouterr().err


def test_what_is_near_is_told_where_a_name_is_unknown(tmp_path, capsys):
    assert train.main(["--task", "HalfCheeta-v4"]) == 2
    assert train.main(["--run-dir", str(tmp_path / "gone"), "--resume"]) == 2
    task, run = capsys.readouterr().err.splitlines()
    assert "HalfCheeta-v4 is unknown (HalfCheetah-v4 is near it); choose from" in task
    assert run == f"train.py: There is no run directory {tmp_path / 'gone'} to resume."


def test_published_differs_from_ours_by_settings_alone():
    published = PRESETS["published"]
    policy, temperatures = published.policy, published.temperatures
    assert (policy.num_components, policy.num_proposals, temperatures.temperature) == (32, 64, 1)
    assert (policy.proposal, temperatures.alpha, policy.log_std_bonus) == ("prior", 0, 0.01)


def test_an_unreadable_config_is_named(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json is not the config\.json of a run"):
        configs.load(path)


@pytest.mark.parametrize(
    ("group", "settings", "sentence"),
    [
        ("physics", {"num_envs": "8"}, '"num_envs" is "8" and must be a whole number'),
        ("physics", {"num_envs": None}, '"num_envs" is null and must be a whole number'),
        ("physics", {"fuel": 1}, '"fuel" is not a setting'),
        ("engine", {"fuel": 1}, '"engine" is not a group of settings'),
        ("run", {"seed": True}, '"seed" is true and must be a whole number'),
        ("run", {"save_replay": 1}, '"save_replay" is 1 and must be true or false'),
        ("task", {"max_episode_steps": 0.5}, "is 0.5 and must be a whole number or null"),
        ("critic", {"discount": "x"}, '"discount" is "x" and must be a number'),
        ("critic", {"critic": 3}, '"critic" is 3 and must be a string'),
        ("temperatures", {"ess_target": False}, "is false and must be a number or null"),
        ("policy", {"actor_widths": [8, 8.0]}, "is [8, 8.0] and must be a list of whole"),
        ("policy", None, '"policy" is null and must hold settings'),
    ],
)
def test_a_saved_setting_of_another_type_is_named(group, settings, sentence, tmp_path, capsys):
    raw = configs.to_json(PRESETS["smoke"])
    raw[group] = settings and raw.get(group, {}) | settings
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert train.main(["--run-dir", str(tmp_path), "--resume"]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/config.json is not" in said and sentence in said
    assert said.count("\n") == 1


def test_the_settings_of_another_version_are_refused_in_one_sentence(tmp_path, capsys):
    # Before there were groups there was no version.
    (tmp_path / "config.json").write_text('{"preset": "smoke", "learner": {"policy_delay": 1}}')
    assert train.main(["--run-dir", str(tmp_path), "--resume"]) == 2
    said = capsys.readouterr().err
    assert "has version 1 and this mjx_dm reads version 2" in said and said.count("\n") == 1


def test_a_saved_number_may_be_whole(tmp_path):
    raw = configs.to_json(PRESETS["smoke"])
    raw["run"]["minutes"] = 5
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert configs.load(tmp_path / "config.json").run.minutes == 5


def test_every_setting_has_a_name_and_a_help_of_its_own(capsys):
    names = [field.name for group in groups_of(Config()) for field in dataclasses.fields(group)]
    assert len(names) == len(set(names)) == len(flat(Config()))
    with pytest.raises(SystemExit):
        parse(["--help"])
    panels = capsys.readouterr().out
    for group in ("task", "physics", "replay", "networks", "policy", "critic", "temperatures"):
        assert f"{group} options" in panels
    for name in names:
        assert f"--{name.replace('_', '-')}" in panels


def groups_of(config):
    return [getattr(config, field.name) for field in dataclasses.fields(config)]


def test_settings_are_replaced_by_name_in_whatever_group_they_stand():
    config = replace(PRESETS["cpu"], num_envs=3, actor_lr=0.5)
    assert (config.physics.num_envs, config.policy.actor_lr) == (3, 0.5)
    assert replace(config, num_envs=32, actor_lr=3e-4) == PRESETS["cpu"]
    with pytest.raises(TypeError, match="fuel: no setting of Config"):
        replace(config, fuel=1)


def test_the_public_names_are_there_and_the_package_imports_no_jax():
    code = (
        "import sys, mjx_dm\n"
        "assert set(mjx_dm.__all__) <= set(dir(mjx_dm))\n"
        "mjx_dm.Config, mjx_dm.ConfigError, mjx_dm.CheckpointError\n"
        "assert 'jax' not in sys.modules and 'mujoco' not in sys.modules\n"
        "names = set(mjx_dm.__all__) - {'Task', 'get_task'}\n"
        "assert all(getattr(mjx_dm, name).__name__ == name for name in names)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
