"""What this machine reaches, part by part: python -m mjx_dm.bench.

Each part is compiled (timed apart), run once unmeasured, then measured over several rounds, one
part after another: on a machine whose load changes, compare a part's rounds with each other only.
"""

import dataclasses
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from rich.console import Console
from rich.table import Table

from mjx_dm import envs, training
from mjx_dm.config import PRESETS, Config
from mjx_dm.engines import choose_engine, make_engine
from mjx_dm.humanoid import FRAME_SKIP
from mjx_dm.learner import make_learner
from mjx_dm.types import ACTION_SIZE, OBS_SIZE, Transition

PARTS = ("physics", "rollout", "update", "whole")


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure physics, rollout, learner updates and the whole loop."""

    parts: tuple[str, ...] = PARTS
    """Any of: physics rollout update whole."""
    engines: tuple[str, ...] = ("auto",)
    physics: tuple[str, ...] = ("fast",)
    num_envs: tuple[int, ...] = (256,)
    """World counts."""
    batch_size: tuple[int, ...] = (256,)
    """Batch sizes of the update."""
    preset: str = "cpu"
    """Whose networks, replay and updates per step the loop uses."""
    steps: int = 20
    """Steps of all worlds, or updates, in one measured launch."""
    rounds: int = 5
    """Measured launches of every part."""
    json: Path | None = None
    """Where the figures are written."""


class Case(NamedTuple):
    """A compiled program, with what one launch of it does."""

    part: str
    settings: dict[str, Any]
    launch: Callable[[Any], Any]
    state: Any
    work: int
    unit: str
    compile_seconds: float
    temporary_mib: float


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments, prog="python -m mjx_dm.bench")
    problem = _problem(options)
    if problem:
        print(f"mjx_dm.bench: {problem}", file=sys.stderr)
        return 2
    console = Console(highlight=False)
    rows: list[dict[str, Any]] = []
    report = {"machine": _machine(), "options": _plain(dataclasses.asdict(options)), "cases": rows}
    for build in _builders(options):
        try:
            rows.append(_measure(build(), options.rounds))
            console.print(_line(rows[-1]), soft_wrap=True)
        except (RuntimeError, ValueError) as error:  # out of device memory, mostly
            rows.append({"failed": str(error).splitlines()[0]})
            console.print(f"failed: {rows[-1]['failed']}", soft_wrap=True)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(report, indent=1) + "\n")
    console.print(_table(report))
    return 0


def _builders(options: Options) -> list[Callable[[], Case]]:
    preset = PRESETS[options.preset]
    builders: list[Callable[[], Case]] = []
    for asked in options.engines:
        engine = choose_engine(asked)[0]
        for physics in options.physics:
            for n in options.num_envs:
                config = dataclasses.replace(
                    preset,
                    engine=engine,
                    physics=physics,
                    num_envs=n,
                    chunk_iterations=options.steps,
                    random_steps=2 * n,
                    replay_size=max(preset.replay_size // n, 8) * n,
                )
                for part, make in (("physics", _physics), ("rollout", _rollout), ("whole", _whole)):
                    if part in options.parts:
                        builders.append(functools.partial(make, config))
    if "update" in options.parts:
        for size in options.batch_size:
            learner = dataclasses.replace(
                preset.learner, batch_size=size, actor_batch_size=max(size // 2, 1)
            )
            config = dataclasses.replace(preset, learner=learner, chunk_iterations=options.steps)
            builders.append(functools.partial(_update, config))
    return builders


def _physics(config: Config) -> Case:
    """The engine alone under random actions: five substeps a step, no resets."""
    engine = make_engine(config.engine, config.physics, config.num_envs)
    env = envs.HumanoidEnv(engine, config.num_envs)
    state = jax.jit(env.reset)(jax.random.key(0)).physics

    def program(carry):
        def step(carry, _):
            state, key = carry
            key, action_key = jax.random.split(key)
            action = jax.random.uniform(
                action_key, (config.num_envs, ACTION_SIZE), minval=-0.4, maxval=0.4
            )
            return (engine.step(state, action)[0], key), None

        return jax.lax.scan(step, carry, length=config.chunk_iterations)[0]

    work = FRAME_SKIP * config.num_envs * config.chunk_iterations
    return _case("physics", config, program, (state, jax.random.key(1)), work, "physics steps/s")


def _rollout(config: Config) -> Case:
    """Policy, environment with resets, normaliser and insertion into the replay."""
    never = dataclasses.replace(config, random_steps=2**30)
    return _loop("rollout", never)


def _whole(config: Config) -> Case:
    """The training program itself, learning from the second step on."""
    return _loop("whole", config)


def _loop(part: str, config: Config) -> Case:
    env = envs.HumanoidEnv(
        make_engine(config.engine, config.physics, config.num_envs), config.num_envs
    )
    state = jax.jit(lambda key: training.init(config, env, key))(jax.random.key(0))
    chunk = training.make_chunk(config, env)
    work = config.num_envs * config.chunk_iterations
    return _case(part, config, lambda state: chunk(state)[0], state, work, "env steps/s")


def _update(config: Config) -> Case:
    """The learner on a batch that stays on the device."""
    learner = make_learner(config.learner)
    size = config.learner.batch_size
    obs_key, action_key, key = jax.random.split(jax.random.key(0), 3)
    obs = jax.random.normal(obs_key, (2, size, OBS_SIZE))
    batch = Transition(
        obs=obs[0],
        action=jax.random.uniform(action_key, (size, ACTION_SIZE), minval=-1.0, maxval=1.0),
        reward=jnp.full(size, 5.0),
        discount=jnp.ones(size),
        next_obs=obs[1],
        valid=jnp.ones(size, jnp.bool_),
    )

    def program(carry):
        state, batch, key = carry

        def step(state, key):
            return learner.update(state, batch, key)[0], None

        with jax.default_matmul_precision(config.matmul_precision):
            keys = jax.random.split(key, config.chunk_iterations)
            return jax.lax.scan(step, state, keys)[0], batch, key

    state = jax.jit(learner.init)(key)
    return _case(
        "update", config, program, (state, batch, key), config.chunk_iterations, "updates/s"
    )


def _case(part: str, config: Config, program: Any, state: Any, work: int, unit: str) -> Case:
    start = time.monotonic()
    compiled = jax.jit(program, donate_argnums=0).lower(state).compile()
    seconds = time.monotonic() - start
    memory = compiled.memory_analysis()
    temporary = memory.temp_size_in_bytes / 2**20 if memory else float("nan")
    if part == "update":
        settings: dict[str, Any] = {"batch_size": config.learner.batch_size}
    else:
        settings = {
            "engine": config.engine,
            "physics": config.physics,
            "num_envs": config.num_envs,
        }
    if part == "whole":
        settings |= {
            "updates_per_step": config.updates_per_step,
            "batch_size": config.learner.batch_size,
        }
    return Case(part, settings, compiled, state, work, unit, seconds, temporary)


def _measure(case: Case, rounds: int) -> dict[str, Any]:
    state = jax.block_until_ready(case.launch(case.state))
    rates = []
    for _ in range(rounds):
        start = time.monotonic()
        state = jax.block_until_ready(case.launch(state))
        rates.append(case.work / (time.monotonic() - start))
    stats = jax.devices()[0].memory_stats() or {}
    return {
        "part": case.part,
        **case.settings,
        "unit": case.unit,
        "median": statistics.median(rates),
        "min": min(rates),
        "max": max(rates),
        "rounds": rounds,
        "compile_seconds": case.compile_seconds,
        "temporary_mib": case.temporary_mib,
        "peak_device_mib": stats.get("peak_bytes_in_use", 0) / 2**20,
    }


def _problem(options: Options) -> str | None:
    if options.preset not in PRESETS:
        return f"--preset {options.preset} is unknown; choose from {', '.join(PRESETS)}."
    for part in options.parts:
        if part not in PARTS:
            return f"--parts {part} is unknown; choose from {', '.join(PARTS)}."
    numbers = (*options.num_envs, *options.batch_size, options.steps, options.rounds)
    if min(numbers) < 1:
        return "--num-envs, --batch-size, --steps and --rounds must be at least 1."
    return None


def _machine() -> dict[str, Any]:
    device = jax.devices()[0]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    names = ("jax", "mujoco", "mujoco-mjx", "warp-lang", "flax", "optax")
    installed = {d.metadata["Name"] for d in metadata.distributions()}
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "versions": {n: metadata.version(n) for n in names if n in installed},
        "commit": commit.stdout.strip() or None,
    }


def _line(row: dict[str, Any]) -> str:
    settings = " ".join(
        f"{k}={row[k]}"
        for k in ("engine", "physics", "num_envs", "updates_per_step", "batch_size")
        if k in row
    )
    return (
        f"{row['part']:8} {settings}: {row['median']:,.0f} {row['unit']} "
        f"(min {row['min']:,.0f}, max {row['max']:,.0f}; "
        f"compiled in {row['compile_seconds']:.0f} s)"
    )


def _table(report: dict[str, Any]) -> Table:
    machine = report["machine"]
    table = Table(title=f"{machine['device']}, {machine['cores']} cores")
    for column in ("part", "settings", "median", "min", "max", "unit"):
        table.add_column(column, justify="right" if column in ("median", "min", "max") else "left")
    for row in report["cases"]:
        if "failed" in row:
            table.add_row("failed", row["failed"])
            continue
        settings = " ".join(
            str(row[k])
            for k in ("engine", "physics", "num_envs", "updates_per_step", "batch_size")
            if k in row
        )
        figures = [f"{row[k]:,.0f}" for k in ("median", "min", "max")]
        table.add_row(row["part"], settings, *figures, row["unit"])
    return table


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


if __name__ == "__main__":
    sys.exit(main())
