"""Learners of a policy from transitions; they know sizes, no robot."""

from mjx_dm.collectives import ALONE, Devices
from mjx_dm.config import Config
from mjx_dm.learner.density_matching import density_matching
from mjx_dm.learner.protocol import Learner
from mjx_dm.learner.sac import sac
from mjx_dm.types import Spaces

# By the names in groups.LEARNERS.
_MAKE = {"density_matching": density_matching, "sac": sac}


def make_learner(config: Config, spaces: Spaces, devices: Devices = ALONE) -> Learner:
    """The learner that the settings name, for a task of these sizes; of several devices each
    updates it by a batch of its own, to the same weights."""
    return _MAKE[config.policy.learner](config, spaces, devices)
