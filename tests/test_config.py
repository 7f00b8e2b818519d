"""Wrong settings are answered with one sentence and exit status 2, before anything is loaded."""

import dataclasses
import json
import subprocess
import sys

import pytest

import train
from mjx_dm import config as configs
from mjx_dm.config import ConfigError, LearnerConfig
from mjx_dm.presets import PRESETS
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
        (["--physics", "exact"], "--physics exact"),
        (["--discount", "1.5"], "--discount 1.5"),
        (["--recency", "0"], "--recency 0"),
        (["--env-steps", "-1"], "--env-steps -1"),
        (["--replay-size", "63"], "--replay-size 63"),
        (["--random-steps", "1"], "--random-steps 1"),
        (["--actor-batch-size", "512"], "--actor-batch-size 512"),
        (["--updates-per-step", "3", "--policy-delay", "2"], "--updates-per-step 3"),
        (["--average-worlds", "1.5"], "--average-worlds 1.5"),
        (["--proposal", "sideways"], "--proposal sideways"),
        (["--proposal", "broad", "--broad-share", "1"], "--broad-share 1"),
        (["--proposal", "prior", "--subtract-score"], "--subtract-score holds for samples"),
        (["--importance-correction"], "--importance-correction needs --proposal prior or broad"),
        (["--critic-residual", "--critic-widths", "256", "512"], "--critic-residual needs"),
        (["--normalize-reward", "--value-max", "0"], "--normalize-reward fits"),
        (["--kl-target", "0.1"], "--ess-target and --kl-target"),
        (["--seed", "-1"], "--seed -1"),
        (["--seed", "4294967296"], "--seed 4294967296"),
        (["--replay-size", "1000000000000"], "--replay-size 1000000000000"),
        (["--max-episode-steps", "2147483648"], "--max-episode-steps 2147483648"),
        (["--value-min", "nan"], "--value-min nan"),
        (["--log-std-min=-inf"], "--log-std-min -inf"),
        (["--actor-lr", "inf"], "--actor-lr inf"),
        (["--ess-target", "0.125"], "with --num-proposals 8 ESS / M is at least 0.125"),
        (["--num-proposals", "1", "--ess-target", "1"], "--ess-target 1.0 is out of reach"),
        (["--ess-target", "None", "--kl-target", "2.08"], "--kl-target 2.08 is out of reach"),
        (["--std-target", "1"], "--std-target 1.0 is out of reach"),
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
        {"ess_target": None, "kl_target": 2.07},
        {"proposal": "moved", "num_proposals": 1},
        {"alpha": 0.0, "std_target": 1.0},
        {"max_grad_norm": float("inf")},
    ],
)
def test_what_can_be_reached_or_moves_nothing_can_run(settings):
    learner = dataclasses.replace(PRESETS["cpu"].learner, **settings)
    validate(dataclasses.replace(PRESETS["cpu"], learner=learner, seed=2**32 - 1))


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
    saved = dataclasses.replace(PRESETS["smoke"], run_dir=str(directory), **changes)
    (directory / "config.json").write_text(json.dumps(configs.to_json(saved)))
    return saved


def test_a_resumed_run_keeps_its_settings_and_goes_on_for_longer(tmp_path):
    saved = saved_run(tmp_path, seed=7, num_envs=4)
    again = ["--run-dir", str(tmp_path), "--resume", "--env-steps", "1024"]
    for arguments in (again, [*again, "--preset", "smoke"]):
        assert train.parse(arguments) == dataclasses.replace(saved, resume=True, env_steps=1024)


@pytest.mark.parametrize(
    "changed", (["--num-envs", "16"], ["--actor-lr", "1e-4"], ["--preset", "cpu"])
)
def test_a_resumed_run_refuses_other_settings(changed, tmp_path, capsys):
    saved_run(tmp_path)
    assert train.main(["--run-dir", str(tmp_path), "--resume", *changed]) == 2
    assert "A resumed run keeps" in capsys.readouterr().err


def test_published_differs_from_ours_by_settings_alone():
    published = PRESETS["published"].learner
    assert isinstance(published, LearnerConfig)
    assert (published.num_components, published.num_proposals, published.temperature) == (32, 64, 1)
    assert (published.proposal, published.alpha, published.log_std_bonus) == ("prior", 0, 0.01)


def test_an_unreadable_config_is_named(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json is not the config\.json of a run"):
        configs.load(path)


@pytest.mark.parametrize(
    ("settings", "learner", "sentence"),
    [
        ({"num_envs": "8"}, {}, '"num_envs" is "8" and must be a whole number'),
        ({"num_envs": None}, {}, '"num_envs" is null and must be a whole number'),
        ({"seed": True}, {}, '"seed" is true and must be a whole number'),
        ({"save_replay": 1}, {}, '"save_replay" is 1 and must be true or false'),
        ({"fuel": 1}, {}, '"fuel" is not a setting'),
        ({}, {"discount": "x"}, '"discount" is "x" and must be a number'),
        ({}, {"ess_target": False}, '"ess_target" is false and must be a number or null'),
        ({}, {"critic": 3}, '"critic" is 3 and must be a string'),
        ({}, {"actor_widths": [8, 8.0]}, '"actor_widths" is [8, 8.0] and must be a list of whole'),
        ({"learner": None}, {}, 'as "learner", those of the learner'),
    ],
)
def test_a_saved_setting_of_another_type_is_named(settings, learner, sentence, tmp_path, capsys):
    raw = configs.to_json(PRESETS["smoke"])
    raw["learner"] |= learner
    (tmp_path / "config.json").write_text(json.dumps(raw | settings))
    assert train.main(["--run-dir", str(tmp_path), "--resume"]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/config.json is not" in said and sentence in said
    assert said.count("\n") == 1


def test_a_saved_number_may_be_whole(tmp_path):
    raw = configs.to_json(PRESETS["smoke"]) | {"minutes": 5}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert configs.load(tmp_path / "config.json").minutes == 5
