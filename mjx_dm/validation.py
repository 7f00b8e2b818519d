"""What settings can run together. Imports no JAX, so that a wrong argument is told at once."""

import math

from mjx_dm import settings
from mjx_dm.config import Config, ConfigError
from mjx_dm.files import LOCK
from mjx_dm.presets import PRESETS


def validate(config: Config) -> Config:
    """Returns `config` if it can run; raises ConfigError with one sentence if not."""
    if config.run.preset not in PRESETS:
        raise ConfigError(
            f"--preset {config.run.preset} is unknown; choose from {settings.in_words(PRESETS)}."
        )
    settings.check(config)
    _check_replay(config)
    policy, critic = config.policy, config.critic
    if config.replay.normalize_reward and critic.value_max <= 0:
        raise ConfigError("--normalize-reward fits returns below --value-max: give more than 0.")
    if policy.log_std_min >= policy.log_std_max or critic.value_min >= critic.value_max:
        raise ConfigError("--log-std-min and --value-min must lie below their -max.")
    _check_targets(config)
    return config


def new_directory(config: Config) -> Config:
    """Returns `config` if its run directory may be written to; raises ConfigError if not."""
    directory = config.directory
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"The run directory {directory} is a file; give another --run-dir.")
    # A lock alone is that of a run which ended before it wrote anything, or of one that lives: its
    # owner is looked for when the lock is taken.
    if directory.exists() and any(x.name != LOCK for x in directory.iterdir()):
        raise ConfigError(
            f"The run directory {directory} exists already; give another --run-dir (make demo "
            "takes RUN=runs/other), or go on with --resume."
        )
    return config


def _check_replay(config: Config) -> None:
    replay, num_envs = config.replay, config.physics.num_envs
    rows = replay.replay_size // num_envs
    if rows < 2:
        raise ConfigError(
            f"--replay-size {replay.replay_size} holds fewer than two steps of {num_envs} worlds; "
            f"give at least {2 * num_envs}."
        )
    if rows >= 2**31:
        raise ConfigError(
            f"--replay-size {replay.replay_size} holds {rows} steps of {num_envs} worlds; give "
            f"less than {2**31 * num_envs}."
        )
    if replay.batch_size > rows * num_envs:
        raise ConfigError(
            f"--batch-size {replay.batch_size} is larger than the replay of {rows * num_envs} "
            "transitions; lower it or raise --replay-size."
        )
    if config.policy.actor_batch_size > replay.batch_size:
        raise ConfigError(
            f"--actor-batch-size {config.policy.actor_batch_size} is larger than --batch-size "
            f"{replay.batch_size}; give at most {replay.batch_size}."
        )
    if replay.random_steps < 2 * num_envs:
        raise ConfigError(
            f"--random-steps {replay.random_steps} fills the replay with less than two steps of "
            f"{num_envs} worlds before the first update; give at least {2 * num_envs}."
        )


def _check_targets(config: Config) -> None:
    """Towards what they never reach T and alpha would move until the weights are not finite."""
    policy, temperatures = config.policy, config.temperatures
    m, ess, std = policy.num_proposals, temperatures.ess_target, temperatures.std_target
    if ess is not None and ess * m <= 1:
        raise ConfigError(
            f"--ess-target {ess} is out of reach: with --num-proposals {m} ESS / M is at least "
            f"{1 / m:g}; raise one of the two, or give None."
        )
    low, high = policy.log_std_min, policy.log_std_max
    if temperatures.alpha > 0 and std is not None and not low < math.log(std) < high:
        raise ConfigError(
            f"--std-target {std} is out of reach: its logarithm, {math.log(std):.3g}, must lie "
            f"between --log-std-min {low} and --log-std-max {high}."
        )
