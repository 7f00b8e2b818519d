"""Checkpoints that are whole or not there: a pytree through Orbax, sealed by a digest manifest.

Orbax 0.12.8 restores bit-flipped data without an error and takes an empty step folder as the
latest. So every checkpoint is written beside its final name and renamed when complete, carries the
SHA-256 of each of its files, and is read back only after those digests have been checked::

    directory/000000120000/manifest.json    what every file and every leaf must be
    directory/000000120000/tree/...         the Orbax checkpoint of the non-empty leaves

Leaves travel as NumPy arrays under nested dicts of their path, so a checkpoint written on a GPU
restores on a machine without one. Every failure is a :class:`CheckpointError` of one sentence.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TREE = "tree"
_SAVING, _REPLACED = ".saving-", ".replaced-"


class CheckpointError(Exception):
    """One clear sentence: what is wrong, where, and what would be right."""


class _Leaf(NamedTuple):
    """One leaf of a tree; a typed PRNG key is its key data and the name of its generator."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    key_impl: str | None
    array: np.ndarray


def save(directory: str | os.PathLike, step: int, tree: Any, *, keep: int = 5) -> Path:
    """Writes `directory/<step, 12 digits>/` atomically, then prunes to the newest `keep`.

    Args:
        directory: holds one folder per step; made if absent.
        step: env steps so far, 0 <= step < 10^12. A checkpoint of the same step is replaced.
        tree: any pytree of jax or NumPy arrays, numbers and typed PRNG keys. Copied to the host.
        keep: complete checkpoints to leave, at least 1; the one just written always stays.

    Returns:
        The folder written.

    Raises:
        CheckpointError: `tree` holds something other than numbers, or the files could not be
            written (disk full, no permission). Earlier checkpoints are then untouched.
    """
    if not 0 <= step < 10**12:
        raise CheckpointError(f"A checkpoint's step must lie in [0, 10^12), {step} does not.")
    if keep < 1:
        raise CheckpointError(f"keep must be at least 1, so that a checkpoint stays, not {keep}.")
    leaves = _to_leaves(tree)
    directory = Path(directory).absolute()
    final = directory / f"{step:012d}"
    temporary = directory / f"{_SAVING}{final.name}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(directory)
        temporary.mkdir()
        _orbax_save(temporary / TREE, _nest({x.path: x.array for x in leaves if x.array.size}))
        _write_manifest(temporary, step, leaves)
        _publish(temporary, final)
    except Exception as error:
        # Orbax and TensorStore report a full disk as one of several types.
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"Checkpoint {final} could not be written ({_brief(error)}); earlier checkpoints are "
            "untouched, and free space and write permission there would let the next one succeed."
        ) from error
    _prune(directory, keep, final)
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
    path, manifest = _find_verified(directory, step)
    expected, treedef = jax.tree_util.tree_flatten_with_path(template)
    described = {".".join(x["path"]): x for x in manifest["leaves"]}
    names = [".".join(_parts(key_path)) for key_path, _ in expected]
    for name, (_, leaf) in zip(names, expected, strict=True):
        if name not in described:
            raise CheckpointError(
                f"Checkpoint {path} has no leaf {name}, which this run's state expects: restore it "
                "with the configuration that wrote it."
            )
        found = _describe(described[name]["shape"], described[name]["dtype"])
        if found != _describe(*_shape_and_dtype(leaf)):
            raise CheckpointError(
                f"Leaf {name} of checkpoint {path} is {found}, and this run's state expects "
                f"{_describe(*_shape_and_dtype(leaf))}."
            )
    if surplus := sorted(set(described) - set(names)):
        raise CheckpointError(
            f"Checkpoint {path} holds the leaf {surplus[0]}, which this run's state does not have: "
            "restore it with the configuration that wrote it."
        )
    arrays = _read_arrays(path, manifest)
    leaves = [
        _as_template(arrays.pop(tuple(described[name]["path"])), described[name]["key_impl"], leaf)
        for name, (_, leaf) in zip(names, expected, strict=True)
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
    path, manifest = _find_verified(directory, step)
    return manifest["step"], _nest(_read_arrays(path, manifest))


def latest_step(directory: str | os.PathLike) -> int | None:
    """The newest complete checkpoint's step, or None; its digests are not checked here."""
    return max(_complete(Path(directory)), default=None)


def verify(path: str | os.PathLike) -> dict[str, Any]:
    """Checks every file of the checkpoint folder `path` against its manifest.

    Returns:
        The manifest: format, step, files (name -> sha256, bytes), leaves (path, shape, dtype).

    Raises:
        CheckpointError: names the first file that is missing, unreadable or different.
    """
    path = Path(path).absolute()
    manifest = _read_manifest(path)
    for name, entry in manifest["files"].items():
        try:
            size, digest = (path / name).stat().st_size, _sha256(path / name)
        except OSError as error:
            raise CheckpointError(
                f"Checkpoint {path} is damaged: its file {name} cannot be read ({_brief(error)})."
            ) from error
        if size != entry["bytes"]:
            raise CheckpointError(
                f"Checkpoint {path} is damaged: its file {name} has {size} bytes where the "
                f"manifest says {entry['bytes']}."
            )
        if digest != entry["sha256"]:
            raise CheckpointError(
                f"Checkpoint {path} is damaged: its file {name} has the SHA-256 {digest[:12]}… "
                f"where the manifest says {entry['sha256'][:12]}…."
            )
    return manifest


# Finding a checkpoint -----------------------------------------------------------------------------


def _complete(directory: Path) -> dict[int, Path]:
    """Step -> folder of those that reached their manifest, which is written last."""
    if not directory.is_dir():
        return {}
    try:
        return {
            int(folder.name): folder
            for folder in directory.iterdir()
            if len(folder.name) == 12 and folder.name.isdecimal() and (folder / MANIFEST).is_file()
        }
    except OSError as error:
        raise CheckpointError(f"{directory} cannot be read ({_brief(error)}).") from error


def _find_verified(directory: str | os.PathLike, step: int | None) -> tuple[Path, dict[str, Any]]:
    directory = Path(directory).absolute()
    found = _complete(directory)
    if not found:
        raise CheckpointError(
            f"There is no complete checkpoint in {directory}: a run writes its first after "
            "some training."
        )
    if step is not None and step not in found:
        steps = ", ".join(map(str, sorted(found)))
        raise CheckpointError(
            f"There is no complete checkpoint of step {step} in {directory}: it holds {steps}."
        )
    chosen = max(found) if step is None else step
    try:
        return found[chosen], verify(found[chosen])
    except CheckpointError as error:
        raise CheckpointError(f"{str(error)[:-1]}; {_way_out(found, chosen)}.") from error


def _way_out(found: Mapping[int, Path], damaged: int) -> str:
    for older in sorted((x for x in found if x < damaged), reverse=True):
        with contextlib.suppress(CheckpointError):
            verify(found[older])
            return f"step {older} is intact: remove the damaged folder to resume from there"
    return "no older checkpoint is intact, so the run has to start anew"


# The manifest -------------------------------------------------------------------------------------


def _write_manifest(folder: Path, step: int, leaves: list[_Leaf]) -> None:
    """Seals `folder`: every file is flushed to the disk before the manifest that vouches for it."""
    files = {}
    for file in sorted(x for x in folder.rglob("*") if x.is_file()):
        _fsync(file)
        files[file.relative_to(folder).as_posix()] = {
            "sha256": _sha256(file),
            "bytes": file.stat().st_size,
        }
    body = {
        "format": FORMAT_VERSION,
        "step": step,
        "files": files,
        "leaves": [
            {"path": x.path, "shape": x.shape, "dtype": x.dtype, "key_impl": x.key_impl}
            for x in leaves
        ],
    }
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({**body, "sha256": _seal(body)}, indent=1) + "\n")
    _fsync(manifest)
    for inner in [x for x in folder.rglob("*") if x.is_dir()] + [folder]:
        _fsync(inner)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        body = json.loads((path / MANIFEST).read_text())
        seal, version = body.pop("sha256"), body["format"]
    except FileNotFoundError as error:
        raise CheckpointError(f"Checkpoint {path} is incomplete: it has no {MANIFEST}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"Checkpoint {path} is damaged: its file {MANIFEST} cannot be read ({_brief(error)})."
        ) from error
    if seal != _seal(body):
        raise CheckpointError(
            f"Checkpoint {path} is damaged: its file {MANIFEST} does not match its own SHA-256."
        )
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"Checkpoint {path} has format {version}, and this version reads {FORMAT_VERSION}."
        )
    return body


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# Leaves -------------------------------------------------------------------------------------------


