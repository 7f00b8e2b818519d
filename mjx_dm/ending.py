"""How a command ends: its exit status, and the sentence that says why."""

import contextlib
import os
import sys
from pathlib import Path

from mjx_dm.checkpoints.manifest import complete
from mjx_dm.config import Config


def leave(status: int) -> None:
    """Ends the program, at once where it was interrupted: threads may be busy for seconds; and
    where one of several processes failed, so that the others hear of it."""
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


def complain(command: str, what: Exception | str, status: int) -> int:
    """Writes one sentence to standard error; returns `status`."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        print(f"{command}: {what}", file=sys.stderr)
    return status


def say(text: str) -> None:
    """Writes a line to standard output, at once."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        print(text, flush=True)


def about_memory(config: Config, error: BaseException) -> str:
    """What to do where a device has no more memory."""
    return (
        f"there is not enough memory ({' '.join(str(error).split())[:200]}); "
        f"{_newest(config.directory)}. Less than --num-envs {config.physics.num_envs} and "
        f"--replay-size {config.replay.replay_size} takes less, in a new run."
    )


def about_interruption(directory: Path) -> str:
    """What there is to go on from after an interruption."""
    if not complete(directory / "checkpoints"):
        return "interrupted before there was anything to save."
    return f"interrupted; {_newest(directory)}: go on with --resume."


def _newest(directory: Path) -> str:
    newest = max(complete(directory / "checkpoints"), default=None)
    if newest is None:
        return f"there is no checkpoint in {directory / 'checkpoints'}"
    return (
        f"the newest checkpoint in {directory / 'checkpoints'} is that of {newest:,} "
        "environment steps"
    )
