"""The console commands: a command line, checked, then one call.

`train_main` is train.py, `eval_main` eval_render.py. Both return their exit status.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from mjx_dm import config as configs
from mjx_dm import settings
from mjx_dm.checkpoints.manifest import CheckpointError, SaveError, complete
from mjx_dm.config import ACTION_RULES, Config, ConfigError
from mjx_dm.files import write_json
from mjx_dm.presets import preset_in
from mjx_dm.runs.signals import is_interrupt
from mjx_dm.validation import new_directory, of_learner, validate

# Training -----------------------------------------------------------------------------------------


def train_main(arguments: list[str] | None = None) -> int:
    """Trains; returns the exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--list-tasks" in arguments:
        return _list_tasks()
    try:
        config = parse(arguments)
    except ConfigError as error:
        return _complain("train.py", error, 2)

    # Before JAX is imported: a second run of a program then starts without compiling, but for the C
    # engine's, since JAX keeps no program that calls back to Python.
    cache = os.path.join(os.path.expanduser("~"), ".cache", "mjx_dm", "jax")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
    try:
        from mjx_dm.runs import loop as run

        run.train(config)
    except (FloatingPointError, OSError, SaveError) as error:
        return _complain("train.py", error, 1)
    except (ConfigError, CheckpointError) as error:
        return _complain("train.py", error, 2)
    except (KeyboardInterrupt, RuntimeError) as error:
        if not is_interrupt(error):
            raise
        return _complain("train.py", _about_interruption(config.directory), 130)
    return 0


def _list_tasks() -> int:
    """Prints every task with its sizes; one that cannot run here with the reason."""
    from rich.console import Console
    from rich.table import Table

    from mjx_dm.config import LIBRARIES
    from mjx_dm.tasks import get_task, task_names
    from mjx_dm.tasks.libraries import library_names

    refused = []
    table = Table("task", "obs", "actions", "box", "step, s", "steps", "physics")
    for name in sorted(task_names()):
        try:
            task = get_task(name)
        except ConfigError as error:
            refused.append(str(error))
            continue
        spaces = task.spaces
        table.add_row(
            name,
            str(spaces.obs_size),
            str(spaces.action_size),
            f"±{max(spaces.action_high):g}",
            f"{task.step_seconds:g}",
            str(task.max_episode_steps),
            task.physics,
        )
    console = Console()
    console.print(table)
    for library in LIBRARIES:
        try:
            console.print(*library_names(library), highlight=False)
        except ConfigError as error:
            refused.append(str(error))
    for reason in refused:
        console.print(reason, highlight=False)
    console.print("A robot of your own: --task my_robot.py (docs/your-robot.md).", highlight=False)
    return 0


def parse(arguments: list[str]) -> Config:
    """The configuration that the command line asks for, checked; raises ConfigError."""
    config = _parse(arguments, preset_in(arguments, Config().run.preset))
    directory = config.directory
    if config.run.resume:
        return _resumed(arguments, directory)
    return configs.replace(new_directory(of_learner(validate(config))), run_dir=str(directory))


def _resumed(arguments: list[str], directory: Path) -> Config:
    """The settings saved in `directory`, but for what the command line may change in a run."""
    saved = configs.load(directory / "config.json")
    saved = configs.replace(saved, run_dir=str(directory), resume=True)
    config = validate(_parse(arguments, saved))
    before = settings.flat(saved)
    for name, value in settings.flat(config).items():
        if value != before[name] and name not in configs.MAY_CHANGE_ON_RESUME:
            raise ConfigError(
                f"A resumed run keeps {settings.flag(name)} as in {directory / 'config.json'}; "
                "leave it out, or begin a new run in another --run-dir."
            )
    return config


def _parse(arguments: list[str], default: Config) -> Config:
    flat = tyro.conf.OmitArgPrefixes[Config]
    return tyro.cli(flat, args=arguments, default=default, prog="train.py")


def _about_interruption(directory: Path) -> str:
    newest = max(complete(directory / "checkpoints"), default=None)
    if newest is None:
        return "interrupted before there was anything to save."
    return (
        f"interrupted; the newest checkpoint in {directory / 'checkpoints'} is that of {newest:,} "
        "environment steps: go on with --resume."
    )


# Evaluation ---------------------------------------------------------------------------------------


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
    """Write an MP4 of the episode with the median return, and a strip of its frames."""

    @property
    def score_dir(self) -> Path:
        """Where eval.json goes."""
        return self.out or self._folder / "eval"

    @property
    def video_dir(self) -> Path:
        """Where the video goes."""
        return self.out or self._folder / "videos"

    @property
    def _folder(self) -> Path:
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
        return _complain("eval_render.py", "interrupted before all was done.", 130)


def _eval(options: EvalOptions) -> int:
    if problem := options.problem():
        return _complain("eval_render.py", problem, 2)
    try:
        options.score_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _complain(
            "eval_render.py", f"{options.score_dir} cannot be made: {error.strerror}.", 2
        )

    # One policy call per step is too little work for a GPU, which a training run may be using.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        from mjx_dm.evaluation import evaluate
        from mjx_dm.evaluation import films as render
    except Exception:  # whatever MuJoCo raises where MUJOCO_GL names what is not there
        if chosen := os.environ.get("MUJOCO_GL"):
            return _complain(
                "eval_render.py", f"MuJoCo cannot be imported with MUJOCO_GL={chosen}: unset it.", 2
            )
        raise
    from mjx_dm.checkpoints.policy import load_policy
    from mjx_dm.checkpoints.saving import CheckpointError

    try:
        policy = load_policy(options.run_dir, options.action_rule)
        task = policy.own_task()
    except CheckpointError as error:
        return _complain("eval_render.py", str(error), 2)
    trace = render.Trace()
    try:
        evaluation = evaluate.evaluate(
            policy, task, episodes=options.episodes, seed=options.seed, on_step=trace
        )
    except evaluate.NoScore as error:
        return _complain("eval_render.py", str(error), 1)

    report = {
        **evaluation.to_json(),
        "checkpoint": policy.checkpoint,
        "env_steps": int(policy.env_steps),
        "action_rule": policy.action_rule,
    }
    _print_table(report, evaluation.played_in)
    path = options.score_dir / "eval.json"
    try:
        write_json(path, report)
    except OSError as error:
        return _complain("eval_render.py", f"{path} cannot be written: {error.strerror}.", 1)
    # Not through rich: a long path must stay on one line.
    print(f"Scores: {path}")
    if options.video:
        median = evaluation.median_episode
        name = f"step_{report['env_steps']:012d}_seed_{options.seed + median}.mp4"
        _film(task, trace.qpos.get(median, []), options.video_dir / name)
    return 0


def _film(task: Any, qpos: list[Any], path: Path) -> None:
    from mjx_dm.evaluation import films as render
    from mjx_dm.evaluation import mp4
    from mjx_dm.tasks import LibraryTask

    if isinstance(task, LibraryTask) and not task.is_filmed:
        print(f"There is no video: {task.name} has no MuJoCo model to be drawn with.")
        return
    try:
        render.write_video(qpos, path, task=task)
        mp4.frame_strip(path, path.with_suffix(".png"))
    except OSError as error:
        _complain("eval_render.py", f"The scores stand, but no video could be written: {error}.", 0)
        return
    print(f"Video of the median episode: {path}")
    if render.find_gl() is None:
        print(f"It was drawn without OpenGL. {render.gl_advice()}")


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


def _complain(command: str, what: Exception | str, status: int) -> int:
    print(f"{command}: {what}", file=sys.stderr)
    return status
