"""Every learner's policy is scored in the task's CPU environment, while training goes on."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from mjx_dm import host
from mjx_dm.checkpoints.acting import act_of_run
from mjx_dm.checkpoints.policy import keep_policy
from mjx_dm.device import in_float32
from mjx_dm.evaluation.evaluate import Evaluation, NoScore, evaluate
from mjx_dm.learner.state import Params
from mjx_dm.population.combinations import Options
from mjx_dm.runs.scoring import EVAL_SEED
from mjx_dm.tasks.task import Task


class Judge:
    """Plays the episodes of `size` learners on the CPU's cores, and keeps their newest policies."""

    def __init__(self, options: Options, task: Task, size: int) -> None:
        self._config, self._policies, self._task = options.config, options.policies, task
        self._size = size
        self._pool = ThreadPoolExecutor(max(1, min(size, host.cores() - 1)))
        self._playing: list[tuple[dict[str, Any], list[Future[Evaluation | None]]]] = []

    def score(self, actor: Params, normalizer: Any, row: dict[str, Any]) -> None:
        """Has every learner's episodes played; `collect` writes what they bring into `row`. The
        weights and statistics have an axis of learners."""
        policies = jax.device_get((actor, normalizer))
        learners = [jax.tree.map(lambda x, i=i: x[i], policies) for i in range(self._size)]
        self._playing.append((row, [self._pool.submit(self._play, *one) for one in learners]))
        for i, (actor, normalizer) in enumerate(learners):
            if self._policies is not None:
                keep_policy(
                    self._policies / f"learner_{i}",
                    self._config,
                    self._task.spaces,
                    row["env_steps"],
                    actor,
                    normalizer,
                    self._task.version,
                )

    def collect(self, wait: bool) -> list[dict[str, Any]]:
        """The rows whose scores are there, in their order, after a `wait` for all of them if need
        be; None stands where a policy has no score."""
        done = []
        while self._playing and (wait or all(x.done() for x in self._playing[0][1])):
            row, playing = self._playing.pop(0)
            found = [x.result() for x in playing]
            row["return"] = [None if x is None else x.mean for x in found]
            row["return_std"] = [None if x is None else x.std for x in found]
            row["length"] = [None if x is None else sum(x.lengths) / len(x.lengths) for x in found]
            done.append(row)
        return done

    @in_float32
    def _play(self, actor: Any, normalizer: Any) -> Evaluation | None:
        act = act_of_run(self._config, self._task.spaces, actor, normalizer)
        episodes = self._config.run.eval_episodes
        try:
            return evaluate(act, self._task, episodes=episodes, seed=EVAL_SEED)
        except NoScore:
            return None
