"""How a command ends: its exit status, and a sentence that says why. Imports no JAX."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

# What a shell reports of a program whose reader has gone.
SIGPIPE_STATUS = 128 + 13
# Name of a program -> what the user called it, where that is another.
_CALLED: dict[str, str] = {}


def leave(main: Callable[[], int]) -> None:
    """Runs `main` and ends the program with the status that it returns: at once where it was
    interrupted, for threads may be busy for seconds, and where one of several processes failed, so
    that the others hear of it."""
    try:
        status = main()
    except BrokenPipeError:  # as of --help in a pipe to head
        status = SIGPIPE_STATUS
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Python would try again, and end with a status of its own where that fails too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (ValueError, AttributeError):
            pass  # closed, or none
    if status > 128 or (status and _is_one_of_several()):
        os._exit(status)
    sys.exit(status)


def _is_one_of_several() -> bool:
    """Whether JAX would wait for other processes, which may be gone, before this one ends."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def call(name: str, other: str) -> None:
    """Has the program `name` be called `other` in what it says, as the user called it."""
    _CALLED[name] = other


def called(name: str) -> str:
    """What the user called the program `name`."""
    return _CALLED.get(name, name)


def complain(command: str, what: Exception | str, status: int) -> int:
    """Writes one sentence to standard error; returns `status`."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        print(f"{called(command)}: {what}", file=sys.stderr)
    return status


def interruptible(work: Callable[[], T]) -> T:
    """What `work` returns or raises, done in a thread of its own: Python hears of Ctrl-C between
    its own steps alone, and a compiler or a simulation is one for minutes. An interruption leaves
    the thread to itself, until the program ends."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result()


def say(text: str) -> None:
    """Writes a line to standard output, at once."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        print(text, flush=True)
