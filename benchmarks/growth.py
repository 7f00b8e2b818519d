"""How speed and memory grow with worlds, replay, batch, proposals and components.

python benchmarks/growth.py --json benchmarks/results/growth.json --plot docs/growth.png

Each curve changes one setting of a preset and leaves the rest. Its points take turns in every
round; a slope is the exponent between two neighbours, 1 where twice the setting is twice the rate.
On a machine that others use too, rates in a second of a core (`of_a_core`) tell more.
`update` is what one update costs on any machine, and its kernels on this.
"""

import dataclasses
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hlo_cost
import jax
import jax.numpy as jnp
import tyro
from growth_plot import draw

from mjx_dm import host
from mjx_dm.bench import cases
from mjx_dm.bench.cases import Case
from mjx_dm.bench.measure import run
from mjx_dm.bench.options import Options as BenchOptions
from mjx_dm.bench.options import loop_config, with_batch
from mjx_dm.config import Config, replace
from mjx_dm.device import compiler_options
from mjx_dm.files import write_json
from mjx_dm.learner import make_learner
from mjx_dm.machine import describe_machine
from mjx_dm.presets import PRESETS
from mjx_dm.training.worlds import task_of
from mjx_dm.types import Transition

# A transition of Humanoid-v4 has fifteen times the bytes: 10 million would take 16 GB.
REPLAY_TASK = "HalfCheetah-v4"
# Of the machine's memory, what the points of a curve may take together.
SHARE = 0.4


@dataclasses.dataclass(frozen=True)
class Curve:
    """A setting, the values that it takes, and the case that is measured for each."""

    setting: str
    values: tuple[int, ...]
    make: Callable[[Config, int], Case]


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure rates over sizes, with the exponents between them."""

    preset: str = "cpu"
    """Whose settings hold where a curve does not change them."""
    curves: tuple[str, ...] = ()
    """Some of: worlds insert sample batch_size num_proposals num_components. All if left out."""
    most: int = 10_000_000
    """The largest value of any curve."""
    seconds: float = 0.5
    """How long each point works in a round, at least."""
    rounds: int = 5
    json: Path | None = None
    plot: Path | None = None


def _physics(config: Config, num_envs: int) -> Case:
    steps = max(1, min(32, 1024 // num_envs))
    return cases.physics_case(replace(config, num_envs=num_envs, chunk_iterations=steps))


def _replay(make: Callable[[Config], Case]) -> Callable[[Config, int], Case]:
    return lambda config, size: make(replace(config, task=REPLAY_TASK, replay_size=size))


def _with(config: Config, name: str, value: int) -> Config:
    return with_batch(config, value) if name == "batch_size" else replace(config, **{name: value})


def _update(name: str) -> Callable[[Config, int], Case]:
    return lambda config, value: cases.update_case(_with(config, name, value))


UPDATES = ("batch_size", "num_proposals", "num_components")
_SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
CURVES = {
    "worlds": Curve("worlds", (1, 2, 8, 32, 128, 512, 2048, 8192, 32_768), _physics),
    "insert": Curve("transitions held", _SIZES, _replay(cases.insert_case)),
    "sample": Curve("transitions held", _SIZES, _replay(cases.sample_case)),
    "batch_size": Curve("batch size", (64, 256, 1024), _update("batch_size")),
    "num_proposals": Curve("proposals, M", (2, 8, 32), _update("num_proposals")),
    "num_components": Curve("components, K", (1, 4, 16), _update("num_components")),
}


def measure(name: str, config: Config, options: Options) -> dict[str, Any]:
    """A curve's points, in the order of the setting, and the values that did not fit."""
    curve, made, left = CURVES[name], dict[int, Case](), list[int]()
    room, taken = SHARE * (host.memory() or math.inf) / 2**20, 0.0
    for value in (v for v in curve.values if v <= options.most):
        # Memory grows in proportion at most: what it will be is known before it is taken.
        per_value = max((c.state_mib / v for v, c in made.items()), default=0.0)
        if taken + per_value * value > room:
            left.append(value)
            continue
        made[value] = curve.make(config, value)
        taken += made[value].state_mib + made[value].temporary_mib
    of_a_core: dict[int, list[float]] = {value: [] for value in made}
    for number in range(options.rounds + 1):
        for value, case in made.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            rate = run(case, options.seconds if number else 0.0)
            cores = (time.process_time() - cpu_start) / (time.perf_counter() - start)
            if number:
                case.rates.append(rate)
                of_a_core[value].append(rate / max(cores, 1e-6))
    points = [
        {
            "value": value,
            "median": statistics.median(case.rates),
            "min": min(case.rates),
            "max": max(case.rates),
            "of_a_core": statistics.median(of_a_core[value]),
            "state_mib": case.state_mib,
            "temporary_mib": case.temporary_mib,
        }
        for value, case in made.items()
    ]

    def along(*keys: str) -> list[float]:
        return slopes({row["value"]: sum(row[key] for key in keys) for row in points})

    unit = next(iter(made.values())).unit
    for case in made.values():
        case.release()
    return {
        "setting": curve.setting,
        "unit": unit,
        "points": points,
        "did_not_fit": left,
        "slopes": along("median"),
        "core_slopes": along("of_a_core"),
        "memory_slopes": along("state_mib", "temporary_mib"),
    }


