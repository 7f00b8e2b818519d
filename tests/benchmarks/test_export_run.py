"""benchmarks/export_run.py: every evaluation of a run, once, with the launch at its step. And what
the commands beside it refuse."""

import json

import compare_runs
import engine_threads
import export_run
import transfer

from mjx_dm import config
from mjx_dm.files import write_json
from mjx_dm.presets import PRESETS
from mjx_dm.runs.metrics import MetricsWriter


def test_every_evaluation_is_exported_once_with_the_launch_at_its_step(tmp_path):
    launch = dict.fromkeys(export_run.OF_LAUNCH, 0.5) | {"train_seconds": 1.0}
    scores = {"eval_return_std": 2.0, "eval_episodes": 10, "train_seconds": 3.0}
    scores |= {"wall_seconds": 5.0}
    with MetricsWriter(tmp_path) as writer:
        writer.write(100, launch | {"updates": 7})
        writer.write(200, launch | {"updates": 9, "q_error": float("nan")})
        writer.write(300, launch | {"updates": 11})  # while the episodes were played
        writer.write(200, scores | {"eval_return": 400.12345})
        writer.write(200, scores | {"eval_return": 400.12345})  # the run ended there
    write_json(tmp_path / "config.json", config.to_json(PRESETS["smoke"]))
    out = tmp_path / "out.json"
    assert export_run.main(tmp_path, out, note="as it is") == 0
    report = json.loads(out.read_text())
    assert report["note"] == "as it is" and report["config"]["run"]["preset"] == "smoke"
    (row,) = report["evaluations"]
    assert (row["env_steps"], row["updates"], row["eval_return"]) == (200, 9, 400.123)
    assert row["q_error"] is None and (row["train_seconds"], row["wall_seconds"]) == (3.0, 5.0)


def test_a_learner_without_a_mixture_is_exported_with_what_it_has():
    metrics = {"step": [8, 8], "updates": [3.0, float("nan")], "q_error": [0.5, float("nan")]}
    metrics["eval_return"] = [float("nan"), 7.0]
    (row,) = export_run.evaluations(metrics)
    assert row == {"env_steps": 8, "eval_return": 7.0, "updates": 3.0, "q_error": 0.5}


def test_what_is_not_a_run_gets_one_sentence(tmp_path, capsys):
    assert export_run.main(tmp_path / "nowhere", tmp_path / "out.json") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_output_without_its_folder_is_told_before_anything_is_measured(tmp_path, capsys):
    out = tmp_path / "nowhere" / "out.json"
    write_json(tmp_path / "config.json", config.to_json(PRESETS["smoke"]))
    assert export_run.main(tmp_path, out) == 2
    assert engine_threads.main(["--json", str(out)]) == 2
    assert transfer.main([str(tmp_path), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count(f"there is no folder {out.parent}") == said.count("\n") == 3


def test_what_holds_no_policy_gets_one_sentence(tmp_path, capsys):
    assert transfer.main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"no policy in {tmp_path}" in said and said.count("\n") == 1


def test_one_seed_counts_once_unless_it_is_meant_to_count_twice(tmp_path, capsys):
    def exported(name, **changed):
        settings = config.to_json(config.replace(PRESETS["smoke"], **changed))
        rows = [{"env_steps": 200_000, "eval_return": 100.0 + len(name)}]
        write_json(tmp_path / name, {"config": settings, "evaluations": rows})
        return str(tmp_path / name)

    a, b = exported("seed1.json", seed=1), exported("seed2_of_another_name.json", seed=2)
    longer, other = (
        exported("longer.json", seed=1, minutes=9.0),
        exported("v4.json", physics="exact"),
    )
    out = ["--out", str(tmp_path / "out.json")]
    assert compare_runs.main(["--a", a, b, "--b", a, other, *out]) == 0
    assert compare_runs.main(["--a", a, b, "--b", a, longer, *out]) == 2
    said = capsys.readouterr().err
    assert f"{a} and {longer} are one seed" in said and said.count("\n") == 1
    assert compare_runs.main(["--a", a, b, "--b", a, longer, "--repeats", *out]) == 0
