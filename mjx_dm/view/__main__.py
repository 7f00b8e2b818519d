"""The command: python -m mjx_dm.view RUN_DIR [--port N] [--host ADDRESS] [--window]."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.config import ConfigError
from mjx_dm.ending import called, complain, leave, say

COMMAND = "python -m mjx_dm.view"


@dataclass(frozen=True)
class Options:
    """Watch a policy in its task, push it, and follow a run that trains."""

    run_dir: tyro.conf.Positional[Path]
    """The run directory, as given to train.py, its folder best, or a policy.json."""
    checkpoint: str = ""
    """What to begin with: newest, best, or a number of steps; by default the newest."""
    seed: int = 1000
    """Episode i is reset with seed + i."""
    host: str = "127.0.0.1"
    """Address that the page is served at; 0.0.0.0 shows it to the whole network."""
    port: int = 8080
    """Port of the page; the next free one where it is taken."""
    window: bool = False
    """Open MuJoCo's own window in place of a page; needs a display."""


def main(arguments: list[str] | None = None) -> int:
    """Shows the policy until it is interrupted; returns the exit status: 0 the window was closed, 1
    the page cannot be served, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments, prog=called(COMMAND))
    # One policy call per step is too little work for a GPU, which a training run may be using.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        return _view(options)
    except KeyboardInterrupt:
        return 130


def _view(options: Options) -> int:
    if problem := _missing(options):
        return complain(COMMAND, problem, 2)
    from mjx_dm.tasks import LibraryTask
    from mjx_dm.view.choices import NEWEST, Choices, Switch, compile_for
    from mjx_dm.view.simulation import Simulation

    choices = Choices(options.run_dir)
    try:
        chosen = choices.named(options.checkpoint)
        step = choices.newest()
        policy = choices.load(chosen)
        task = policy.own_task()
    except (CheckpointError, ConfigError) as error:
        return complain(COMMAND, error, 2)
    if isinstance(task, LibraryTask):
        return complain(
            COMMAND,
            f"{task.name} runs in a simulation of its library's own, and the view is for this "
            "program's own tasks: eval_render.py films it.",
            2,
        )
    say("Compiling the policy.")
    compile_for(policy)
    simulation = Simulation(task, policy, options.seed)
    switch = Switch(choices, simulation, chosen, step if chosen == NEWEST else None)
    with contextlib.closing(simulation):
        return (
            _in_window(simulation, switch)
            if options.window
            else _on_page(simulation, choices, switch, options)
        )


def _in_window(simulation: Any, switch: Any) -> int:
    from mjx_dm.view import window

    say(f"{window.KEYS}.")
    window.run(simulation, switch)
    return 0


def _on_page(simulation: Any, choices: Any, switch: Any, options: Options) -> int:
    from mjx_dm.view.page import Page

    try:
        page = Page(simulation, choices, switch, options.host, options.port)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        return complain(COMMAND, f"the page cannot be served at {where}: {error.strerror}.", 1)
    with contextlib.closing(page):
        say(f"The view: {page.address} (Ctrl-C ends it)")
        page.run()
    return 0


def _missing(options: Options) -> str | None:
    """One sentence about what this machine or installation lacks, or None."""
    if not 0 < options.port < 2**16:
        return f"--port must lie in [1, 65535], got {options.port}."
    if options.window:
        from mjx_dm.view import window

        if window.has_display():
            return None
        return "there is no display here for --window: leave it out for a page in the browser."
    try:
        import mjviser  # noqa: F401
        import viser  # noqa: F401
    except ImportError as error:
        return (
            f"the package {error.name} is not installed, which the page needs: "
            "pip install 'mjx-dm[view]', or --window for MuJoCo's own window."
        )
    return None


if __name__ == "__main__":
    leave(main)
