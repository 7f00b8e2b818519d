"""Updates a second of this learner beside sbx's SAC and CrossQ, in turns in one process.

  pip install sbx-rl && python benchmarks/peers.py --out benchmarks/results/peers_cpu.json

Every contender updates on batches of 256 transitions of Humanoid-v4's size that it samples itself,
from a replay of random steps: sbx's through `train(gradient_steps)`, ours through the sampling and
the scan of a training step. Widths are each one's defaults, and once more the same for all.
"""

import dataclasses
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import jax
import sbx
import tyro

from mjx_dm import replay as ring
from mjx_dm.bench import report
from mjx_dm.bench.cases import full_ring
from mjx_dm.config import PRESETS
from mjx_dm.files import write_json
from mjx_dm.learner import make_learner

BATCH = 256


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure updates a second."""

    out: Path
    rounds: int = 7
    updates: int = 100
    """Updates of each contender in a round."""


def ours(widths: tuple[int, ...] | None, updates: int) -> Any:
    """One call makes `updates` updates with the preset cpu's learner."""
    config = PRESETS["cpu"]
    settings = config.learner
    if widths:
        settings = dataclasses.replace(settings, actor_widths=widths, critic_widths=widths)
    learner = make_learner(settings)
    obs = jax.random.normal(jax.random.key(1), (config.num_envs, 376))
    replay = full_ring(ring.init(100_000, config.num_envs), obs)

    @jax.jit
    def step(state: Any, key: jax.Array) -> Any:
        def one(state, key):
            sample_key, update_key = jax.random.split(key)
            batch = ring.sample(replay, sample_key, BATCH)
            return learner.update(state, batch, update_key)[0], None

        return jax.lax.scan(one, state, jax.random.split(key, updates))[0]

    held = [jax.jit(learner.init)(jax.random.key(0)), jax.random.key(2)]

    def call() -> None:
        held[1], key = jax.random.split(held[1])
        held[0] = jax.block_until_ready(step(held[0], key))

    return call


def theirs(algorithm: Any, widths: tuple[int, ...] | None, updates: int) -> Any:
    """One call of sbx's own train(), on a replay of 1,000 random steps."""
    policy = {"net_arch": list(widths)} if widths else {}
    env = gymnasium.make("Humanoid-v4")
    model = algorithm(
        "MlpPolicy", env, policy_kwargs=policy, batch_size=BATCH, learning_starts=1_000
    )
    model.learn(1_001)

    def call() -> None:
        model.train(updates, BATCH)
        jax.block_until_ready(model.policy.qf_state.params)

    return call


def main(options: Options) -> None:
    warnings.simplefilter("ignore")
    same = (256, 256)
    contenders = {
        "mjx_dm, preset cpu (M = 8)": ours(None, options.updates),
        "sbx SAC, its defaults": theirs(sbx.SAC, None, options.updates),
        "sbx CrossQ, its defaults": theirs(sbx.CrossQ, None, options.updates),
        "mjx_dm, 256 256": ours(same, options.updates),
        "sbx CrossQ, 256 256": theirs(sbx.CrossQ, same, options.updates),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(options.rounds + 1):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            if number:
                rates[name].append(options.updates / (time.perf_counter() - start))
    found = {"machine": report.machine(), "batch_size": BATCH, "updates_per_second": rates}
    write_json(options.out, found)
    first = next(iter(rates))
    for name, rate in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates[first], rate, strict=True))
        print(
            f"{name}: {statistics.median(rate):.1f} updates/s ({ratio:.2f} times slower than ours)"
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
