"""What holds over a night: resuming is exact for every engine, and memory stays flat."""

import gc
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import train
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.runs.metrics import MetricsWriter

SMALL = ["--num-envs", "4", "--random-steps", "16", "--replay-size", "4096", "--eval-episodes", "1"]
SMALL += ["--preset", "smoke", "--chunk-iterations", "8"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mujoco", "mjx", "warp"])
@pytest.mark.parametrize("task", ["InvertedPendulum-v5", "Reacher-v5"])
def test_a_resumed_run_ends_where_one_ends_that_was_never_interrupted(tmp_path, task, engine):
    """The whole saved state, bit for bit; MJX and Warp compile for a minute on a CPU."""
    if engine == "warp" and importlib.util.find_spec("warp") is None:
        pytest.skip("warp-lang is not installed")
    found = []
    for name, ends in (("whole", [256]), ("halves", [128, 256])):
        arguments = [*SMALL, "--task", task, "--engine", engine, "--run-dir", str(tmp_path / name)]
        # MJX's own code relies on rank promotion, which these tests otherwise forbid.
        with jax.numpy_rank_promotion("allow"):
            for number, steps in enumerate(ends):
                again = ["--resume"] if number else []
                assert train.main([*arguments, *again, "--env-steps", str(steps)]) == 0
        step, saved = checkpoint.restore_arrays(tmp_path / name / "checkpoints")
        replay = checkpoint.restore_arrays(tmp_path / name / "replay")[1]
        del saved["train_seconds"]
        found.append((step, saved, replay))
    assert found[0][0] == found[1][0] == 256 and found[0][1]["learner"]["updates"] > 50
    jax.tree.map(np.testing.assert_array_equal, found[0], found[1])


def resident() -> int:
    """MiB of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 // 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_memory_is_flat_over_a_million_iterations(tmp_path):
    """20,000 launches of 50, each logged, every 200th saved, as a run does it."""
    step = jax.jit(
        lambda x: jax.lax.scan(lambda x, _: (x * 0.999 + 1.0, x.sum()), x, length=50),
        donate_argnums=0,
    )
    state, sizes = jnp.ones(1000), []
    with MetricsWriter(tmp_path) as writer:
        for launch in range(1, 20_001):
            state, sums = step(state)
            values = {f"metric_{i}": float(sums[0]) for i in range(10)}
            writer.write(50 * launch, values)
            if launch % 200 == 0:
                checkpoint.save(tmp_path / "checkpoints", 50 * launch, {"x": state}, keep=2)
            if launch % 2000 == 0:
                gc.collect()
                sizes.append(resident())
    # The first fifth fills caches; a leak of 1 KB a launch would be 16 MiB over the rest.
    assert max(sizes[2:]) - sizes[1] < 12, sizes
