"""What settings cost, at toy size, and what the command refuses."""

import json

import pytest
import setting_cost

SMALL = ["--preset", "smoke", "--steps", "2", "--rounds", "3", "--replay-size", "512"]


@pytest.mark.slow
def test_a_variant_of_more_work_takes_longer(tmp_path):
    out = tmp_path / "cost.json"
    more = "updates_per_step=64,num_proposals=8"
    assert setting_cost.main([*SMALL, "--vary", more, "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["milliseconds_a_step"]
    assert set(rows) == {"preset", more}
    assert rows["preset"]["times_preset"] == 1.0
    # 64 updates for one: far beyond what a busy machine could hide.
    assert rows[more]["times_preset"] > 2.0
    assert len(rows[more]["rounds"]) == 3


def test_a_missing_folder_is_told_before_anything_is_timed(capsys):
    assert setting_cost.main(["--vary", "num_proposals=4", "--out", "nowhere/cost.json"]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err


def test_no_rounds_are_told_in_a_sentence(capsys):
    assert setting_cost.main(["--vary", "num_proposals=4", "--rounds", "0"]) == 2
    assert "--rounds must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("num_proposals", "--vary num_proposals is not understood"),
        ("proposals=4", "--vary proposals=4 is not understood"),
        ("num_proposals=0", "--num-proposals 0 must be greater than 0"),
        ("num_proposals=few", "--vary num_proposals=few: few is no value of num_proposals."),
    ],
)
def test_what_cannot_run_is_told_in_a_sentence(item, told, capsys):
    assert setting_cost.main(["--vary", item]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
