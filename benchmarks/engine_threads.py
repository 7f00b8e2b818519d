"""MuJoCo's own threads beside Python's, where both can step a task.

python benchmarks/engine_threads.py --json FILE

Also tells for how long a step of a world holds Python's lock. The C engine beside other packages:
benchmarks/peers.
"""

import dataclasses
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from mjx_dm import host
from mjx_dm.engines.mujoco import MujocoEngine
from mjx_dm.files import write_json
from mjx_dm.tasks import get_task
from mjx_dm.tasks.physics import model_for

CASES = (("Humanoid-v4", "fast"), ("Ant-v5", "fast"), ("HalfCheetah-v4", "exact"))


@dataclasses.dataclass(frozen=True)
class Options:
    """Time the C engine on MuJoCo's threads and on Python's, in turns."""

    num_envs: int = 256
    """Worlds that are stepped together."""
    rounds: int = 140
    """Steps of all worlds by each."""
    json: Path | None = None


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments)
    if options.json and not options.json.parent.is_dir():
        folder = options.json.parent
        print(f"engine_threads.py: --json: there is no folder {folder}.", file=sys.stderr)
        return 2
    rows = [_threads(*case, options) for case in CASES]
    table = Table("", "physics", "MuJoCo's threads are … times Python's", "Python, µs a world step")
    for row in rows:
        held = f"{row['python_microseconds']:.2f}"
        table.add_row(row["task"], row["physics"], f"{row['native_times']:.2f}", held)
    Console().print(table)
    if options.json:
        settings = {"cores": host.cores(), "num_envs": options.num_envs, "rounds": options.rounds}
        write_json(options.json, settings | {"threads": rows})
    return 0


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

    pairs = [(timed(native), timed(python)) for _ in range(options.rounds)]
    ratio = statistics.median(slow / fast for fast, slow in pairs)
    # What is left without the physics; the least, since all else on the machine only adds to it.
    native.native.batch.step = lambda nstep: None
    held = min(timed(native) for _ in range(200)) / num_envs * 1e6
    return {"task": name, "physics": physics, "native_times": ratio, "python_microseconds": held}


if __name__ == "__main__":
    sys.exit(main())
