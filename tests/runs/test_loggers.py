"""Claims about where curves, scores and films go besides metrics.jsonl."""

import importlib.util
import time

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from mjx_dm import config as configs
from mjx_dm.config import Config, ConfigError, replace
from mjx_dm.drawing import mp4
from mjx_dm.files import LOCK, write_json
from mjx_dm.records import read_metrics
from mjx_dm.runs.loggers import guarded, opening
from mjx_dm.runs.loggers.guarded import Loggers
from mjx_dm.runs.metrics import MetricsWriter
from mjx_dm.validation import validate

needs_wandb = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="the extra wandb is not installed"
)


class Fake:
    """A logger that raises what it is told to, and remembers what it took."""

    def __init__(self, error=None):
        self.error, self.taken, self.tried = error, [], 0

    def scalars(self, step, values, seconds):
        self.tried += 1
        if self.error is not None:
            raise self.error
        self.taken.append((step, values))

    def film(self, step, path):
        self.scalars(step, path, 0.0)

    def close(self):
        self.scalars(-1, None, 0.0)


def values(event):
    return [(event.step, value.tag) for value in event.summary.value]


def events(run_dir):
    """Of TensorBoard's files: records of length (8 bytes), checksum (4), data, checksum (4)."""
    found = []
    for file in sorted((run_dir / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_a_logger_that_raises_is_told_once_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(guarded, "_RETRY_SECONDS", 0.0)
    said, broken, works = [], Fake(RuntimeError("no\nroute")), Fake()
    loggers = Loggers({"The tracker": lambda: broken, "another": lambda: works}, said.append)
    for step in range(3):
        loggers.scalars(step, {"loss": 1.0}, 0.0)
    loggers.close()
    assert said == [
        "The tracker cannot be written (RuntimeError: no route): training goes on, and it lacks "
        "some of what metrics.jsonl has."
    ]
    assert [step for step, _ in works.taken] == [0, 1, 2, -1]
    broken.error = None
    loggers.scalars(3, {"loss": 1.0}, 0.0)
    assert broken.taken == [(3, {"loss": 1.0})]


def test_a_logger_that_failed_is_not_asked_again_at_once():
    broken = Fake(OSError(28, "No space left on device"))
    loggers = Loggers({"The tracker": lambda: broken}, lambda text: None)
    for step in range(3):
        loggers.scalars(step, {}, 0.0)
    assert broken.tried == 1


def test_a_logger_that_cannot_be_made_takes_nothing_from_the_record(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise ConnectionError("no network")

    monkeypatch.setattr(opening, "_weights_and_biases", refuse)
    said = []
    with MetricsWriter(tmp_path, say=said.append, config=replace(Config(), log=("wandb",))) as w:
        w.write(1, {"loss": 0.5})
        w.write(2, {"loss": 0.5})
    assert len(said) == 1 and "Weights & Biases cannot be written" in said[0]
    assert read_metrics(tmp_path / "metrics.jsonl")["step"] == [1, 2]
    assert [values(event) for event in events(tmp_path)][-1] == [(2, "loss")], "TensorBoard always"


def test_an_unknown_logger_and_one_that_is_not_installed_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match="--log paper is unknown; choose from tensorboard or"):
        validate(replace(Config(), log=("tensorboard", "paper")))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"--log wandb needs the extra wandb"):
        validate(replace(Config(), log=("wandb",)))


def test_a_score_and_its_film_go_to_the_loggers_of_the_run(tmp_path):
    write_json(tmp_path / "config.json", configs.to_json(Config()))
    (tmp_path / "best").mkdir()
    film = tmp_path / "step_000000000012_best_seed_1003.mp4"
    mp4.encode(iter(np.zeros((4, 32, 64, 3), np.uint8)), film, 64, 32, 10.0)
    said = []
    opening.log_scores(tmp_path / "best", 12, {"mean": 3.0, "returns": [3.0]}, [film], said.append)
    assert not said
    found = [value for event in events(tmp_path) for value in values(event)]
    assert found == [(12, "score/mean"), (12, "film/best")]
    image = events(tmp_path)[-1].summary.value[0].image
    assert image.encoded_image_string.startswith(b"GIF8") and image.width == 2 * image.height


def test_a_policy_outside_of_a_run_has_no_loggers(tmp_path):
    (tmp_path / "policy").mkdir()
    opening.log_scores(tmp_path / "policy", 12, {"mean": 3.0}, [], lambda text: None)
    assert not list((tmp_path / "policy").iterdir()) and len(list(tmp_path.iterdir())) == 1


def test_a_run_that_is_training_keeps_its_tracker_to_itself(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(opening, "_weights_and_biases", lambda *x: made.append(x) or Fake())
    write_json(tmp_path / "config.json", configs.to_json(replace(Config(), log=("wandb",))))
    (tmp_path / LOCK).write_text("{}")
    opening.log_scores(tmp_path, 12, {"mean": 3.0}, [], lambda text: None)
    assert not made
    (tmp_path / LOCK).unlink()
    opening.log_scores(tmp_path, 12, {"mean": 3.0}, [], lambda text: None)
    assert len(made) == 1


@needs_wandb
@pytest.mark.slow
def test_weights_and_biases_is_offline_without_a_login_and_resumed_under_one_id(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    run, said = tmp_path / "run", []
    for resume in (False, True):
        settings = replace(Config(), log=("tensorboard", "wandb"))
        with MetricsWriter(run, resume, said.append, settings) as writer:
            writer.write(1 + resume, {"loss": 0.5})
    assert len(said) == 2 and all("Weights & Biases is offline" in text for text in said)
    run_id = (run / "wandb" / "run_id").read_text().strip()
    files = list((run / "wandb").glob("offline-run-*/*.wandb"))
    assert [path.name for path in files] == [f"run-{run_id}.wandb"] * 2
    # Their own process writes it, and is not done when they say so.
    until = time.monotonic() + 30.0
    while not all(b"loss" in path.read_bytes() for path in files):
        assert time.monotonic() < until, "each holds the curve"
        time.sleep(0.1)
