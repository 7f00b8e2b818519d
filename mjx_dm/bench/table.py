"""The figures as a table, and two measurements side by side."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mjx_dm.bench.report import SETTINGS

_IDENTITY = ("part", "engine", "physics", "num_envs", "batch_size", "updates_per_step")


def figures(report: dict[str, Any], width: int) -> Table:
    """Every case: median and share, and as far as `width` columns hold them the quartiles, the
    seconds to compile and MiB."""
    substeps = report["physics_steps_per_env_step"]
    caption = (
        f"An env step is {substeps} physics steps. " if substeps else ""
    ) + "Share: rollout of bare physics, whole of what its physics and updates alone would allow."
    if (peak := report.get("peak_mib")) is not None:
        caption += f" Peak memory {peak:,.0f} MiB."
    more = [
        ("quartiles", 95, lambda row: f"{number(row['q1'])}–{number(row['q3'])}"),
        ("compiled s", 135, lambda row: f"{row['compile_seconds']:.1f}"),
        ("state MiB", 135, lambda row: f"{row['state_mib']:,.1f}"),
        ("temporary MiB", 135, lambda row: f"{row['temporary_mib']:,.1f}"),
    ]
    shown = [(head, cell) for head, needed, cell in more if width >= needed]
    table = _table(_named(report["machine"]), caption, "median", "unit", "share", *dict(shown))
    for row in report["cases"]:
        share = f"{row['share']['median']:.2f}" if "share" in row else ""
        figures = [number(row["median"]), row["unit"], share]
        table.add_row(*_case(row), *figures, *(cell(row) for _, cell in shown))
    return table


def ratios(first: dict[str, Any], second: dict[str, Any]) -> Table:
    """second / first for every case that both reports have.

    "apart" says whether the interquartile ranges of the two do not touch: a difference that the
    rounds' own spread does not explain.
    """
    caption = "apart: the quartiles of A and B do not overlap"
    table = _table("B / A", caption, "A", "B", "unit", "B / A", "apart")
    for a, b in common(first, second):
        apart = a["q3"] < b["q1"] or b["q3"] < a["q1"]
        values = [number(a["median"]), number(b["median"]), a["unit"]]
        ratio = f"{b['median'] / a['median']:.2f}"
        table.add_row(*_case(a), *values, ratio, "yes" if apart else "no")
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
        a, b = (report["options"].get(key) or None for report in (first, second))
        lines.append((key, a, b))
    return [f"{name}: {a}, then {b}" for name, a, b in lines if a != b]


def number(value: float) -> str:
    """For reading: 3.214, 91.23, 12,345 or 1.23M."""
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _table(title: str, caption: str, *heads: str) -> Table:
    table = Table(title=title, caption=caption, caption_justify="left", box=SIMPLE_HEAD)
    for head in ("part", "engine", "worlds", "batch", *heads):
        is_text = head in ("part", "engine", "unit")
        table.add_column(head, justify="left" if is_text else "right", no_wrap=True)
    return table


def _case(row: dict[str, Any]) -> list[str]:
    engine = f"{row['engine']} {row['physics']}" if "engine" in row else ""
    return [row["part"], engine, str(row.get("num_envs", "")), str(row.get("batch_size", ""))]


def _identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in _IDENTITY)


def _named(machine: dict[str, Any]) -> str:
    on_cpu = machine["platform"] == "cpu"
    device = machine["processor"] if on_cpu else machine["device"]
    return f"{device}, {machine['cores']} cores"
