"""A trained policy, loaded to act: from a run, or from the files that a policy is kept in."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from mjx_dm import config as configs
from mjx_dm import groups
from mjx_dm.checkpoints import acting, policy_file
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.acting import Act, Distribute
from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.checkpoints.policy_file import PolicyFile
from mjx_dm.checkpoints.run_files import check_shapes, learned_of, settings_of
from mjx_dm.config import Config, ConfigError
from mjx_dm.learner import action_rules, make_learner, networks
from mjx_dm.learner.state import Params
from mjx_dm.settings import in_words
from mjx_dm.tasks import LibraryTask, any_task, loading, parse_options
from mjx_dm.tasks.task import Task
from mjx_dm.training.normalisation import Normalizer
from mjx_dm.types import Spaces


@dataclasses.dataclass(frozen=True)
class Policy:
    """`act` maps an observation `(obs_size,)` to an action `(action_size,)` in the task's units,
    inside its box, or a batch `(N, obs_size)` to `(N, action_size)`.

    `checkpoint` names what was loaded, `action_rule` says how it acts; `task` and `task_options`
    are those of `get_task`, `task` the copy of a user's file where one lies beside the policy.
    `distribute` gives the GMM or TanhGaussian of observations `(N, obs_size)`, in the policy's
    units.
    """

    act: Act
    distribute: Distribute
    task: str
    task_version: int
    spaces: Spaces
    env_steps: int
    checkpoint: str
    action_rule: str
    eval_return: float | None = None
    task_options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def own_task(self) -> Task | LibraryTask:
        """The task that it was trained on. Raises CheckpointError where that is not to be had, or
        is another one here."""
        try:
            task = any_task(self.task, **self.task_options)
        except ConfigError as error:
            raise CheckpointError(f"The policy's task is not to be had: {error}") from error
        if task.version != self.task_version or task.spaces[:2] != self.spaces[:2]:
            raise CheckpointError(
                f"The policy was trained on {self.task} version {self.task_version} with "
                f"{self.spaces.obs_size} observations and {self.spaces.action_size} actions; here "
                f"it is version {task.version} with {task.spaces.obs_size} and "
                f"{task.spaces.action_size}: use the mjx_dm that trained it."
            )
        return task


def load_policy(path: str | os.PathLike, rule: str = "mean", *, step: int | None = None) -> Policy:
    """The policy in a run directory (its newest checkpoint, or that of `step`), in a folder with a
    policy.json such as the run's best/, or of a policy.json or .safetensors file.

    `rule` is of groups.ACTION_RULES; those that ask the critic work from a run's checkpoint alone.
    Raises CheckpointError with one sentence where there is no policy, it is damaged or of another
    format, its weights are not those of the network described, or the rule asks a critic that was
    not kept.
    """
    path = Path(path)
    if rule not in groups.ACTION_RULES:
        rules = ", ".join(groups.ACTION_RULES)
        raise CheckpointError(f"The action rule {rule} is unknown; choose from {rules}.")
    file = path / policy_file.NAME if path.is_dir() else path
    if file.suffix in (".json", ".safetensors") and file.exists():
        return _from_file(file, rule)
    if (path / "checkpoints").is_dir() or (path / "config.json").exists():
        return _from_run(path, rule, step)
    raise CheckpointError(
        f"There is no policy in {path}: give a run directory, its folder best, or a "
        f"{policy_file.NAME}."
    )


def keep_policy(
    directory: Path,
    settings: Config,
    spaces: Spaces,
    env_steps: int,
    actor: Params,
    normalizer: Any,
    task_version: int,
    eval_return: float | None = None,
) -> None:
    """Writes the policy that is scored as policy.json and policy.safetensors into `directory`.

    `actor` is the network's parameters, `normalizer` a Normalizer or a dict of its fields,
    `eval_return` what it reached, if it was scored. Raises SaveError where it cannot be written.
    """
    if not isinstance(normalizer, Normalizer):
        normalizer = Normalizer(**normalizer)
    kept = PolicyFile(
        task=settings.task.task,
        task_options=parse_options(settings.task.task_options),
        task_version=task_version,
        spaces=spaces,
        network=acting.describe(networks.policy_network(settings, spaces)),
        obs_dtype=settings.replay.obs_dtype,
        normalize_obs=settings.replay.normalize_obs,
        env_steps=env_steps,
        actor=jax.tree.map(np.asarray, actor["params"]),
        normalizer=jax.tree.map(np.asarray, acting.of_policy(spaces, normalizer)._asdict()),
        eval_return=eval_return,
        settings=configs.to_json(configs.replace(settings, run_dir="")),
        versions=policy_file.versions(),
    )
    policy_file.write(directory, kept)


def export_policy(run_dir: Path, directory: Path, step: int | None = None) -> None:
    """Keeps the policy of a run's newest checkpoint, or that of `step`, in `directory`.

    Raises CheckpointError as `load_policy` does, SaveError where it cannot be written.
    """
    settings, spaces, version = settings_of(run_dir / "config.json")
    found, arrays = checkpoint.restore_arrays(run_dir / "checkpoints", step)
    learner, normalizer = learned_of(arrays, run_dir, spaces)
    keep_policy(directory, settings, spaces, found, learner["average_actor"], normalizer, version)
    if (run_dir / loading.FOLDER).is_dir():
        shutil.copytree(run_dir / loading.FOLDER, directory / loading.FOLDER, dirs_exist_ok=True)


def _from_file(path: Path, rule: str) -> Policy:
    kept = policy_file.read(path)
    words = _in_words(rule, kept.network.distribution, path)
    if rule in action_rules.NEEDS_CRITIC:
        rules = _rules(kept.network.distribution)
        others = [x for x in rules if x not in action_rules.NEEDS_CRITIC]
        raise CheckpointError(
            f"--action-rule {rule} asks the critic, and {path} holds the policy alone: use "
            f"{in_words(others)} there."
        )
    network = acting.network_of(kept.network, kept.spaces)
    actor = {"params": kept.actor}
    check_shapes(
        jax.eval_shape(network.init, jax.random.key(0), _one_obs(kept.spaces)),
        actor,
        f"The weights in {path.with_suffix('.safetensors')} are not those of the network that "
        f"{path.with_suffix('.json').name} describes: copy both files again.",
    )
    normalizer = Normalizer(**cast(Any, kept.normalizer))
    see = acting.make_see(normalizer, kept.obs_dtype, kept.normalize_obs)
    return Policy(
        act=acting.make_act(network, kept.spaces, see, actor, rule),
        distribute=acting.make_distribute(network, see, actor),
        task=loading.kept(kept.task, path.parent),
        task_version=kept.task_version,
        spaces=kept.spaces,
        env_steps=kept.env_steps,
        checkpoint=f"{kept.env_steps:012d}",
        action_rule=words,
        eval_return=kept.eval_return,
        task_options=kept.task_options,
    )


def _from_run(directory: Path, rule: str, step: int | None) -> Policy:
    settings, spaces, version = settings_of(directory / "config.json")
    distribution = acting.describe(networks.policy_network(settings, spaces)).distribution
    words = _in_words(rule, distribution, directory)
    found, arrays = checkpoint.restore_arrays(directory / "checkpoints", step)
    learner, normalizer = learned_of(arrays, directory, spaces)
    described = jax.eval_shape(make_learner(settings, spaces).init, jax.random.key(0))
    for name in ("average_actor", "critic"):
        check_shapes(
            getattr(described, name),
            learner[name],
            f"The networks in {directory / 'checkpoints'} are not those of "
            f"{directory / 'config.json'}: put back the settings that they were trained with.",
        )
    asks = rule in action_rules.NEEDS_CRITIC
    if asks and spaces.privileged_size is not None:
        raise CheckpointError(
            f"--action-rule {rule} asks the critic, which sees more of {settings.task.task} than a "
            "policy that acts: use mean, sample or heaviest."
        )
    network, see = acting.of_run(settings, spaces, normalizer)
    actor = learner["average_actor"]
    min_q = acting.min_q_of(settings, spaces, learner["critic"]) if asks else None
    return Policy(
        act=acting.make_act(network, spaces, see, actor, rule, min_q),
        distribute=acting.make_distribute(network, see, actor),
        task=loading.kept(settings.task.task, directory),
        task_version=version,
        spaces=spaces,
        env_steps=found,
        checkpoint=f"{found:012d}",
        action_rule=words,
        task_options=parse_options(settings.task.task_options),
    )


def _one_obs(spaces: Spaces) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, spaces.obs_size), jnp.float32)


def _rules(distribution: str) -> dict[str, str]:
    return groups.ACTION_RULES if distribution == "mixture" else groups.RULES_OF_TANH_GAUSSIAN


def _in_words(rule: str, distribution: str, place: Path) -> str:
    rules = _rules(distribution)
    if rule not in rules:
        raise CheckpointError(
            f"--action-rule {rule} is for a mixture, and {place} holds a tanh Gaussian: use "
            f"{in_words(rules)} there."
        )
    return f"{rules[rule]}, clipped" if distribution == "mixture" else rules[rule]
