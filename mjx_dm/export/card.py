"""The model card of an exported policy, in Hugging Face's form."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mjx_dm.checkpoints.policy_file import PolicyFile
from mjx_dm.report.scores import Score
from mjx_dm.tasks import loading

_LINES = 12


def card_of(policy: PolicyFile, score: Score | None, has_onnx: bool) -> str:
    """README.md: front matter that the Hub reads, then the same in words.

    `score` is of this policy under the mean action rule, None where it has none.
    """
    return _front_matter(policy, score, has_onnx) + "\n" + _text(policy, score, has_onnx)


def _front_matter(policy: PolicyFile, score: Score | None, has_onnx: bool) -> str:
    # Every JSON value is YAML too, and needs no rules of quoting.
    tags = ["reinforcement-learning", "mujoco", _robot(policy), _method(policy).replace(" ", "-")]
    about: dict[str, Any] = {
        "library_name": "mjx_dm",
        "pipeline_tag": "reinforcement-learning",
        "tags": tags + ["onnx"] * has_onnx,
    }
    if reward := _reward(policy, score):
        metric = {"type": "mean_reward", "name": "mean_reward", "value": reward}
        result = {
            "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
            "dataset": {"type": policy.task, "name": _robot(policy)},
            "metrics": [metric | {"verified": False}],
        }
        about["model-index"] = [{"name": _title(policy), "results": [result]}]
    lines = (f"{name}: {json.dumps(value)}" for name, value in about.items())
    return "\n".join(["---", *lines, "---", ""])


def _text(policy: PolicyFile, score: Score | None, has_onnx: bool) -> str:
    spaces, versions = policy.spaces, policy.versions
    options = f" with {_options(policy.task_options)}" if policy.task_options else ""
    parts = [
        f"# {_title(policy)}",
        f"A policy for {_robot(policy)}{options} (version {policy.task_version} of the task), "
        f"trained by {_method(policy)} with mjx_dm for {policy.env_steps:,} environment steps.",
        _scored(policy, score),
        "## Use",
        f"Observations are float32 of shape (N, {spaces.obs_size}), actions of shape (N, "
        f"{spaces.action_size}) in the units of the robot's actuators. The action is "
        f"{'tanh of the mean' if policy.network.distribution != 'mixture' else 'the mixture mean'}"
        ", without noise. Normalisation and scaling are inside.",
    ]
    if has_onnx:
        parts.append(_code(_ONNX))
    parts += [
        "In NumPy alone, `example.py`:",
        _code("from example import act\n\naction = act(obs)"),
        "With mjx_dm:",
        _code('import mjx_dm\n\naction = mjx_dm.load_policy(".").act(obs)'),
        "## Observations and actions",
        "`policy.json` names every entry, with its unit, in `layout`; the first of them:",
        _table(policy.layout["observations"]),
        _bounds(policy.layout["actions"]),
        f"The normaliser is `{policy.layout['normalizer']}`, with `normalizer/mean` and "
        "`normalizer/var` of `policy.safetensors`.",
    ]
    if versions:
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        parts.append(f"Trained with {listed}.")
    return "\n\n".join(parts) + "\n"


_ONNX = """import onnxruntime

session = onnxruntime.InferenceSession("policy.onnx")
action = session.run(["action"], {"obs": obs})[0]"""


def _title(policy: PolicyFile) -> str:
    method = _method(policy)
    return f"{method[0].upper()}{method[1:]}, {_robot(policy)}"


def _robot(policy: PolicyFile) -> str:
    """The task's name; of a robot's own file without the folders of the machine it lay on."""
    return Path(policy.task).name if loading.names_a_file(policy.task) else policy.task


def _method(policy: PolicyFile) -> str:
    return "density matching" if policy.network.distribution == "mixture" else "SAC"


def _reward(policy: PolicyFile, score: Score | None) -> str | None:
    if score is not None:
        return f"{score.mean.value:.2f} +/- {score.std:.2f}"
    return None if policy.eval_return is None else f"{policy.eval_return:.2f}"


def _scored(policy: PolicyFile, score: Score | None) -> str:
    if score is not None:
        seeds = f", seeds {score.seeds}" if score.seeds else ""
        where = score.scored_by or f"Gymnasium's {_robot(policy)} on the CPU"
        return (
            f"Return {score.mean.value:,.1f} ± {score.std:,.1f} (mean and standard deviation over "
            f"{score.episodes} episodes{seeds}), scored by {where}."
        )
    if policy.eval_return is not None:
        return (
            f"Return {policy.eval_return:,.1f}, a mean over the episodes that chose it among the "
            "policies of its run; eval_render.py scores it by others."
        )
    return "It has not been scored."


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _table(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = ["| | observation | unit |", "|---:|---|---|"]
    shown = entries[:_LINES]
    rows += [f"| {i} | `{x['name']}` | {x['unit']} |" for i, x in enumerate(shown)]
    if len(entries) > len(shown):
        rows.append(f"| … | {len(entries) - len(shown)} more | |")
    return "\n".join(rows)


def _bounds(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = ["| | action | low | high |", "|---:|---|---:|---:|"]
    rows += [
        f"| {i} | `{x['name']}` | {x['low']:g} | {x['high']:g} |" for i, x in enumerate(entries)
    ]
    return "\n".join(rows)


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
