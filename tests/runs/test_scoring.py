"""Scores, where disks are full and runs end."""

import threading

import numpy as np
import pytest

from mjx_dm.checkpoints.manifest import SaveError
from mjx_dm.config import replace
from mjx_dm.evaluation.evaluate import Evaluation, NoScore
from mjx_dm.presets import PRESETS
from mjx_dm.runs import scoring
from mjx_dm.runs.metrics import MetricsWriter
from mjx_dm.runs.progress import Scored
from mjx_dm.runs.scoring import Played, Scores
from mjx_dm.tasks import get_task
from mjx_dm.training import normalisation


@pytest.fixture
def scores(tmp_path):
    config, said = replace(PRESETS["smoke"], run_dir=str(tmp_path)), []
    with MetricsWriter(tmp_path) as writer:
        task = get_task("InvertedPendulum-v5")
        with Scores(config, task, writer, said.append, lambda: 0.0) as scores:
            yield scores, said


def play(scores, score, evaluate):
    """As `Scores.score` has it played."""
    result = scores._player.submit(evaluate)
    scores._playing = Played(score, 1.0, {}, normalisation.init((4,)), result)
    return result


def test_the_best_policy_is_kept_once_the_disk_takes_it(scores, monkeypatch):
    scores, said = scores
    kept: list[int] = []
    found = Evaluation((7.0,), (7,), 0, "InvertedPendulum-v5", "InvertedPendulum-v5")

    def keep(directory, config, spaces, env_steps, *rest):
        if full:
            raise SaveError("No space left.")
        kept.append(env_steps)

    monkeypatch.setattr(scoring, "keep_policy", keep)
    full = True
    play(scores, 128, lambda: found)
    scores.collect(wait=True)
    scores.collect()
    assert said[1:] == ["No space left. Training goes on, and it is tried again."] and not kept
    scores.say_best()
    assert said[-1].endswith("is not saved.")
    full = False
    scores.collect()
    assert kept == [128] and scores.latest == Scored(7.0, 0.0, 128)


def test_episodes_are_given_up_when_the_run_ends(scores):
    scores, _ = scores
    began = threading.Event()

    def endless():
        began.set()
        while True:
            scores._stop_if_over(0, np.zeros(1))

    result = play(scores, 128, endless)
    began.wait(5)
    scores.__exit__()
    assert isinstance(result.exception(timeout=5), NoScore)
