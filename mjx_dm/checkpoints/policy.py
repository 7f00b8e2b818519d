"""A trained policy: kept as a run directory in small, loaded from a run directory to be scored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mjx_dm import config
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.config import Config, ConfigError, LearnerConfig
from mjx_dm.files import write_json
from mjx_dm.learner.density_matching import (
    Params,
    action_rules,
    make_learner,
    networks,
    to_env_action,
)
from mjx_dm.learner.gmm import GMM
from mjx_dm.learner.networks import Normalizer
from mjx_dm.tasks.humanoid import ACTION_LIMIT
from mjx_dm.validation import validate


class Policy(NamedTuple):
    """`act` maps observations (N, 376) to actions (N, 17) in v4 units, inside ±0.4."""

    act: Callable[[np.ndarray], np.ndarray]
    env_steps: int
    checkpoint: str
    action_rule: str


def load_policy(run_dir: Path, rule: str = "mean") -> Policy:
    """The policy of the newest intact checkpoint in `run_dir`; `rule` is of config.ACTION_RULES.

    Raises CheckpointError with one sentence if the run has none, its settings are unreadable or not
    those of its networks, or the rule asks a critic that was not kept.
    """
    settings = _settings(run_dir / "config.json")
    step, arrays = checkpoint.restore_arrays(run_dir / "checkpoints")
    learner, normalizer = arrays["learner"], Normalizer(**arrays["normalizer"])
    if rule in action_rules.NEEDS_CRITIC and "critic" not in learner:
        raise CheckpointError(
            f"--action-rule {rule} asks the critic, and {run_dir} holds the policy alone: use "
            "mean, sample or heaviest there."
        )
    described = jax.eval_shape(make_learner(settings.learner).init, jax.random.key(0))
    for name in {"average_actor", "critic"} & learner.keys():
        shapes = jax.tree.map(np.shape, (getattr(described, name), learner[name]))
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"The networks in {run_dir / 'checkpoints'} are not those of "
                f"{run_dir / 'config.json'}: put back the settings that they were trained with."
            )
    act = make_act(
        settings.learner, learner["average_actor"], normalizer, rule, learner.get("critic")
    )
    return Policy(act, step, f"{step:012d}", f"{config.ACTION_RULES[rule]}, clipped")


def _settings(path: Path) -> Config:
    try:
        settings = config.load(path)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    try:
        return validate(settings)
    except ConfigError as error:
        raise CheckpointError(f"{path} holds what cannot run: {error}") from error


def keep_policy(
    directory: Path,
    settings: Config,
    env_steps: int,
    actor: Params,
    normalizer: Any,
    eval_return: float | None = None,
) -> None:
    """Makes `directory` a run directory in small, in place of what was kept there before.

    It holds the settings, the policy that is scored, its normaliser and what it reached, if that is
    given: what eval_render.py reads, and too little to resume a run. Raises CheckpointError where
    it cannot be written.
    """
    kept = {
        "learner": {"average_actor": actor},
        "normalizer": normalizer,
        "eval_return": eval_return,
    }
    checkpoint.save(directory / "checkpoints", env_steps, kept, keep=1)
    write_json(directory / "config.json", config.to_json(replace(settings, run_dir="")))


def make_act(
    settings: LearnerConfig,
    actor: Params,
    normalizer: Normalizer,
    rule: str = "mean",
    critic: Params = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """The rule's actions, clipped to the legal box, computed on the CPU.

    A sample is a function of the observation it is drawn for, so that an episode's return does not
    depend on which others are played beside it.
    """
    policy, twins = networks.Policy(settings), networks.twin_critic(settings)
    cpu = jax.devices("cpu")[0]
    actor, normalizer, critic = jax.device_put((actor, normalizer, critic), cpu)

    def pick(gmm: GMM, obs: Float[Array, "376"], key: Array) -> Float[Array, "17"]:
        def min_q(actions: Float[Array, "1 M 17"]) -> Float[Array, "1 M"]:
            if settings.bounded:
                actions = jnp.clip(actions, -1.0, 1.0)
            out = cast(Array, twins.apply(critic, obs[None], actions))
            return jnp.min(networks.values(settings, out), 0)

        one = jax.tree.map(lambda x: x[None], gmm)
        return action_rules.choose(rule, one, min_q, key)[0]

    @jax.jit
    def action(obs: Float[Array, "N 376"]) -> Float[Array, "N 17"]:
        bits = jnp.sum(jax.lax.bitcast_convert_type(obs, jnp.uint32), -1, dtype=jnp.uint32)
        obs = networks.seen(settings, normalizer, obs)
        gmm = cast(GMM, policy.apply(actor, obs))
        chosen = jax.vmap(pick)(gmm, obs, jax.vmap(jax.random.key)(bits))
        return jnp.clip(to_env_action(settings, chosen), -ACTION_LIMIT, ACTION_LIMIT)

    def act(obs: np.ndarray) -> np.ndarray:
        with jax.default_device(cpu):
            return np.asarray(action(jnp.asarray(obs, jnp.float32)))

    return act
