"""Which learners make up a population: every seed under every combination of varied settings."""

import dataclasses
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp

from mjx_dm.config import Config, ConfigError, replace
from mjx_dm.presets import PRESETS
from mjx_dm.settings import flag, flat
from mjx_dm.validation import of_learner, validate


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a population, each learner as long as the settings say, and write its scores."""

    out: Path = Path("population.json")
    """JSON, written anew after every round."""
    policies: Path | None = None
    """A folder for the newest policy of every learner, as eval_render.py reads it."""
    vary: tuple[str, ...] = ()
    """NAME=A,B, up to eight times: two values of a setting."""
    seeds: int = 1
    """Learners of every combination; they take the seeds from --seed on, one each."""
    round_env_steps: int = 1_000_000
    """Each learner's environment steps between two scores."""
    config: Config = PRESETS["gpu"]


# Numbers that no shape and no branch of the learner's program depends on.
VARIED = (
    "actor_average", "actor_lr", "alpha_step", "critic_lr", "discount", "ess_target",
    "log_std_min", "max_grad_norm", "polyak", "recency", "reward_scale", "std_target",
    "target_entropy",
)  # fmt: skip

# Settings of a run that is saved and goes on.
_OF_A_RUN = (
    "run_dir", "resume", "init_from", "checkpoint_minutes", "keep_checkpoints", "save_replay",
    "replay_minutes", "eval_every", "devices", "distributed",
)  # fmt: skip

# Generators of the fifth to the eighth setting in terms of the first four.
_GENERATORS = ((1, 2, 3), (0, 2, 3), (0, 1, 2), (0, 1, 3))


def design(count: int) -> list[tuple[int, ...]]:
    """Which value, 0 or 1, every learner takes of each of `count` settings, at most 8."""
    basis = itertools.product((0, 1), repeat=min(count, 4))
    extra = _GENERATORS[: max(count - 4, 0)]
    return [b + tuple(sum(b[i] for i in g) % 2 for g in extra) for b in basis]


def population(options: Options) -> tuple[list[dict[str, int | float]], dict[str, jax.Array]]:
    """Every learner's seed and varied settings, and the settings stacked by name.

    Raises ConfigError where --vary is not understood, a value is out of its setting's range, there
    is one learner alone, a setting is given that a population has no use for, or --out is a folder.
    """
    config = options.config
    preset = flat(PRESETS[config.run.preset])
    for name in _OF_A_RUN:
        if flat(config)[name] != preset[name]:
            raise ConfigError(
                f"{flag(name)} is for train.py: a population is scored every "
                "--round-env-steps and is not gone on with; leave it out."
            )
    if options.out.is_dir():
        raise ConfigError(f"--out {options.out} is a folder; give a file, such as out.json in it.")
    values: dict[str, list[float]] = {}
    for item in options.vary:
        name, _, given = item.partition("=")
        if name in values:
            raise ConfigError(f"--vary {item} gives {name} a second time; give two values of each.")
        try:
            values[name] = [float(x) for x in given.split(",")]
        except ValueError:
            values[name] = []
        if len(set(values[name])) != 2 or name not in VARIED:
            raise ConfigError(
                f"--vary {item} is not understood; give NAME=A,B, two values of one of "
                f"{', '.join(VARIED)}."
            )
    if len(values) > 8:
        raise ConfigError(f"--vary takes up to 8 settings, not {len(values)}.")
    if options.seeds < 1 or (not values and options.seeds < 2):
        raise ConfigError(
            f"--seeds {options.seeds} leaves no population: give 2 or more, or a --vary as well."
        )
    combined = [
        {name: values[name][i] for name, i in zip(values, chosen, strict=True)}
        for chosen in design(len(values))
    ]
    varied = [row for row in combined for _ in range(options.seeds)]
    rows: list[dict[str, int | float]] = [
        {"seed": config.run.seed + i} | row for i, row in enumerate(varied)
    ]
    for row in rows:
        of_learner(validate(replace(config, **row)))
    return rows, {name: jnp.asarray([row[name] for row in rows]) for name in values}
