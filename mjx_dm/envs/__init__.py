"""Batches of worlds: resets, ends of episodes, quarantine; and the interfaces built on them."""

from mjx_dm.envs.batch import BatchEnv, make_env
from mjx_dm.envs.episodes import EnvState, Starts, Worlds
from mjx_dm.envs.library import LibraryEnv

__all__ = ["BatchEnv", "EnvState", "LibraryEnv", "Starts", "Worlds", "make_env"]
