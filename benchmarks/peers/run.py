"""This package beside the tools that one would take instead, in one run on this machine.

python benchmarks/peers/run.py --out benchmarks/results/peers.json

Each peer is installed into an environment of its own under --venvs, once, and skipped with a
sentence where it cannot be. The contenders of a table are processes that take turns in every round,
so that a ratio, which is that of one round, holds on a machine whose load changes. On a machine
that others use too, many processes get more of it than few: there the ratio of work in a second of
the processor tells more, which stands beside. Everything runs on the CPU.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import threading
import venv
from pathlib import Path
from typing import Any

import tyro
from contenders import Contender, contenders
from rich.console import Console
from rich.table import Table
from worker import MARK

from mjx_dm import host
from mjx_dm.files import write_json
from mjx_dm.machine import describe_machine

HERE = Path(__file__).resolve().parent
WIDTH = 140


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare worlds, updates and replay with those of other packages, in turns."""

    out: Path = Path("peers.json")
    venvs: Path = Path("build/peers")
    """Where the peers' environments are made."""
    tables: tuple[str, ...] = ()
    """Some of the tables, by the beginnings of their names: Humanoid-v4 updates. All if left
    out."""
    num_envs: int = 256
    """Worlds of ours and EnvPool's."""
    gym_envs: int = 16
    """Worlds of each vector environment of Gymnasium's."""
    seconds: float = 2.0
    """How long each contender works in a round."""
    rounds: int = 5
    patience: float = 300.0
    """Seconds that a contender may take to get ready, compilation included."""


class Absent(Exception):
    """Why a contender is not there, in a sentence."""


class Worker:
    """A contender at work. Raises Absent where it does not get ready, or ends before its time."""

    def __init__(self, python: Path, contender: Contender, patience: float):
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


def measure(table: list[Contender], options: Options) -> dict[str, Any]:
    """The rates of a table's contenders and the ratios of ours to the others, round by round."""
    workers: dict[Contender, Worker] = {}
    skipped: list[str] = []
    rates: dict[Contender, list[tuple[float, float]]] = {}
    try:
        for contender in table:
            try:
                python = python_of(contender, options.venvs)
                workers[contender] = Worker(python, contender, options.patience)
                rates[contender] = []
            except (Absent, OSError, subprocess.CalledProcessError) as error:
                skipped.append(str(error))
        # The first round, which nobody looks at, warms up.
        for number in range(options.rounds + 1):
            for contender, worker in workers.items():
                rate = worker.work(options.seconds)
                if number:
                    rates[contender].append(rate)
    finally:
        for worker in workers.values():
            worker.end()
    return {
        "skipped": skipped,
        "contenders": [
            {"name": c.name, "unit": c.unit, "note": c.note, "command": " ".join(c.command)}
            | workers[c].about
            | spread([rate for rate, _ in rates[c]], 1)
            | {"of_a_core": spread([rate for _, rate in rates[c]], 1)}
            for c in rates
        ],
        "ratios": ratios({c.name: [rate for rate, _ in found] for c, found in rates.items()}),
        "ratios_of_a_core": ratios(
            {c.name: [rate for _, rate in found] for c, found in rates.items()}
        ),
    }


def ratios(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Ours over each other contender, each ratio within one round."""
    ours = [name for name in rates if name.startswith("ours")]
    return [
        {"of": name, "to": peer}
        | spread([a / b for a, b in zip(rates[name], rates[peer], strict=True)], 3)
        for peer in rates
        if peer not in ours
        for name in ours
    ]


def spread(values: list[float], digits: int) -> dict[str, float]:
    """Median, least and greatest."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def show(name: str, found: dict[str, Any], console: Console) -> None:
    """Prints a table, with what is not alike under it."""
    unit = found["contenders"][0]["unit"] if found["contenders"] else ""
    heads = ("ours is … times this (min–max)", "… in a second of a core")
    table = Table("", unit, "min", "max", *heads, title=name)
    for row in found["contenders"]:
        beside = [
            "\n".join(_in_words(r) for r in found[kind] if r["to"] == row["name"])
            for kind in ("ratios", "ratios_of_a_core")
        ]
        figures = [f"{row[key]:,.0f}" for key in ("median", "min", "max")]
        table.add_row(row["name"], *figures, *beside)
    console.print(table)
    for row in found["contenders"]:
        if row["note"]:
            console.print(f"{row['name']}: {row['note']}", soft_wrap=True, markup=False)
    for sentence in found["skipped"]:
        console.print(f"skipped: {sentence}", soft_wrap=True, markup=False)


def _in_words(ratio: dict[str, Any]) -> str:
    spread = f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"
    return f"{spread} {ratio['of'].removeprefix('ours, ')}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 1 nothing was compared, 2 bad input."""
    options = tyro.cli(Options, args=arguments)
    everyone = contenders(options.num_envs, options.gym_envs, host.cores())
    names = list(dict.fromkeys(c.table for c in everyone))
    chosen = [n for n in names if not options.tables or n.startswith(options.tables)]
    reason = None
    if min(options.num_envs, options.gym_envs, options.rounds, options.seconds) <= 0:
        reason = "--num-envs, --gym-envs, --rounds and --seconds must be greater than 0"
    elif not chosen:
        reason = f"--tables: there is none of them; choose from {', '.join(names)}"
    elif not options.out.parent.is_dir():
        reason = f"--out: there is no folder {options.out.parent}"
    if reason:
        print(f"peers/run.py: {reason}.", file=sys.stderr)
        return 2
    console, tables = Console(highlight=False, width=WIDTH), {}
    report = {"machine": describe_machine(), "threads": host.cores(), "tables": tables}
    kept = ("num_envs", "gym_envs", "seconds", "rounds")
    report["options"] = {name: getattr(options, name) for name in kept}
    for name in chosen:
        tables[name] = measure([c for c in everyone if c.table == name], options)
        show(name, tables[name], console)
        write_json(options.out, report)
    return 0 if any(found["ratios"] for found in tables.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
