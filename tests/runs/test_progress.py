"""Claims about what a person sees of a run."""

import io
import math
import os

import pytest
from rich.console import Console

from mjx_dm.runs.progress import Progress


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def plain_progress(total=1000):
    out, clock = io.StringIO(), Clock()
    progress = Progress(total, console=Console(file=out, width=40), clock=clock, interval=5.0)
    return progress, out, clock


def test_without_a_terminal_one_line_holds_everything(capsys):
    with Progress(5_000_000) as progress:
        progress.update(1_200_000, 6400.2, 37_000, 7383.4, 998.0)
    assert capsys.readouterr().out == (
        " 24%  1,200,000 of 5,000,000 env steps | 6,400 steps/s | 37,000 updates"
        " | return 7,383 | length 998 | ETA 9m 54s\n"
    )


def test_progress_is_towards_the_limit_that_comes_first(capsys):
    with Progress(5_000_000, 90.0) as progress:
        progress.update(50_000, 1000.0, 1, 1.0, 1.0, train_seconds=45.0)
    assert capsys.readouterr().out.startswith(" 50%  50,000 of 5,000,000 env steps")
    with Progress(100_000, 1e6) as progress:
        progress.update(50_000, 1000.0, 1, 1.0, 1.0, train_seconds=45.0)
    assert capsys.readouterr().out.endswith("| ETA 50s\n")


def test_without_a_terminal_lines_are_rare_but_the_first_and_last_are_there():
    progress, out, clock = plain_progress()
    with progress:
        for second in range(12):
            clock.seconds = second
            progress.update(second, 1.0, 0, None, None)
    shown = [line.split()[1] for line in out.getvalue().splitlines()]
    assert shown == ["0", "5", "10", "11"]


def test_before_the_first_episode_and_without_a_rate_there_are_dashes():
    progress, out, _ = plain_progress()
    with progress:
        progress.update(0, 0.0, 0, math.nan, None)
    assert out.getvalue().endswith("| return – | length – | ETA –\n")


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
