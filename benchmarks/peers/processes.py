"""A contender as a process: its environment, its start, its turns and its end."""

import json
import os
import subprocess
import sys
import threading
import venv
from pathlib import Path
from typing import Any

from contenders import Contender
from worker import MARK

HERE = Path(__file__).resolve().parent


class Absent(Exception):
    """Why a contender is not there, in a sentence."""


class Worker:
    """A contender at work. Its methods raise Absent where it ends before its time."""

    def __init__(self, python: Path, contender: Contender):
        script, *arguments = contender.command
        self.name = contender.name
        paths = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
        # A peer must not see this checkout's packages, nor a card that others have no program for.
        found = os.pathsep.join(paths) if not contender.packages else ""
        self.process = subprocess.Popen(
            [python, "-W", "ignore", HERE / script, *arguments],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": found},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        self.about: dict[str, Any] = {}

    def get_ready(self, patience: float) -> None:
        """Waits until it is, for so many seconds."""
        self.about = self._answer(patience)

    def work(self, seconds: float) -> tuple[float, float]:
        """Lets it work for so long; returns how much it did a second, and a second of a core."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
        except OSError as error:
            raise self._ended() from error
        done = self._answer(60.0 + 10.0 * seconds)
        return done["work"] / done["seconds"], done["work"] / max(done["cpu_seconds"], 1e-3)

    def end(self) -> None:
        """Ends it, whether it likes to or not."""
        self.process.kill()
        self.process.wait()

    def _answer(self, patience: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        late = threading.Timer(patience, self.process.kill)
        late.start()
        try:
            for line in self.process.stdout:
                if line.startswith(MARK):
                    return json.loads(line.removeprefix(MARK))
        finally:
            late.cancel()
        raise self._ended()

    def _ended(self) -> Absent:
        self.end()
        said = self.errors[-1] if self.errors else f"it ended with {self.process.returncode}"
        return Absent(f"{self.name} does not run: {said}.")

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.strip():
                self.errors = [*self.errors[-19:], line.strip().rstrip(".")]


def python_of(contender: Contender, venvs: Path) -> Path:
    """The interpreter that has its packages, which are installed if they are not yet. Raises Absent
    where they cannot be."""
    if not contender.packages:
        return Path(sys.executable)
    folder = venvs.resolve() / contender.packages[0].partition("==")[0].partition("[")[0]
    python, stamp = folder / "bin" / "python", folder / "installed.json"
    wanted = json.dumps(contender.packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {' '.join(contender.packages)} into {folder}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *contender.packages], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = (said or [f"pip ended with {done.returncode}"])[-1].rstrip(".")
        raise Absent(f"{contender.packages[0]} cannot be installed here: {why}.")
    stamp.write_text(wanted)
    return python
