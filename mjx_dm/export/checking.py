"""Whether a policy in another form acts as `load_policy` does."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mjx_dm.checkpoints.policy import Policy
from mjx_dm.checkpoints.policy_file import PolicyFile
from mjx_dm.evaluation.evaluate import NoScore, evaluate
from mjx_dm.tasks import LibraryTask
from mjx_dm.tasks.task import Task

TOLERANCE = 1e-5
COUNT = 64


class _Enough(Exception):
    """That enough was seen."""


def observations(policy: Policy, kept: PolicyFile, task: Task | LibraryTask) -> np.ndarray:
    """(2 COUNT, obs) float32 or fewer: COUNT drawn about what the normaliser has seen, and those of
    the first steps of an episode."""
    mean, deviation = kept.normalizer["mean"], np.sqrt(kept.normalizer["var"])
    rng = np.random.default_rng(0)
    drawn = mean + 2.0 * deviation * rng.normal(size=(COUNT, len(mean)))
    return np.concatenate([drawn.astype(np.float32), *_played(policy, task)])


def onnx_act(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Acts with an ONNX file, in onnxruntime on the CPU. Raises ImportError without it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda obs: session.run(["action"], {"obs": obs})[0]


def difference(policy: Policy, act: Callable[[np.ndarray], np.ndarray], obs: np.ndarray) -> float:
    """The largest of an action, in the task's units, or in halves of a box wider than 2."""
    low, high = np.array(policy.spaces.action_low), np.array(policy.spaces.action_high)
    apart = np.abs(act(obs) - policy.act(obs)) / np.maximum(1.0, (high - low) / 2)
    return float(apart.max())


def _played(policy: Policy, task: Task | LibraryTask) -> list[np.ndarray]:
    seen: list[np.ndarray] = []

    def act(obs: np.ndarray) -> np.ndarray:
        seen.append(obs[:1].astype(np.float32))
        if len(seen) == COUNT:
            raise _Enough
        return policy.act(obs)

    with contextlib.suppress(_Enough, NoScore):
        evaluate(act, task, episodes=1, seed=0)
    return seen
