"""The CPU path against its own bare physics and against Gymnasium's vector environments.

python benchmarks/cpu_engines.py --json FILE

Exact physics and uniform random actions everywhere. The contenders take turns in every round, so
that the ratios hold on a machine whose load changes; the ratio of each round is what is reported.
A second table compares MuJoCo's own threads with Python's, where both can step a task, and tells
for how long a step of a world holds Python's lock.
"""

import dataclasses
import functools
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Gymnasium's worker processes inherit this: each world on one thread, as here.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import gymnasium
import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from mjx_dm import host
from mjx_dm.engines.mujoco import MujocoEngine
from mjx_dm.envs.batch import make_env
from mjx_dm.tasks import get_task
from mjx_dm.tasks.physics import model_for

SCAN_STEPS = 20
THREADED = (("Humanoid-v4", "fast"), ("Ant-v5", "fast"), ("HalfCheetah-v4", "exact"))


@dataclasses.dataclass(frozen=True)
class Options:
    """Time the scan, the bare thread pool and Gymnasium's vector environments, in turns."""

    num_envs: int = 256
    """Worlds of our environment."""
    gym_envs: int = 16
    """Worlds of each Gymnasium vector environment; AsyncVectorEnv has a process for each."""
    seconds: float = 3.0
    """How long each contender runs in a round, at least."""
    rounds: int = 7
    json: Path | None = None


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments)
    if options.json and not options.json.parent.is_dir():
        folder = options.json.parent
        print(f"cpu_engines.py: --json: there is no folder {folder}.", file=sys.stderr)
        return 2
    contenders = {
        "scan (whole environment)": _scan(options.num_envs),
        "bare thread pool (physics)": _bare(options.num_envs),
        "gymnasium AsyncVectorEnv": _gymnasium("async", options.gym_envs),
        "gymnasium SyncVectorEnv": _gymnasium("sync", options.gym_envs),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for launch in contenders.values():
        launch()
    for _ in range(options.rounds):
        for name, launch in contenders.items():
            steps, start = 0, time.perf_counter()
            while time.perf_counter() - start < options.seconds:
                steps += launch()
            rates[name].append(steps / (time.perf_counter() - start))
    scan = rates["scan (whole environment)"]
    rows = [
        {
            "contender": name,
            "steps_per_second": statistics.median(rate),
            "min": min(rate),
            "max": max(rate),
            "scan_times": statistics.median(s / r for s, r in zip(scan, rate, strict=True)),
        }
        for name, rate in rates.items()
    ]
    threads = [_threads(*case, options) for case in THREADED]
    report = {
        "physics": "v4",
        "cores": host.cores(),
        "num_envs": options.num_envs,
        "gym_envs": options.gym_envs,
        "rounds": options.rounds,
        "rows": rows,
        "threads": threads,
    }
    table = Table("", "env steps/s", "min", "max", "scan is … times this")
    for row in rows:
        figures = [f"{row[k]:,.0f}" for k in ("steps_per_second", "min", "max")]
        table.add_row(row["contender"], *figures, f"{row['scan_times']:.2f}")
    Console().print(table)
    table = Table("", "physics", "MuJoCo's threads are … times Python's", "Python, µs a world step")
    for row in threads:
        held = f"{row['python_microseconds']:.2f}"
        table.add_row(row["task"], row["physics"], f"{row['native_times']:.2f}", held)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _scan(num_envs: int) -> Callable[[], int]:
    """Observations, rewards, ends and resets inside one compiled scan."""
    env = make_env(num_envs, engine="mujoco", physics="exact")

    @functools.partial(jax.jit, donate_argnums=0)
    def roll(carry: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            state, key = carry
            key, action_key = jax.random.split(key)
            action = jax.random.uniform(action_key, (num_envs, 17), minval=-0.4, maxval=0.4)
            return (env.step(state, action), key), None

        return jax.lax.scan(step, carry, length=SCAN_STEPS)[0]

    held = [(jax.jit(env.reset)(jax.random.key(0)), jax.random.key(1))]

    def launch() -> int:
        held[0] = jax.block_until_ready(roll(held[0]))
        return SCAN_STEPS * num_envs

    return launch


def _bare(num_envs: int) -> Callable[[], int]:
    """The engine's thread pool called from Python, with worlds put back up when they fall."""
    task = get_task("Humanoid-v4")
    engine = MujocoEngine(task, task.model, num_envs, host.cores())
    rng = np.random.default_rng(0)
    out = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), engine.shape)
    first = np.tile(task.model.qpos0.astype(np.float32), (num_envs, 1))
    low, high = task.options["healthy_z_range"]
    out.state.qpos[:] = first

    def launch() -> int:
        action = rng.uniform(-0.4, 0.4, (num_envs, 17)).astype(np.float32)
        qpos, qvel, warmstart = out.state
        engine.advance(out, qpos.copy(), qvel.copy(), warmstart.copy(), action)
        fallen = ~((low < qpos[:, 2]) & (qpos[:, 2] < high))
        qpos[fallen], qvel[fallen], warmstart[fallen] = first[fallen], 0.0, 0.0
        return num_envs

    return launch


def _threads(name: str, physics: str, options: Options) -> dict[str, Any]:
    """The same steps on MuJoCo's threads and on Python's, in turns, from one state."""
    task, num_envs = get_task(name), options.num_envs
    model = model_for(task, "mujoco", physics)
    native, python = (MujocoEngine(task, model, num_envs, host.cores()) for _ in range(2))
    assert native.native is not None
    python.native = None
    out = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), native.shape)
    starts = jax.vmap(task.reset)(jax.random.split(jax.random.key(0), num_envs))
    qpos, qvel = map(np.array, starts)
    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (num_envs, model.nu)).astype(np.float32)
    before = qpos, qvel, np.zeros_like(qvel), action

    def timed(engine: MujocoEngine) -> float:
        start = time.perf_counter()
        engine.advance(out, *before)
        return time.perf_counter() - start

    pairs = [(timed(native), timed(python)) for _ in range(20 * options.rounds)]
    ratio = statistics.median(slow / fast for fast, slow in pairs)
    # What is left without the physics; the least, since all else on the machine only adds to it.
    native.native.batch.step = lambda nstep: None
    held = min(timed(native) for _ in range(200)) / num_envs * 1e6
    return {"task": name, "physics": physics, "native_times": ratio, "python_microseconds": held}


def _gymnasium(mode: str, num_envs: int) -> Callable[[], int]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Humanoid-v4 is out of date.*")
        envs = gymnasium.make_vec(
            "Humanoid-v4",
            num_envs=num_envs,
            vectorization_mode=mode,
            # JAX has threads by now, which a fork would not survive.
            vector_kwargs={"context": "spawn"} if mode == "async" else None,
        )
    envs.reset(seed=0)
    rng = np.random.default_rng(0)

    def launch() -> int:
        envs.step(rng.uniform(-0.4, 0.4, (num_envs, 17)).astype(np.float32))
        return num_envs

    return launch


if __name__ == "__main__":
    sys.exit(main())
