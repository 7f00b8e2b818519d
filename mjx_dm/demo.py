"""mjx-dm demo, and make demo: trains on this machine, scores and films the policy that did best."""

import dataclasses
from pathlib import Path

import tyro

from mjx_dm.cli import train_main
from mjx_dm.ending import called
from mjx_dm.eval_cli import eval_main


@dataclasses.dataclass(frozen=True)
class Options:
    """Train the default robot on the CPU, then score and film the best policy."""

    run_dir: Path = Path("runs/demo")
    """Where the run goes."""
    minutes: float = 7.5
    """How long it trains."""
    episodes: int = 10
    """How many episodes score it."""
    preset: str = "cpu"
    """What it trains with."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit status of the step that failed, 0 where none did."""
    options = tyro.cli(Options, args=arguments, prog=called("make demo"))
    run_dir, minutes = str(options.run_dir), str(options.minutes)
    asked = ["--preset", options.preset, "--minutes", minutes, "--run-dir", run_dir]
    if status := train_main([*asked, "--no-save-replay"]):
        return status
    best = str(options.run_dir / "best")
    return eval_main([best, "--episodes", str(options.episodes), "--seconds", "6"])
