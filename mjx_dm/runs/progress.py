"""What a person sees of a run while it trains: a live display, or now and then a line.

Nothing here touches a device: values arrive as numbers, already fetched.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

# Between two lines of plain text that a phase still goes on.
_PHASE_SECONDS = 30.0


class Scored(NamedTuple):
    """What the policy of `env_steps` reached in its task: over episodes, mean and deviation."""

    mean: float
    std: float
    env_steps: int


class Progress:
    """Progress for people: a live display on a terminal, a line every few seconds elsewhere.

    Args:
        total_env_steps: where the run ends, counted as `update`'s env_steps.
        total_seconds: where it ends before, counted as `update`'s train_seconds; None for never.
        interval: least seconds between two lines of plain text; the first update and the last are
            always written.
        patience: seconds that a phase may take before plain text tells of it.
        console: where to write; standard output by default.
        clock: seconds, for `interval` and phases.

    What cannot be written is left out. `is_closed` says that nobody reads any more: the other end
    of the pipe is closed.
    """

    def __init__(
        self,
        total_env_steps: int,
        total_seconds: float | None = None,
        *,
        interval: float = 10.0,
        patience: float = 5.0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._total_seconds = total_env_steps, total_seconds or math.inf
        self._interval, self._patience = interval, patience
        self._console = console or Console()
        self._clock = clock
        self._shown: tuple[float, list[str]] | None = None
        self._phase: tuple[str, float] | None = None
        self._last_line_at = -math.inf
        self._pending: str | None = None
        self.is_closed = False
        # It asks for its display at once.
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._display)

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
        score: Scored | None = None,
    ) -> None:
        """Shows where the run is, towards the limit that comes first.

        episode_return, episode_length: of the episodes that the exploring policy ended; None or NaN
            (there is none yet) is a dash.
        score: the newest, None where nothing has been scored.
        """
        share = env_steps / self._total if self._total > 0 else 1.0
        done = f"{_number(env_steps)} of {_number(self._total)} env steps"
        if train_seconds / self._total_seconds > share:
            share = train_seconds / self._total_seconds
            limit = _duration(self._total_seconds)
            done = f"{_duration(train_seconds)} of {limit}, {_number(env_steps)} env steps"
        share = min(1.0, share)
        pace = [
            f"{share:4.0%}  {done}",
            f"{_number(steps_per_second)} steps/s",
            f"{_number(updates)} updates",
            f"ETA {_duration(self._left(env_steps, steps_per_second, train_seconds))}",
        ]
        returns = [f"exploring return {_number(episode_return)}, length {_number(episode_length)}"]
        if score is not None:
            returns.append(
                f"score {_number(score.mean)} ± {_number(score.std)} after "
                f"{_number(score.env_steps)} steps"
            )
        if self._console.is_terminal:
            self._shown = share, [" | ".join(pace), f"      {' | '.join(returns)}"]
            return
        self._pending = " | ".join(pace + returns)
        if self._clock() - self._last_line_at >= self._interval:
            self._write_pending()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Shows for how long something without steps, as "Compiling", goes on inside."""
        before, self._phase = self._phase, (name, self._clock())
        is_over = threading.Event()
        teller = threading.Thread(target=self._tell, args=(*self._phase, is_over), daemon=True)
        if not self._console.is_terminal:
            teller.start()
        try:
            yield
        finally:
            is_over.set()
            if teller.is_alive():
                teller.join(1.0)  # whoever reads its line may not go on
            self._phase = before

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

    def _tell(self, name: str, began: float, is_over: threading.Event) -> None:
        wait = self._patience
        while not is_over.wait(wait):
            self.say(f"{name}, {_duration(self._clock() - began)} so far.")
            wait = _PHASE_SECONDS

    def _display(self) -> Table:
        """The live display; made again with every refresh, so that a phase's seconds pass."""
        display = Table.grid(expand=True)
        if self._shown is not None:
            share, lines = self._shown
            display.add_row(ProgressBar(total=1.0, completed=share))
            for line in lines:
                display.add_row(Text(line))
        if self._phase is not None:
            name, began = self._phase
            display.add_row(Text(f"      {name}, {_duration(self._clock() - began)}"))
        return display

    def _left(self, env_steps: int, rate: float, train_seconds: float) -> float:
        """Seconds to the limit that comes first; infinite where neither is known."""
        steps = max(self._total - env_steps, 0)
        by_steps = steps / rate if math.isfinite(rate) and rate > 0 else math.inf
        return min(by_steps, max(self._total_seconds - train_seconds, 0.0))

    def _write_pending(self) -> None:
        if self._pending is not None:
            self.say(self._pending)
            self._pending = None
            self._last_line_at = self._clock()


def _number(value: int | float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
