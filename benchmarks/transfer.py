"""What a policy earns under every engine and physics.

python benchmarks/transfer.py POLICY... --engines mujoco mjx --out FILE

Beside its return in the task's Gymnasium environment: by its mean action, one episode a world, from
starts that are the same for every physics of an engine.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from mjx_dm.checkpoints.policy import Policy, load_policy
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.config import ConfigError
from mjx_dm.envs.batch import BatchEnv, make_env
from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.files import write_json


@dataclasses.dataclass(frozen=True)
class Options:
    """Score policies under every engine and physics."""

    policies: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders with a policy.json."""
    out: Path = Path("transfer.json")
    episodes: int = 10
    seed: int = 1000
    engines: tuple[str, ...] = ("mujoco",)
    """Any of: mujoco mjx warp."""
    physics: tuple[str, ...] = ("exact", "fast")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 2 bad input."""
    options = tyro.cli(Options, args=arguments)
    try:
        if not options.out.parent.is_dir():
            raise ConfigError(f"--out {options.out}: there is no folder {options.out.parent}.")
        if not options.policies:
            raise ConfigError("give at least one policy.")
        policies = {str(path): load_policy(path) for path in options.policies}
        rows = [_row(path, policy, options) for path, policy in policies.items()]
    except (ConfigError, CheckpointError) as error:
        print(f"transfer.py: {error}", file=sys.stderr)
        return 2
    write_json(options.out, {"episodes": options.episodes, "seed": options.seed, "rows": rows})
    table = Table("policy", "task", *rows[0]["returns"])
    for row in rows:
        cells = [f"{x['mean']:.0f} ± {x['std']:.0f}" for x in row["returns"].values()]
        table.add_row(row["policy"], row["task"], *cells)
    Console().print(table)
    return 0


def score(policy: Policy, env: BatchEnv, seed: int) -> dict[str, float]:
    """The mean action's return over one episode a world of `env`."""
    step = jax.jit(env.step)
    state = jax.jit(env.reset)(jax.random.key(seed))
    total, live = np.zeros(env.num_envs), np.ones(env.num_envs, bool)
    while live.any():
        state = step(state, policy.act(np.asarray(state.obs)))
        total[live] += np.asarray(state.reward)[live]
        live &= ~np.asarray(state.terminated | state.truncated)
    return {"mean": float(total.mean()), "std": float(total.std())}


def _row(path: str, policy: Policy, options: Options) -> dict[str, Any]:
    task = policy.own_task()
    played = evaluate(policy, task, episodes=options.episodes, seed=options.seed)
    returns = {"Gymnasium": {"mean": played.mean, "std": played.std}}
    for engine in options.engines:
        for physics in options.physics:
            env = make_env(options.episodes, task, engine, physics)
            returns[f"{engine} {physics}"] = score(policy, env, options.seed)
    return {"policy": path, "task": task.name, "returns": returns}


if __name__ == "__main__":
    sys.exit(main())
