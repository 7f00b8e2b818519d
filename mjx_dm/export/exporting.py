"""From a run, or a policy's files, to a folder that can be given away."""

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from mjx_dm.checkpoints import policy_file
from mjx_dm.checkpoints.manifest import CheckpointError, SaveError
from mjx_dm.checkpoints.policy import export_policy, load_policy
from mjx_dm.checkpoints.policy_file import PolicyFile
from mjx_dm.export import checking
from mjx_dm.export.card import card_of
from mjx_dm.export.example import example_of
from mjx_dm.report.scores import Score, read_scores, rule_of
from mjx_dm.tasks import LibraryTask, loading
from mjx_dm.tasks.task import Task
from mjx_dm.training.normalisation import OBS_CLIP, OBS_EPSILON

ONNX, EXAMPLE, CARD = "policy.onnx", "example.py", "README.md"


class Exported(NamedTuple):
    """What was written.

    nodes: of the ONNX graph, None where there is none.
    difference: the largest between its actions and load_policy's over `compared` observations;
        None where onnxruntime is not installed.
    """

    policy: PolicyFile
    nodes: int | None
    difference: float | None
    compared: int


def export(source: Path, out: Path, step: int | None = None, with_onnx: bool = True) -> Exported:
    """Writes the policy of `source` into `out`: policy.json with the layout of observations and
    actions, policy.safetensors, policy.onnx, example.py, README.md, and a robot's own files.

    source: a run directory, whose newest checkpoint or that of `step` is taken, or a folder or file
        that `load_policy` reads.

    Raises CheckpointError where there is no policy or its task is not to be had, SaveError where
    something cannot be written or policy.onnx does not act as the policy, ImportError where
    `with_onnx` and there is no onnx.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = _file_of(source)
        if file is None:
            export_policy(source, Path(folder), step)
            file = Path(folder) / policy_file.NAME
        elif step is not None:
            raise CheckpointError(f"--step names a checkpoint of a run, and {file} is one policy.")
        task = load_policy(file).own_task()
        policy = policy_file.read(file)
    policy = dataclasses.replace(policy, layout=_layout(policy, task))
    model = None
    if with_onnx:
        from mjx_dm.export.onnx_graph import model_of

        model = model_of(policy)
    score = _score(source if source.is_dir() else source.parent, policy)
    apart, compared = None, 0
    try:
        policy_file.write(out, policy)
        for name, contents in task.files.items():
            _write(out / loading.FOLDER / name, contents)
        _write(out / EXAMPLE, example_of(policy).encode())
        (out / ONNX).unlink(missing_ok=True)  # of another policy, it may be
        if model is not None:
            _write(out / ONNX, model.SerializeToString())
            apart, compared = _check(out, policy, task)
        _write(out / CARD, card_of(policy, score, with_onnx).encode())
    except OSError as error:
        raise SaveError(f"{out} cannot be written: {error.strerror}.") from error
    return Exported(policy, len(model.graph.node) if model else None, apart, compared)


def _file_of(source: Path) -> Path | None:
    """The policy's file, None where `source` is a run."""
    file = source / policy_file.NAME if source.is_dir() else source
    return file if file.suffix in (".json", ".safetensors") and file.exists() else None


def _layout(policy: PolicyFile, task: Task | LibraryTask) -> dict[str, Any]:
    """What policy.json says of observations and actions."""
    box = zip(policy.spaces.action_low, policy.spaces.action_high, strict=True)
    actions = zip(task.actions, box, strict=True)
    seen = "obs" if policy.obs_dtype == "float32" else f"{policy.obs_dtype}(obs)"
    normalized = f"clip(({seen} - mean) / sqrt(var + {OBS_EPSILON:g}), -{OBS_CLIP:g}, {OBS_CLIP:g})"
    return {
        "observations": [entry._asdict() for entry in task.observations],
        "actions": [{"name": x.name, "low": low, "high": high} for x, (low, high) in actions],
        "normalizer": normalized if policy.normalize_obs else seen,
    }


def _score(folder: Path, policy: PolicyFile) -> Score | None:
    """What eval_render.py wrote of this policy under the mean action rule: of most episodes."""
    scores = [
        score
        for score in read_scores(folder)[0]
        if score.env_steps == policy.env_steps and rule_of(score) == "mean"
    ]
    return max(scores, key=lambda score: score.episodes, default=None)


def _check(out: Path, policy: PolicyFile, task: Task | LibraryTask) -> tuple[float | None, int]:
    try:
        act = checking.onnx_act(out / ONNX)
    except ImportError:
        return None, 0
    loaded = load_policy(out)
    obs = checking.observations(loaded, policy, task)
    apart = checking.difference(loaded, act, obs)
    if not apart <= checking.TOLERANCE:
        (out / ONNX).unlink()
        raise SaveError(
            f"{ONNX} is not written: its actions are up to {apart:.1e} from the policy's, more "
            f"than the {checking.TOLERANCE:g} that rounding explains."
        )
    return apart, len(obs)


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
