"""Policies as files: what is needed to act, and nothing of how it was learned.

A policy is two files of one name, in any folder::

    policy.json           what the policy is, and the SHA-256 of its weights
    policy.safetensors    its weights, "actor/..." and "normalizer/..."

The description holds everything that acting needs, so that a policy outlives the settings of the
version that trained it. Every failure is a CheckpointError of one sentence.
"""

import hashlib
import json
import math
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from mjx_dm.checkpoints.manifest import CheckpointError, SaveError, brief, fsync
from mjx_dm.config import ACTIVATIONS, DISTRIBUTIONS, OBS_DTYPES
from mjx_dm.files import write_json
from mjx_dm.types import Spaces

FORMAT_VERSION = 1
NAME = "policy.json"
_WEIGHTS = ".safetensors"
_VERSIONS = ("mjx-dm", "jax", "flax", "mujoco", "gymnasium", "numpy")


@dataclass(frozen=True)
class Network:
    """What the weights are of: the fields of `MixtureNetwork` or `TanhGaussianNetwork` but for the
    size of actions. A tanh Gaussian is bounded and has one component."""

    widths: tuple[int, ...]
    num_components: int
    activation: str
    layer_norm: bool
    bounded: bool
    log_std_min: float
    log_std_max: float
    distribution: str = "mixture"


@dataclass(frozen=True)
class PolicyFile:
    """A policy at rest.

    `actor` is the nested dict of the network's parameters, `normalizer` that of weight `()`, mean
    and var `(obs_size,)`, NumPy arrays. `eval_return` is None where it was not scored.
    `settings` and `versions` are those of the run, for information.
    """

    task: str
    task_options: dict[str, Any]
    task_version: int
    spaces: Spaces
    network: Network
    obs_dtype: str
    normalize_obs: bool
    env_steps: int
    actor: dict[str, Any]
    normalizer: dict[str, np.ndarray]
    eval_return: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def write(directory: Path, policy: PolicyFile) -> Path:
    """Writes `policy` into `directory`, in place of one that is there; returns the JSON file.

    The JSON file appears last and whole. Whoever reads meanwhile, or after an interruption, finds
    the policy that was there before. Raises SaveError where it cannot be written.
    """
    path = directory / NAME
    weights = path.with_suffix(_WEIGHTS)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        arrays = {"actor": policy.actor, "normalizer": policy.normalizer}
        data = safetensors.save(dict(_flat(arrays)))
        unfinished = weights.with_name(f".{weights.name}.unfinished")
        unfinished.write_bytes(data)
        fsync(unfinished)
        if weights.exists():
            shutil.copyfile(weights, _previous(weights))
            fsync(_previous(weights))
        os.replace(unfinished, weights)
        write_json(path, _described(policy, hashlib.sha256(data).hexdigest()))
        fsync(directory)
        _previous(weights).unlink(missing_ok=True)
    except OSError as error:
        raise SaveError(f"The policy {path} could not be written ({brief(error)}).") from error
    return path


