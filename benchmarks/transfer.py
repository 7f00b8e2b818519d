"""What several policies earn under every engine and physics: eval_render.py --transfer of each.

python benchmarks/transfer.py POLICY... --engines mujoco mjx --out FILE
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from mjx_dm.checkpoints.policy import Policy, load_policy
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.config import ConfigError
from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.evaluation.transfer import PHYSICS, transfers
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
    physics: tuple[str, ...] = PHYSICS


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


def _row(path: str, policy: Policy, options: Options) -> dict[str, Any]:
    task = policy.own_task()
    asked: dict[str, Any] = {"episodes": options.episodes, "seed": options.seed}
    played = evaluate(policy, task, **asked)
    returns = {"Gymnasium": {"mean": played.mean, "std": played.std}}
    for one in transfers(policy, task, **asked, engines=options.engines, physics=options.physics):
        if one.problem:
            raise ConfigError(one.problem)
        told = one.to_json()
        returns[f"{one.engine} {one.physics}"] = {x: told[x] for x in ("mean", "std")}
    return {"policy": path, "task": task.name, "returns": returns}


if __name__ == "__main__":
    sys.exit(main())
