"""What mkdocs puts into pages: `{{ help: NAME }}` becomes what NAME --help prints."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HELP = re.compile(r"^\{\{ help: (.+) \}\}$", re.M)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page, before it becomes HTML."""
    return HELP.sub(lambda found: f"```text\n{_help(found[1])}\n```", markdown)


def _help(command: str) -> str:
    plain = {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "84", "JAX_PLATFORMS": "cpu"}
    words = command.split()
    done = subprocess.run(
        [sys.executable, *words, "--help"],
        cwd=ROOT,
        env=os.environ | plain,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