def read(path: Path) -> PolicyFile:
    """The policy of a JSON file, or of the weights beside it. Raises CheckpointError."""
    path = path.with_suffix(".json")
    raw = describe(path)
    try:
        policy = PolicyFile(
            **_typed(raw),
            **_weights(path.with_suffix(_WEIGHTS), raw["sha256"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not describe a policy ({brief(error)}): copy both files again."
        ) from error
    _check_sizes(path, policy)
    return policy


def describe(path: Path) -> dict[str, Any]:
    """What the JSON file says, its weights unread. Raises CheckpointError."""
    try:
        raw = json.loads(path.read_text())
        version = raw["format"]
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({brief(error)}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not the description of a policy.") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {json.dumps(version)} and this mjx_dm reads {FORMAT_VERSION}: load "
            "it with the mjx_dm that wrote it."
        )
    return raw


def versions() -> dict[str, str]:
    """Of Python and of the packages that a policy's numbers depend on."""
    installed = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    found = {name: metadata.version(name) for name in _VERSIONS if name in installed}
    return {"python": platform.python_version()} | found


def _described(policy: PolicyFile, digest: str) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "task": {
            "name": policy.task,
            "version": policy.task_version,
            "options": policy.task_options,
        },
        "spaces": policy.spaces._asdict(),
        "network": asdict(policy.network),
        "observations": {"dtype": policy.obs_dtype, "normalize": policy.normalize_obs},
        "env_steps": policy.env_steps,
        "eval_return": policy.eval_return,
        "sha256": digest,
        "versions": policy.versions,
        "settings": policy.settings,
    }


def _typed(raw: dict[str, Any]) -> dict[str, Any]:
    """The fields of a PolicyFile but its weights; raises where one is missing or ill-typed."""
    spaces, network, seen = raw["spaces"], raw["network"], raw["observations"]
    found = {
        "task": str(raw["task"]["name"]),
        "task_options": dict(raw["task"].get("options", {})),
        "task_version": int(raw["task"]["version"]),
        "spaces": spaces_from(spaces),
        "network": Network(**network | {"widths": tuple(int(x) for x in network["widths"])}),
        "obs_dtype": seen["dtype"],
        "normalize_obs": bool(seen["normalize"]),
        "env_steps": int(raw["env_steps"]),
        "eval_return": None if raw["eval_return"] is None else float(raw["eval_return"]),
        "settings": dict(raw["settings"]),
        "versions": dict(raw["versions"]),
    }
    for value, choices in (
        (found["obs_dtype"], OBS_DTYPES),
        (found["network"].activation, ACTIVATIONS),
        (found["network"].distribution, DISTRIBUTIONS),
    ):
        if value not in choices:
            raise ValueError(f"{value} is not one of {', '.join(choices)}")
    return found


def spaces_from(raw: dict[str, Any]) -> Spaces:
    """Spaces from JSON; raises KeyError, TypeError or ValueError where they are none."""
    low, high = (tuple(map(float, raw[name])) for name in ("action_low", "action_high"))
    privileged = raw.get("privileged_size")
    spaces = Spaces(
        int(raw["obs_size"]),
        int(raw["action_size"]),
        low,
        high,
        None if privileged is None else int(privileged),
    )
    if not len(low) == len(high) == spaces.action_size:
        raise ValueError("the box of actions has another size than actions")
    bounds = zip(low, high, strict=True)
    if not all(-math.inf < a < b < math.inf for a, b in bounds):
        raise ValueError("the box of actions is empty or unbounded")
    return spaces


def _weights(path: Path, digest: str) -> dict[str, Any]:
    """The arrays whose bytes have the digest."""
    seen = False
    for candidate in (path, _previous(path)):
        try:
            data = candidate.read_bytes()
        except OSError as error:
            if candidate == path:
                raise CheckpointError(f"{path} cannot be read ({brief(error)}).") from error
            break
        seen = hashlib.sha256(data).hexdigest() == digest
        if seen:
            break
    if not seen:
        raise CheckpointError(
            f"{path} does not have the SHA-256 that {path.with_suffix('.json').name} tells: it is "
            "damaged, or of another policy; copy both files again."
        )
    try:
        arrays = safetensors.load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read ({brief(error)}).") from error
    nested: dict[str, Any] = {"actor": {}, "normalizer": {}}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = array
    return {"actor": nested["actor"], "normalizer": nested["normalizer"]}


def _check_sizes(path: Path, policy: PolicyFile) -> None:
    """The normaliser's; those of the network are checked where it is built."""
    size = (policy.spaces.obs_size,)
    shapes = {name: array.shape for name, array in policy.normalizer.items()}
    if shapes != {"weight": (), "mean": size, "var": size}:
        raise CheckpointError(
            f"The normaliser in {path.with_suffix(_WEIGHTS)} is not one of the {size[0]} "
            f"observations that {path.name} tells of: copy both files again."
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            # Row by row: safetensors writes the memory as it lies.
            yield f"{prefix}{name}", np.ascontiguousarray(value).reshape(np.shape(value))


def _previous(weights: Path) -> Path:
    return weights.with_name(f".{weights.name}.previous")
