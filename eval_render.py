"""Score a run's newest policy on CPU Gymnasium Humanoid-v4 and film its median episode.

python eval_render.py runs/demo --episodes 20
python eval_render.py runs/demo/best  # the one that scored best while it trained
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from mjx_dm.config import ACTION_RULES
from mjx_dm.files import write_json


@dataclass(frozen=True)
class Options:
    """Score a run's newest policy on CPU Gymnasium Humanoid-v4 and film its median episode."""

    run_dir: tyro.conf.Positional[Path]
    """The run directory, as given to train.py, or its folder best: the policy that scored best."""
    episodes: int = 10
    """Whole episodes to play."""
    seed: int = 1000
    """Episode i is reset with seed + i."""
    action_rule: str = "mean"
    """How the policy acts: the mixture's mean, a sample, the mean of the heaviest component, the
    component mean with the highest Q, or the best of 16 samples by Q."""
    out: Path | None = None
    """Where eval.json and the video go; by default RUN_DIR/eval and RUN_DIR/videos."""
    video: bool = True
    """Write an MP4 of the episode with the median return, and a strip of its frames."""

    @property
    def score_dir(self) -> Path:
        return self.out or self.run_dir / "eval"

    @property
    def video_dir(self) -> Path:
        return self.out or self.run_dir / "videos"

    def problem(self) -> str | None:
        """One sentence about what is wrong, or None."""
        if self.episodes < 1:
            return f"--episodes must be at least 1, got {self.episodes}."
        if not 0 <= self.seed <= 2**32 - self.episodes:
            return f"--seed must lie in [0, 2^32 - episodes], got {self.seed}."
        if self.action_rule not in ACTION_RULES:
            rules = ", ".join(ACTION_RULES)
            return f"--action-rule {self.action_rule} is unknown; choose from {rules}."
        if not self.run_dir.is_dir():
            return (
                f"There is no run directory {self.run_dir}: give the --run-dir of a training run, "
                "or benchmarks/policies/humanoid_cpu."
            )
        checkpoints = self.run_dir / "checkpoints"
        if not checkpoints.is_dir() or not any(checkpoints.iterdir()):
            return f"{self.run_dir} holds no checkpoint: train.py writes them to {checkpoints}."
        return None


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 1 no score or none written, 2 bad input,
    130 interrupted."""
    try:
        return _run(tyro.cli(Options, args=arguments, prog="eval_render.py"))
    except KeyboardInterrupt:
        return _complain("interrupted before all was done.", 130)


def _run(options: Options) -> int:
    if problem := options.problem():
        return _complain(problem, 2)
    try:
        options.score_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _complain(f"{options.score_dir} cannot be made: {error.strerror}.", 2)

    # One policy call per step is too little work for a GPU, which a training run may be using.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        from mjx_dm.evaluation import evaluate
        from mjx_dm.evaluation import films as render
    except Exception:
        if chosen := os.environ.get("MUJOCO_GL"):
            return _complain(f"MuJoCo cannot be imported with MUJOCO_GL={chosen}: unset it.", 2)
        raise
    from mjx_dm.checkpoints.policy import load_policy
    from mjx_dm.checkpoints.saving import CheckpointError

    try:
        policy = load_policy(options.run_dir, options.action_rule)
    except CheckpointError as error:
        return _complain(str(error), 2)
    trace = render.Trace()
    try:
        evaluation = evaluate.evaluate(
            policy.act, episodes=options.episodes, seed=options.seed, on_step=trace
        )
    except evaluate.NoScore as error:
        return _complain(str(error), 1)

    report = {
        **evaluation.to_json(),
        "checkpoint": policy.checkpoint,
        "env_steps": int(policy.env_steps),
        "action_rule": policy.action_rule,
    }
    _print_table(report)
    path = options.score_dir / "eval.json"
    try:
        write_json(path, report)
    except OSError as error:
        return _complain(f"{path} cannot be written: {error.strerror}.", 1)
    # Not through rich: a long path must stay on one line.
    print(f"Scores: {path}")
    if options.video:
        median = evaluation.median_episode
        name = f"step_{report['env_steps']:012d}_seed_{options.seed + median}.mp4"
        _film(trace.qpos[median], options.video_dir / name)
    return 0


def _film(qpos: list[Any], path: Path) -> None:
    from mjx_dm.evaluation import films as render
    from mjx_dm.evaluation import mp4

    try:
        render.write_video(qpos, path)
        mp4.frame_strip(path, path.with_suffix(".png"))
    except OSError as error:
        _complain(f"The scores stand, but no video could be written: {error}.", 0)
        return
    print(f"Video of the median episode: {path}")
    if render.find_gl() is None:
        print(f"It was drawn without OpenGL. {render.gl_advice()}")


def _print_table(report: dict[str, Any]) -> None:
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
    console.print(f"{report['env']}, policy after {report['env_steps']:,} steps of training")
    console.print(table)
    console.print(
        f"return {report['mean']:.1f} ± {report['std']:.1f} (median {report['median']:.1f}) over "
        f"{report['episodes']} episodes, action rule: {report['action_rule']}"
    )


def _complain(sentence: str, status: int) -> int:
    print(f"eval_render.py: {sentence}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
