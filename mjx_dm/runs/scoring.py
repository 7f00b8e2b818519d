"""A run scores its own policy in its task while it trains, and keeps the best in best/."""

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from mjx_dm.checkpoints import policy_file
from mjx_dm.checkpoints.acting import act_of_run
from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.checkpoints.policy import keep_policy
from mjx_dm.config import Config
from mjx_dm.device import platform
from mjx_dm.evaluation.evaluate import Evaluation, NoScore, evaluate
from mjx_dm.learner.state import Params
from mjx_dm.runs.metrics import MetricsWriter
from mjx_dm.tasks import loading
from mjx_dm.tasks.libraries import LibraryTask
from mjx_dm.tasks.task import Task
from mjx_dm.training.normalisation import Normalizer
from mjx_dm.training.program import TrainState

# Other episodes than eval_render.py plays, so that the best policy is not scored by those that
# chose it.
EVAL_SEED = 0


class Played(NamedTuple):
    """A policy whose episodes are being played, or have been."""

    env_steps: int
    train_seconds: float
    actor: Params
    normalizer: Normalizer
    result: Future[Evaluation]


class Scores:
    """What the policy of a run has reached; a resumed run goes on from the best that it kept.

    Episodes are played on the CPU. Where training runs on an accelerator it goes on meanwhile, and
    a score is written once it is there, under the steps that its policy had been trained for.
    `say` is told every score, in a sentence; `wall_seconds` tells the run's time on the wall.
    """

    def __init__(
        self,
        config: Config,
        task: Task | LibraryTask,
        writer: MetricsWriter,
        say: Callable[[str], None],
        wall_seconds: Callable[[], float],
    ) -> None:
        self.config, self.task, self.writer, self.say = config, task, writer, say
        self.wall_seconds = wall_seconds
        self.directory = config.directory / "best"
        self.best_return = _kept_return(self.directory)
        self.last_scored = -1
        self._player = ThreadPoolExecutor(1)
        self._playing: Played | None = None

    def score(self, state: TrainState, env_steps: int, train_seconds: float) -> None:
        """Has `eval_episodes` whole episodes played, once for every `env_steps`."""
        if env_steps == self.last_scored:
            return
        self.last_scored = env_steps
        self.collect(wait=True)
        # Copied: the next launch takes the state's own buffers.
        policy = (state.learner.average_actor, state.normalizer)
        actor, normalizer = jax.tree.map(np.array, policy)
        result = self._player.submit(self._play, actor, normalizer)
        self._playing = Played(env_steps, train_seconds, actor, normalizer, result)
        self.collect(wait=platform() == "cpu")

    def collect(self, wait: bool = False) -> None:
        """Writes the score that has been played, if there is one, after a `wait` for it if need be.

        Episodes that have no score, as a broken simulation has none, are told and training goes on.
        """
        played = self._playing
        if played is None or not (wait or played.result.done()):
            return
        self._playing = None
        env_steps, train_seconds, actor, normalizer, _ = played
        try:
            result = played.result.result()
        except NoScore as error:
            self.say(f"{self.task.name} after {env_steps:,} steps: {error}")
            return
        self.writer.write(
            env_steps,
            {
                "eval_return": result.mean,
                "eval_return_std": result.std,
                "eval_length": sum(result.lengths) / len(result.lengths),
                "eval_episodes": len(result.returns),
                "train_seconds": train_seconds,
                "wall_seconds": self.wall_seconds(),
            },
        )
        self.say(
            f"{self.task.name} after {env_steps:,} steps, {train_seconds:.0f} s of training: "
            f"return {result.mean:.0f} ± {result.std:.0f} over {len(result.returns)} episodes "
            f"(seeds {EVAL_SEED}-{EVAL_SEED + len(result.returns) - 1}, mean action)."
        )
        if result.mean > self.best_return:
            self.best_return = result.mean
            keep_policy(
                self.directory,
                self.config,
                self.task.spaces,
                env_steps,
                actor,
                normalizer,
                self.task.version,
                result.mean,
            )
            loading.keep(self.task, self.directory)

    def _play(self, actor: Params, normalizer: Normalizer) -> Evaluation:
        act = act_of_run(self.config, self.task.spaces, actor, normalizer)
        return evaluate(act, self.task, episodes=self.config.run.eval_episodes, seed=EVAL_SEED)

    def say_best(self) -> None:
        """Where the best policy is, if any was scored."""
        if self.best_return > -math.inf:
            self.say(
                f"The policy that scored best, {self.best_return:.0f}, is in {self.directory}."
            )


def _kept_return(directory: Path) -> float:
    """What the policy kept there reached; where none can be read, anything is better."""
    try:
        kept = policy_file.describe(directory / policy_file.NAME)["eval_return"]
    except (CheckpointError, KeyError):
        return -math.inf
    return -math.inf if kept is None else float(kept)
