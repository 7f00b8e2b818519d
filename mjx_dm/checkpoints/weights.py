"""The weights of a policy as a .safetensors file, "actor/..." and "normalizer/..."."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from mjx_dm.checkpoints.manifest import CheckpointError, brief
from mjx_dm.files import read_bytes

SUFFIX = ".safetensors"
_MOST_BYTES = 2**31


def packed(tree: dict[str, Any]) -> bytes:
    """Nested dicts of arrays as the bytes of a file."""
    return safetensors.save(dict(_flat(tree)))


def previous(path: Path) -> Path:
    """Where the weights stay that a description still names, until theirs is replaced too."""
    return path.with_name(f".{path.name}.previous")


def read(path: Path, digest: str, units: tuple[int, ...]) -> dict[str, Any]:
    """{"actor": nested dict, "normalizer": dict} of the file whose bytes have that SHA-256.

    `units` are those of the network's layers, of the observation first: fewer weights than their
    products are refused before a network is made of them, and so is what is not finite. Raises
    CheckpointError.
    """
    seen = False
    for candidate in (path, previous(path)):
        try:
            data = read_bytes(candidate, _MOST_BYTES)
        except (OSError, ValueError) as error:
            if candidate == path:
                raise CheckpointError(f"{path} cannot be read ({brief(error)}).") from error
            break
        seen = hashlib.sha256(data).hexdigest() == digest
        if seen:
            break
    description = path.with_suffix(".json").name
    if not seen:
        raise CheckpointError(
            f"{path} does not have the SHA-256 that {description} tells: it is damaged, or of "
            "another policy; copy both files again."
        )
    try:
        if sum(a * b for a, b in itertools.pairwise(units)) > len(data) / 4:
            raise ValueError(f"{len(data)} bytes are too few")
        found = _nested(safetensors.load(data))
    except (SafetensorError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise CheckpointError(
            f"{path} does not hold the weights that {description} describes ({brief(error)}): "
            "copy both files again."
        ) from error
    normalizer, size = found["normalizer"], units[:1]
    shapes = {name: np.shape(array) for name, array in normalizer.items()}
    if shapes != {"weight": (), "mean": size, "var": size} or (normalizer["var"] < 0).any():
        raise CheckpointError(
            f"The normaliser in {path} is not one of the {size[0]} observations that {description} "
            "tells of: copy both files again."
        )
    return found


def _nested(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    found: dict[str, Any] = {"actor": {}, "normalizer": {}}
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError(f"{name[:80]} is not of finite float32 numbers")
        *parents, last = name.split("/")
        if len(parents) > 16:
            raise ValueError(f"{name[:80]} lies too deep")
        node = found
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"{name[:80]} lies in an array")
        if last in node:
            raise ValueError(f"{name[:80]} is there twice")
        node[last] = array
    if found.keys() != {"actor", "normalizer"}:
        raise ValueError("there is more than an actor and a normalizer")
    return found


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            # Row by row: safetensors writes the memory as it lies.
            yield f"{prefix}{name}", np.ascontiguousarray(value).reshape(np.shape(value))
