"""This package beside the tools that one would take instead, in one run on this machine.

python benchmarks/peers/run.py --out benchmarks/results/peers.json

Each peer is installed into an environment of its own under --venvs, once, and skipped with a
sentence where it cannot be. The contenders of a table are processes that take turns in every round,
so that a ratio, which is that of one round, holds on a machine whose load changes. On a machine
that others use too, many processes get more of it than few: there the ratio of work in a second of
the processor tells more, which stands beside. Everything runs on the CPU.
"""

import dataclasses
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import tyro
from contenders import Contender, contenders
from processes import Absent, Worker, python_of
from rich.console import Console
from rich.table import Table

from mjx_dm import host
from mjx_dm.files import read_json, write_json
from mjx_dm.machine import describe_machine

WIDTH = 140


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare worlds, updates and replay with those of other packages, in turns."""

    out: Path = Path("peers.json")
    venvs: Path = Path("build/peers")
    """Where the peers' environments are made."""
    tables: tuple[str, ...] = ()
    """Measure some of the tables, by the beginnings of their names, and leave the others in --out
    as they are: Humanoid-v4 updates."""
    num_envs: int = 256
    """Worlds of ours and EnvPool's."""
    gym_envs: int = 16
    """Worlds of each vector environment of Gymnasium's."""
    seconds: float = 2.0
    """How long each contender works in a round."""
    rounds: int = 5
    patience: float = 300.0
    """Seconds that a contender may take to get ready, compilation included."""


def measure(table: list[Contender], options: Options) -> dict[str, Any]:
    """The rates of a table's contenders and the ratios of ours to the others, round by round."""
    workers: dict[Contender, Worker] = {}
    skipped: list[str] = []
    rates: dict[Contender, list[tuple[float, float]]] = {}
    try:
        for contender in table:
            try:
                workers[contender] = Worker(python_of(contender, options.venvs), contender)
            except (Absent, OSError, subprocess.CalledProcessError) as error:
                skipped.append(str(error))
        for contender, worker in list(workers.items()):
            try:
                worker.get_ready(options.patience)
                rates[contender] = []
            except Absent as error:
                skipped.append(str(error))
                del workers[contender]
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
    console = Console(highlight=False, width=WIDTH)
    tables = read_json(options.out)["tables"] if options.tables and options.out.exists() else {}
    kept = ("num_envs", "gym_envs", "seconds", "rounds")
    settings = {name: getattr(options, name) for name in kept} | {"threads": host.cores()}
    for name in chosen:
        machine = describe_machine()
        found = measure([c for c in everyone if c.table == name], options)
        show(name, found, console)
        tables[name] = {"machine": machine, "options": settings} | found
        write_json(options.out, {"tables": tables})
    return 0 if any(found["ratios"] for found in tables.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
