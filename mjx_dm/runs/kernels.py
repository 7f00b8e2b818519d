"""Has MuJoCo Warp compile its kernels in a process of its own, while XLA compiles the program.

Warp compiles a kernel when it is first launched: on a new machine a minute of one core. It keeps
what it made on disk, where the run's own first launch finds it.
"""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp

import mjx_dm
from mjx_dm import settings
from mjx_dm.config import Config
from mjx_dm.device import in_float32
from mjx_dm.engines import make_engine
from mjx_dm.tasks.physics import model_for
from mjx_dm.tasks.task import Task
from mjx_dm.training.worlds import task_of
from mjx_dm.types import PhysicsState


def compile_apart(config: Config) -> str | None:
    """Has a process compile the kernels of the worlds that `config` describes, and waits for it.

    Does nothing where one has done so before. Returns in a sentence what was wrong, if anything
    was: the first launch then compiles them.
    """
    done = _mark(config)
    if done.exists():
        return None
    child = subprocess.run(
        [sys.executable, "-m", "mjx_dm.runs.kernels"],
        input=pickle.dumps(config),
        # By default it would take three quarters of the device's memory.
        env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        capture_output=True,
    )
    if child.returncode:
        said = child.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"exit status {child.returncode}"
        return f"Warp's kernels are compiled at the first launch, not beside the program ({why})."
    done.touch()
    return None


def _mark(config: Config) -> Path:
    """A file beside Warp's kernels that says that they are there."""
    import warp

    versions = [mjx_dm.__version__]
    versions += [metadata.version(name) for name in ("mujoco", "mujoco-mjx", "warp-lang")]
    card = jax.devices()[0].device_kind
    of = json.dumps([settings.to_json(config)[x] for x in ("task", "physics")] + versions + [card])
    name = hashlib.sha256(of.encode()).hexdigest()[:16]
    folder = warp.config.kernel_cache_dir
    assert folder is not None  # since Warp began
    return Path(folder) / f"mjx_dm_{name}"


@in_float32
def _launch_once(config: Config) -> None:
    """One environment step of all worlds, from zero velocity."""
    task = task_of(config)
    assert isinstance(task, Task)
    physics, n = config.physics, config.physics.num_envs
    engine = make_engine(task, physics.engine, physics.physics, n)
    model = model_for(task, physics.engine, physics.physics)
    qpos = jnp.broadcast_to(jnp.asarray(model.qpos0, jnp.float32), (n, model.nq))
    state = PhysicsState(qpos, jnp.zeros((n, model.nv)), jnp.zeros((n, model.nv)))
    jax.block_until_ready(jax.jit(engine.step)(state, jnp.zeros((n, model.nu))))


if __name__ == "__main__":
    _launch_once(pickle.load(sys.stdin.buffer))
