"""Files that appear whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

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
