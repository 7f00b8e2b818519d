"""The command: python -m mjx_dm.export RUN_DIR [--out DIR]."""

import os
from dataclasses import dataclass
from pathlib import Path

import tyro

from mjx_dm.checkpoints.manifest import CheckpointError, SaveError
from mjx_dm.checkpoints.policy_file import NAME
from mjx_dm.config import ConfigError
from mjx_dm.ending import called, complain, leave, say

COMMAND = "python -m mjx_dm.export"


@dataclass(frozen=True)
class Options:
    """Write a policy as files that act without this package: policy.safetensors with its
    description policy.json, policy.onnx, a NumPy example and a model card."""

    run_dir: tyro.conf.Positional[Path]
    """The run directory, as given to train.py, its folder best (the policy that scored best), or a
    policy.json."""
    out: Path | None = None
    """The folder to write; RUN_DIR/export by default. One that holds an export is written again."""
    step: int | None = None
    """The checkpoint of the run to take; the newest if left out."""
    onnx: bool = True
    """Write policy.onnx, which needs the extra export."""

    @property
    def folder(self) -> Path:
        """The folder to write."""
        beside = self.run_dir.parent if self.run_dir.is_file() else self.run_dir
        return self.out or beside / "export"

    def problem(self) -> str | None:
        """One sentence about what is wrong, or None."""
        folder = self.folder
        if not self.run_dir.exists():
            return (
                f"There is no {self.run_dir}: give the --run-dir of a training run, its folder "
                f"best or a {NAME}."
            )
        if folder.resolve() in (self.run_dir.resolve(), self.run_dir.resolve().parent):
            return f"--out {folder} holds the policy itself; give another folder."
        if folder.exists() and not folder.is_dir():
            return f"--out {folder} is a file; give a folder."
        if folder.exists() and any(folder.iterdir()) and not (folder / NAME).exists():
            return f"--out {folder} holds other files; give a new folder."
        return None


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0 done, 1 not all written, 2 bad input."""
    options = tyro.cli(Options, args=arguments, prog=called(COMMAND))
    if problem := options.problem():
        return complain(COMMAND, problem, 2)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from mjx_dm.export.exporting import CARD, EXAMPLE, ONNX, export

    missing = ""
    out = options.folder
    try:
        try:
            done = export(options.run_dir, out, options.step, options.onnx)
        except ImportError as error:
            missing = error.name or str(error)
            done = export(options.run_dir, out, options.step, with_onnx=False)
    except SaveError as error:
        return complain(COMMAND, error, 1)
    except (CheckpointError, ConfigError) as error:
        return complain(COMMAND, error, 2)
    say(f"Policy: {out / NAME}, {done.policy.task}, {done.policy.env_steps:,} steps of training")
    if done.nodes is not None:
        seen = f"differs from load_policy by at most {done.difference:.1e}"
        checked = f"{seen} over {done.compared} observations"
        if done.difference is None:
            checked = "not checked: onnxruntime, of the extra export, is not installed"
        say(f"ONNX: {out / ONNX}, {done.nodes} nodes, {checked}")
    say(f"NumPy example: {out / EXAMPLE}")
    say(f"Model card: {out / CARD}")
    if missing:
        return complain(
            COMMAND,
            f"{ONNX} is not written: it needs {missing}, of the extra export (pip install "
            "'mjx-dm[export]'); --no-onnx leaves it out.",
            1,
        )
    return 0


if __name__ == "__main__":
    leave(main)
