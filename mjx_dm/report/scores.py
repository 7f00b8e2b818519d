"""The scores of a run: eval_render.py's files, and the evaluations of the run itself."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mjx_dm.evaluation.score import Evaluation
from mjx_dm.groups import ACTION_RULES
from mjx_dm.report.intervals import Estimate, bootstrapped, of_moments

# Where eval_render.py leaves eval.json, for a run and for its best policy.
_PLACES = ("eval.json", "eval/*.json", "best/eval/*.json", "best/eval.json")


class Score(NamedTuple):
    """Some episodes of one policy of a run.

    place: the file, relative to the run, or what the run itself did.
    env_steps: what the policy had been trained for.
    mean, middle: the mean and the interquartile mean; `middle` is None where the returns of the
        episodes are not known.
    std, median: of the returns; NaN where not known.
    seeds: of the first and the last episode, "" where not known.
    scored_by: what was asked in place of a Gymnasium environment, "" where one was.
    falls: episodes that ended before their time limit, None where not known.
    speed: mean along x, m/s; NaN where not known.
    terms: means over episodes of the sums of the reward's terms.
    """

    place: str
    env_steps: int
    episodes: int
    mean: Estimate
    middle: Estimate | None
    std: float
    median: float
    length: float
    action_rule: str
    seeds: str
    versions: Mapping[str, str]
    scored_by: str = ""
    falls: int | None = None
    speed: float = math.nan
    terms: Mapping[str, float] = {}


def rule_report(evaluation: Evaluation, policy: Any, rule: str) -> dict[str, Any]:
    """What eval.json tells of the episodes that `policy`, of load_policy, played by `rule`.

    Intervals are the 95% ones of the bootstrap over episodes, [low, high], null for one episode.
    """
    returns = np.array(evaluation.returns)
    mean, middle = bootstrapped(returns), bootstrapped(returns, of_middle=True)
    return {
        **evaluation.to_json(),
        "mean_interval": ends_of(mean),
        "iqm": middle.value,
        "iqm_interval": ends_of(middle),
        "checkpoint": policy.checkpoint,
        "env_steps": int(policy.env_steps),
        "rule": rule,
        "action_rule": policy.action_rule,
    }


def ends_of(estimate: Estimate) -> list[float] | None:
    """The ends of an interval for JSON, None where nothing can be told."""
    return [estimate.low, estimate.high] if math.isfinite(estimate.low) else None


def read_scores(run_dir: Path) -> tuple[list[Score], list[str]]:
    """The scores that eval_render.py left in a run directory, the newest policy first; and a
    sentence for each file that is none."""
    found, problems = [], []
    for path in sorted({path for place in _PLACES for path in run_dir.glob(place)}):
        try:
            raw = json.loads(path.read_text())
            place = str(path.relative_to(run_dir))
            found += [_score(one, place) for one in raw.get("rules") or [raw]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            problems.append(
                f"{path.relative_to(run_dir)} holds no scores ({type(error).__name__}: {error}); "
                "eval_render.py writes it anew."
            )
    return sorted(found, key=lambda score: -score.env_steps), problems


def scores_in_training(evaluations: Mapping[str, np.ndarray]) -> list[Score]:
    """The best and the last of the run's own evaluations; one where they are the same."""
    returns = evaluations["eval_return"]
    if not len(returns):
        return []
    best, last = int(np.argmax(returns)), len(returns) - 1
    both = [(best, "in training, the best"), (last, "in training, the last")]
    if best == last:
        both = [(last, "in training, the last and best")]
    return [_in_training(evaluations, i, name) for i, name in both]


def rule_of(score: Score) -> str:
    """The --action-rule of eval_render.py that plays as the score was played."""
    rules = (name for name, words in ACTION_RULES.items() if score.action_rule.startswith(words))
    return next(rules, "mean")


def _score(raw: dict[str, Any], place: str) -> Score:
    returns = np.array(raw["returns"], float)
    if returns.ndim != 1 or not len(returns) or not np.isfinite(returns).all():
        raise ValueError("its returns are not finite numbers")
    seeds = [int(seed) for seed in raw.get("seeds", [])]
    lengths = np.array(raw.get("lengths") or [math.nan], float)
    return Score(
        place=place,
        env_steps=int(raw.get("env_steps", 0)),
        episodes=len(returns),
        mean=bootstrapped(returns),
        middle=bootstrapped(returns, of_middle=True),
        std=float(returns.std()),
        median=float(np.median(returns)),
        length=float(lengths.mean()),
        action_rule=str(raw.get("action_rule", "")),
        seeds=f"{seeds[0]}–{seeds[-1]}" if seeds else "",
        versions={str(name): str(value) for name, value in dict(raw.get("versions", {})).items()},
        scored_by=str(raw.get("scored_by", "")),
        falls=None if raw.get("falls") is None else int(raw["falls"]),
        speed=float(raw.get("speed", math.nan)),
        terms={str(name): float(x) for name, x in dict(raw.get("terms", {})).items()},
    )


def _in_training(evaluations: Mapping[str, np.ndarray], i: int, place: str) -> Score:
    def at(name: str) -> float:
        return float(evaluations[name][i]) if name in evaluations else math.nan

    episodes = at("eval_episodes")
    return Score(
        place=place,
        env_steps=int(evaluations["step"][i]),
        episodes=int(episodes) if math.isfinite(episodes) else 0,
        mean=of_moments(at("eval_return"), at("eval_return_std"), episodes),
        middle=None,
        std=at("eval_return_std"),
        median=math.nan,
        length=at("eval_length"),
        action_rule="mean action",
        seeds="",
        versions={},
    )
