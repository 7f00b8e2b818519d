"""What devices of a mesh tell each other in a launch, counted in the compiled program.

python benchmarks/mesh_cost.py --preset gpu --devices 8 --out benchmarks/results/mesh_cost.json

Compiles the training program for so many virtual CPU devices, with MuJoCo's C engine, and runs
nothing: the learner, the statistics and their collectives are those of any device.
"""

import os
import sys

# Before JAX is imported.
if "--devices" in sys.argv[:-1]:
    DEVICES = sys.argv[sys.argv.index("--devices") + 1]
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import dataclasses
import json
from pathlib import Path

import hlo_cost
import jax
import tyro

from mjx_dm.config import replace
from mjx_dm.files import write_json
from mjx_dm.presets import PRESETS
from mjx_dm.training import mesh as meshes
from mjx_dm.training.worlds import make_worlds

# Of which each device gets and sends the bytes of the result about twice, in a ring of them.
_TOGETHER = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Options:
    """Count the collectives of a launch."""

    preset: str = "gpu"
    """Whose worlds, batches and networks."""
    devices: int = 8
    """How many devices share the run."""
    out: Path | None = None
    """JSON, where it is to be kept."""


@dataclasses.dataclass
class Told:
    """Collectives of one pass and the bytes of their results."""

    collectives: int = 0
    bytes: float = 0.0

    def add(self, other: "Told", times: int = 1) -> None:
        """Counts `other`, so often."""
        self.collectives += times * other.collectives
        self.bytes += times * other.bytes


def told(program: hlo_cost.Program, computation: str = "entry") -> Told:
    """The collectives of a computation with all that it calls: of a loop as often as it turns, of a
    conditional those of the branch that has more."""
    total = Told()

    def of(name: str) -> Told:
        return told(program, name)

    for line in program.get(computation, ()):
        if line.opcode == "while":
            total.add(of(line.called("body")[0]), hlo_cost.trips_of(line) or 1)
        elif line.opcode == "conditional":
            total.add(max(map(of, line.branches()), key=lambda branch: branch.bytes))
        elif line.opcode == "call":
            total.add(of(line.called("to_apply")[0]))
        elif line.opcode.removesuffix("-start") in _TOGETHER:
            total.add(Told(1, hlo_cost.bytes_of(line.shape)))
    return total


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments)
    config = replace(PRESETS[options.preset], engine="mujoco", devices=options.devices)
    share = meshes.share(config, options.devices)
    run = meshes.programs(share, make_worlds(share), meshes.make_mesh(config))
    compiled = jax.jit(run.chunk, donate_argnums=0).lower(run.shapes).compile()
    found = told(hlo_cost.parse(compiled.as_text()))
    iterations, updates = config.run.chunk_iterations, config.replay.updates_per_step
    report = {
        "preset": options.preset,
        "devices": options.devices,
        "jax": jax.__version__,
        "iterations_of_a_launch": iterations,
        "updates_of_a_launch": iterations * updates,
        "collectives_of_a_launch": found.collectives,
        "bytes_of_a_launch": found.bytes,
        "collectives_of_an_iteration": found.collectives / iterations,
        "bytes_of_an_update": found.bytes / iterations / updates,
    }
    print(json.dumps(report, indent=1))
    if options.out is not None:
        write_json(options.out, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
