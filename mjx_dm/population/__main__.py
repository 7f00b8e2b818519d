"""The command: python -m mjx_dm.population"""

import math
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import tyro

from mjx_dm import config as configs
from mjx_dm.config import ConfigError
from mjx_dm.device import check, compiler_options, in_float32, platform
from mjx_dm.ending import called, complain, leave
from mjx_dm.engines import choose_engine, make_engine
from mjx_dm.files import write_json
from mjx_dm.machine import describe_machine
from mjx_dm.population.combinations import Options, population
from mjx_dm.population.judging import Judge
from mjx_dm.population.programs import Pooled, programs
from mjx_dm.population.summary import summary
from mjx_dm.presets import preset_in
from mjx_dm.runs.starting import COMPILE_AT_FIRST_LAUNCH
from mjx_dm.training.worlds import make_batch, robot_of

COMMAND = "python -m mjx_dm.population"


@in_float32
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    began = time.monotonic()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        default = Options(config=preset_in(arguments, "gpu"))
        options = tyro.cli(
            tyro.conf.OmitArgPrefixes[Options],
            args=arguments,
            default=default,
            prog=called(COMMAND),
        )
        config = options.config
        check()
        rows, stacked = population(options)
        task = robot_of(config)
        name, _ = choose_engine(config.physics.engine)
        options.out.parent.mkdir(parents=True, exist_ok=True)
    except (ConfigError, OSError) as error:
        return complain(COMMAND, error, 2)
    n, size = config.physics.num_envs, len(rows)
    engines = (make_engine(task, name, config.physics.physics, x * n) for x in (1, size))
    init, advance = programs(config, stacked, make_batch(config, task, Pooled(*engines)))
    keys = jnp.stack([jax.random.key(row["seed"]) for row in rows])
    first = init.lower(keys)
    lowered = advance.lower(first.out_info), first
    with ThreadPoolExecutor() as pool:
        chunk, start = pool.map(lambda program: program.compile(compiler_options()), lowered)
    if name in COMPILE_AT_FIRST_LAUNCH:
        jax.block_until_ready(chunk(start(keys)))
    state = start(keys)
    print(f"{size} learners compiled after {time.monotonic() - began:.0f} s", flush=True)
    found = {
        "machine": describe_machine(),
        "settings": configs.to_json(config),
        "learners": rows,
        "rounds": [],
    }
    go(options, chunk, state, Judge(options, task, size), found, began)
    summary(found)
    return 0


def go(
    options: Options, chunk: Any, state: Any, judge: Judge, found: dict[str, Any], began: float
) -> None:
    """Trains as long as the settings say; every round is in `found` and in --out once it is scored.
    `began`: when the command began, for the seconds on the wall."""
    run, n = options.config.run, options.config.physics.num_envs
    launches = max(1, min(options.round_env_steps, run.env_steps) // (n * run.chunk_iterations))

    def collect(wait: bool) -> None:
        for row in judge.collect(wait):
            row["wall_seconds"] = time.monotonic() - began
            found["rounds"].append(row)
            returns = " ".join("none" if x is None else f"{x:.0f}" for x in row["return"])
            print(
                f"{row['train_seconds']:.0f} s of training, {row['env_steps']:,} steps each: "
                f"{returns}",
                flush=True,
            )
        write_json(options.out, found)

    steps, trained = 0, 0.0
    while steps < run.env_steps and trained < 60 * (run.minutes or math.inf):
        start = time.monotonic()
        for _ in range(launches):
            state, metrics = chunk(state)
        metrics = jax.device_get(metrics)
        trained += time.monotonic() - start
        steps = int(state.iteration[0]) * n
        row = {
            "env_steps": steps,
            "updates": int(state.learner.updates[0]),
            "train_seconds": trained,
            "metrics": {name: x.tolist() for name, x in metrics.items()},
        }
        judge.score(state.learner.average_actor, state.normalizer, row)
        # On a CPU the episodes would take the cores that training is measured on.
        collect(wait=platform() == "cpu")
    collect(wait=True)


if __name__ == "__main__":
    leave(main)
