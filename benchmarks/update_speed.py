"""Learner updates a second beside those of sbx's SAC and CrossQ, in turns on the same cores.

.venv/bin/pip install sbx-rl==0.28.0, then
python benchmarks/update_speed.py --out update_speed.json

Batches of 256 and the same widths for all: 256, 256, 256 for the policy, 256, 256 for the critics.
Sampling the batch is part of an update; compilation is not.
"""

import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium
import jax
import sbx
import tyro

from mjx_dm.bench.cases import full_ring
from mjx_dm.device import compiler_options
from mjx_dm.files import write_json
from mjx_dm.learner import make_learner
from mjx_dm.presets import PRESETS
from mjx_dm.training import replay
from mjx_dm.training.worlds import task_of

CONFIG = PRESETS["cpu"]
ROWS = 10_000
OURS = "mjx_dm, preset cpu"


@dataclasses.dataclass(frozen=True)
class Options:
    """Time the updates of each learner, in turns."""

    out: Path = Path("update_speed.json")
    updates: int = 100
    """Updates of each learner in a round."""
    rounds: int = 7


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments)
    if not options.out.parent.is_dir():
        folder = options.out.parent
        print(f"update_speed.py: --out: there is no folder {folder}.", file=sys.stderr)
        return 2
    contenders = {
        OURS: _ours(options.updates),
        "sbx SAC": _theirs(sbx.SAC, options.updates),
        "sbx CrossQ": _theirs(sbx.CrossQ, options.updates),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, update in contenders.items():
            start = time.perf_counter()
            update()
            rates[name].append(options.updates / (time.perf_counter() - start))
    ours = rates[OURS]
    report = {
        "versions": {name: metadata.version(name) for name in ("jax", "sbx-rl")},
        "batch": CONFIG.replay.batch_size,
        "updates_per_second": {
            name: {
                "median": statistics.median(rate),
                "rounds": rate,
                "times_ours": statistics.median(a / b for a, b in zip(rate, ours, strict=True)),
            }
            for name, rate in rates.items()
        },
    }
    write_json(options.out, report)
    for name, row in report["updates_per_second"].items():
        print(f"{name}: {row['median']:.1f} updates/s, {row['times_ours']:.2f} of ours")
    return 0


def _ours(updates: int) -> Callable[[], Any]:
    spaces, num_envs = task_of(CONFIG).spaces, CONFIG.physics.num_envs
    learner = make_learner(CONFIG, spaces)
    obs = jax.random.normal(jax.random.key(0), (num_envs, spaces.obs_size))
    ring = full_ring(replay.init(ROWS, num_envs, spaces), obs)
    size, gamma = CONFIG.replay.batch_size, CONFIG.critic.discount

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def chunk(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            sample_key, key = jax.random.split(key)
            batch = replay.sample(ring, sample_key, size, 1, gamma)
            return learner.update(state, batch, key)[0], key

        state, _ = jax.lax.scan(step, state, jax.random.split(key, updates))
        return state, jax.random.fold_in(key, 1)

    carry = chunk(learner.init(jax.random.key(0)), jax.random.key(1))

    def update() -> None:
        nonlocal carry
        carry = jax.block_until_ready(chunk(*carry))

    return update


def _theirs(algorithm: Any, updates: int) -> Callable[[], Any]:
    model = algorithm(
        "MlpPolicy",
        gymnasium.make("Humanoid-v4"),
        batch_size=CONFIG.replay.batch_size,
        buffer_size=ROWS,
        policy_kwargs={"net_arch": {"pi": [256, 256, 256], "qf": [256, 256]}},
        seed=0,
    )
    # Its own call sets it up and fills its replay with random actions.
    model.learning_starts = ROWS
    model.learn(ROWS)

    def update() -> None:
        model.train(updates, CONFIG.replay.batch_size)
        jax.block_until_ready(model.policy.qf_state.params)

    # Twice: CrossQ's program depends on where the last call ended.
    update()
    update()
    return update


if __name__ == "__main__":
    sys.exit(main())
