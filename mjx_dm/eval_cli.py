"""eval_render.py: a command line, checked, then scores and films."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.config import ConfigError
from mjx_dm.ending import called, complain, interruptible, say
from mjx_dm.files import write_json
from mjx_dm.films.options import FilmOptions
from mjx_dm.groups import ACTION_RULES


@dataclass(frozen=True)
class EvalOptions:
    """Score a policy in its task on the CPU and film its median episode."""

    run_dir: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")] = None
    """The run directory, as given to train.py, its folder best (the policy that scored best), or a
    policy.json."""
    across: tuple[Path, ...] = ()
    """Compare these runs instead, seeds of the same settings together; a score that is there
    already is read, and nothing is filmed."""
    episodes: int = 10
    """Whole episodes to play."""
    seed: int = 1000
    """Episode i is reset with seed + i."""
    action_rule: tuple[str, ...] = ("mean",)
    """How the policy acts: mean (the mixture's, or sac's tanh of the mean), sample, heaviest (the
    mean of that component), best_component (the component mean with the highest Q) or best_of (16
    samples, by Q). Of several, each plays the same episodes; the first is filmed."""
    transfer: bool = False
    """Also play under every engine and physics that can run here."""
    out: Path | None = None
    """Where eval.json and the video go, by default RUN_DIR/eval and RUN_DIR/videos; with --across,
    where across.json goes, by default the present folder."""
    video: bool = True
    """Write films, each an MP4 with a picture beside it."""
    films: tyro.conf.OmitArgPrefixes[FilmOptions] = field(default_factory=FilmOptions)

    @property
    def policy(self) -> Path:
        """What holds the policy; there is one where `problem` finds nothing."""
        assert self.run_dir is not None
        return self.run_dir

    @property
    def score_dir(self) -> Path:
        """Where the scores go."""
        if self.across:
            return self.out or Path()
        return self.out or self.folder / "eval"

    @property
    def video_dir(self) -> Path:
        """Where the video goes."""
        return self.out or self.folder / "videos"

    @property
    def folder(self) -> Path:
        """The run directory, its folder best, or where the policy.json is."""
        return self.policy.parent if self.policy.is_file() else self.policy

    def problem(self) -> str | None:
        """One sentence about what is wrong, or None."""
        if self.episodes < 1:
            return f"--episodes must be at least 1, got {self.episodes}."
        if not 0 <= self.seed <= 2**32 - self.episodes:
            return f"--seed must lie in [0, 2^32 - episodes], got {self.seed}."
        return self._about_rules() or self.films.problem() or self._about_runs()

    def _about_rules(self) -> str | None:
        for rule in self.action_rule:
            if rule not in ACTION_RULES:
                rules = ", ".join(ACTION_RULES)
                hint = " The run stands before --action-rule." if Path(rule).exists() else ""
                return f"--action-rule {rule} is unknown; choose from {rules}.{hint}"
        if not self.action_rule or len(set(self.action_rule)) < len(self.action_rule):
            return "--action-rule takes one rule or several different ones."
        if self.across and (len(self.action_rule) > 1 or self.transfer):
            return "--across compares runs under one --action-rule and without --transfer."
        return None

    def _about_runs(self) -> str | None:
        if bool(self.across) == (self.run_dir is not None):
            return "give one run, or several with --across."
        places = [path.resolve() for path in self.across]
        twice = [x for x, y in zip(self.across, places, strict=True) if places.count(y) > 1]
        if twice:
            return f"--across: {twice[0]} is given twice and would count as two runs."
        found = (problem_of(path) for path in self.across or (self.policy,))
        return next(filter(None, found), None)


def problem_of(path: Path) -> str | None:
    """One sentence where `path` holds no policy, or None."""
    if not path.exists():
        return (
            f"There is no run directory {path}: give the --run-dir of a training run, "
            "or a folder of benchmarks/policies."
        )
    if path.is_file() or (path / "policy.json").exists():
        return None
    checkpoints = path / "checkpoints"
    if not checkpoints.is_dir() or not any(checkpoints.iterdir()):
        return (
            f"{path} holds no checkpoint and no policy.json: train.py writes "
            f"checkpoints to {checkpoints}."
        )
    return None


def eval_main(arguments: list[str] | None = None) -> int:
    """Scores and films; returns the exit status: 0 done, 1 no score or none written, 2 bad input,
    130 interrupted."""
    try:
        return _eval(tyro.cli(EvalOptions, args=arguments, prog=called("eval_render.py")))
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
    from mjx_dm.evaluation.acting import NoScore

    try:
        device.check()
        return _across(options) if options.across else _score(options)
    except (CheckpointError, ConfigError) as error:
        return complain("eval_render.py", str(error), 2)
    except NoScore as error:
        return complain("eval_render.py", str(error), 1)


def _score(options: EvalOptions) -> int:
    """One policy: its scores, its film, the page of its run."""
    from mjx_dm.checkpoints.policy import load_policy
    from mjx_dm.drawing.scene import check_camera
    from mjx_dm.evaluation import evaluate
    from mjx_dm.evaluation.transfer import transfers
    from mjx_dm.films.making import Played, make_films
    from mjx_dm.films.trace import Trace
    from mjx_dm.report import tables
    from mjx_dm.report.live import rewrite_page
    from mjx_dm.report.scores import rule_report
    from mjx_dm.runs.loggers.opening import log_scores
    from mjx_dm.runs.progress import Progress

    # All of them first: an unknown one is told before anything is played.
    policies = {rule: load_policy(options.policy, rule) for rule in options.action_rule}
    policy = next(iter(policies.values()))
    task = policy.own_task()
    if options.video and options.films.camera:
        check_camera(task, task.spec(), options.films.camera)
    asked: dict[str, Any] = {"episodes": options.episodes, "seed": options.seed}
    # Nothing is played yet, but what cannot be is told.
    progress = Progress(0)
    elsewhere = transfers(policy, task, **asked, phase=progress.phase) if options.transfer else None
    trace = Trace(task, rewards=options.films.overlay) if options.video else None
    with progress, progress.phase(f"Playing {options.episodes} episodes"):
        evaluations = [
            evaluate.evaluate(acting, task, **asked, on_step=trace if acting is policy else None)
            for acting in policies.values()
        ]
    evaluation = evaluations[0]
    rules = [
        rule_report(played, acting, rule)
        for played, (rule, acting) in zip(evaluations, policies.items(), strict=True)
    ]
    report = {**rules[0], "rules": rules}
    # Whoever reads it may have closed the pipe; Rich ends the program there.
    with contextlib.suppress(OSError, SystemExit):
        tables.print_scores(rules, evaluation.played_in)
    if status := _write(options.score_dir / "eval.json", report):
        return status
    films = []
    if trace is not None:
        with progress:
            films = make_films(
                Played(policy, task, trace, evaluation, options.folder),
                options.films,
                options.video_dir,
                progress.say,
                lambda sentence: complain("eval_render.py", sentence, 0),
                progress.phase,
            )
    log_scores(options.folder, report["env_steps"], report, films, say)
    if page := rewrite_page(options.folder):
        say(f"Page of the run: {page}")
    # Last, for it may take long: what is there stands whatever becomes of it.
    return 0 if elsewhere is None else _transfer(elsewhere, progress, options.score_dir, report)


def _transfer(
    elsewhere: Iterator[Any], progress: Any, score_dir: Path, report: dict[str, Any]
) -> int:
    """Plays under each engine and physics, and adds each to the scores as it comes."""
    from mjx_dm.report import tables

    played: list[Any] = []
    with progress:
        while (one := interruptible(lambda: next(elsewhere, None))) is not None:
            played.append(one)
            progress.say(f"Under {one.engine} {one.physics}: {one.in_words}")
            told = {**report, "transfer": [x.to_json() for x in played]}
            if status := _write(score_dir / "eval.json", told, is_new=False):
                return status
    with contextlib.suppress(OSError, SystemExit):
        tables.print_transfers(report, played)
    return 0


def _across(options: EvalOptions) -> int:
    """Several runs, compared."""
    from mjx_dm.report import across, tables
    from mjx_dm.report.run_scores import scores_of

    rule, episodes, seed = options.action_rule[0], options.episodes, options.seed
    groups = across.grouped(scores_of(options.across, rule, episodes, seed, say))
    with contextlib.suppress(OSError, SystemExit):
        tables.print_groups(groups)
    told = {"action_rule": rule, "episodes": episodes, "seed": seed, **across.report(groups)}
    return _write(options.score_dir / "across.json", told)


def _write(path: Path, report: dict[str, Any], is_new: bool = True) -> int:
    try:
        write_json(path, report)
    except OSError as error:
        return complain("eval_render.py", f"{path} cannot be written: {error.strerror}.", 1)
    if is_new:  # not through rich: a long path must stay on one line
        say(f"Scores: {path}")
    return 0
