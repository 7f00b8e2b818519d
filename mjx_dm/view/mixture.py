"""The figure of a mixture: python -m mjx_dm.view.mixture RUN_DIR [--at STEP] [--out FILE].

One episode under the mean action; in one of its states the mixture over two coordinates of the
action beside exp(Q/T), and over the whole episode the weights and sigmas of the components.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import tyro

from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.config import ConfigError
from mjx_dm.ending import complain, leave, say
from mjx_dm.evaluation.acting import NoScore
from mjx_dm.learner.gmm import GMM
from mjx_dm.tasks.task import Task
from mjx_dm.view.choices import BEST, Choices
from mjx_dm.view.densities import Plane, at, plane, widest

COMMAND = "python -m mjx_dm.view.mixture"


@dataclass(frozen=True)
class Options:
    """Draw what a run's mixture weighs in a state, beside what its critics think of it."""

    run_dir: tyro.conf.Positional[Path]
    """The run directory, as given to train.py."""
    checkpoint: str = ""
    """newest, or the env steps of one that is kept; by default the newest."""
    seed: int = 1000
    """The episode is reset with it."""
    at: int | None = None
    """The step of the episode whose mixture is drawn; by default that with most components."""
    coordinates: tuple[int, int] | None = None
    """Two entries of the action, from 0 on; by default those in which the mixture is widest."""
    out: Path = Path("mixture.png")
    """The figure; its ending names the format, png, svg or pdf."""


class Episode(NamedTuple):
    """An episode under the mean action: observations `(T, obs)`, and the mixtures `(T,)` there."""

    task: Task
    env_steps: int
    obs: np.ndarray
    gmm: GMM


def main(arguments: list[str] | None = None) -> int:
    """Writes the figure; returns the exit status: 0 done, 1 not written, 2 bad input."""
    options = tyro.cli(Options, args=arguments, prog=COMMAND)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from mjx_dm.view.figure import write

    if options.out.suffix not in (".png", ".svg", ".pdf"):
        return complain(COMMAND, f"--out {options.out} must end with .png, .svg or .pdf.", 2)
    try:
        episode, shown, step = look(
            options.run_dir, options.checkpoint, options.seed, options.at, options.coordinates
        )
    except (CheckpointError, ConfigError) as error:
        return complain(COMMAND, error, 2)
    except NoScore as error:
        return complain(COMMAND, error, 1)
    try:
        write(options.out, episode, shown, step)
    except OSError as error:
        return complain(COMMAND, f"{options.out} cannot be written: {error.strerror}.", 1)
    say(f"Figure: {options.out}")
    return 0


def look(
    run_dir: Path,
    checkpoint: str = "",
    seed: int = 1000,
    step: int | None = None,
    coordinates: tuple[int, int] | None = None,
) -> tuple[Episode, Plane, int]:
    """An episode of a run's policy, the densities in one of its states, and the step of that.

    Without `step` it is the state with most components in use, without `coordinates` the two in
    which the mixture is widest there. Raises CheckpointError where the run has no mixture or no
    critics, ConfigError where there is no such step or coordinate.
    """
    from mjx_dm.checkpoints.critic import load_critic

    choices = Choices(run_dir)
    name = choices.named(checkpoint)
    if not (run_dir / "checkpoints").is_dir() or name == BEST:
        raise CheckpointError(
            f"Q is of the critics, which a run's checkpoints hold and the policy in {run_dir} does "
            "not: give a run directory, and --checkpoint newest or one of its steps."
        )
    episode = play(choices, name, seed)
    critic = load_critic(run_dir, episode.env_steps)
    steps, size = len(episode.obs), episode.task.spaces.action_size
    if step is None:
        step = int(np.argmax(episode.gmm.effective_components()))
    if not 0 <= step < steps:
        raise ConfigError(
            f"--at must lie in [0, {steps - 1}], the steps of the episode, got {step}."
        )
    gmm = at(episode.gmm, step)
    if size < 2:
        raise ConfigError(f"{episode.task.name} has one action, and the figure is of two.")
    pair = widest(gmm) if coordinates is None else coordinates
    if pair[0] == pair[1] or not all(0 <= c < size for c in pair):
        raise ConfigError(
            f"--coordinates must be two different ones of 0 to {size - 1}, got {pair[0]} {pair[1]}."
        )
    spaces = episode.task.spaces
    box = np.array(spaces.action_low), np.array(spaces.action_high)
    if critic.settings.policy.bounded:
        box = -np.ones(size), np.ones(size)
    return episode, plane(gmm, episode.obs[step], pair, critic, box), step


def play(choices: Choices, name: str, seed: int) -> Episode:
    """One episode of the policy `name` of `choices`, under the mean action.

    Raises CheckpointError where the policy is no mixture, or one of a library's task.
    """
    from mjx_dm.evaluation.evaluate import evaluate

    policy = choices.load(name)
    task = policy.own_task()
    if not isinstance(task, Task):
        raise CheckpointError(f"{task.name} is a library's task; the figure is of our own.")
    if not isinstance(policy.distribute(np.zeros((1, task.spaces.obs_size), np.float32)), GMM):
        raise CheckpointError(f"The policy in {choices.path} is a tanh Gaussian, not a mixture.")
    seen: list[np.ndarray] = []

    def act(obs: np.ndarray) -> np.ndarray:
        seen.append(obs[0].copy())
        return policy.act(obs)

    evaluate(act, task, episodes=1, seed=seed)
    obs = np.stack(seen)
    gmm = cast(GMM, policy.distribute(obs))
    return Episode(task, policy.env_steps, obs, gmm)


if __name__ == "__main__":
    leave(main)
