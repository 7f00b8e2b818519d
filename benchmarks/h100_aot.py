"""Compile the real programs for an H100 on a machine without one, and count what they cost.

python benchmarks/h100_aot.py --out benchmarks/results/h100_aot.json

Needs Python 3.12 with the cuda13 extra (jax 0.11.2), but no driver and no GPU. Nothing is run or
autotuned, so that a kernel count is not a time; compile times are of the machine that compiles.
"""

import os

# Before JAX is imported: plan for CUDA without a device, run nothing.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_autotune_level=0"

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hlo_cost
import jax
import numpy as np
import tyro
from jax.experimental import topologies

from mjx_dm.config import Config, replace
from mjx_dm.device import compiler_options
from mjx_dm.files import write_json
from mjx_dm.learner import make_learner
from mjx_dm.presets import PRESETS
from mjx_dm.tasks.physics import PHYSICS, name_of
from mjx_dm.training import program as training
from mjx_dm.training.worlds import make_worlds, task_of
from mjx_dm.types import Transition

# An H100 SXM 80 GB in XLA's GpuTargetConfig text form; from NVIDIA's data sheet.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 12 }
runtime_version { major: 13 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """Count kernels and memory of the update, the rollout and the whole iteration."""

    out: Path = Path("h100_aot.json")
    programs: tuple[str, ...] = ("update", "physics", "whole")
    config: Config = replace(PRESETS["gpu"], engine="mjx", num_envs=4096, chunk_iterations=10)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(tyro.conf.OmitArgPrefixes[Options], args=arguments)
    if not options.out.parent.is_dir():
        folder = options.out.parent
        print(f"h100_aot.py: --out: there is no folder {folder}.", file=sys.stderr)
        return 2
    # The programs ask where they will run.
    jax.default_backend = lambda: "gpu"
    physics = options.config.physics
    config = replace(options.config, random_steps=2 * physics.num_envs)
    build: dict[str, Callable[[Config], tuple[Any, Any]]] = {
        "update": _update,
        "physics": _physics,
        "whole": _whole,
    }
    options_of_xla = compiler_options()
    solver = PHYSICS["mjx", name_of(task_of(config), physics.physics)]
    assert solver is not None
    newton = solver.iterations
    report: dict[str, Any] = {
        "target": "NVIDIA H100 80GB HBM3, compiled ahead of time, not run",
        "jax": jax.__version__,
        "compiler_options": options_of_xla,
        "num_envs": physics.num_envs,
        "physics": physics.physics,
        "replay_size": config.replay.replay_size,
        "programs": {},
    }
    for name in options.programs:
        program, state = build[name](config)
        start = time.monotonic()
        lowered = jax.jit(program, donate_argnums=0).lower(_abstract(state))
        compiled = lowered.compile(options_of_xla)
        counted = count(compiled, newton)
        report["programs"][name] = counted | {"compile_seconds": time.monotonic() - start}
        print(name, json.dumps(report["programs"][name]), flush=True)
        write_json(options.out, report)
    return 0


def count(compiled: Any, newton_iterations: int) -> dict[str, Any]:
    """Memory in GiB, kernels of the entry and of every loop's body, and a predicted time.

    The solver stops when it has converged; the prediction takes all of `newton_iterations`. Fresh
    starts are drawn at most once in some 17 steps, the time of a fall: the prediction leaves them
    out.
    """
    program, memory = hlo_cost.parse(compiled.as_text()), compiled.memory_analysis()
    predicted = hlo_cost.cost(program, unknown_trips=newton_iterations, rare="fresh_starts")
    return {
        "arguments_gib": memory.argument_size_in_bytes / 2**30,
        "aliased_gib": memory.alias_size_in_bytes / 2**30,
        "temporary_gib": memory.temp_size_in_bytes / 2**30,
        "kernels_entry": hlo_cost.kernels(program, "entry"),
        "loops": hlo_cost.loops(program),
        "conditionals": hlo_cost.conditionals(program),
        "predicted": dataclasses.asdict(predicted),
    }


def _abstract(tree: Any) -> Any:
    topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    mesh = jax.sharding.Mesh(np.array(topology.devices), ("d",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=sharding), tree
    )


def _update(config: Config) -> tuple[Any, Any]:
    """The updates of a step of all worlds: a loop, whose body is one update."""
    spaces = task_of(config).spaces
    learner = make_learner(config, spaces)
    shape = jax.ShapeDtypeStruct
    size = (config.replay.updates_per_step, config.replay.batch_size)
    batches: Any = Transition(
        obs=shape((*size, spaces.obs_size), np.float32),
        action=shape((*size, spaces.action_size), np.float32),
        reward=shape(size, np.float32),
        discount=shape(size, np.float32),
        next_obs=shape((*size, spaces.obs_size), np.float32),
        valid=shape(size, np.bool_),
    )
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), size[0]))
    state = jax.eval_shape(learner.init, jax.random.key(0))

    def program(carry: Any) -> Any:
        state, *inputs = carry
        learning, metrics = learner.updates(learner.pack(state), *inputs)
        return (learner.unpack(learning), metrics), *inputs

    return program, (state, batches, keys)


def _physics(config: Config) -> tuple[Any, Any]:
    env = make_worlds(config)
    state = jax.eval_shape(env.reset, jax.random.key(0)).physics
    action = jax.ShapeDtypeStruct((env.num_envs, env.spaces.action_size), np.float32)
    return lambda s: (env.engine.step(*s)[0], s[1]), (state, action)


def _whole(config: Config) -> tuple[Any, Any]:
    env = make_worlds(config)
    state = jax.eval_shape(lambda key: training.init(config, env, key), jax.random.key(0))
    return training.make_chunk(config, env), state


if __name__ == "__main__":
    sys.exit(main())
