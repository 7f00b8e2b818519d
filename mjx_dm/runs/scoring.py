"""A run scores its own policy in its task while it trains, and keeps the best in best/."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mjx_dm.checkpoints import policy_file
from mjx_dm.checkpoints.acting import act_of_run
from mjx_dm.checkpoints.manifest import CheckpointError, SaveError
from mjx_dm.checkpoints.policy import keep_policy
from mjx_dm.config import Config
from mjx_dm.device import float32, platform
from mjx_dm.evaluation.evaluate import Evaluation, NoScore, evaluate
from mjx_dm.learner.state import Params
from mjx_dm.runs.metrics import MetricsWriter
from mjx_dm.runs.progress import Scored
from mjx_dm.runs.signals import WAKE_SECONDS
from mjx_dm.tasks import LibraryTask, loading
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
    Leaving the scores as a context gives up the episodes that are being played.
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
        self.latest: Scored | None = None
        self._player = ThreadPoolExecutor(1)
        self._playing: Played | None = None
        self._is_over = threading.Event()
        # The best policy so far, where the disk did not take it.
        self._to_keep: tuple[Played, float] | None = None
        self._is_told = False

    def __enter__(self) -> "Scores":
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._player.shutdown(wait=False)

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
        self._keep()
        played = self._playing
        if played is None or not (wait or played.result.done()):
            return
        while not played.result.done():
            # Not for ever at once: a signal may have come to another thread, and Python answers it
            # when this one wakes up.
            wait_for([played.result], timeout=WAKE_SECONDS)
        self._playing = None
        env_steps, train_seconds = played.env_steps, played.train_seconds
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
        self.latest = Scored(result.mean, result.std, env_steps)
        if result.mean > self.best_return:
            self.best_return = result.mean
            self._to_keep = played, result.mean
            self._keep()

    def _keep(self) -> None:
        """Writes the best policy to best/; one that the disk does not take is kept for later."""
        if self._to_keep is None:
            return
        played, score = self._to_keep
        try:
            keep_policy(
                self.directory,
                self.config,
                self.task.spaces,
                played.env_steps,
                played.actor,
                played.normalizer,
                self.task.version,
                score,
            )
            loading.keep(self.task, self.directory)
        except SaveError as error:
            if not self._is_told:
                self.say(f"{error} Training goes on, and it is tried again.")
            self._is_told = True
        else:
            self._to_keep, self._is_told = None, False

    def _play(self, actor: Params, normalizer: Normalizer) -> Evaluation:
        with float32():
            act = act_of_run(self.config, self.task.spaces, actor, normalizer)
            return evaluate(
                act,
                self.task,
                episodes=self.config.run.eval_episodes,
                seed=EVAL_SEED,
                on_step=self._stop_if_over,
            )

    def _stop_if_over(self, episode: int, data: Any) -> None:
        if self._is_over.is_set():
            raise NoScore("The run has ended.")

    def say_best(self) -> None:
        """Where the best policy is, if any was scored."""
        if self._to_keep is not None:
            self.say(f"The policy that scored best, {self.best_return:.0f}, is not saved.")
        elif self.best_return > -math.inf:
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
