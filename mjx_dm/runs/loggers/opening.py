"""The loggers that a run asks for, while it trains and for what is known of it later."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mjx_dm import config as configs
from mjx_dm.config import Config, ConfigError
from mjx_dm.files import LOCK
from mjx_dm.runs.loggers.guarded import Logger, Loggers
from mjx_dm.runs.loggers.tensorboard import TensorBoard

FOLDER = "tensorboard"
# Of an eval.json, what is a curve; as score/NAME.
_SCORES = ("mean", "std", "median", "iqm", "episodes")


def open_loggers(
    run_dir: Path,
    config: Config | None,
    say: Callable[[str], None],
    purge_step: int | None = None,
) -> Loggers:
    """TensorBoard, and what `config` asks for besides; None for TensorBoard alone.

    Steps from `purge_step` on that TensorBoard's files hold are void.
    """
    tensorboard = run_dir / FOLDER
    makers: dict[str, Callable[[], Logger]] = {
        str(tensorboard): functools.partial(TensorBoard, tensorboard, purge_step)
    }
    if config is not None and "wandb" in config.run.log:
        makers["Weights & Biases"] = lambda: _weights_and_biases(run_dir, config, say)
    return Loggers(makers, say)


def log_scores(
    folder: Path,
    step: int,
    scores: Mapping[str, Any],
    films: Sequence[Path],
    say: Callable[[str], None],
) -> None:
    """Adds what eval_render.py found to the loggers of a run: numbers of eval.json, and films.

    folder: the run directory, or its best/; elsewhere there is nothing to add to. A run that is
    training keeps Weights & Biases to itself.
    """
    places = (place for place in (folder, folder.parent) if (place / "config.json").is_file())
    run_dir = next(places, None)
    if run_dir is None:
        return
    try:
        config = configs.load(run_dir / "config.json")
    except ConfigError:
        return  # of another version, whose loggers are not known
    loggers = open_loggers(run_dir, None if (run_dir / LOCK).exists() else config, say)
    values = {f"score/{name}": scores[name] for name in _SCORES if name in scores}
    loggers.scalars(step, values, time.time())
    for path in films:
        loggers.film(step, path)
    loggers.close()


def _weights_and_biases(run_dir: Path, config: Config, say: Callable[[str], None]) -> Logger:
    from mjx_dm.runs.loggers.weights_and_biases import WeightsAndBiases

    return WeightsAndBiases(run_dir, configs.to_json(config), say)
