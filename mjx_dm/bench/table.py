"""The figures as a table, and two measurements side by side."""

from typing import Any

from rich.table import Table

from mjx_dm.bench.report import SETTINGS

_CASE = ("part", "engine", "physics", "num_envs", "batch_size", "updates_per_step")
_HEADS = {"num_envs": "worlds", "batch_size": "batch", "updates_per_step": "updates a step"}


def figures(report: dict[str, Any]) -> Table:
    """Every case: median, interquartile range, share, seconds to compile, memory."""
    machine = report["machine"]
    caption = (
        f"An env step is {report['physics_steps_per_env_step']} physics steps. Share: rollout of "
        "bare physics, whole of what its physics and updates alone would allow. "
        f"Peak memory {report['peak_mib']:,.0f} MiB."
    )
    table = Table(title=_named(machine), caption=caption, caption_justify="left")
    for head in ("part", "engine", "physics"):
        table.add_column(head, no_wrap=True)
    for head in ("worlds", "batch", "median", "quartiles"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for head in ("share", "compiled s", "state MiB", "temp. MiB"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in report["cases"]:
        table.add_row(
            row["part"],
            str(row.get("engine", "")),
            str(row.get("physics", "")),
            str(row.get("num_envs", "")),
            str(row.get("batch_size", "")),
            number(row["median"]),
            f"{number(row['q1'])}–{number(row['q3'])}",
            row["unit"],
            f"{row['share']['median']:.2f}" if "share" in row else "",
            f"{row['compile_seconds']:.1f}",
            f"{row['state_mib']:,.1f}",
            f"{row['temporary_mib']:,.1f}",
        )
    return table


def ratios(first: dict[str, Any], second: dict[str, Any]) -> Table:
    """second / first for every case that both reports have.

    "apart" says whether the interquartile ranges of the two do not touch: a difference that the
    rounds' own spread does not explain.
    """
    table = Table(title="B / A", caption="apart: the quartiles of A and B do not overlap")
    varying = [key for key in _CASE if any(key in row for row in first["cases"])]
    for key in varying:
        table.add_column(_HEADS.get(key, key), no_wrap=True)
    for head in ("A", "B", "B / A", "apart"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for a, b in common(first, second):
        apart = a["q3"] < b["q1"] or b["q3"] < a["q1"]
        table.add_row(
            *(str(a.get(key, "")) for key in varying),
            number(a["median"]),
            number(b["median"]),
            f"{b['median'] / a['median']:.2f}",
            "yes" if apart else "no",
            a["unit"],
        )
    return table


def common(
    first: dict[str, Any], second: dict[str, Any]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The rows of both reports that measured the same case."""
    theirs = {_identity(row): row for row in second["cases"]}
    return [(row, theirs[_identity(row)]) for row in first["cases"] if _identity(row) in theirs]


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """What besides the code may explain a ratio: "jax: 0.10.2, then 0.11.2"."""
    lines = []
    for key in ("device", "processor", "cores", "python", "xla_flags", "commit"):
        lines.append((key, first["machine"].get(key), second["machine"].get(key)))
    ours, theirs = (report["machine"].get("versions", {}) for report in (first, second))
    for name in sorted({*ours, *theirs}):
        lines.append((name, ours.get(name), theirs.get(name)))
    for key in SETTINGS:
        lines.append((key, first["options"].get(key), second["options"].get(key)))
    return [f"{name}: {a}, then {b}" for name, a, b in lines if a != b]


def number(value: float) -> str:
    """For reading: 3.214, 91.23, 12,345 or 1.234M."""
    if value >= 1e6:
        return f"{value / 1e6:.4g}M"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in _CASE)


def _named(machine: dict[str, Any]) -> str:
    on_cpu = machine["platform"] == "cpu"
    device = machine["processor"] if on_cpu else machine["device"]
    return f"{device}, {machine['cores']} cores"
