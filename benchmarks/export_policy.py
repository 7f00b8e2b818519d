"""The policy of a run as files: python benchmarks/export_policy.py RUN_DIR OUT_DIR

OUT_DIR gets policy.json and policy.safetensors, the scored policy and its normaliser: all that
eval_render.py and mjx_dm.load_policy read. A run cannot be resumed from it.
"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from mjx_dm.checkpoints.policy import export_policy
from mjx_dm.checkpoints.saving import CheckpointError


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
        export_policy(run_dir, out_dir, step)
    except CheckpointError as error:
        print(f"export_policy.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
