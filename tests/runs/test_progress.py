"""Claims about what a person sees of a run."""

import io
import math
import os
import threading
import time

import pytest
from rich.console import Console

from mjx_dm.runs import progress as module
from mjx_dm.runs.progress import Progress, Scored


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def plain_progress(total=1000, **options):
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=40)
    progress = Progress(total, console=console, clock=clock, **options)
    return progress, out, clock


def test_without_a_terminal_one_line_holds_everything(capsys):
    with Progress(5_000_000) as progress:
        score = Scored(8101.6, 30.9, 1_000_000)
        progress.update(1_200_000, 6400.2, 37_000, 7383.4, 998.0, score=score)
    assert capsys.readouterr().out == (
        " 24%  1,200,000 of 5,000,000 env steps | 6,400 steps/s | 37,000 updates | ETA 9m 54s"
        " | exploring return 7,383, length 998 | score 8,102 ± 31 after 1,000,000 steps\n"
    )


def test_progress_is_towards_the_limit_that_comes_first(capsys):
    with Progress(5_000_000, 90.0) as progress:
        progress.update(50_000, 1000.0, 1, 1.0, 1.0, train_seconds=45.0)
    said = capsys.readouterr().out
    assert said.startswith(" 50%  45s of 1m 30s, 50,000 env steps |") and "| ETA 45s |" in said
    with Progress(100_000, 1e6) as progress:
        progress.update(50_000, 1000.0, 1, 1.0, 1.0, train_seconds=45.0)
    said = capsys.readouterr().out
    assert said.startswith(" 50%  50,000 of 100,000 env steps |") and "| ETA 50s |" in said


def test_a_limit_in_time_is_known_without_a_rate(capsys):
    with Progress(5_000_000, 90.0) as progress:
        progress.update(0, 0.0, 0, None, None, train_seconds=30.0)
    assert "| ETA 1m 00s |" in capsys.readouterr().out


def test_without_a_terminal_lines_are_rare_but_the_first_and_last_are_there():
    progress, out, clock = plain_progress()
    with progress:
        for second in range(20):
            clock.seconds = second
            progress.update(second, 1.0, 0, None, None)
    shown = [line.split()[1] for line in out.getvalue().splitlines()]
    assert shown == ["0", "10", "19"]


def test_before_the_first_episode_and_without_a_rate_there_are_dashes():
    progress, out, _ = plain_progress()
    with progress:
        progress.update(0, 0.0, 0, math.nan, None)
    assert out.getvalue().endswith("| ETA – | exploring return –, length –\n")


def test_messages_are_written_as_they_are():
    progress, out, _ = plain_progress()
    with progress:
        progress.say("compiling [bold] for a while, which is longer than the line is wide")
    assert out.getvalue() == (
        "compiling [bold] for a while, which is longer than the line is wide\n"
    )


def test_the_last_line_is_written_when_the_run_fails():
    progress, out, _ = plain_progress()
    with pytest.raises(RuntimeError), progress:
        progress.update(1, 1.0, 0, None, None)
        progress.update(2, 1.0, 0, None, None)
        raise RuntimeError
    assert len(out.getvalue().splitlines()) == 2


def test_on_a_terminal_the_display_is_live_and_messages_stand_above_it():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with Progress(1000, console=console) as progress:
        progress.update(250, 10.0, 3, 77.0, 20.0)
        progress.say("checkpoint 250")
        progress.update(1000, 10.0, 9, 99.0, 21.0)
    text = out.getvalue()
    assert "━" in text
    assert "checkpoint 250" in text
    assert "100%  1,000 of 1,000 env steps" in text


def wait_until(is_there):
    until = time.monotonic() + 20.0
    while not is_there() and time.monotonic() < until:
        time.sleep(0.005)
    assert is_there()


def test_without_a_terminal_a_long_phase_says_that_it_goes_on(monkeypatch):
    monkeypatch.setattr(module, "_PHASE_SECONDS", 0.01)
    progress, out, clock = plain_progress(patience=0.01)
    with progress, progress.phase("Evaluating"):
        clock.seconds = 75.0
        wait_until(lambda: out.getvalue().count("1m 15s") >= 2)
    assert set(out.getvalue().splitlines()[1:]) == {"Evaluating, 1m 15s so far."}


def test_a_short_phase_is_not_worth_a_line_and_leaves_no_thread():
    progress, out, _ = plain_progress()
    threads = threading.active_count()
    with progress, progress.phase("Saving"):
        pass
    assert out.getvalue() == "" and threading.active_count() == threads


def test_on_a_terminal_the_seconds_of_a_phase_pass_and_it_goes_when_it_is_over():
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=True, width=120)
    with Progress(1000, console=console, clock=clock) as progress:
        with progress.phase("Compiling"):
            clock.seconds = 75.0
            wait_until(lambda: "Compiling, 1m 15s" in out.getvalue())
        out.truncate(0)
        progress.update(10, 1.0, 0, None, None)
    assert "Compiling" not in out.getvalue() and "10 of 1,000" in out.getvalue()


class Ended:
    """A standard output whose reader has gone, or which is on a full disk."""

    encoding = "utf-8"

    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        pass


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("closed")])
def test_what_cannot_be_written_is_left_out(error):
    with Progress(1000, console=Console(file=Ended(error))) as progress:
        progress.say("a line")
        progress.update(1, 1.0, 0, None, None)
    assert not progress.is_closed


def test_a_closed_pipe_is_seen(monkeypatch):
    led = []
    monkeypatch.setattr(os, "dup2", lambda *descriptors: led.append(descriptors))
    with Progress(1000, console=Console(file=Ended(BrokenPipeError()))) as progress:
        assert not progress.is_closed
        progress.say("a line")
        assert progress.is_closed and len(led) == 1, "standard output leads to nowhere"
        progress.say("another")


def test_what_an_old_terminal_cannot_show_is_replaced():
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with Progress(1000, console=Console(file=out, width=40)) as progress:
        progress.say("return 7 ± 1")
    out.flush()
    assert out.buffer.getvalue() == b"return 7 ? 1\n"
