"""How a policy is asked for actions, and why there may be no score."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

# Policies see this many rows at a time whatever the number of episodes: a jitted one compiles
# once, and an episode's actions cannot change with how many others are played beside it.
ACT_ROWS = 16

Act = Callable[[np.ndarray], np.ndarray]
# Called with the number of an episode and its MjData, or a Pose.
OnStep = Callable[[int, Any], None]


@runtime_checkable
class Acts(Protocol):
    """What acts by a method, as the policies that load_policy gives do."""

    def act(self, obs: np.ndarray, /) -> np.ndarray: ...


class NoScore(ValueError):
    """There is no return to tell: one sentence about what broke, or what is missing."""


def actions_of(act: Act, size: int, obs: np.ndarray, live: list[int]) -> np.ndarray:
    """Actions for all rows (R, size) float64 from calls of constant shape; checked where live."""
    action = np.zeros((len(obs), size))
    for first in sorted({i - i % ACT_ROWS for i in live}):
        rows = slice(first, first + ACT_ROWS)
        # A copy: act may keep what it was given, and obs is written to again.
        answer = np.asarray(act(obs[rows].copy()))
        if answer.shape != (ACT_ROWS, size):
            raise ValueError(
                f"The policy returned actions of shape {answer.shape}, "
                f"but {(ACT_ROWS, size)} was expected."
            )
        action[rows] = answer
    if not np.isfinite(action[live]).all():
        raise NoScore("The policy returned an action that is not finite: no score was given.")
    return action
