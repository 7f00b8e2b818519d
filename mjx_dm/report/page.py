"""A page of one run, or of several side by side: one HTML file, written whole or not at all."""

import functools
import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup

from mjx_dm.report import words
from mjx_dm.report.charts import Charts, Subject
from mjx_dm.report.films import Medium, Room
from mjx_dm.report.intervals import Estimate, bootstrapped
from mjx_dm.report.repeat import (
    Setting,
    changed_settings,
    eval_command,
    labels,
    page_command,
    train_command,
    variant_of,
)
from mjx_dm.report.run import Run, read_run
from mjx_dm.report.scores import Score

PAGE = "report.html"
# Of films and pictures inside a page; more are linked. A mail takes it, and a phone opens it.
EMBED_MB = 12.0


class RunPart(NamedTuple):
    """What the page tells of one run."""

    run: Run
    label: str
    headline: Score | None
    media: list[list[Medium]]
    settings: list[Setting] | None
    seconds: dict[str, float]
    train: str | None
    evaluate: str


class Variant(NamedTuple):
    """Seeds of the same settings, and the return of each at its last evaluation."""

    label: str
    runs: list[Run]
    returns: list[float]
    mean: Estimate
    middle: Estimate


class Group(NamedTuple):
    """Runs of one task."""

    task: str
    variants: list[Variant]
    parts: list[RunPart]
    subjects: list[Subject]

    @property
    def has_seeds(self) -> bool:
        return any(len(variant.runs) > 1 for variant in self.variants)


def write_page(
    run_dirs: Sequence[Path], out: Path | None = None, *, embed_mb: float = EMBED_MB
) -> Path:
    """Writes the page of some runs; returns its path, RUN_DIR/report.html if `out` is left out.

    embed_mb: MB of films and pictures that go into the page; what is over that is linked.

    Raises ConfigError where a folder is no run directory, OSError where the page cannot be written.
    """
    out = run_dirs[0] / PAGE if out is None else out
    html = render([read_run(path) for path in run_dirs], out, embed_mb)
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        unfinished.write_text(html, encoding="utf-8")
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)
    return out


def render(runs: Sequence[Run], out: Path, embed_mb: float = EMBED_MB) -> str:
    """The page of some runs as HTML; `out` is where it will lie, which links start from."""
    charts, room = Charts(), Room(int(embed_mb * 1e6))
    groups = [_group(task, of_task, charts, room, out) for task, of_task in _by_task(runs)]
    lines = [
        {"id": chart.id, "log": chart.is_log, "lines": [line._asdict() for line in chart.lines]}
        for group in groups
        for subject in group.subjects
        for chart in subject.charts
    ]
    return _template().render(
        groups=groups,
        single=groups[0].parts[0] if len(runs) == 1 else None,
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} runs side by side",
        count=len(runs),
        written=time.time(),
        again=page_command([run.directory for run in runs], out),
        data=_script_json({"x": charts.x, "charts": lines}),
        has_links=any(
            not medium.is_inside
            for group in groups
            for part in group.parts
            for together in part.media
            for medium in together
        ),
        embed_mb=embed_mb,
        asset=_asset,
    )


def _by_task(runs: Sequence[Run]) -> Iterable[tuple[str, list[Run]]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.task, []).append(run)
    return found.items()


def _group(task: str, runs: list[Run], charts: Charts, room: Room, out: Path) -> Group:
    variants: dict[Any, list[Run]] = {}
    for run in runs:
        variants.setdefault(variant_of(run), []).append(run)
    seeds = list(variants.values())
    names = labels([some[0] for some in seeds])
    label_of = {id(run): name for some, name in zip(seeds, names, strict=True) for run in some}
    return Group(
        task=task,
        variants=[_variant(name, some) for some, name in zip(seeds, names, strict=True)],
        parts=[_part(run, label_of[id(run)], room, out) for run in runs],
        subjects=charts.of(seeds, names if len(seeds) > 1 else [""]),
    )


def _variant(label: str, runs: list[Run]) -> Variant:
    last = [run.evaluations["eval_return"] for run in runs]
    returns = [float(values[-1]) for values in last if len(values)]
    known = np.array(returns)
    none = Estimate(math.nan)
    mean, middle = (
        (bootstrapped(known), bootstrapped(known, of_middle=True)) if returns else (none, none)
    )
    return Variant(label, runs, returns, mean, middle)


def _part(run: Run, label: str, room: Room, out: Path) -> RunPart:
    seconds: dict[str, float] = {}
    for session in run.sessions:
        for what, spent in session.seconds.items():
            seconds[what] = seconds.get(what, 0.0) + spent
    return RunPart(
        run=run,
        label=label,
        headline=run.scores[0] if run.scores else None,
        media=room.show(run.directory, out),
        settings=None if run.config is None else changed_settings(run.config),
        seconds=seconds,
        train=train_command(run),
        evaluate=eval_command(run),
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mjx_dm.report", "assets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        number=words.number,
        duration=words.duration,
        moment=words.moment,
        share=words.share,
        interval=words.interval,
    )
    return environment.get_template("page.html.jinja")


def _asset(name: str) -> Markup:
    """A file of assets/, as it is."""
    path = resources.files("mjx_dm.report") / "assets" / name
    return Markup(path.read_text(encoding="utf-8"))


def _script_json(value: Any) -> Markup:
    """JSON that ends no script element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))
