"""The records that go from step to step and to the learner."""

from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Array, Bool, Float

Numbers = TypeVar("Numbers", Array, np.ndarray)


class Spaces(NamedTuple):
    """What a learner knows of a task: sizes, and the box of legal actions per actuator.

    `privileged_size` is that of what the critics see in place of the observation, or None where
    they see what the policy sees. Replay, normaliser and learner hold the two as one vector of
    `seen_size`, the observation first.
    """

    obs_size: int
    action_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    privileged_size: int | None = None

    @property
    def seen_size(self) -> int:
        """Of all that policy and critics see."""
        return self.obs_size + (self.privileged_size or 0)

    def of_policy(self, seen: Numbers) -> Numbers:
        """What the policy sees of `(..., seen_size)`."""
        return seen if self.privileged_size is None else seen[..., : self.obs_size]

    def of_critic(self, seen: Numbers) -> Numbers:
        """What the critics see of `(..., seen_size)`."""
        return seen if self.privileged_size is None else seen[..., self.obs_size :]


class PhysicsState(NamedTuple):
    """What one step of the physics hands to the next; units m, rad, s."""

    qpos: Float[Array, "N nq"]
    qvel: Float[Array, "N nv"]
    qacc_warmstart: Float[Array, "N nv"]


class Transition(NamedTuple):
    """Steps of the environment; any leading batch shape.

    `discount` is 0 where the episode ended for good and 1 elsewhere; `valid` is False where the
    row must not be learned from (a quarantined world, or a successor that was not kept).
    Observations are of `Spaces.seen_size`, what only the critics see included.
    """

    obs: Float[Array, "*batch obs"]
    action: Float[Array, "*batch act"]
    reward: Float[Array, "*batch"]
    discount: Float[Array, "*batch"]
    next_obs: Float[Array, "*batch obs"]
    valid: Bool[Array, "*batch"]
