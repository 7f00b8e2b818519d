"""Env steps/s of `evaluate` beside Gymnasium's AsyncVectorEnv, with the same policy.

python benchmarks/eval_speed.py benchmarks/policies/humanoid_h200

Both play the same starts, in turns, so that whatever else the machine does falls on both. Making
the environments is left out. On a machine that is not idle, AsyncVectorEnv has the larger share of
it, with a process an environment: CPU seconds a step stand beside the clock's.
"""

import dataclasses
import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np
import tyro

from mjx_dm.checkpoints.policy import Policy, load_policy
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.tasks.task import Task

SEED = 1000


@dataclasses.dataclass(frozen=True)
class Options:
    """Time the evaluation of a policy against AsyncVectorEnv."""

    policy: tyro.conf.Positional[Path]
    episodes: int = 16
    steps: int = 200
    """Of each episode, fewer than the policy stays up."""
    turns: int = 5


class Cost(NamedTuple):
    """Of one env step, in seconds: by the clock, and of all cores together."""

    clock: float
    cpu: float


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 2 bad input."""
    options = tyro.cli(Options, args=arguments)
    warnings.filterwarnings("ignore", message=".*is out of date.*")
    try:
        policy = load_policy(options.policy)
        task = policy.own_task()
    except CheckpointError as error:
        print(f"eval_speed.py: {error}", file=sys.stderr)
        return 2
    if not isinstance(task, Task) or task.gym_id is None:
        print(f"eval_speed.py: {task.name} has no Gymnasium environment.", file=sys.stderr)
        return 2
    limited = dict(task.options) | {"max_episode_steps": options.steps}
    envs = gymnasium.make_vec(
        task.gym_id, num_envs=options.episodes, vectorization_mode="async", **task.options
    )
    ours, theirs = [], []
    try:
        for _ in range(options.turns):
            theirs.append(_of_vector_env(policy, envs, options.steps))
            ours.append(_of_evaluate(policy, dataclasses.replace(task, options=limited), options))
    finally:
        envs.close()
    for name, costs in (("evaluate", ours), ("AsyncVectorEnv", theirs)):
        clock, cpu = (statistics.median(x) for x in zip(*costs, strict=True))
        print(f"{name}: {1 / clock:,.0f} env steps/s, {1e6 * cpu:.0f} CPU µs a step")
    ratios = sorted(b.clock / a.clock for a, b in zip(ours, theirs, strict=True))
    print(f"ratio of the clock's, turn by turn: {', '.join(f'{x:.2f}' for x in ratios)}")
    return 0


def _of_evaluate(policy: Policy, task: Task, options: Options) -> Cost:
    begun: list[tuple[float, float]] = []

    def on_step(episode: int, data: object) -> None:
        if len(begun) < options.episodes:  # its resets
            begun.append((time.perf_counter(), time.process_time()))

    played = evaluate(policy, task, episodes=options.episodes, seed=SEED, on_step=on_step)
    clock, cpu = time.perf_counter() - begun[-1][0], time.process_time() - begun[-1][1]
    return Cost(clock / sum(played.lengths), cpu / sum(played.lengths))


def _of_vector_env(policy: Policy, envs: gymnasium.vector.AsyncVectorEnv, steps: int) -> Cost:
    obs, _ = envs.reset(seed=SEED)
    clock, cpu = time.perf_counter(), _cpu_of(envs)
    for _ in range(steps):
        obs, *_ = envs.step(policy.act(obs.astype(np.float32)))
    count = steps * envs.num_envs
    return Cost((time.perf_counter() - clock) / count, (_cpu_of(envs) - cpu) / count)


def _cpu_of(envs: gymnasium.vector.AsyncVectorEnv) -> float:
    """CPU seconds of this process and those of `envs`."""
    total = time.process_time()
    for process in envs.processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


if __name__ == "__main__":
    sys.exit(main())