def slopes(values: dict[int, float]) -> list[float]:
    """The exponents b of y = a x^b through neighbours."""
    pairs = list(values.items())
    return [
        round(math.log(after / before) / math.log(y / x), 2)
        for (x, before), (y, after) in zip(pairs[:-1], pairs[1:], strict=True)
    ]


def lowered(config: Config) -> Any:
    """The program of one update, as JAX hands it to the compiler."""
    spaces, size = task_of(config).spaces, config.replay.batch_size
    learner = make_learner(config, spaces)

    def of(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    obs = of(size, spaces.seen_size)
    action, valid = of(size, spaces.action_size), of(size, dtype=jnp.bool_)
    batch = Transition(obs, action, of(size), of(size), obs, valid)
    key = jax.random.key(0)
    return jax.jit(learner.update).lower(jax.eval_shape(learner.init, key), batch, key)


def counts(program: Any) -> dict[str, int]:
    """Operations, bytes and matrix products of a program before it is compiled: on any machine the
    same."""
    cost = program.cost_analysis()
    return {
        "operations": int(cost["flops"]),
        "bytes": int(cost["bytes accessed"]),
        "products": program.as_text().count("stablehlo.dot_general"),
    }


def costs(name: str, config: Config) -> dict[str, Any]:
    """What an update costs over the values of a curve of it, with the exponents between them."""
    points = {v: counts(lowered(_with(config, name, v))) for v in CURVES[name].values}
    operations, moved = ({v: c[k] for v, c in points.items()} for k in ("operations", "bytes"))
    return {
        "costs": points,
        "operation_slopes": slopes(operations),
        "byte_slopes": slopes(moved),
    }


def kernels(program: Any) -> int:
    """What is left to be launched, one after another, when it is compiled for this platform."""
    text = program.compile(compiler_options()).as_text()
    return hlo_cost.kernels(hlo_cost.parse(text), "entry")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments)
    unknown = [name for name in options.curves if name not in CURVES]
    folders = [path.parent for path in (options.json, options.plot) if path]
    reason = None
    if unknown:
        reason = f"--curves {unknown[0]} is unknown; choose from {', '.join(CURVES)}"
    elif options.preset not in PRESETS:
        reason = f"--preset {options.preset} is unknown; choose from {', '.join(PRESETS)}"
    elif options.rounds < 1 or options.most < 10_000:
        reason = "--rounds must be at least 1 and --most at least 10000"
    elif missing := [folder for folder in folders if not folder.is_dir()]:
        reason = f"there is no folder {missing[0]}"
    if reason:
        print(f"growth.py: {reason}.", file=sys.stderr)
        return 2
    bench = BenchOptions(preset=options.preset, steps=10)
    config = loop_config(bench, "mujoco", "fast", PRESETS[options.preset].physics.num_envs)
    report: dict[str, Any] = {"machine": describe_machine(), "preset": options.preset}
    update = lowered(config)
    report |= {"update": counts(update), "curves": {}}
    print("an update:", ", ".join(f"{n:,} {name}" for name, n in report["update"].items()))
    for name in options.curves or CURVES:
        found = report["curves"][name] = measure(name, config, options)
        if name in UPDATES:
            found |= costs(name, config)
        print(f"{name}: {found['unit']}, in a second of a core, memory")
        print(*(f"  {kind}: {found[kind]}\n" for kind in found if kind.endswith("slopes")), sep="")
        for row in found["points"]:
            mib = row["state_mib"] + row["temporary_mib"]
            print(f"  {row['value']:>10,}: {row['median']:>14,.1f}", end="")
            print(f" {row['of_a_core']:>14,.1f} {mib:>10,.1f} MiB", flush=True)
        for value in found["did_not_fit"]:
            print(f"  {value:>10,}: left out, {SHARE:.0%} of memory would not hold it")
        if options.json:
            write_json(options.json, report)
    if not options.curves:  # half a minute of compilation
        report["update"]["kernels"] = kernels(update)
        if options.json:
            write_json(options.json, report)
    if options.plot:
        draw(options.plot, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
