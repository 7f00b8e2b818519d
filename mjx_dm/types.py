"""The shapes of Humanoid-v4 and the records that go from step to step and to the learner."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float

# What is observed, in this order: qpos without x and y, qvel, and MuJoCo's derived fields.
OBS_PARTS = {"qpos": 22, "qvel": 23, "cinert": 140, "cvel": 84, "qfrc_actuator": 23, "cfrc_ext": 84}
OBS_SIZE = 376
ACTION_SIZE = 17
NQ = 24
NV = 23


class Spaces(NamedTuple):
    """What a learner knows of a task: sizes, and the box of legal actions per actuator."""

    obs_size: int
    action_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]


class PhysicsState(NamedTuple):
    """What one step hands to the next. Units: m, rad, s.

    `com_x` is the centre of mass along x, from the body positions as the last step left them.
    """

    qpos: Float[Array, "N 24"]
    qvel: Float[Array, "N 23"]
    qacc_warmstart: Float[Array, "N 23"]
    com_x: Float[Array, "N"]


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
