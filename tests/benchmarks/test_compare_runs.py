"""benchmarks/compare_runs.py: what it says of runs whose answer is known."""

import json

import compare_runs
import pytest


def write(path, returns, first=200_000):
    evaluations = [
        # A launch of 3,200 steps ends up to as many after 200,000, 400,000, ...
        {"env_steps": (i + 1) * first + 1_600, "eval_return": score}
        for i, score in enumerate(returns)
    ]
    path.write_text(json.dumps({"evaluations": evaluations}))
    return str(path)


def test_the_difference_of_two_settings_comes_with_its_interval(tmp_path, capsys):
    a = [write(tmp_path / f"a{i}.json", [400, 1_000 + i]) for i in range(3)]
    b = [write(tmp_path / f"b{i}.json", [400, 3_000 + i, 9_000]) for i in range(4)]
    out = tmp_path / "out.json"
    plot = tmp_path / "plot.png"
    arguments = ["--a", *a, "--b", *b, "--out", str(out), "--plot", str(plot)]
    assert compare_runs.main(arguments) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    report = json.loads(out.read_text())
    assert report["env_steps"] == [200_000, 400_000]
    rows = {row["what"]: row for row in report["rows"]}
    assert "env steps to 2,000" not in rows  # which no run of a reached
    last = rows["return at 400,000"]
    assert last["difference"] == pytest.approx(2000.5)
    low, high = last["interval"]
    assert 1_995 < low < last["difference"] < high < 2_006
    # The middle half of 3000, 3001, 3002, 3003.
    assert last["b"]["iqm"] == pytest.approx(3001.5)
    assert "| return at 400,000 |" in capsys.readouterr().out


def test_the_step_at_which_a_return_was_passed_lies_on_the_line_between_scores():
    curve = {100: 1_000.0, 200: 3_000.0, 300: 2_000.0}
    assert compare_runs.steps_to(curve, [100, 200, 300], 2_000) == pytest.approx(150)
    nowhere = compare_runs.steps_to(curve, [100, 200, 300], 5_000)
    assert nowhere != nowhere


def test_one_run_no_run_and_no_folder_get_a_sentence(tmp_path, capsys):
    run = write(tmp_path / "a.json", [1])
    arguments = ["--a", run, "--b", run, "--out", str(tmp_path / "out.json")]
    assert compare_runs.main(arguments) == 2
    assert "two runs" in capsys.readouterr().err
    assert compare_runs.main([*arguments[:3], __file__, *arguments[4:]]) == 2
    assert "test_compare_runs.py is not" in capsys.readouterr().err
    assert compare_runs.main([*arguments, "--plot", str(tmp_path / "nowhere" / "plot.png")]) == 2
    assert "there is no folder" in capsys.readouterr().err
