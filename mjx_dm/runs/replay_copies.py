"""The replay, saved now and then while training goes on, so that a kill loses little of it."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from mjx_dm import host
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.manifest import SaveError
from mjx_dm.runs.signals import WAKE_SECONDS
from mjx_dm.training.replay import Replay

# Copying and writing take no more than this share of a run's time, however short the interval.
MOST_OF_THE_TIME = 0.05
# Beside what is needed, for what else is written or held.
_SPARE = 1.1


class ReplayCopies:
    """Writes the replay into `directory` every `minutes`, in a thread; None writes none.

    Training waits for the copy in memory alone. What does not fit into memory or onto the disk is
    left out, and `say` told once; `check` raises where the directory must not be written to.
    """

    def __init__(
        self,
        directory: Path,
        minutes: float | None,
        check: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._directory, self._check, self._say = directory, check, say
        self._seconds = None if minutes is None else 60 * minutes
        self._next = time.monotonic() + (self._seconds or 0.0)
        self._writer: threading.Thread | None = None
        self._is_told = False

    def is_due(self) -> bool:
        """Whether a copy is to be made with the next checkpoint."""
        if self._seconds is None or time.monotonic() < self._next:
            return False
        return self._writer is None or not self._writer.is_alive()

    def save_if_due(self, replay: Replay, env_steps: int) -> None:
        """Copies the replay of a checkpoint that was just written, and has it written as well."""
        if not self.is_due():
            return
        self._next = time.monotonic() + (self._seconds or 0.0)
        if lacking := self._lacks(sum(x.nbytes for x in replay)):
            self._tell(f"The replay is saved at the end alone: there is no {lacking} for a copy.")
            return
        start = time.monotonic()
        # Copied: the next launch takes the state's own buffers.
        copy = jax.tree.map(np.array, replay)
        self._writer = threading.Thread(
            target=self._write, args=(copy, env_steps, start), daemon=True
        )
        self._writer.start()

    def close(self) -> None:
        """Waits for the copy that is being written."""
        while self._writer is not None and self._writer.is_alive():
            self._writer.join(WAKE_SECONDS)
        self._seconds = None

    def _write(self, copy: Replay, env_steps: int, start: float) -> None:
        try:
            self._check()
            checkpoint.save(self._directory, env_steps, copy, keep=1)
        except SaveError as error:
            self._tell(f"{error} Training goes on, and it is tried again.")
        taken = time.monotonic() - start
        self._next = max(self._next, start + taken / MOST_OF_THE_TIME)

    def _lacks(self, size: int) -> str | None:
        free = host.free_memory()
        if free is not None and free < _SPARE * size:
            return "memory"
        try:
            disk = shutil.disk_usage(self._directory.parent).free
        except OSError:
            return None
        return "room on the disk" if disk < _SPARE * size else None

    def _tell(self, text: str) -> None:
        if not self._is_told:
            self._say(text)
        self._is_told = True
