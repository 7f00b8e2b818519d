"""The shapes of Humanoid-v4 and the record that flows from the worlds to the learner."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float

# What is observed, in this order: qpos without x and y, qvel, and MuJoCo's derived fields.
OBS_PARTS = {"qpos": 22, "qvel": 23, "cinert": 140, "cvel": 84, "qfrc_actuator": 23, "cfrc_ext": 84}
OBS_SIZE = 376
ACTION_SIZE = 17
NQ = 24
NV = 23


class Transition(NamedTuple):
    """Steps of the environment; any leading batch shape.

    `discount` is 0 where the episode ended for good and 1 elsewhere; `valid` is False where the
    row must not be learned from (a quarantined world, or a successor that was not kept).
    """

    obs: Float[Array, "*batch 376"]
    action: Float[Array, "*batch 17"]
    reward: Float[Array, "*batch"]
    discount: Float[Array, "*batch"]
    next_obs: Float[Array, "*batch 376"]
    valid: Bool[Array, "*batch"]
