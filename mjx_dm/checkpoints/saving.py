"""Checkpoints that are whole or not there: a pytree through Orbax, vouched for by a manifest.

Orbax 0.12.8 restores bit-flipped data without an error and takes an empty step folder as the
latest. So every checkpoint is written beside its final name and renamed when complete, carries a
manifest (`mjx_dm.checkpoints.manifest`), and is read back only after its files were checked::

    directory/000000120000/manifest.json    what every file and every leaf must be
    directory/000000120000/tree/...         the Orbax checkpoint of the non-empty leaves

Leaves travel as NumPy arrays under nested dicts of their path, so a checkpoint written on a GPU
restores on a machine without one. Every failure is a :class:`CheckpointError` of one sentence.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mjx_dm.checkpoints import late_writes
from mjx_dm.checkpoints.leaves import (
    Leaf,
    Parts,
    as_template,
    describe,
    nest,
    parts,
    read_leaves,
    shape_and_dtype,
    to_leaves,
)
from mjx_dm.checkpoints.manifest import (
    MOST_STEPS,
    CheckpointError,
    SaveError,
    brief,
    complete,
    find_verified,
    fsync,
    verify,
    write_manifest,
)

__all__ = ["CheckpointError", "latest_step", "restore", "restore_arrays", "save", "verify"]

TREE = "tree"
_SAVING, _REPLACED = ".saving-", ".replaced-"


def save(
    directory: str | os.PathLike, step: int, tree: Any, *, keep: int = 5, best: int | None = None
) -> Path:
    """Writes `directory/<step, at least 12 digits>/` atomically, then prunes to the newest `keep`.

    Args:
        directory: holds one folder per step; made if absent.
        step: env steps so far, 0 <= step < 10^18. A checkpoint of the same step is replaced.
        tree: any pytree of jax or NumPy arrays, numbers and typed PRNG keys. Copied to the host.
        keep: complete checkpoints to leave, at least 1; the one just written always stays.
        best: the step of one that stays however old it is.

    Returns:
        The folder written.

    Raises:
        CheckpointError: `tree` holds something other than numbers.
        SaveError: the files could not be written (disk full, no permission); earlier checkpoints
            are untouched.
    """
    if not 0 <= step < MOST_STEPS:
        raise CheckpointError(f"A checkpoint's step must lie in [0, 10^18), {step} does not.")
    if keep < 1:
        raise CheckpointError(f"keep must be at least 1, so that a checkpoint stays, not {keep}.")
    leaves, arrays = to_leaves(tree)
    directory = Path(directory).absolute()
    final = directory / f"{step:012d}"
    temporary = directory / f"{_SAVING}{final.name}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(directory)
        temporary.mkdir()
        late_writes.let_pass()
        with _orbax() as orbax:
            orbax.save(temporary / TREE, args=ocp.args.PyTreeSave(nest(arrays)))
        # Orbax names this machine's folders there; the manifest is what says "complete".
        (temporary / TREE / "commit_success.txt").unlink(missing_ok=True)
        write_manifest(temporary, step, leaves)
        if final.exists():
            final.rename(directory / f"{_REPLACED}{final.name}")
        temporary.rename(final)
        fsync(directory)
    except Exception as error:
        # Orbax and TensorStore report a full disk as one of several types.
        raise SaveError(
            f"Checkpoint {final} could not be written ({brief(error)}); earlier checkpoints are "
            "untouched, and free space and write permission there would let the next one succeed."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            _clear_leftovers(directory)
    _prune(directory, keep, final, best)
    return final


def restore(
    directory: str | os.PathLike, template: Any, *, step: int | None = None
) -> tuple[int, Any]:
    """Restores the newest complete, verified checkpoint (or that of `step`) in `template`'s form.

    Args:
        directory: what `save` was given.
        template: a pytree with the structure, shapes and dtypes to expect. A jax array, a typed
            key or a `jax.ShapeDtypeStruct` comes back on the default device (never weakly typed),
            a NumPy array as a NumPy array, a Python number as that kind of number.
        step: env steps of the checkpoint wanted; None takes the newest.

    Returns:
        (step, tree).

    Raises:
        CheckpointError: no complete checkpoint; a file differs from its digest (the sentence names
            the file and the intact older step); a leaf differs from the template's.
    """
    path, manifest = find_verified(directory, step)
    described = read_leaves(path, manifest["leaves"])
    expected, treedef = jax.tree_util.tree_flatten_with_path(template)
    templates = {parts(key_path): leaf for key_path, leaf in expected}
    here = {x: describe(*shape_and_dtype(leaf)) for x, leaf in templates.items()}
    there = {x: describe(leaf.shape, leaf.dtype) for x, leaf in described.items()}
    for x in here | there:
        if here.get(x) != there.get(x):
            raise CheckpointError(
                f"Leaf {'.'.join(x)} is {there.get(x, 'absent')} in checkpoint {path} and "
                f"{here.get(x, 'absent')} in this run's state: restore it with the configuration "
                "that wrote it."
            )
    arrays = _read_arrays(path, described)
    leaves = [
        as_template(arrays.pop(x), described[x].key_impl, leaf) for x, leaf in templates.items()
    ]
    return manifest["step"], jax.tree_util.tree_unflatten(treedef, leaves)


def restore_arrays(
    directory: str | os.PathLike, step: int | None = None
) -> tuple[int, dict[str, Any]]:
    """Restores a verified checkpoint without a template.

    Returns:
        (step, nested dict of NumPy arrays). NamedTuples and dataclasses come back as dicts of
        their fields, lists and tuples as dicts of "0", "1", ...; a node without leaves (None, an
        empty tuple) is absent, a typed key is its uint32 key data, a tree that is a single
        leaf is {"value": array}.

    Raises:
        CheckpointError: as `restore`, less the comparison with a template.
    """
    path, manifest = find_verified(directory, step)
    return manifest["step"], nest(_read_arrays(path, read_leaves(path, manifest["leaves"])))


def latest_step(directory: str | os.PathLike) -> int | None:
    """The newest complete checkpoint's step, or None; its digests are not checked here."""
    return max(complete(Path(directory)), default=None)


