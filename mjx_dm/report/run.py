"""A run directory, read: whatever of it there is, and a sentence for what cannot be read."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mjx_dm import config as configs
from mjx_dm.config import Config, ConfigError
from mjx_dm.records import METRICS, records
from mjx_dm.report.scores import Score, read_scores, scores_in_training
from mjx_dm.report.sessions import Session, read_sessions

CONFIG = "config.json"

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Run:
    """What a run directory holds.

    launches, evaluations: name -> (N,) float64, a row for each launch of the program and for each
        evaluation, both in order of "step"; NaN where a row has no value.
    config: None where there is none that this version reads; `task` is known all the same if the
        file tells it.
    problems: a sentence for everything that could not be read.
    """

    directory: Path
    task: str
    config: Config | None
    launches: Columns
    evaluations: Columns
    scores: list[Score]
    sessions: list[Session]
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.directory.resolve().name

    @property
    def env_steps(self) -> int:
        return int(self._last("step"))

    @property
    def train_seconds(self) -> float:
        return self._last("train_seconds")

    @property
    def wall_seconds(self) -> float:
        return self._last("wall_seconds")

    @property
    def heard(self) -> float:
        """Unix seconds of the last word of it; NaN without any."""
        times = [self._last("time", math.nan), *(session.heard for session in self.sessions)]
        return max(filter(math.isfinite, times), default=math.nan)

    @property
    def state(self) -> str:
        """finished, stopped, failed, or what is known in place of that."""
        is_over = False
        if self.config is not None:
            asked, minutes = self.config.run.env_steps, self.config.run.minutes
            is_over = self.env_steps >= asked or self.train_seconds >= 60 * (minutes or math.inf)
        ended = self.sessions[-1].ended if self.sessions else None
        if ended not in (None, "ended"):
            return str(ended)
        if is_over:
            return "finished"
        if not self.sessions:
            return "no end recorded"
        return "stopped" if ended else "training, or killed"

    def _last(self, name: str, otherwise: float = 0.0) -> float:
        """The greatest value of a column that only grows."""
        values = [rows[name] for rows in (self.launches, self.evaluations) if name in rows]
        known = np.concatenate([x[np.isfinite(x)] for x in values]) if values else np.array([])
        return float(known.max()) if len(known) else otherwise


def read_run(directory: Path) -> Run:
    """Reads a run directory. Raises ConfigError where there is none."""
    if not directory.is_dir():
        raise ConfigError(f"There is no run directory {directory}.")
    if not any((directory / name).exists() for name in (CONFIG, METRICS)):
        raise ConfigError(
            f"{directory} is not a run directory: it has neither {CONFIG} nor {METRICS}."
        )
    problems: list[str] = []
    task, config = _settings(directory / CONFIG, problems)
    launches, evaluations = _records(directory / METRICS, problems)
    scores, of_scores = read_scores(directory)
    return Run(
        directory=directory,
        task=task,
        config=config,
        launches=launches,
        evaluations=evaluations,
        scores=scores + scores_in_training(evaluations),
        sessions=read_sessions(directory),
        problems=problems + of_scores,
    )


def _settings(path: Path, problems: list[str]) -> tuple[str, Config | None]:
    try:
        config = configs.load(path)
        return config.task.task, config
    except ConfigError as error:
        problems.append(str(error))
    try:
        told = json.loads(path.read_text())["task"]
        return str(told["task"] if isinstance(told, dict) else told), None
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown task", None


def _records(path: Path, problems: list[str]) -> tuple[Columns, Columns]:
    """The rows of launches and of evaluations; those before a broken line where there is one."""
    rows: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    try:
        for _, record in records(path):
            rows["eval_return" in record].append(record)
    except FileNotFoundError:
        problems.append(f"There is no {path.name} yet: nothing has been recorded.")
    except (OSError, ValueError) as error:
        problems.append(f"{str(error).rstrip('.')}. What follows that line is left out.")
    scored = [row for row in rows[True] if math.isfinite(_number(row["eval_return"]))]
    # A score may be written after later launches, or twice for one step.
    last_of_step = {row["step"]: row for row in scored}
    return _columns(rows[False]), _columns([last_of_step[step] for step in sorted(last_of_step)])


def _columns(rows: list[dict[str, Any]]) -> Columns:
    names = dict.fromkeys(["step", "eval_return", *(name for row in rows for name in row)])
    columns = {name: np.array([_number(row.get(name)) for row in rows], float) for name in names}
    began = columns["time"][0] if rows and "time" in columns else math.nan
    if "wall_seconds" not in columns and math.isfinite(began):
        columns["wall_seconds"] = columns["time"] - began
    return columns


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # of a whole number
        return math.nan
