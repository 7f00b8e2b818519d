"""A new run that begins with a policy that is there already: --init-from."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mjx_dm.checkpoints import acting, policy_file
from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.checkpoints.policy import export_policy
from mjx_dm.checkpoints.policy_file import PolicyFile
from mjx_dm.config import Config, ConfigError
from mjx_dm.learner import networks
from mjx_dm.learner.state import LearnerState
from mjx_dm.settings import flag
from mjx_dm.training.normalisation import Normalizer
from mjx_dm.training.program import TrainState
from mjx_dm.types import Spaces

# The critics begin anew. Until they have been updated so often they know too little to move the
# policy by.
CRITIC_ALONE = 5_000
# What moves the policy, or follows it.
_OF_POLICY = ("actor", "average_actor", "actor_optimizer", "log_alpha")
# A network's field -> the setting that it comes from, where they differ.
_SETTINGS = {"widths": "actor_widths", "distribution": "learner"}


def read(config: Config, spaces: Spaces) -> PolicyFile | None:
    """The policy of `init_from`, a run or a policy's file or folder; None where there is none.

    Raises ConfigError where there is no policy, or it is not one of this run's network and task.
    """
    if not config.run.init_from:
        return None
    path = Path(config.run.init_from)
    try:
        policy = _read(path)
    except CheckpointError as error:
        raise ConfigError(f"--init-from: {error}") from error
    if policy.spaces != spaces:
        raise ConfigError(
            f"--init-from {path} has {policy.spaces.obs_size} observations and "
            f"{policy.spaces.action_size} actions, and {config.task.task} has {spaces.obs_size} "
            f"and {spaces.action_size} in its box: give a policy of the same task."
        )
    there = dataclasses.asdict(policy.network) | {
        "obs_dtype": policy.obs_dtype,
        "normalize_obs": policy.normalize_obs,
    }
    here = dataclasses.asdict(acting.describe(networks.policy_network(config, spaces))) | {
        "obs_dtype": config.replay.obs_dtype,
        "normalize_obs": config.replay.normalize_obs,
    }
    for name, value in there.items():
        if value != here[name]:
            raise ConfigError(
                f"--init-from {path} was trained with {flag(_SETTINGS.get(name, name))} {value}, "
                f"and this run has {here[name]}: give the same."
            )
    return policy


def begin(state: TrainState, policy: PolicyFile) -> TrainState:
    """The start of a run, with the actor, its average and the normaliser of `policy`."""
    actor = {"params": policy.actor}
    if jax.tree.map(np.shape, actor) != jax.tree.map(np.shape, state.learner.actor):
        raise ConfigError("--init-from: the weights are not those of the network described.")
    learner = state.learner._replace(
        # Each its own: the state is donated, and no buffer may be donated twice.
        actor=jax.tree.map(jnp.array, actor),
        average_actor=jax.tree.map(jnp.array, actor),
    )
    normalizer = Normalizer(**{name: jnp.array(x) for name, x in policy.normalizer.items()})
    return state._replace(learner=learner, normalizer=normalizer)


class Held:
    """Holds the policy of a run that began with one, from launch to launch, while its critics
    learn alone; of any other run nothing."""

    def __init__(self, config: Config) -> None:
        self._may_hold = bool(config.run.init_from)
        self._kept: dict[str, Any] | None = None

    def before(self, learner: LearnerState) -> None:
        """Remembers the policy; the launch takes its buffers."""
        holds = self._may_hold and 0 <= int(learner.updates) < CRITIC_ALONE
        self._kept = _copies(learner) if holds else None

    def after(self, learner: LearnerState) -> LearnerState:
        """The learner after a launch, with the policy as it was before."""
        return learner if self._kept is None else learner._replace(**self._kept)


def _copies(learner: LearnerState) -> dict[str, Any]:
    return {name: jax.tree.map(jnp.copy, getattr(learner, name)) for name in _OF_POLICY}


def _read(path: Path) -> PolicyFile:
    file = path / policy_file.NAME if path.is_dir() else path
    if file.suffix in (".json", ".safetensors") and file.exists():
        return policy_file.read(file)
    if not (path / "config.json").is_file():
        raise CheckpointError(f"There is no policy in {path}: give a run directory or its best/.")
    with tempfile.TemporaryDirectory() as folder:
        export_policy(path, Path(folder))
        return policy_file.read(Path(folder) / policy_file.NAME)
