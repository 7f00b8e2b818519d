"""The command: python -m mjx_dm.bench."""

import sys
from pathlib import Path

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mjx_dm import device
from mjx_dm.bench import measure, plot, profile, report, table
from mjx_dm.bench.cases import Case
from mjx_dm.bench.measure import Ask, Failure
from mjx_dm.bench.options import QUICK, Options, problem
from mjx_dm.config import ConfigError
from mjx_dm.ending import called, complain, leave
from mjx_dm.files import write_json
from mjx_dm.machine import describe_machine

COMMAND = "python -m mjx_dm.bench"
# As wide as the table, where no terminal says how wide it is.
_WIDTH = 160


@device.in_float32
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 1 a case failed, 2 bad input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    default = QUICK if "--quick" in arguments else Options()
    options = tyro.cli(Options, args=arguments, default=default, prog=called(COMMAND))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    try:
        if options.compare:
            return _compare(console, *options.compare)
        if reason := problem(options):
            raise ConfigError(reason)
        device.check()
        if options.profile:
            return _profile(console, options, options.profile)
        groups = measure.plan(options)
        return _measure(console, options, groups)
    except (ConfigError, OSError) as error:
        return complain(COMMAND, error, 2 if isinstance(error, ConfigError) else 1)


def _measure(console: Console, options: Options, groups: list[list[Ask]]) -> int:
    seen: list[Case] = []
    failures: list[Failure] = []
    machine = describe_machine()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        total = sum(len(group) + options.rounds + 1 for group in groups)
        task = progress.add_task("", total=total)

        try:
            for group in groups:
                rounds, seconds = options.rounds, options.seconds
                for step in measure.measure_group(group, rounds, seconds, seen, failures):
                    progress.update(task, description=" ".join(step))
                    progress.advance(task)
                    if not console.is_terminal and step.verb != "round":
                        console.print(*step, soft_wrap=True)
                    if options.json and seen:
                        found = report.report(options, machine, seen, failures)
                        write_json(options.json, found)
        except KeyboardInterrupt:
            failures.append(Failure("the rest", "stopped by a signal"))
    found = report.report(options, machine, seen, failures)
    console.print(table.figures(found, console.width))
    for failure in failures:
        console.print(f"failed: {failure.name}: {failure.reason}", soft_wrap=True, markup=False)
    for path, write in ((options.json, write_json), (options.plot, plot.draw)):
        if path:
            write(path, found)
            console.print(f"wrote {path}", soft_wrap=True, markup=False)
    return 1 if failures else 0


def _profile(console: Console, options: Options, folder: Path) -> int:
    for path in profile.trace(options, folder):
        console.print(f"wrote {path}", soft_wrap=True, markup=False)
    console.print("Open the .json.gz in ui.perfetto.dev, the .xplane.pb with xprof.")
    return 0


def _compare(console: Console, first: Path, second: Path) -> int:
    a, b = report.read(first), report.read(second)
    if not table.common(a, b):
        raise ConfigError(f"{first} and {second} have no case in common.")
    console.print(table.ratios(a, b))
    for line in table.differences(a, b):
        console.print(f"differs: {line}", soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    leave(main)