# Orbax and the disk -------------------------------------------------------------------------------


def _read_arrays(folder: Path, described: Mapping[Parts, Leaf]) -> dict[Parts, np.ndarray]:
    """Leaves by path. Orbax refuses arrays without elements, so those are made here.

    What Orbax's own files say of the arrays is held against the manifest before one is read.
    """
    stored = {path: leaf for path, leaf in described.items() if 0 not in leaf.shape}
    wanted = {path: ocp.RestoreArgs(restore_type=np.ndarray) for path in stored}
    try:
        with _orbax() as orbax:
            _check_tree(folder, stored, orbax.metadata(folder / TREE).item_metadata.tree)
            args = ocp.args.PyTreeRestore(restore_args=nest(wanted))
            tree = orbax.restore(folder / TREE, args=args)
        _check_tree(folder, stored, tree)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"Orbax cannot read checkpoint {folder}, though its files match their digests "
            f"({brief(error)})."
        ) from error
    found = {parts(x): array for x, array in jax.tree_util.tree_flatten_with_path(tree)[0]}
    return {
        path: found[path] if path in found else np.zeros(leaf.shape, jnp.dtype(leaf.array_dtype))
        for path, leaf in described.items()
    }


def _check_tree(folder: Path, stored: Mapping[Parts, Leaf], tree: Any) -> None:
    """Raises CheckpointError where `tree`, of arrays or their metadata, is not as described."""
    here = {path: describe(leaf.array_shape, leaf.array_dtype) for path, leaf in stored.items()}
    there = {
        parts(x): describe(array.shape, str(array.dtype))
        for x, array in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
    for x in here | there:
        if here.get(x) != there.get(x):
            raise CheckpointError(
                f"Leaf {'.'.join(x)} of checkpoint {folder} is {there.get(x, 'absent')}, and its "
                f"manifest says {here.get(x, 'absent')}: copy the checkpoint again."
            )


def _clear_leftovers(directory: Path) -> None:
    """Removes what an interrupted save left, and gives back a name it had taken away."""
    for aside in directory.glob(f"{_REPLACED}*"):
        original = directory / aside.name.removeprefix(_REPLACED)
        if original.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(original)
    for unfinished in directory.glob(f"{_SAVING}*"):
        shutil.rmtree(unfinished)


def _prune(directory: Path, keep: int, written: Path, best: int | None) -> None:
    """Incomplete folders neither count nor go: they are not ours to judge."""
    try:
        found = complete(directory)
    except CheckpointError:
        return  # what was to be saved is saved
    others = sorted((x for x in found if found[x].name != written.name), reverse=True)
    for step in others[keep - 1 :]:
        if step == best:
            continue
        shutil.rmtree(found[step], ignore_errors=True)


@contextlib.contextmanager
def _orbax() -> Iterator[ocp.Checkpointer]:
    """Orbax, silent: it raises the level of Abseil's logger, which others share, for its while.

    Its errors too: they arrive as exceptions. Abseil's logger does not consult filters.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        alone = _alone()
        handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as orbax:
            yield orbax
    finally:
        logger.setLevel(level)


def _alone() -> ocp.options.MultiprocessingOptions:
    """Has Orbax wait for no other process of a run: each that saves or restores does so alone."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    this = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"process-{this}"
    )
