"""SAC and CrossQ of sbx (JAX) on Gymnasium's Humanoid-v4, scored as our own runs are.

.venv/bin/pip install sbx-rl==0.28.0, then
python benchmarks/baselines.py --algorithm sac --minutes 60 --out sac.json

Every setting is sbx's own default. Time is what the trainer takes, compilation with it (some
seconds), scoring without; pin it to as many cores as the run it is compared with (taskset). The
run ends as a model and its replay beside the JSON file, and --resume goes on from there.
"""

import dataclasses
import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
import sbx
import tyro
from stable_baselines3.common.callbacks import BaseCallback

from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.files import write_json

FIRST_SEED = 1000


@dataclasses.dataclass(frozen=True)
class Options:
    """Train one baseline for some minutes and score it on the way."""

    algorithm: Literal["sac", "crossq"]
    out: Path
    """The JSON file; the model and its replay are written beside it."""
    minutes: float = 60.0
    """Minutes of training in all."""
    eval_minutes: float = 5.0
    eval_episodes: int = 10
    final_episodes: int = 50
    seed: int = 1
    resume: bool = False


class Scored(BaseCallback):
    """Scores the mean action every few minutes of training and ends it in time."""

    def __init__(self, options: Options, seconds: float, evaluations: list[dict]) -> None:
        super().__init__()
        self.options, self.evaluations = options, evaluations
        self.seconds = self.scored_at = seconds
        self.since = time.perf_counter()

    def _on_step(self) -> bool:
        now = time.perf_counter()
        self.seconds, self.since = self.seconds + now - self.since, now
        if self.seconds >= 60 * self.options.minutes:
            return False
        if self.seconds - self.scored_at >= 60 * self.options.eval_minutes:
            self.score(self.options.eval_episodes)
        return True

    def score(self, episodes: int) -> None:
        def act(obs: np.ndarray) -> np.ndarray:
            return self.model.predict(obs, deterministic=True)[0]

        score = evaluate(act, episodes=episodes, seed=FIRST_SEED)
        self.evaluations.append(
            {
                "env_steps": self.model.num_timesteps,
                "updates": int(self.model._n_updates),
                "train_seconds": round(self.seconds, 1),
                "eval_return": round(score.mean, 1),
                "eval_return_std": round(score.std, 1),
                "eval_episodes": episodes,
            }
        )
        print(self.evaluations[-1], flush=True)
        self.write()
        self.scored_at, self.since = self.seconds, time.perf_counter()

    def write(self) -> None:
        names = ("sbx-rl", "stable-baselines3", "gymnasium", "mujoco", "jax")
        write_json(
            self.options.out,
            {
                "name": f"sbx {self.options.algorithm}",
                "seed": self.options.seed,
                "versions": {name: metadata.version(name) for name in names},
                "evaluations": self.evaluations,
            },
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments)
    if not options.out.parent.is_dir():
        folder = options.out.parent
        print(f"baselines.py: --out: there is no folder {folder}.", file=sys.stderr)
        return 2
    algorithm = {"sac": sbx.SAC, "crossq": sbx.CrossQ}[options.algorithm]
    env = gymnasium.make("Humanoid-v4")
    saved, replay = options.out.with_suffix(".zip"), options.out.with_suffix(".pkl")
    seconds, evaluations = 0.0, []
    if options.resume:
        if missing := [str(p) for p in (options.out, saved, replay) if not p.exists()]:
            print(f"baselines.py: --resume needs {', '.join(missing)}.", file=sys.stderr)
            return 2
        model = algorithm.load(saved, env=env)
        model.load_replay_buffer(replay)
        evaluations = json.loads(options.out.read_text())["evaluations"]
        seconds = evaluations[-1]["train_seconds"]
    else:
        model = algorithm("MlpPolicy", env, seed=options.seed)
    scored = Scored(options, seconds, evaluations)
    model.learn(10**9, callback=scored, reset_num_timesteps=not options.resume)
    scored.score(options.final_episodes)
    model.save(saved)
    model.save_replay_buffer(replay)
    return 0


if __name__ == "__main__":
    sys.exit(main())
