"""Numbers gone bad: a run that holds one stops before it is saved, and leaves a report."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mjx_dm.checkpoints.manifest import CheckpointError, find_verified
from mjx_dm.config import Config
from mjx_dm.files import write_json
from mjx_dm.groups import CriticSettings

REPORT = "not_finite.json"
# A distribution that merely has its tail there has less.
MOST_MASS_AT_AN_END = 0.05
# Lines of metrics.jsonl that the report repeats.
_LINES = 20


def all_finite(tree: Any) -> jax.Array:
    """Whether every number in the arrays of `tree` is finite; on the device, not waited for."""
    return _finite(jax.tree.leaves(_floats(tree)))


def report(directory: Path, env_steps: int, state: Any) -> str:
    """Writes not_finite.json about a state of a run that is not finite; returns one sentence.

    The file names the arrays and how much of each is not finite, the newest checkpoint that is
    intact, and the run's last metrics.
    """
    bad = {
        jax.tree_util.keystr(path): f"{int(jnp.sum(~jnp.isfinite(x)))} of {x.size}"
        for path, x in jax.tree_util.tree_leaves_with_path(_floats(state))
        if not bool(jnp.all(jnp.isfinite(x)))
    }
    try:
        good = str(find_verified(directory / "checkpoints", None)[0])
        advice = f"the newest checkpoint before that, which is intact, is {good}"
    except CheckpointError:
        good, advice = None, "there is no intact checkpoint before that"
    content = {
        "env_steps": env_steps,
        "not_finite": bad,
        "newest_checkpoint": good,
        "metrics": _last_metrics(directory / "metrics.jsonl"),
    }
    try:
        write_json(directory / REPORT, content)
        written = f"; {directory / REPORT} has the details"
    except OSError:
        written = ""
    first = next(iter(bad), "")
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return (
        f"The run's numbers are not finite after {env_steps} environment steps (first "
        f"{first.lstrip('.')}{more}); {advice}{written}: start again from it with --init-from and "
        "lower --actor-lr and --critic-lr."
    )


class Notices:
    """Tells once of each thing that a run's metrics show to be wrong."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._config, self._say = config, say
        self._told_of_worlds = self._told_of_support = False

    def tell(self, metrics: Mapping[str, float]) -> None:
        """Looks at the metrics of a launch."""
        if metrics["quarantined"] and not self._told_of_worlds:
            self._told_of_worlds = True
            counts = (int(metrics[name]) for name in ("quarantined", "engine_failed"))
            self._say(about_quarantine(self._config.physics.engine, *counts))
        told = about_support(self._config.critic, metrics)
        if told is not None and not self._told_of_support:
            self._told_of_support = True
            self._say(told)


def about_support(critic: CriticSettings, metrics: Mapping[str, float]) -> str | None:
    """A sentence where the critic's values press against an end of its support, else None."""
    for setting, end, bound in (
        ("--value-max", "upper", critic.value_max),
        ("--value-min", "lower", critic.value_min),
    ):
        name = f"mass_at_{setting[2:].replace('-', '_')}"
        if (mass := metrics.get(name, 0.0)) > MOST_MASS_AT_AN_END:
            return (
                f"{mass:.0%} of the critic's probability lies at the {end} end of its support, "
                f"where all returns beyond {setting} {bound:g} count as that: move it out, or "
                f"lower --reward-scale or --discount; {name} in metrics.jsonl tells how it goes on."
            )
    return None


def about_quarantine(engine: str, quarantined: int, failed: int) -> str:
    """The first worlds that broke, and why, in words."""
    if failed and engine == "warp":
        cause = (
            f"in {failed} of them Warp ran out of room for contacts: raise warp_room of the task"
        )
    elif failed and engine == "mjx":
        cause = (
            f"in {failed} of them MJX had more contacts than it solves: raise mjx_contacts of "
            "the task"
        )
    elif failed:
        cause = f"in {failed} of them MuJoCo met a state that is not finite"
    else:
        cause = (
            "their state, observation or reward was not finite, or they moved faster than "
            "MAX_SPEED in mjx_dm/envs/episodes.py"
        )
    return (
        f"{quarantined} worlds were reset and their steps left out of the replay; {cause}. The "
        "counts are quarantined and engine_failed in metrics.jsonl."
    )


@jax.jit
def _finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))


def _floats(tree: Any) -> Any:
    """`tree` with its arrays of floats alone."""
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jnp.floating) else None, tree)


def _last_metrics(path: Path) -> list[Mapping[str, Any]]:
    try:
        lines = path.read_text().splitlines()[-_LINES:]
        return [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return []
