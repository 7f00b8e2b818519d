"""The page of a run while it trains, and after its policy was scored: no fault of it is theirs."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mjx_dm.machine import describe_machine
from mjx_dm.records import METRICS
from mjx_dm.report.page import PAGE, write_page
from mjx_dm.report.sessions import Session, begin_session, read_sessions, write_sessions

# Of the run's time, at most, and not more often than a person looks.
_SHARE_OF_TIME = 0.01
_LEAST_SECONDS = 20.0


class LivePage:
    """Keeps RUN_DIR/report.html and sessions.json up to date, as a context around a run.

    Writing the page takes at most one percent of the time, but for its first and its last time.
    Where it fails, `say` is told once and the run goes on.

    Args:
        seconds: what the run's wall-clock time was spent on so far.
        resume: whether the sessions that are in the directory are the run's own.
        clock: seconds, for how often the page is written.
    """

    def __init__(
        self,
        run_dir: Path,
        seconds: Callable[[], Mapping[str, float]],
        say: Callable[[str], None],
        *,
        resume: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_dir, self._seconds, self._say, self._clock = run_dir, seconds, say, clock
        self._resume = resume
        self._before: list[Session] = []
        self._session = begin_session({})
        self._due = 0.0
        self._is_told = False

    def __enter__(self) -> "LivePage":
        self._guarded(self._begin)
        self._due = self._clock()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and not issubclass(kind, Exception):
            return  # interrupted, and not to be kept waiting
        ended = "ended" if kind is None else f"failed ({kind.__name__})"
        self._guarded(lambda: self._write(ended))

    def refresh(self) -> None:
        """Writes the page if it is time to."""
        start = self._clock()
        if start < self._due:
            return
        self._guarded(lambda: self._write(None))
        took = self._clock() - start
        self._due = self._clock() + max(_LEAST_SECONDS, took / _SHARE_OF_TIME)

    def _begin(self) -> None:
        if self._resume:
            self._before = read_sessions(self._run_dir)
        # The run has been starting and compiling for a while.
        already = sum(self._seconds().values(), 0.0)
        self._session = begin_session(describe_machine(), already)
        write_sessions(self._run_dir, [*self._before, self._session])

    def _write(self, ended: str | None) -> None:
        self._session = self._session._replace(
            heard=time.time(), ended=ended, seconds=dict(self._seconds())
        )
        write_sessions(self._run_dir, [*self._before, self._session])
        write_page([self._run_dir])

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # whatever it is, the run goes on
            if not self._is_told:
                what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                self._say(f"{self._run_dir / PAGE} could not be written ({what}).")
            self._is_told = True


def rewrite_page(folder: Path) -> Path | None:
    """Writes anew the page of the run whose directory, or whose best/, `folder` is.

    Returns its path; None where there is no such run, or the page could not be written.
    """
    run_dir = next((x for x in (folder, folder.parent) if (x / METRICS).exists()), None)
    if run_dir is None:
        return None
    try:
        return write_page([run_dir])
    except Exception:  # the scores stand all the same
        return None
