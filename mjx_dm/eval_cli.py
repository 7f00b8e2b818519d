"""eval_render.py: a command line, checked, then scores and films."""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.config import ACTION_RULES, ConfigError
from mjx_dm.ending import complain, say
from mjx_dm.files import write_json
from mjx_dm.films.options import FilmOptions


@dataclass(frozen=True)
class EvalOptions:
    """Score a policy in its task on the CPU and film its median episode."""

    run_dir: tyro.conf.Positional[Path]
    """The run directory, as given to train.py, its folder best (the policy that scored best), or a
    policy.json."""
    episodes: int = 10
    """Whole episodes to play."""
    seed: int = 1000
    """Episode i is reset with seed + i."""
    action_rule: str = "mean"
    """How the policy acts: mean (the mixture's, or sac's tanh of the mean), sample, heaviest (the
    mean of that component), best_component (the component mean with the highest Q) or best_of (16
    samples, by Q)."""
    out: Path | None = None
    """Where eval.json and the video go; by default RUN_DIR/eval and RUN_DIR/videos."""
    video: bool = True
    """Write films, each an MP4 with a picture beside it."""
    films: tyro.conf.OmitArgPrefixes[FilmOptions] = field(default_factory=FilmOptions)

    @property
    def score_dir(self) -> Path:
        """Where eval.json goes."""
        return self.out or self.folder / "eval"

    @property
    def video_dir(self) -> Path:
        """Where the video goes."""
        return self.out or self.folder / "videos"

    @property
    def folder(self) -> Path:
        """The run directory, its folder best, or where the policy.json is."""
        return self.run_dir.parent if self.run_dir.is_file() else self.run_dir

    def problem(self) -> str | None:
        """One sentence about what is wrong, or None."""
        if self.episodes < 1:
            return f"--episodes must be at least 1, got {self.episodes}."
        if not 0 <= self.seed <= 2**32 - self.episodes:
            return f"--seed must lie in [0, 2^32 - episodes], got {self.seed}."
        if self.action_rule not in ACTION_RULES:
            rules = ", ".join(ACTION_RULES)
            return f"--action-rule {self.action_rule} is unknown; choose from {rules}."
        if problem := self.films.problem():
            return problem
        if not self.run_dir.exists():
            return (
                f"There is no run directory {self.run_dir}: give the --run-dir of a training run, "
                "or a folder of benchmarks/policies."
            )
        if self.run_dir.is_file() or (self.run_dir / "policy.json").exists():
            return None
        checkpoints = self.run_dir / "checkpoints"
        if not checkpoints.is_dir() or not any(checkpoints.iterdir()):
            return (
                f"{self.run_dir} holds no checkpoint and no policy.json: train.py writes "
                f"checkpoints to {checkpoints}."
            )
        return None


def eval_main(arguments: list[str] | None = None) -> int:
    """Scores and films; returns the exit status: 0 done, 1 no score or none written, 2 bad input,
    130 interrupted."""
    try:
        return _eval(tyro.cli(EvalOptions, args=arguments, prog="eval_render.py"))
    except KeyboardInterrupt:
        return complain("eval_render.py", "interrupted before all was done.", 130)


def _eval(options: EvalOptions) -> int:
    if problem := options.problem():
        return complain("eval_render.py", problem, 2)
    try:
        options.score_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return complain(
            "eval_render.py", f"{options.score_dir} cannot be made: {error.strerror}.", 2
        )

    # One policy call per step is too little work for a GPU, which a training run may be using.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from mjx_dm import device
    from mjx_dm.checkpoints.policy import load_policy
    from mjx_dm.drawing.scene import check_camera
    from mjx_dm.evaluation import evaluate
    from mjx_dm.films.making import make_films
    from mjx_dm.films.trace import Trace
    from mjx_dm.report.live import rewrite_page
    from mjx_dm.runs.loggers.opening import log_scores

    try:
        device.check()
        policy = load_policy(options.run_dir, options.action_rule)
        task = policy.own_task()
        if options.video and options.films.camera:
            check_camera(task, task.spec(), options.films.camera)
    except (CheckpointError, ConfigError) as error:
        return complain("eval_render.py", str(error), 2)
    trace = Trace(task, rewards=options.films.overlay) if options.video else None
    try:
        evaluation = evaluate.evaluate(
            policy, task, episodes=options.episodes, seed=options.seed, on_step=trace
        )
    except evaluate.NoScore as error:
        return complain("eval_render.py", str(error), 1)

    report = {
        **evaluation.to_json(),
        "checkpoint": policy.checkpoint,
        "env_steps": int(policy.env_steps),
        "action_rule": policy.action_rule,
    }
    # Whoever reads it may have closed the pipe; Rich ends the program there.
    with contextlib.suppress(OSError, SystemExit):
        _print_table(report, evaluation.played_in)
    path = options.score_dir / "eval.json"
    try:
        write_json(path, report)
    except OSError as error:
        return complain("eval_render.py", f"{path} cannot be written: {error.strerror}.", 1)
    # Not through rich: a long path must stay on one line.
    say(f"Scores: {path}")
    films = []
    if trace is not None:
        films = make_films(
            policy, task, trace, evaluation, options.films, options.folder, options.video_dir,
            say, lambda sentence: complain("eval_render.py", sentence, 0),
        )  # fmt: skip
    log_scores(options.folder, report["env_steps"], report, films, say)
    if page := rewrite_page(options.folder):
        say(f"Page of the run: {page}")
    return 0


def _print_table(report: dict[str, Any], played_in: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("seed", "return", "length")
    for column in table.columns:
        column.justify = "right"
    for seed, score, length in zip(
        report["seeds"], report["returns"], report["lengths"], strict=True
    ):
        table.add_row(str(seed), f"{score:.1f}", str(length))
    console = Console(highlight=False)
    console.print(f"{played_in}, policy after {report['env_steps']:,} steps of training")
    console.print(table)
    console.print(
        f"return {report['mean']:.1f} ± {report['std']:.1f} (median {report['median']:.1f}) over "
        f"{report['episodes']} episodes, action rule: {report['action_rule']}"
    )
