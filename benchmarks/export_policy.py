"""A run directory in small: python benchmarks/export_policy.py RUN_DIR OUT_DIR

OUT_DIR gets the settings and a checkpoint with the scored policy and its normaliser alone, which is
all that eval_render.py reads; a run cannot be resumed from it.
"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from mjx_dm import config
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.policy import keep_policy
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.config import ConfigError


def main(
    run_dir: Annotated[Path, tyro.conf.Positional],
    out_dir: Annotated[Path, tyro.conf.Positional],
    step: int | None = None,
) -> int:
    """Exports the newest policy of run_dir, or that of --step; returns the exit status."""
    if out_dir.exists():
        print(f"export_policy.py: {out_dir} exists already; give a new folder.", file=sys.stderr)
        return 2
    try:
        settings = config.load(run_dir / "config.json")
        step, arrays = checkpoint.restore_arrays(run_dir / "checkpoints", step)
        actor, normalizer = arrays["learner"]["average_actor"], arrays["normalizer"]
        keep_policy(out_dir, settings, step, actor, normalizer)
    except (ConfigError, CheckpointError) as error:
        print(f"export_policy.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
