"""What settings can run together. Imports no JAX, so that a wrong argument is told at once."""

import importlib.util
import math
from collections.abc import Iterable

from mjx_dm import settings
from mjx_dm.config import Config, ConfigError, library_of
from mjx_dm.files import LOCK
from mjx_dm.presets import PRESETS

# What one learner alone reads.
OF_LEARNER = {
    "density_matching": (
        "num_components", "num_proposals", "proposal", "log_std_bonus",
        "temperature", "ess_target", "std_target",
    ),
    "sac": ("target_entropy",),
}  # fmt: skip


def validate(config: Config) -> Config:
    """Returns `config` if it can run; raises ConfigError with one sentence if not."""
    if config.run.preset not in PRESETS:
        raise ConfigError(
            f"--preset {config.run.preset} is unknown; choose from {settings.in_words(PRESETS)}."
        )
    settings.check(config)
    _check_library(config)
    _check_log(config)
    _check_replay(config)
    _check_hosts(config)
    policy, critic = config.policy, config.critic
    if config.replay.normalize_reward and critic.value_max <= 0:
        raise ConfigError("--normalize-reward fits returns below --value-max: give more than 0.")
    if policy.log_std_min >= policy.log_std_max or critic.value_min >= critic.value_max:
        raise ConfigError("--log-std-min and --value-min must lie below their -max.")
    if config.policy.learner == "sac":
        _check_sac(config)
    else:
        _check_targets(config)
    return config


def of_learner(config: Config) -> Config:
    """Returns `config` if it changes nothing of its preset that its learner has no use for; raises
    ConfigError if it does. A saved run is not asked: its preset may be another by now."""
    before, after = settings.flat(PRESETS[config.run.preset]), settings.flat(config)
    for learner, names in OF_LEARNER.items():
        for name in names:
            if learner != config.policy.learner and after[name] != before[name]:
                raise ConfigError(
                    f"{settings.flag(name)} is read by {learner} alone; leave it out with "
                    f"--learner {config.policy.learner}."
                )
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


def check_shares(config: Config, count: int) -> None:
    """Raises ConfigError, with what would do, where `count` devices cannot share the run alike."""
    shared = {
        "num_envs": config.physics.num_envs,
        "batch_size": config.replay.batch_size,
        "actor_batch_size": config.policy.actor_batch_size,
    }
    for name, value in shared.items():
        if value % count:
            less, more = value // count * count, -(-value // count) * count
            instead = f"{less} or {more}" if less else str(more)
            raise ConfigError(
                f"{settings.flag(name)} {value} does not divide among {count} devices: give "
                f"{instead}, or --devices {_divisor(shared.values(), count)}."
            )


def _divisor(values: Iterable[int], most: int) -> int:
    """The largest number up to `most` that divides all values."""
    return max(n for n in range(1, most + 1) if math.gcd(n, *values) == n)


def _check_hosts(config: Config) -> None:
    hosts = config.hosts
    if hosts.devices is not None:
        check_shares(config, hosts.devices)
    place, count = hosts.process_id, hosts.num_processes
    if not hosts.coordinator and place is None and count is None:
        return
    if not hosts.distributed or not hosts.coordinator or place is None or count is None:
        raise ConfigError(
            "--coordinator, --process-id and --num-processes go together, with --distributed: give "
            "all four, or --distributed alone under Slurm, Open MPI or Kubernetes."
        )
    host, _, port = hosts.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(
            f"--coordinator {hosts.coordinator} must be HOST:PORT, as in localhost:8476."
        )
    if place >= count:
        raise ConfigError(f"--process-id {place} must be less than --num-processes {count}.")


def _check_library(config: Config) -> None:
    """What has no meaning where another library simulates."""
    library = library_of(config.task.task)
    if library is None:
        return
    given = {"engine": config.physics.engine, "physics": config.physics.physics}
    # A preset's own physics is for the tasks that have a choice.
    usual = {"engine": "auto", "physics": PRESETS[config.run.preset].physics.physics}
    for name, value in given.items():
        if value not in ("auto", usual[name]):
            raise ConfigError(
                f"{settings.flag(name)} {value} is for this program's own tasks: {library} "
                f"simulates {config.task.task} itself; leave it out"
                + (", and choose with --task-options backend=spring." if library == "brax" else ".")
            )
    if config.replay.mirror == "on":
        raise ConfigError(
            f"--mirror on needs a task whose left and right are known, and {config.task.task} is "
            f"{library}'s; give off or auto."
        )


def _check_log(config: Config) -> None:
    if "wandb" not in config.run.log:
        return
    found = importlib.util.find_spec("wandb")
    # A folder that wandb has written is a package of that name too, without a file.
    if found is None or found.origin is None:
        raise ConfigError(
            "--log wandb needs the extra wandb, pip install 'mjx-dm[wandb]'; leave it out."
        )


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


def _check_sac(config: Config) -> None:
    policy, temperatures = config.policy, config.temperatures
    if not policy.bounded:
        raise ConfigError("--learner sac squashes actions into the box by tanh; give --bounded.")
    if policy.action_rule != "sample":
        raise ConfigError(
            f"--action-rule {policy.action_rule} is for --learner density_matching: sac acts and "
            "bootstraps by a sample; give --action-rule sample."
        )
    if temperatures.alpha == 0:
        raise ConfigError("--learner sac moves alpha from its start; give --alpha more than 0.")
    if temperatures.target_entropy >= math.log(2):
        raise ConfigError(
            f"--target-entropy {temperatures.target_entropy} is out of reach: no actions in [-1, 1]"
            " have more than log 2 = 0.69 nats per dimension."
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
