"""What a mixture is for: how many of four equal goals a policy keeps, in examples/ring.py.

python benchmarks/ways.py --out benchmarks/results/ways.json --plot docs/ways.png

Trains density matching with several components and with one, and SAC, each with every seed, and
plays 200 episodes by samples from each policy. A policy's ways are exp(entropy) of the shares of
the goals that these end in: 4 where all are as likely, 1 where all end in one. Runs
that are in --runs already are scored and not trained again.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

import mjx_dm
from mjx_dm.config import replace
from mjx_dm.files import write_json
from mjx_dm.presets import PRESETS
from mjx_dm.runs.plots import STYLE
from mjx_dm.view.densities import at
from mjx_dm.view.figure import draw_policy
from mjx_dm.view.mixture import look

ROOT = Path(__file__).resolve().parents[1]
TASK = ROOT / "examples/ring.py"
EPISODES, SEED = 200, 1000
VARIANTS: dict[str, dict[str, Any]] = {
    "mixture of 8": {"num_components": 8},
    "one Gaussian": {"num_components": 1},
    "SAC": {"learner": "sac"},
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Train and score every variant with every seed."""

    out: Path
    plot: Path | None = None
    runs: Path = Path("runs/ways")
    seeds: tuple[int, ...] = (1, 2, 3)
    env_steps: int = 50_000
    episodes: int = EPISODES


def main(options: Options) -> int:
    """Writes the scores of all variants; returns the exit status."""
    for path in filter(None, (options.out, options.plot)):
        if not path.parent.is_dir():
            print(f"ways.py: {path} cannot be written: there is no such folder.", file=sys.stderr)
            return 2
    report: dict[str, Any] = {"task": "examples/ring.py", "episodes": options.episodes, "runs": []}
    for name, changes in VARIANTS.items():
        for seed in options.seeds:
            run = train(options, name, changes, seed)
            row = {"variant": name, "seed": seed, **score(run, options.episodes)}
            report["runs"].append(row)
            print(json.dumps({key: value for key, value in row.items() if key != "ends"}))
            write_json(options.out, report)
    report["summary"] = summary(report["runs"])
    write_json(options.out, report)
    print(json.dumps(report["summary"], indent=1))
    if options.plot:
        draw(options, report["runs"])
    return 0


def folder(options: Options, name: str, seed: int) -> Path:
    """The run directory of a variant and a seed."""
    return options.runs / f"{name.replace(', ', '_').replace(' ', '_')}_seed{seed}"


def train(options: Options, name: str, changes: dict[str, Any], seed: int) -> Path:
    """The run directory of a variant and a seed, trained if it is not there."""
    run = folder(options, name, seed)
    if not (run / "checkpoints").is_dir():
        mjx_dm.train(
            replace(
                PRESETS["cpu"],
                task=str(TASK),
                run_dir=str(run),
                seed=seed,
                env_steps=options.env_steps,
                num_envs=16,
                random_steps=4000,
                actor_widths=(64, 64),
                critic_widths=(64, 64),
                reward_scale=1.0,
                actor_average=0.01,
                mirror="off",
                save_replay=False,
                eval_every=0,
                **changes,
            )
        )
    return run


def score(run: Path, episodes: int) -> dict[str, Any]:
    """Return by samples, the share of episodes that end in each goal, the ways, and the ends."""
    policy = mjx_dm.load_policy(run, "sample")
    ends: dict[int, np.ndarray] = {}
    played = mjx_dm.evaluate(
        policy,
        policy.own_task(),
        episodes=episodes,
        seed=SEED,
        on_step=lambda i, data: ends.__setitem__(i, data.qpos.copy()),
    )
    places = np.array([ends[i] for i in range(episodes)])
    goals = np.array([[np.cos(x), np.sin(x)] for x in np.pi * (np.arange(4) + 0.5) / 2])
    distance = np.linalg.norm(places[:, None] - goals[None], axis=-1)
    reached = distance.min(-1) < 0.16
    shares = np.bincount(distance.argmin(-1)[reached], minlength=4) / episodes
    of_goals = shares / max(shares.sum(), 1e-9)
    return {
        "return": played.mean,
        "shares": shares.tolist(),
        "ways": float(np.exp(stats.entropy(of_goals))) if reached.any() else 0.0,
        "ends": places.round(3).tolist(),
    }


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By variant: means over seeds, and Welch's 95% interval of the ways less one Gaussian's."""
    ways = {name: [run["ways"] for run in runs if run["variant"] == name] for name in VARIANTS}
    rows = []
    for name, found in ways.items():
        row: dict[str, Any] = {
            "variant": name,
            "seeds": len(found),
            "return": float(np.mean([run["return"] for run in runs if run["variant"] == name])),
            "ways": float(np.mean(found)),
        }
        if name != "one Gaussian" and len(found) > 1:
            welch = stats.ttest_ind(found, ways["one Gaussian"], equal_var=False)
            interval = welch.confidence_interval()
            row["more_ways_than_one_gaussian"] = [float(interval.low), float(interval.high)]
        rows.append(row)
    return rows


def draw(options: Options, runs: list[dict[str, Any]]) -> None:
    """Where the episodes of each variant end, all seeds; below, what the mixtures of the first seed
    are where an episode begins."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.6 * len(VARIANTS), 5.6), layout="constrained")
        FigureCanvasAgg(figure)
        panels, below = figure.subplots(2, len(VARIANTS), sharex="row", sharey="row")
        for axes, name in zip(panels, VARIANTS, strict=True):
            seeds = [run for run in runs if run["variant"] == name]
            for run in seeds:
                ends = np.array(run["ends"])
                axes.plot(*ends.T, "o", ms=3, alpha=0.4, label=f"seed {run['seed']}")
            axes.plot(0, 0, "k+", ms=8)
            axes.set(
                title=name.replace(", ", ",\n"), aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.3, 1.3)
            )
            axes.set_xlabel(f"{np.mean([run['ways'] for run in seeds]):.1f} ways")
        panels[-1].legend(loc="center", fontsize=7)
        for axes, (name, changes) in zip(below, VARIANTS.items(), strict=True):
            if changes.get("learner") == "sac":
                axes.set_axis_off()
                continue
            run = folder(options, name, options.seeds[0])
            episode, shown, step = look(run, seed=SEED, step=0, coordinates=(0, 1))
            draw_policy(axes, at(episode.gmm, step), shown)
            axes.set_xlabel("force along x")
        below[0].set_ylabel("force along y")
        figure.savefig(options.plot, format="png", dpi=110)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
