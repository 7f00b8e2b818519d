"""A trained policy, loaded from a run directory to be scored."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from mjx_dm import checkpoint, config, networks
from mjx_dm.checkpoint import CheckpointError
from mjx_dm.config import ConfigError, LearnerConfig
from mjx_dm.gmm import GMM
from mjx_dm.humanoid import ACTION_LIMIT
from mjx_dm.learner import Params, to_env_action
from mjx_dm.networks import Normalizer

ACTION_RULE = "mixture mean, clipped"


class Policy(NamedTuple):
    """`act` maps observations (N, 376) to actions (N, 17) in v4 units, inside ±0.4."""

    act: Callable[[np.ndarray], np.ndarray]
    env_steps: int
    checkpoint: str
    action_rule: str = ACTION_RULE


def load_policy(run_dir: Path) -> Policy:
    """The policy of the newest intact checkpoint in `run_dir`.

    Raises CheckpointError with one sentence if the run has none or its settings are unreadable.
    """
    try:
        settings = config.load(run_dir / "config.json")
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    step, arrays = checkpoint.restore_arrays(run_dir / "checkpoints")
    normalizer = Normalizer(**arrays["normalizer"])
    act = mean_action(settings.learner, arrays["learner"]["average_actor"], normalizer)
    return Policy(act, step, f"{step:012d}")


def mean_action(
    settings: LearnerConfig, actor: Params, normalizer: Normalizer
) -> Callable[[np.ndarray], np.ndarray]:
    """The evaluation rule: the mean of the mixture, clipped to the legal box. On the CPU."""
    module = networks.Policy(settings)
    cpu = jax.devices("cpu")[0]
    actor, normalizer = jax.device_put((actor, normalizer), cpu)

    @jax.jit
    def action(obs: jax.Array) -> jax.Array:
        if settings.normalize_obs:
            obs = networks.normalize(normalizer, obs)
        mean = cast(GMM, module.apply(actor, obs)).mean()
        return jnp.clip(to_env_action(settings, mean), -ACTION_LIMIT, ACTION_LIMIT)

    def act(obs: np.ndarray) -> np.ndarray:
        with jax.default_device(cpu):
            return np.asarray(action(jnp.asarray(obs, jnp.float32)))

    return act
