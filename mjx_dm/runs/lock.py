"""A run directory has one owner at a time, which its lock names.

`lock.json` holds the owner's machine, process and time of start, and is locked by the system until
that process ends in whatever way. Where a lock cannot tell (another machine, a file system without
locks), the owner's heartbeat does: the time of the file moves on every few seconds.
"""

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mjx_dm import host
from mjx_dm.checkpoints.manifest import SaveError
from mjx_dm.config import ConfigError
from mjx_dm.files import LOCK

BEAT_SECONDS = 10.0
# An owner that has missed two beats and most of a third is not there any more.
WATCH_SECONDS = 35.0


class Lost(SaveError):
    """The run directory has another owner now."""


class Owner:
    """This process, as the owner of `directory`."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.path = directory / LOCK
        self._descriptor, self._token = descriptor, str(uuid.uuid4())
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def take(self) -> None:
        """Writes this process into the lock, and lets it be seen to live."""
        me = {
            **host.names(),
            "pid": os.getpid(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "token": self._token,
        }
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, (json.dumps(me, indent=1) + "\n").encode())
        self._heart.start()

    def check(self) -> None:
        """Raises Lost where another owner has taken over, SaveError where the directory is gone."""
        try:
            owner = json.loads(self.path.read_text())
        except (OSError, ValueError) as error:
            raise SaveError(
                f"The run directory {self.path.parent} has been moved or its {LOCK} removed: "
                "nothing is written there until it is back."
            ) from error
        if owner.get("token") != self._token:
            raise Lost(
                f"The run directory {self.path.parent} was taken over while this process did not "
                f"answer, and is {_in_words(owner)}: this one ends."
            )

    def release(self) -> None:
        """Gives the directory up."""
        self._released.set()
        if self._heart.is_alive():
            self._heart.join()
        with contextlib.suppress(SaveError, OSError):
            self.check()
            if os.name == "nt":  # where an open file cannot be removed
                os.close(self._descriptor)
            self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _beat(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self._descriptor if os.utime in os.supports_fd else self.path)


@contextlib.contextmanager
def owned(directory: Path, say: Callable[[str], None]) -> Iterator[Owner]:
    """Makes this process the owner of `directory`, which is made if absent, until the block ends.

    The lock of an owner that is dead is taken over, and `say` told. Raises ConfigError, and touches
    nothing, where another owner lives or the directory cannot be written to; OSError where the disk
    is full.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor, before = _open(directory / LOCK, say)
    except OSError as error:
        raise ConfigError(
            f"The run directory {directory} cannot be written to ({error.strerror}): give another "
            "--run-dir."
        ) from error
    owner = Owner(directory, descriptor)
    try:
        owner.take()
        if before is not None:
            say(f"Took over {directory}: it was {_in_words(before)}, which is gone.")
        yield owner
    finally:
        owner.release()


def _open(path: Path, say: Callable[[str], None]) -> tuple[int, dict[str, Any] | None]:
    """The lock's file, locked, and the dead owner that it names, if there was one."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            locked = host.lock(descriptor)
            before = _read(descriptor)
            if locked is False or (before and not _is_dead(path, before, bool(locked), say)):
                raise ConfigError(
                    f"The run directory {path.parent} is {_in_words(before or {})}: wait until it "
                    "ends, stop it, or give another --run-dir."
                )
            with contextlib.suppress(FileNotFoundError):
                # Its owner may have removed the file between the opening and the locking.
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor, before
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_dead(path: Path, owner: dict[str, Any], locked: bool, say: Callable[[str], None]) -> bool:
    """Whether the owner that left the lock is gone; waits for its heartbeat where need be."""
    here = host.names()
    if locked and any(owner.get(name) == value for name, value in here.items()):
        return True
    say(f"Waiting {WATCH_SECONDS:.0f} s to see whether {path.parent} is still {_in_words(owner)}.")
    last, seen_until = _time_of(path), time.monotonic() + WATCH_SECONDS
    while time.monotonic() < seen_until:
        time.sleep(min(1.0, WATCH_SECONDS / 10))
        if _time_of(path) != last:
            return False
    return True


def _time_of(path: Path) -> int:
    """Opened anew, which has a network file system ask its server."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return 0


def _read(descriptor: int) -> dict[str, Any] | None:
    try:
        owner = json.loads(os.read(descriptor, 4096))
    except ValueError:
        return None
    return owner if isinstance(owner, dict) else None


def _in_words(owner: dict[str, Any]) -> str:
    pid, machine, started = (owner.get(name) for name in ("pid", "host", "started"))
    return f"in use by process {pid or '?'} on {machine or '?'}, since {started or '?'}"
