"""Weights & Biases, the extra wandb; offline on a machine that is not logged in."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import wandb

from mjx_dm.films.naming import tag_of

FOLDER = "wandb"
# Of the run that a resumed one goes on with.
_ID = "run_id"
_INIT_SECONDS = 30.0


class WeightsAndBiases:
    """One of their runs for a run directory, however often that is resumed, in `run_dir`/wandb.

    It never asks for anything: without a login it is kept offline, which `say` is told with the
    command that sends it later. WANDB_MODE, WANDB_PROJECT and their other variables count.

    Args:
        settings: of the run, for their table.
    """

    def __init__(
        self, run_dir: Path, settings: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        folder = run_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        # Standard output stays this program's own.
        quiet = wandb.Settings(console="off", silent=True, init_timeout=_INIT_SECONDS)
        wandb.setup(settings=quiet)
        mode = _mode()
        known = folder / _ID
        run_id = known.read_text().strip() if known.exists() else None
        self._run = wandb.init(
            dir=run_dir,
            project=os.environ.get("WANDB_PROJECT", "mjx_dm"),
            name=run_dir.resolve().name,
            id=run_id,
            # Offline there is nothing to ask; their server joins what has one id.
            resume="allow" if run_id and mode != "offline" else None,
            config=dict(settings),
            mode=mode,
            settings=quiet,
        )
        known.write_text(self._run.id + "\n")
        # Scores come later than the launches that followed their policy: not by wandb's own step.
        self._run.define_metric("env_steps")
        self._run.define_metric("*", step_metric="env_steps")
        if self._run.offline:
            say(
                f"Weights & Biases is offline: the run is kept in {folder}, and wandb sync "
                f"{folder}/offline-run-* sends it."
            )

    def scalars(self, step: int, values: Mapping[str, float | int], seconds: float | int) -> None:
        self._run.log({**values, "env_steps": step})

    def film(self, step: int, path: Path) -> None:
        film = wandb.Video(str(path), caption=path.stem, format="mp4")
        self._run.log({tag_of(path): film, "env_steps": step})

    def close(self) -> None:
        self._run.finish()


def _mode() -> Literal["online", "offline", "disabled", "shared"] | None:
    """Theirs where WANDB_MODE names it; else offline without a login, and their own default."""
    if mode := os.environ.get("WANDB_MODE"):
        return cast(Any, mode)  # which they check
    return None if wandb.login(prompt=False, verify=False) else "offline"
