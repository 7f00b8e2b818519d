"""Claims about what a run records."""

import json
import math
import resource
from contextlib import contextmanager

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from mjx_dm.records import read_metrics
from mjx_dm.runs.loggers import guarded, tensorboard
from mjx_dm.runs.metrics import MetricsWriter


def write_steps(run_dir, steps, resume=False, offset=0):
    with MetricsWriter(run_dir, resume=resume) as writer:
        for step in steps:
            writer.write(step, {"episode_return": step + offset})


def tensorboard_events(run_dir):
    """Decodes the TFRecord framing: length (8 bytes), checksum (4), data, checksum (4)."""
    events = []
    for file in sorted((run_dir / "tensorboard").iterdir(), key=lambda x: x.stat().st_mtime_ns):
        data = file.read_bytes()
        while len(data) > 12:  # a disk that was full leaves half a record
            length = int.from_bytes(data[:8], "little")
            if len(data) < 16 + length:
                break
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return events


def test_a_record_is_on_disk_as_soon_as_it_is_written(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write(10, {"episode_return": 5.5})
    record = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert record.pop("time") > 1.7e9
    assert record == {"step": 10, "episode_return": 5.5}
    writer.close()


def test_integers_stay_integers_and_non_finite_values_become_null(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(
            np.int64(2**40),
            {"updates": np.int32(7), "loss": np.float32("nan"), "q": math.inf, "t": np.ones(1)},
        )
    line = (tmp_path / "metrics.jsonl").read_text()
    assert '"step": 1099511627776' in line
    assert '"updates": 7,' in line
    assert '"loss": null, "q": null, "t": 1.0}' in line


@pytest.mark.parametrize("value", [np.ones(3), "high", None])
def test_what_is_not_a_number_is_refused_by_name(tmp_path, value):
    with MetricsWriter(tmp_path) as writer, pytest.raises(TypeError, match="metric loss is a"):
        writer.write(1, {"loss": value})
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_a_metric_cannot_take_the_name_of_the_step(tmp_path):
    with MetricsWriter(tmp_path) as writer, pytest.raises(ValueError, match="'step' is taken"):
        writer.write(1, {"step": 2})


def test_resume_drops_lines_after_the_restored_step(tmp_path):
    write_steps(tmp_path, [10, 20, 30, 40])
    write_steps(tmp_path, [30, 50], resume=20, offset=1)
    metrics = read_metrics(tmp_path / "metrics.jsonl")
    assert metrics["step"] == [10, 20, 30, 50]
    assert metrics["episode_return"] == [10, 20, 31, 51]


def test_resume_at_step_zero_drops_every_later_line(tmp_path):
    write_steps(tmp_path, [0, 10, 20])
    write_steps(tmp_path, [10], resume=0)
    assert read_metrics(tmp_path / "metrics.jsonl")["step"] == [0, 10]


def test_resume_without_a_step_keeps_every_line(tmp_path):
    write_steps(tmp_path, [10, 20])
    write_steps(tmp_path, [30], resume=True)
    assert read_metrics(tmp_path / "metrics.jsonl")["step"] == [10, 20, 30]


def test_resume_goes_on_after_a_half_written_last_line(tmp_path):
    write_steps(tmp_path, [10, 20])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 30, "episode_re')
    assert read_metrics(path)["step"] == [10, 20]
    write_steps(tmp_path, [30], resume=True)
    assert read_metrics(path)["step"] == [10, 20, 30]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    write_steps(tmp_path, [10, 20])
    path = tmp_path / "metrics.jsonl"
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(ValueError, match="Line 1 of"):
        read_metrics(path)


def test_a_new_run_moves_old_metrics_aside(tmp_path):
    write_steps(tmp_path, [10, 20])
    write_steps(tmp_path, [5])
    assert read_metrics(tmp_path / "metrics.jsonl")["step"] == [5]
    (old,) = tmp_path.glob("metrics-*.jsonl")
    assert read_metrics(old)["step"] == [10, 20]


def test_missing_values_are_nan_at_their_steps(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {"loss": 0.5})
        writer.write(2, {"eval_return": 3.0, "loss": math.nan})
    metrics = read_metrics(tmp_path / "metrics.jsonl")
    np.testing.assert_array_equal(metrics["loss"], [0.5, np.nan])
    np.testing.assert_array_equal(metrics["eval_return"], [np.nan, 3.0])
    assert len(metrics["time"]) == 2


def test_tensorboard_gets_the_finite_values_and_forgets_steps_after_the_restored_one(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(10, {"loss": 0.5, "q": math.nan})
    write_steps(tmp_path, [30], resume=20)
    events = tensorboard_events(tmp_path)
    scalars = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
    assert scalars == [(10, "loss", 0.5), (30, "episode_return", 30.0)]
    assert [e.step for e in events if e.session_log.status == e.session_log.START][-1] == 21


@contextmanager
def largest_file(size):
    """As on a full disk: no file of this process grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_full_disk_does_not_take_waits_and_nothing_is_missing(tmp_path):
    said = []
    with MetricsWriter(tmp_path, say=said.append) as writer:
        writer.write(10, {"loss": 0.5})
        size = (tmp_path / "metrics.jsonl").stat().st_size
        with largest_file(size + 20):  # half of the next line
            for step in range(20, 60, 10):
                writer.write(step, {"loss": 0.5})
            assert (tmp_path / "metrics.jsonl").stat().st_size == size, "no half line stays"
            assert len(said) == 1 and "metrics.jsonl cannot be written (File too large)" in said[0]
        writer.write(60, {"loss": 0.5})
    assert read_metrics(tmp_path / "metrics.jsonl")["step"] == [10, 20, 30, 40, 50, 60]
    assert len(said) == 2 and said[1].endswith("is written again, and nothing of it is missing.")


def test_records_that_no_disk_takes_are_told_of_at_the_end(tmp_path):
    said = []
    writer = MetricsWriter(tmp_path, say=said.append)
    with largest_file(0):
        writer.write(10, {"loss": 0.5})
        writer.close()
    assert said[-1].startswith("1 records of ") and said[-1].endswith("are lost.")


def test_tensorboard_on_a_full_disk_is_told_once_and_goes_on_in_another_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "_FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(guarded, "_RETRY_SECONDS", 0.0)
    said = []
    with MetricsWriter(tmp_path, say=said.append) as writer:
        with largest_file(2000):
            for step in range(100):  # many more than tensorboardX's own queue holds
                writer.write(step, {"loss": 0.5})
        writer.write(100, {"loss": 0.5})
    assert ["tensorboard cannot be written" in x for x in said].count(True) == 1
    assert tensorboard_events(tmp_path)[-1].step == 100
    assert len(list((tmp_path / "tensorboard").iterdir())) > 1