def _to_leaves(tree: Any) -> list[_Leaf]:
    leaves, seen = [], set()
    for key_path, value in jax.tree_util.tree_flatten_with_path(tree)[0]:
        path, key_impl = _parts(key_path), None
        name = ".".join(path)
        if name in seen:
            raise CheckpointError(f"Two leaves of the tree are called {name}: rename one of them.")
        seen.add(name)
        shape, dtype = _shape_and_dtype(value)
        if _is_typed_key(value):
            key_impl, value = str(jax.random.key_impl(value)), jax.random.key_data(value)
        array = np.asarray(jax.device_get(value))
        # JAX's extension types, such as bfloat16, have NumPy's kind "V", as its records have.
        is_numeric = array.dtype.kind in "biufcV" and not array.dtype.names
        if not is_numeric or (key_impl and not array.size):
            raise CheckpointError(
                f"Leaf {name} is {_describe(shape, dtype)}, and a checkpoint holds only arrays, "
                "numbers and PRNG keys."
            )
        leaves.append(_Leaf(path, shape, dtype, key_impl, array))
    if not any(leaf.array.size for leaf in leaves):
        raise CheckpointError("The tree to save holds no numbers: pass the state of the run.")
    return leaves


def _parts(key_path: tuple[Any, ...]) -> tuple[str, ...]:
    """A leaf's path as field names, dict keys and positions."""
    return tuple(jax.tree_util.keystr((x,), simple=True) for x in key_path) or ("value",)


