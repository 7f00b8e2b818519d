"""Files that appear whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` at once, so that whoever reads it finds a whole file."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(unfinished, path)
