"""A run directory has one owner, and the dead are no owners."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from mjx_dm.checkpoints.manifest import SaveError
from mjx_dm.config import ConfigError
from mjx_dm.files import LOCK
from mjx_dm.runs import lock
from mjx_dm.runs.lock import Lost, owned

OWN = """
import sys, time
from pathlib import Path
from mjx_dm.runs.lock import owned
with owned(Path(sys.argv[1]), print):
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that owns the directory."""
    command = [sys.executable, "-c", OWN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "mine\n"
        yield process
        process.kill()


def test_a_second_owner_is_refused_by_the_name_of_the_first_and_a_dead_one_taken_over(
    other, tmp_path
):
    before, said = (tmp_path / LOCK).read_text(), []
    refused = pytest.raises(ConfigError, match=f"in use by process {other.pid} on ")
    with refused as refusal, owned(tmp_path, said.append):
        pass
    assert "\n" not in str(refusal.value) and not said
    assert (tmp_path / LOCK).read_text() == before
    other.kill()
    other.wait()
    with owned(tmp_path, said.append):
        assert len(said) == 1 and f"process {other.pid}" in said[0] and "gone" in said[0]
    assert not (tmp_path / LOCK).exists()
    with owned(tmp_path, said.append):
        assert len(said) == 1, "whoever ends by itself leaves nothing to take over"


def test_two_threads_are_two_owners(tmp_path):
    refused = []

    def try_it():
        try:
            with owned(tmp_path, print):
                pass
        except ConfigError as error:
            refused.append(str(error))

    with owned(tmp_path, print):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert f"process {os.getpid()}" in refused[0]


@pytest.mark.parametrize("beats", [True, False])
def test_an_owner_on_another_machine_lives_as_long_as_its_heart_beats(tmp_path, monkeypatch, beats):
    monkeypatch.setattr(lock, "WATCH_SECONDS", 0.5)
    path, said = tmp_path / LOCK, []
    path.write_text(json.dumps({"host": "far", "boot": "away", "pid": 7, "token": "its"}))
    until = time.monotonic() + 5

    def beat():
        while beats and time.monotonic() < until and not said[1:]:
            os.utime(path)
            time.sleep(0.02)

    heart = threading.Thread(target=beat)
    heart.start()
    if beats:
        with pytest.raises(ConfigError, match="process 7 on far"), owned(tmp_path, said.append):
            pass
        until = 0
        assert json.loads(path.read_text())["token"] == "its"
    else:
        with owned(tmp_path, said.append):
            assert said[0].startswith("Waiting 0 s") and "Took over" in said[1]
    heart.join()


def test_the_heart_beats_where_others_see_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    with owned(tmp_path, print):
        first, until = (tmp_path / LOCK).stat().st_mtime_ns, time.monotonic() + 5
        while (tmp_path / LOCK).stat().st_mtime_ns == first:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_whoever_lost_the_directory_is_told_before_it_writes(tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved"
    with owned(run, print) as owner:
        owner.check()
        run.rename(moved)
        with pytest.raises(SaveError, match="has been moved"):
            owner.check()
        moved.rename(run)
        owner.check()
        theirs = json.dumps({"host": "far", "pid": 7, "token": "its"})
        (run / LOCK).write_text(theirs)
        with pytest.raises(Lost, match="taken over while .* process 7 on far"):
            owner.check()
    assert (run / LOCK).read_text() == theirs, "the other's lock stays"


def test_without_locks_of_the_system_the_heart_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.host, "lock", lambda descriptor: None)
    monkeypatch.setattr(lock, "WATCH_SECONDS", 0.3)
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    refused = pytest.raises(ConfigError, match="in use by")
    with owned(tmp_path, print), refused, owned(tmp_path, print):
        pass


def test_a_directory_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    refused = pytest.raises(ConfigError, match="cannot be written to")
    with refused as refusal, owned(tmp_path / "file" / "run", print):
        pass
    assert "\n" not in str(refusal.value)
