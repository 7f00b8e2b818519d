"""Run directories for the tests of the page: written by the package's own writers, not trained."""

import json
from types import SimpleNamespace

import numpy as np
from PIL import Image

from mjx_dm import config
from mjx_dm.drawing import mp4
from mjx_dm.evaluation.evaluate import Evaluation
from mjx_dm.files import write_json
from mjx_dm.presets import PRESETS
from mjx_dm.report.panels import PANELS
from mjx_dm.report.scores import rule_report
from mjx_dm.runs.metrics import MetricsWriter

RETURNS = (61.0, 55.0, 60.0, 57.0, 53.0, 64.0)


def write_run(directory, *, launches=40, every=10, **changed):
    """A run of the preset smoke, scored after `every` launches (never: 0)."""
    c = config.replace(PRESETS["smoke"], task="InvertedPendulum-v5", **changed)
    with MetricsWriter(directory) as writer:
        for i in range(1, launches + 1):
            level = c.run.seed + i / launches
            values = {panel.key: level for panel in PANELS} | {"episode_return": 100 * level}
            seconds = {"train_seconds": 2.0 * i, "wall_seconds": 3.0 * i}
            writer.write(128 * i, values | seconds | {"actor_loss": -level, "updates": i})
            if every and i % every == 0:
                score = {"eval_return": 90 * level, "eval_return_std": 5.0, "eval_episodes": 4}
                writer.write(128 * i, score | seconds | {"eval_length": 50.0})
    write_json(directory / "config.json", config.to_json(c))
    return directory


def write_scores(run_dir):
    """eval.json as eval_render.py leaves it."""
    lengths = tuple(int(x) + 1 for x in RETURNS)
    name = "InvertedPendulum-v5"
    played = Evaluation(
        RETURNS,
        lengths,
        1000,
        name,
        name,
        terminated=(True,) * 5 + (False,),
        speeds=(0.25,) * 6,
        terms={"reward_survive": RETURNS},
    )
    words = {"mean": "mixture mean, clipped", "sample": "a sample, clipped"}
    rules = [
        rule_report(played, SimpleNamespace(checkpoint="", env_steps=5120, action_rule=x), rule)
        for rule, x in words.items()
    ]
    (run_dir / "eval").mkdir()
    write_json(run_dir / "eval" / "eval.json", rules[0] | {"rules": rules})


def write_film(run_dir, name="step_000000005120_best_seed_1000"):
    """A film and its picture."""
    (run_dir / "videos").mkdir(exist_ok=True)
    film = run_dir / "videos" / f"{name}.mp4"
    frames = (np.full((48, 64, 3), 10 * i, np.uint8) for i in range(20))
    mp4.encode(frames, film, 64, 48, 20.0)
    Image.fromarray(mp4.read_frames(film, [10])[0]).save(film.with_suffix(".png"))
    return film


def data_of(html):
    """What the page hands to its charts."""
    return json.loads(html.partition('id="data">')[2].partition("</script>")[0])
