"""benchmarks/export_run.py: every evaluation of a run, once, with the launch before it."""

import json

import export_run

from mjx_dm import config
from mjx_dm.files import write_json
from mjx_dm.metrics import MetricsWriter
from mjx_dm.presets import PRESETS


def test_every_evaluation_is_exported_once_with_the_launch_before_it(tmp_path):
    launch = dict.fromkeys(export_run.OF_LAUNCH, 0.5) | {"train_seconds": 1.0}
    scores = {"eval_return_std": 2.0, "eval_episodes": 10, "train_seconds": 3.0}
    with MetricsWriter(tmp_path) as writer:
        writer.write(100, launch | {"updates": 7})
        writer.write(200, launch | {"updates": 9, "q_error": float("nan")})
        writer.write(200, scores | {"eval_return": 400.12345})
        writer.write(200, scores | {"eval_return": 400.12345})  # the run ended there
    write_json(tmp_path / "config.json", config.to_json(PRESETS["smoke"]))
    out = tmp_path / "out.json"
    assert export_run.main(tmp_path, out, note="as it is") == 0
    report = json.loads(out.read_text())
    assert report["note"] == "as it is" and report["config"]["preset"] == "smoke"
    (row,) = report["evaluations"]
    assert (row["env_steps"], row["updates"], row["eval_return"]) == (200, 9, 400.123)
    assert row["q_error"] is None and row["train_seconds"] == 3.0


def test_what_is_not_a_run_gets_one_sentence(tmp_path, capsys):
    assert export_run.main(tmp_path / "nowhere", tmp_path / "out.json") == 2
    assert capsys.readouterr().err.count("\n") == 1