def _shape_and_dtype(leaf: Any) -> tuple[tuple[int, ...], str]:
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return tuple(leaf.shape), str(leaf.dtype)


def _describe(shape: Iterable[int], dtype: str) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _is_typed_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _as_template(array: np.ndarray, key_impl: str | None, template: Any) -> Any:
    if key_impl is not None:
        return jax.random.wrap_key_data(jnp.array(array), impl=key_impl)
    if isinstance(template, (bool, int, float, complex)):
        return array.item()
    if isinstance(template, np.ndarray):
        return array
    if isinstance(template, np.generic):
        return array[()]
    # A copy: a donated buffer must belong to JAX, not to NumPy.
    return jnp.array(array)


def _nest(arrays: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, array in arrays.items():
        node = root
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = array
    return root


# Orbax and the disk -------------------------------------------------------------------------------


def _orbax_save(path: Path, tree: dict[str, Any]) -> None:
    with _quiet_orbax(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(tree))


def _read_arrays(folder: Path, manifest: dict[str, Any]) -> dict[tuple[str, ...], np.ndarray]:
    """Leaves by path. Orbax refuses arrays without elements, so those come from the manifest."""
    paths = {tuple(leaf["path"]): leaf for leaf in manifest["leaves"]}
    arrays = {
        path: np.zeros(leaf["shape"], jnp.dtype(leaf["dtype"]))
        for path, leaf in paths.items()
        if 0 in leaf["shape"]
    }
    wanted = {p: ocp.RestoreArgs(restore_type=np.ndarray) for p in paths if p not in arrays}
    try:
        with _quiet_orbax(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            args = ocp.args.PyTreeRestore(restore_args=_nest(wanted))
            tree = checkpointer.restore(folder / TREE, args=args)
    except Exception as error:
        raise CheckpointError(
            f"Orbax cannot read checkpoint {folder}, though its files match their digests "
            f"({_brief(error)})."
        ) from error
    for path in wanted:
        node = tree
        for part in path:
            node = node[part]
        arrays[path] = node
    return arrays


def _publish(temporary: Path, final: Path) -> None:
    """Gives a complete folder its name; one of the same step steps aside first."""
    aside = final.with_name(f"{_REPLACED}{final.name}")
    if final.exists():
        os.rename(final, aside)
    try:
        os.rename(temporary, final)
    except OSError:
        if aside.exists():
            os.rename(aside, final)
        raise
    _fsync(final.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _clear_leftovers(directory: Path) -> None:
    """Removes what an interrupted save left, and gives back a name it had taken away."""
    for aside in directory.glob(f"{_REPLACED}*"):
        original = directory / aside.name.removeprefix(_REPLACED)
        if original.exists():
            shutil.rmtree(aside)
        else:
            os.rename(aside, original)
    for unfinished in directory.glob(f"{_SAVING}*"):
        shutil.rmtree(unfinished)


def _prune(directory: Path, keep: int, written: Path) -> None:
    """Incomplete folders neither count nor go: they are not ours to judge."""
    found = _complete(directory)
    others = sorted((x for x in found if found[x].name != written.name), reverse=True)
    for step in others[keep - 1 :]:
        shutil.rmtree(found[step], ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _quiet_orbax() -> Iterator[None]:
    """Raises the level of Abseil's logger, which others share, for the length of Orbax's call.

    Its errors too: they arrive as exceptions. Abseil's logger does not consult filters.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _brief(error: BaseException) -> str:
    """The first line of an error's text, without a traceback's tail."""
    text = str(error).strip().splitlines()
    line = text[0][:200] if text else ""
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
