"""Policies as files: what is needed to act, and nothing of how it was learned.

A policy is two files of one name, in any folder::

    policy.json           what the policy is, and the SHA-256 of its weights
    policy.safetensors    its weights, "actor/..." and "normalizer/..."

The description holds everything that acting needs, so that a policy outlives the settings of the
version that trained it. Its seal is the SHA-256 of all the rest of it; format 1 had none. Both
files may come from a stranger: types and sizes are checked before anything is made of them. Every
failure is a CheckpointError of one sentence.
"""

import hashlib
import json
import os
import platform
import shutil
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mjx_dm.checkpoints import values, weights
from mjx_dm.checkpoints.manifest import CheckpointError, SaveError, brief, fsync, seal
from mjx_dm.files import read_json, write_json
from mjx_dm.groups import ACTIVATIONS, DISTRIBUTIONS, OBS_DTYPES
from mjx_dm.types import Spaces

FORMAT_VERSION = 2
NOT_SEALED = 1
NAME = "policy.json"
_MOST_UNITS = 2**24
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
    `settings` and `versions` are those of the run, for information, and so is `layout`, what an
    exported policy says of observations and actions.
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
    layout: dict[str, Any] = field(default_factory=dict)


def write(directory: Path, policy: PolicyFile) -> Path:
    """Writes `policy` into `directory`, in place of one that is there; returns the JSON file.

    The JSON file appears last and whole. Whoever reads meanwhile, or after an interruption, finds
    the policy that was there before. Raises SaveError where it cannot be written.
    """
    path = directory / NAME
    kept = path.with_suffix(weights.SUFFIX)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        data = weights.packed({"actor": policy.actor, "normalizer": policy.normalizer})
        unfinished = kept.with_name(f".{kept.name}.unfinished")
        unfinished.write_bytes(data)
        fsync(unfinished)
        if kept.exists():
            shutil.copyfile(kept, weights.previous(kept))
            fsync(weights.previous(kept))
        os.replace(unfinished, kept)
        described = _described(policy, hashlib.sha256(data).hexdigest())
        write_json(path, described | {"seal": seal(described)})
        fsync(directory)
        weights.previous(kept).unlink(missing_ok=True)
    except OSError as error:
        raise SaveError(f"The policy {path} could not be written ({brief(error)}).") from error
    return path


def read(path: Path) -> PolicyFile:
    """The policy of a JSON file, or of the weights beside it. Raises CheckpointError."""
    path = path.with_suffix(".json")
    raw = describe(path)
    typed = _typed(raw)
    spaces, network = typed["spaces"], typed["network"]
    ends = network.num_components * spaces.action_size
    units = (spaces.obs_size, *network.widths, ends)
    arrays = weights.read(path.with_suffix(weights.SUFFIX), raw["sha256"], units)
    return PolicyFile(**typed, **arrays)


def describe(path: Path) -> dict[str, Any]:
    """What the JSON file says, once it is found to describe a policy; its weights are not read.

    Raises CheckpointError.
    """
    try:
        raw = read_json(path)
        version = raw["format"]
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({brief(error)}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not the description of a policy.") from error
    if version not in (FORMAT_VERSION, NOT_SEALED) or isinstance(version, bool):
        raise CheckpointError(
            f"{path} has format {json.dumps(version)[:40]} and this mjx_dm reads {NOT_SEALED} and "
            f"{FORMAT_VERSION}: load it with the mjx_dm that wrote it."
        )
    try:
        if version != NOT_SEALED or "seal" in raw:
            sealed = values.text(raw, "seal")
            if sealed != seal({name: x for name, x in raw.items() if name != "seal"}):
                raise CheckpointError(
                    f"{path} does not match its own seal: it was damaged or changed by hand; copy "
                    "both files again."
                )
        _typed(raw)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} does not describe a policy ({brief(error)}): copy both files again."
        ) from error
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
    } | ({"layout": policy.layout} if policy.layout else {})


def _typed(raw: dict[str, Any]) -> dict[str, Any]:
    """The fields of a PolicyFile but its weights; raises ValueError where one is missing or is not
    of its type."""
    task, network, seen = (values.group(raw, x) for x in ("task", "network", "observations"))
    values.text(raw, "sha256")
    widths = values.listed(network, "widths")
    if not 0 < len(widths) <= 64:
        raise ValueError("widths is not a list of 1 to 64 sizes")
    units = {str(i): width for i, width in enumerate(widths)}
    if unknown := network.keys() - {x.name for x in fields(Network)}:
        raise ValueError(f"{min(unknown)[:40]} is unknown")
    log_std_min, log_std_max = (values.number(network, f"log_std_{x}") for x in ("min", "max"))
    if log_std_min > log_std_max:
        raise ValueError("log_std_min is above log_std_max")
    return {
        "task": values.text(task, "name"),
        "task_options": values.group({"options": {}} | task, "options"),
        "task_version": values.whole(task, "version", 0, 2**31),
        "spaces": spaces_from(values.group(raw, "spaces")),
        "network": Network(
            widths=tuple(values.whole(units, i, 1, _MOST_UNITS) for i in units),
            num_components=values.whole(network, "num_components", 1, _MOST_UNITS),
            activation=values.text(network, "activation", ACTIVATIONS),
            layer_norm=values.truth(network, "layer_norm"),
            bounded=values.truth(network, "bounded"),
            log_std_min=log_std_min,
            log_std_max=log_std_max,
            distribution=values.text(
                {"distribution": "mixture"} | network, "distribution", DISTRIBUTIONS
            ),
        ),
        "obs_dtype": values.text(seen, "dtype", OBS_DTYPES),
        "normalize_obs": values.truth(seen, "normalize"),
        "env_steps": values.whole(raw, "env_steps", 0, 10**18),
        "eval_return": None
        if raw.get("eval_return") is None
        else values.number(raw, "eval_return"),
        "settings": values.group(raw, "settings"),
        "versions": {x: values.text(raw["versions"], x) for x in values.group(raw, "versions")},
        "layout": values.group({"layout": {}} | raw, "layout"),
    }


def spaces_from(raw: dict[str, Any]) -> Spaces:
    """Spaces from JSON; raises ValueError where they are none."""
    obs, action = (values.whole(raw, f"{name}_size", 1, _MOST_UNITS) for name in ("obs", "action"))
    low, high = (values.numbers(raw, name) for name in ("action_low", "action_high"))
    privileged = None
    if raw.get("privileged_size") is not None:
        privileged = values.whole(raw, "privileged_size", 1, _MOST_UNITS)
    spaces = Spaces(obs, action, low, high, privileged)
    if not len(low) == len(high) == spaces.action_size:
        raise ValueError("the box of actions has another size than actions")
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise ValueError("the box of actions is empty")
    return spaces
