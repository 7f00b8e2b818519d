"""Scores as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mjx_dm.evaluation.transfer import Transfer
from mjx_dm.report.across import Group, comparisons
from mjx_dm.report.intervals import Estimate
from mjx_dm.report.words import NOTHING


def print_scores(rules: Sequence[Mapping[str, Any]], played_in: str) -> None:
    """The reports of `rule_report`, one a row; the episodes too where there is one."""
    console, first = Console(highlight=False), rules[0]
    console.print(f"{played_in}, policy after {first['env_steps']:,} steps of training")
    seeds = f"seeds {first['seeds'][0]} to {first['seeds'][-1]}"
    console.print(f"over {first['episodes']} episodes, {seeds}")
    has_speed = any("speed" in rule for rule in rules)
    speed = ["m/s"] if has_speed else []
    table = _table(
        "action rule",
        "return ± std\n95% interval",
        "IQM\n95% interval",
        "median",
        "falls",
        *speed,
    )
    for rule in rules:
        table.add_row(
            rule["rule"],
            f"{rule['mean']:.1f} ± {rule['std']:.1f}\n{_ends(rule['mean_interval'])}",
            f"{rule['iqm']:.1f}\n{_ends(rule['iqm_interval'])}",
            f"{rule['median']:.1f}",
            str(rule.get("falls", NOTHING)),
            *([_speed(rule.get("speed"))] if has_speed else []),
        )
    console.print(table)
    if names := dict.fromkeys(name for rule in rules for name in rule.get("terms", ())):
        table = _table("reward by term", *(rule["rule"] for rule in rules))
        for name in names:
            terms = (rule.get("terms", {}).get(name) for rule in rules)
            table.add_row(name, *(f"{x:.1f}" if isinstance(x, float) else NOTHING for x in terms))
        console.print(table)
    if len(rules) == 1:
        console.print(_episodes(first))


def print_transfers(score: Mapping[str, Any], found: Sequence[Transfer]) -> None:
    """The return under every engine and physics, below that of the score."""
    table = _table("played in", "return ± std", "falls")
    played_in = score["env"] or "the task's own functions"
    table.add_row(
        f"{played_in} (the score)",
        f"{score['mean']:.1f} ± {score['std']:.1f}",
        str(score.get("falls", NOTHING)),
    )
    for one in found:
        falls = NOTHING if one.problem else str(sum(one.terminated))
        table.add_row(f"{one.engine} {one.physics}", one.in_words, falls)
    Console(highlight=False).print(table)


def print_groups(groups: Sequence[Group]) -> None:
    """Runs of the same settings together, every run, and how two groups compare."""
    console = Console(highlight=False)
    for task in dict.fromkeys(group.task for group in groups):
        console.print(task)
        of_task = [group for group in groups if group.task == task]
        table = _table("settings", "runs", "mean\n95% interval", "IQM\n95% interval", left=1)
        for group in of_task:
            both = (_estimate(x) for x in (group.mean, group.middle))
            table.add_row(group.label, str(len(group.runs)), *both)
        console.print(table)
        table = _table("run", "settings", "seed", "return ± std", "falls", left=2)
        for group in of_task:
            for run in group.runs:
                played = run.evaluation
                table.add_row(
                    str(run.path),
                    group.label,
                    NOTHING if run.seed is None else str(run.seed),
                    f"{played.mean:.1f} ± {played.std:.1f}",
                    str(sum(played.terminated)),
                )
        console.print(table)
    for a, b, chance in comparisons(groups):
        sure = f" (95% interval {chance.low:.2f} to {chance.high:.2f})" if _is_sure(chance) else ""
        console.print(f"A run of “{a.label}” beats one of “{b.label}” with probability", end=" ")
        console.print(f"{chance.value:.2f}{sure}.")


def _table(*titles: str, left: int = 1) -> Table:
    table = Table(*titles)
    for column in table.columns[left:]:
        column.justify = "right"
    return table


def _episodes(rule: Mapping[str, Any]) -> Table:
    """One episode a row."""
    columns: dict[str, list[str]] = {
        "seed": [str(seed) for seed in rule["seeds"]],
        "return": [f"{x:.1f}" for x in rule["returns"]],
        "length": [str(x) for x in rule["lengths"]],
    }
    if "terminated" in rule:
        columns["ended by"] = ["fall" if fell else "time limit" for fell in rule["terminated"]]
    if "speeds" in rule:
        columns["m/s"] = [_speed(x) for x in rule["speeds"]]
    table = _table(*columns, left=0)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _ends(interval: Sequence[float] | None) -> str:
    if not interval:
        return ""
    digits = 0 if max(map(abs, interval)) >= 1000 else 1
    return " to ".join(f"{end:.{digits}f}" for end in interval)


def _estimate(estimate: Estimate) -> str:
    ends = [estimate.low, estimate.high] if _is_sure(estimate) else None
    return f"{estimate.value:.1f}\n{_ends(ends)}"


def _is_sure(estimate: Estimate) -> bool:
    return estimate.low == estimate.low  # not NaN


def _speed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
