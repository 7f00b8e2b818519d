"""What a person sees of a run while it trains: a live display, or now and then a line.

Nothing here touches a device: values arrive as numbers, already fetched.
"""

import contextlib
import math
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class Progress:
    """Progress for people: a live display on a terminal, a line every few seconds elsewhere.

    Args:
        total_env_steps: where the run ends, counted as `update`'s env_steps.
        total_seconds: where it ends before, counted as `update`'s train_seconds; None for never.
        interval: least seconds between two lines of plain text; the first update and the last are
            always written.
        console: where to write; standard output by default.
        clock: seconds, for `interval`.

    What cannot be written is left out. `is_closed` says that nobody reads any more: the other end
    of the pipe is closed.
    """

    def __init__(
        self,
        total_env_steps: int,
        total_seconds: float | None = None,
        *,
        interval: float = 5.0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._total_seconds = total_env_steps, total_seconds or math.inf
        self._interval = interval
        self._console = console or Console()
        self._clock = clock
        self._live = Live(console=self._console, refresh_per_second=4)
        self._last_line_at = -math.inf
        self._pending: str | None = None
        self.is_closed = False

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError, SystemExit):
            self._live.stop()
        self._write_pending()

    def update(
        self,
        env_steps: int,
        steps_per_second: float,
        updates: int,
        episode_return: float | None,
        episode_length: float | None,
        train_seconds: float = 0.0,
    ) -> None:
        """Shows where the run is; a return or length of None or NaN (no episode yet) is a dash."""
        left = min(
            _ratio(self._total - env_steps, steps_per_second),
            max(self._total_seconds - train_seconds, 0.0),
        )
        facts = [
            f"{_number(steps_per_second)} steps/s",
            f"{_number(updates)} updates",
            f"return {_number(episode_return)}",
            f"length {_number(episode_length)}",
            f"ETA {_duration(left)}",
        ]
        share = env_steps / self._total if self._total > 0 else 1.0
        share = min(1.0, max(share, train_seconds / self._total_seconds))
        facts.insert(0, f"{share:4.0%}  {_number(env_steps)} of {_number(self._total)} env steps")
        line = " | ".join(facts)
        if self._console.is_terminal:
            display = Table.grid(expand=True)
            display.add_row(ProgressBar(total=1.0, completed=share))
            display.add_row(Text(line))
            self._live.update(display)
            return
        self._pending = line
        if self._clock() - self._last_line_at >= self._interval:
            self._write_pending()

    def finish(self) -> None:
        """Writes the newest line, if it is not written: no update follows."""
        self._write_pending()

    def say(self, text: str) -> None:
        """Writes a message above the live display, or a line of its own."""
        encoding = self._console.encoding
        text = text.encode(encoding, "replace").decode(encoding)
        try:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        except SystemExit:
            # Rich ends the program there, after it has led standard output to nowhere.
            self.is_closed = True
        except (OSError, ValueError):
            pass  # a disk that is full, a terminal that is gone, a file that is closed

    def _write_pending(self) -> None:
        if self._pending is not None:
            self.say(self._pending)
            self._pending = None
            self._last_line_at = self._clock()


def _number(value: int | float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:,.0f}"


def _ratio(left: int, rate: float) -> float:
    return max(left, 0) / rate if math.isfinite(rate) and rate > 0 else math.nan


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
