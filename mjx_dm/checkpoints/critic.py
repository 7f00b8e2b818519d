"""A run's critics, loaded to say what actions are worth: they are kept in checkpoints alone."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mjx_dm.checkpoints import acting
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.checkpoints.run_files import check_shapes, learned_of, settings_of
from mjx_dm.config import Config
from mjx_dm.learner import make_learner


@dataclasses.dataclass(frozen=True)
class SavedCritic:
    """`min_q` maps an observation `(obs_size,)` and actions `(M, action_size)` in the policy's
    units to values `(M,)`, in the reward that the critics learned from.

    `temperature` and `alpha` are T and alpha where the checkpoint was saved, alpha 0 where the
    entropy of the policy is worth nothing.
    """

    min_q: Callable[[Float[np.ndarray, "obs"], Float[np.ndarray, "M act"]], Float[np.ndarray, "M"]]
    temperature: float
    alpha: float
    settings: Config
    env_steps: int


def load_critic(run_dir: Path, step: int | None = None) -> SavedCritic:
    """The critics of a run's newest checkpoint, or of that of `step`.

    Raises CheckpointError where there is none, it is damaged, its critics are not those of
    config.json, see more than a policy does, or its learner has no temperature.
    """
    settings, spaces, _ = settings_of(run_dir / "config.json")
    if spaces.privileged_size is not None:
        raise CheckpointError(
            f"The critics of {run_dir} see more of {settings.task.task} than a policy that acts."
        )
    found, arrays = checkpoint.restore_arrays(run_dir / "checkpoints", step)
    learner, normalizer = learned_of(arrays, run_dir, spaces)
    described = jax.eval_shape(make_learner(settings, spaces).init, jax.random.key(0))
    sentence = (
        f"The critics in {run_dir / 'checkpoints'} are not those of {run_dir / 'config.json'}: put "
        "back the settings that they were trained with."
    )
    check_shapes(described.critic, learner["critic"], sentence)
    if "log_temperature" not in learner:
        raise CheckpointError(f"The learner of {run_dir} has no temperature T.")
    cpu = jax.devices("cpu")[0]
    see = acting.of_run(settings, spaces, normalizer)[1]
    min_q_of_seen = acting.min_q_of(settings, spaces, learner["critic"])
    min_q_of = jax.jit(lambda obs, actions: min_q_of_seen(see(obs[None]), actions[None])[0])

    def min_q(obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        with jax.default_device(cpu):
            arrays = jnp.asarray(obs, jnp.float32), jnp.asarray(actions, jnp.float32)
            return np.asarray(min_q_of(*arrays))

    has_alpha = settings.temperatures.alpha > 0
    return SavedCritic(
        min_q,
        float(np.exp(learner["log_temperature"])),
        float(np.exp(learner["log_alpha"])) if has_alpha else 0.0,
        settings,
        found,
    )
