"""What a run's config.json and its checkpoints hold, checked: both may come from a stranger."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mjx_dm import config as configs
from mjx_dm.checkpoints import policy_file
from mjx_dm.checkpoints.manifest import CheckpointError, brief, one_line
from mjx_dm.config import Config, ConfigError
from mjx_dm.training.normalisation import Normalizer
from mjx_dm.types import Spaces
from mjx_dm.validation import validate


def settings_of(path: Path) -> tuple[Config, Spaces, int]:
    """The settings of a run, and the spaces and the version of its task."""
    try:
        settings = configs.load(path)
    except ConfigError as error:
        raise CheckpointError(one_line(error)) from error
    try:
        raw = json.loads(path.read_text())
        spaces, version = policy_file.spaces_from(raw["spaces"]), int(raw["task_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not tell the sizes of its task: put back the file that the run wrote."
        ) from error
    try:
        return validate(settings), spaces, version
    except ConfigError as error:
        raise CheckpointError(f"{path} holds what cannot run: {one_line(error)}") from error


def learned_of(
    arrays: dict[str, Any], run_dir: Path, spaces: Spaces
) -> tuple[dict[str, Any], Normalizer]:
    """The learner and the normaliser of a run's checkpoint, which may hold anything."""
    try:
        learner, normalizer = arrays["learner"], Normalizer(**arrays["normalizer"])
        kept = learner["average_actor"], learner["critic"], normalizer
        finite = all(np.isfinite(x).all() for x in jax.tree.leaves(kept))
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"The checkpoint in {run_dir / 'checkpoints'} does not hold a policy ({brief(error)})."
        ) from error
    size = (spaces.seen_size,)
    shapes = {name: np.shape(x) for name, x in normalizer._asdict().items()}
    if shapes != {"weight": (), "mean": size, "var": size} or not finite:
        raise CheckpointError(
            f"The checkpoint in {run_dir / 'checkpoints'} holds numbers that are not finite, or a "
            f"normaliser of another size than the {size[0]} observations of its config.json."
        )
    return learner, normalizer


def check_shapes(described: Any, found: Any, sentence: str) -> None:
    if jax.tree.map(np.shape, described) != jax.tree.map(np.shape, found):
        raise CheckpointError(sentence)
