"""Where and when a run ran: sessions.json, with one entry for each time that it was started."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mjx_dm.files import write_json

SESSIONS = "sessions.json"


class Session(NamedTuple):
    """A start of a run.

    began, heard: Unix seconds of the start and of the last word of it.
    ended: why it ended, in a word or two; None while it trains, or where it was killed.
    machine: as mjx_dm.machine describes it.
    seconds: what the wall-clock time was spent on.
    """

    began: float
    heard: float
    ended: str | None
    machine: Mapping[str, Any]
    seconds: Mapping[str, float]


def read_sessions(run_dir: Path) -> list[Session]:
    """The sessions of a run, oldest first; none where nothing readable tells."""
    try:
        told = json.loads((run_dir / SESSIONS).read_text())["sessions"]
        return [_session(one) for one in told]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return []


def write_sessions(run_dir: Path, sessions: list[Session]) -> None:
    """Replaces sessions.json. Raises OSError."""
    write_json(run_dir / SESSIONS, {"sessions": [one._asdict() for one in sessions]})


def begin_session(machine: Mapping[str, Any], already: float = 0.0) -> Session:
    """A session that has begun `already` seconds ago."""
    now = time.time()
    return Session(now - already, now, None, machine, {})


def _session(raw: dict[str, Any]) -> Session:
    ended, machine = raw["ended"], dict(raw["machine"])
    return Session(
        float(raw["began"]),
        float(raw["heard"]),
        None if ended is None else str(ended),
        machine | {"versions": dict(machine.get("versions") or {})},
        {str(name): float(value) for name, value in raw["seconds"].items()},
    )
