"""What settings can run. Imports no JAX, so that a wrong argument is told at once."""

import dataclasses
import math
from typing import Any

from mjx_dm.config import (
    ACTION_RULES,
    ACTIVATIONS,
    CRITICS,
    ENGINES,
    OBS_DTYPES,
    PHYSICS,
    PRECISIONS,
    PROPOSALS,
    Config,
    ConfigError,
    LearnerConfig,
)
from mjx_dm.presets import PRESETS

_POSITIVE = {
    "env_steps", "num_envs", "max_episode_steps", "updates_per_step", "replay_size",
    "chunk_iterations", "minutes", "checkpoint_minutes", "keep_checkpoints", "eval_episodes",
    "batch_size", "actor_batch_size", "policy_delay", "polyak_every", "actor_lr", "critic_lr",
    "max_grad_norm", "num_components", "num_proposals", "num_steps", "move_kl", "alpha_step",
    "temperature", "std_target", "kl_target", "recency", "reward_scale", "actor_widths",
    "critic_widths",
}  # fmt: skip
_NOT_NEGATIVE = {
    "eval_every", "alpha", "log_std_bonus", "random_steps", "weight_decay", "weight_entropy",
}  # fmt: skip
_MAY_BE_INFINITE = {"minutes", "checkpoint_minutes", "max_grad_norm"}
# The device counts in int32; these only the host counts, and the seed is a uint32.
_MAY_EXCEED_INT32 = {"env_steps", "eval_every", "replay_size", "seed"}


def validate(config: Config) -> Config:
    """Returns `config` if it can run; raises ConfigError with one sentence if not."""
    if config.preset not in PRESETS:
        raise ConfigError(f"--preset {config.preset} is unknown; choose from {_names(PRESETS)}.")
    c, learner = config, config.learner
    for flag, value, choices in (
        ("engine", c.engine, ENGINES),
        ("physics", c.physics, PHYSICS),
        ("matmul-precision", c.matmul_precision, PRECISIONS),
        ("proposal", learner.proposal, PROPOSALS),
        ("action-rule", learner.action_rule, ACTION_RULES),
        ("critic", learner.critic, CRITICS),
        ("obs-dtype", learner.obs_dtype, OBS_DTYPES),
        ("activation", learner.activation, ACTIVATIONS),
    ):
        if value not in choices:
            raise ConfigError(f"--{flag} {value} is unknown; choose from {_names(choices)}.")
    for holder in (c, learner):
        for field in dataclasses.fields(holder):
            _check_range(field.name, getattr(holder, field.name))
    rows = c.replay_size // c.num_envs
    if rows < 2:
        raise ConfigError(
            f"--replay-size {c.replay_size} holds fewer than two steps of {c.num_envs} worlds; "
            f"give at least {2 * c.num_envs}."
        )
    if rows >= 2**31:
        raise ConfigError(
            f"--replay-size {c.replay_size} holds {rows} steps of {c.num_envs} worlds; give less "
            f"than {2**31 * c.num_envs}."
        )
    if learner.batch_size > rows * c.num_envs:
        raise ConfigError(
            f"--batch-size {learner.batch_size} is larger than the replay of {rows * c.num_envs} "
            "transitions; lower it or raise --replay-size."
        )
    if learner.actor_batch_size > learner.batch_size:
        raise ConfigError(
            f"--actor-batch-size {learner.actor_batch_size} is larger than --batch-size "
            f"{learner.batch_size}; give at most {learner.batch_size}."
        )
    if c.updates_per_step % learner.policy_delay:
        raise ConfigError(
            f"--updates-per-step {c.updates_per_step} is not a multiple of --policy-delay "
            f"{learner.policy_delay}; change one of them."
        )
    if c.random_steps < 2 * c.num_envs:
        raise ConfigError(
            f"--random-steps {c.random_steps} fills the replay with less than two steps of "
            f"{c.num_envs} worlds before the first update; give at least {2 * c.num_envs}."
        )
    if learner.ess_target is not None and learner.kl_target is not None:
        raise ConfigError("--ess-target and --kl-target both move T; set one of them to None.")
    if learner.std_target is not None and learner.entropy_target is not None:
        raise ConfigError("--std-target and --entropy-target both move alpha; set one to None.")
    if learner.entropy_target is not None and learner.proposal not in ("policy", "moved"):
        raise ConfigError(
            "--entropy-target needs samples of the policy: --proposal policy or moved."
        )
    if learner.subtract_score and learner.proposal not in ("policy", "moved"):
        raise ConfigError(
            "--subtract-score holds for samples of the policy: --proposal policy or moved."
        )
    if learner.importance_correction and learner.proposal not in ("prior", "broad"):
        raise ConfigError("--importance-correction needs --proposal prior or broad.")
    if learner.critic_residual and len(set(learner.critic_widths)) > 1:
        raise ConfigError("--critic-residual needs --critic-widths that are all the same.")
    if learner.normalize_reward and learner.value_max <= 0:
        raise ConfigError("--normalize-reward fits returns below --value-max: give more than 0.")
    if learner.log_std_min >= learner.log_std_max or learner.value_min >= learner.value_max:
        raise ConfigError("--log-std-min and --value-min must lie below their -max.")
    _check_targets(learner)
    return config


