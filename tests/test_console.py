"""mjx-dm, the installed command: every program of the package by one word."""

import importlib

import pytest

from mjx_dm import __version__, console, demo, ending


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(ending, "_CALLED", {})


def test_every_word_has_its_program(capsys):
    assert console.main([]) == 0
    told = capsys.readouterr().out
    for word, (place, _, what) in console.PROGRAMS.items():
        assert f"{word}  " in told and what in told
        module, function = place.split(":")
        assert callable(getattr(importlib.import_module(module), function))
    assert console.main(["--version"]) == 0 and __version__ in capsys.readouterr().out


def test_a_word_that_is_unknown_is_told(capsys):
    assert console.main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("mjx-dm: trian is unknown; choose from train, eval,")


def test_a_program_complains_by_the_name_that_it_was_called_by(capsys, tmp_path):
    assert console.main(["train", "--preset", "no"]) == 2
    assert console.main(["eval", str(tmp_path), "--episodes", "0"]) == 2
    one, other = capsys.readouterr().err.splitlines()
    assert one.startswith("mjx-dm train: --preset no") and other.startswith("mjx-dm eval: ")


def test_the_demo_scores_the_best_policy_of_what_it_trained(monkeypatch):
    given = []
    monkeypatch.setattr(demo, "train_main", lambda given_: given.append(given_) or 0)
    monkeypatch.setattr(demo, "eval_main", lambda given_: given.append(given_) or 7)
    assert demo.main(["--minutes", "2", "--run-dir", "runs/x"]) == 7
    trained, scored = given
    assert trained[trained.index("--minutes") + 1] == "2.0" and trained[-1] == "--no-save-replay"
    assert scored[:3] == ["runs/x/best", "--episodes", "10"]
    monkeypatch.setattr(demo, "train_main", lambda given_: 130)
    assert demo.main([]) == 130 and len(given) == 2
