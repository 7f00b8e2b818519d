"""Files that appear whole or not at all, and files that a stranger may have written."""

import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_BYTES_OF_JSON = 2**24
# Of a run directory that is in use; see mjx_dm/runs/lock.py.
LOCK = "lock.json"


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` at once, so that whoever reads it finds a whole file.

    Raises OSError where it cannot; nothing of the new file is left then.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_text(json.dumps(value, indent=1) + "\n")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The value in a JSON file of at most 16 MiB.

    Raises OSError where it cannot be read, ValueError where it is no such file, nests deeper than
    Python's stack or has a key twice, of which one would be lost.
    """
    data = read_bytes(path, MOST_BYTES_OF_JSON)
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("its values are nested too deep") from None


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a regular file, whose size is looked at before anything is read.

    Raises OSError where it cannot be read, ValueError where it is longer than `most` or something
    else, such as a pipe, of which a reader would wait for ever.
    """
    size = regular_size(path)
    if size > most:
        raise ValueError(f"it has {size} bytes, and {most} are the most that are read")
    with path.open("rb") as stream:
        # Not more than was there: a file may grow.
        return stream.read(size)


def regular_size(path: Path) -> int:
    """The size in bytes; raises OSError where there is nothing, ValueError where it is no file."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    return found.st_size


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has the key {twice[:40]!r} twice")
    return made