def _check_targets(learner: LearnerConfig) -> None:
    """Towards what they never reach T and alpha would move until the weights are not finite."""
    m, moves_temperature = learner.num_proposals, learner.proposal != "moved"
    ess, kl, std = learner.ess_target, learner.kl_target, learner.std_target
    if moves_temperature and ess is not None and ess * m <= 1:
        raise ConfigError(
            f"--ess-target {ess} is out of reach: with --num-proposals {m} ESS / M is at least "
            f"{1 / m:g}; raise one of the two, or give None."
        )
    if moves_temperature and kl is not None and kl >= math.log(m):
        raise ConfigError(
            f"--kl-target {kl} is out of reach: with --num-proposals {m} the KL of the weights is "
            f"at most {math.log(m):.4g} nats; lower it, raise --num-proposals, or give None."
        )
    low, high = learner.log_std_min, learner.log_std_max
    if learner.alpha > 0 and std is not None and not low < math.log(std) < high:
        raise ConfigError(
            f"--std-target {std} is out of reach: its logarithm, {math.log(std):.3g}, must lie "
            f"between --log-std-min {low} and --log-std-max {high}."
        )


def _check_range(name: str, value: Any) -> None:
    if value is None:
        return
    flag = f"--{name.replace('_', '-')}"
    values = value if isinstance(value, tuple) else (value,)
    shown = " ".join(str(v) for v in values)
    may_be_infinite = name in _MAY_BE_INFINITE and value == math.inf
    if isinstance(value, float) and not math.isfinite(value) and not may_be_infinite:
        raise ConfigError(f"{flag} {shown} must be a finite number.")
    if isinstance(value, int) and value >= 2**31 and name not in _MAY_EXCEED_INT32:
        raise ConfigError(f"{flag} {shown} must be less than 2^31.")
    if name == "seed" and not 0 <= value < 2**32:
        raise ConfigError(f"{flag} {shown} must be at least 0 and less than 2^32.")
    if name in _POSITIVE and (not values or not all(v > 0 for v in values)):
        raise ConfigError(f"{flag} {shown} must be greater than 0.")
    if name in _NOT_NEGATIVE and not value >= 0:
        raise ConfigError(f"{flag} {shown} must not be negative.")
    if name in ("discount", "polyak", "ess_target", "actor_average") and not 0 < value <= 1:
        raise ConfigError(f"{flag} {shown} must lie above 0 and at most at 1.")
    if name == "average_worlds" and not 0 <= value <= 1:
        raise ConfigError(f"{flag} {shown} must lie between 0 and 1.")
    if name == "broad_share" and not 0 < value < 1:
        raise ConfigError(f"{flag} {shown} must lie between 0 and 1.")
    if name == "num_atoms" and value < 2:
        raise ConfigError(f"{flag} {shown} must be at least 2.")


def _names(choices: Any) -> str:
    *head, last = choices
    return f"{', '.join(head)} or {last}"
