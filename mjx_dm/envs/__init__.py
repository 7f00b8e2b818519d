"""Batches of worlds: resets, ends of episodes, quarantine; and the interfaces built on them."""

from mjx_dm.envs.batch import BatchEnv, EnvState, Starts, make_env

__all__ = ["EnvState", "BatchEnv", "Starts", "make_env"]
