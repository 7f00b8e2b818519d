"""What settings cost: the time of a step of all worlds with its updates, in turns.

python benchmarks/setting_cost.py --vary num_proposals=4 actor_batch_size=128,num_components=1

Each item of --vary is one variant, settings joined by commas. Compared
with the preset as it is; compilation is left out, and so are the diagnostics that training makes
once a launch. Pin it to the cores it is to speak for (taskset).
"""

import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import jax
import tyro

from mjx_dm.bench.cases import loop_cases
from mjx_dm.bench.measure import run
from mjx_dm.bench.options import Options as BenchOptions
from mjx_dm.bench.options import loop_config
from mjx_dm.config import Config, ConfigError, replace
from mjx_dm.engines import choose_engine
from mjx_dm.files import write_json
from mjx_dm.presets import PRESETS
from mjx_dm.settings import flat
from mjx_dm.validation import validate


@dataclasses.dataclass(frozen=True)
class Options:
    """Time a step of the whole loop under some settings, in turns."""

    vary: tuple[str, ...]
    """NAME=VALUE[,NAME=VALUE...] for each variant."""
    preset: str = "cpu"
    steps: int = 50
    """Steps of all worlds in a round."""
    rounds: int = 9
    replay_size: int = 200_000
    out: Path = Path("setting_cost.json")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments)
    try:
        configs = {"preset": base(options)}
        configs |= {item: variant(configs["preset"], item) for item in options.vary}
        if not options.out.parent.is_dir():
            raise ConfigError(f"--out {options.out}: there is no folder {options.out.parent}.")
    except ConfigError as error:
        print(f"setting_cost.py: {error}", file=sys.stderr)
        return 2
    cases = {name: loop_cases(config, ("whole",))[0] for name, config in configs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        run(case, 0.0)
    for _ in range(options.rounds):
        for name, case in cases.items():
            seconds[name].append(configs[name].physics.num_envs / run(case, 0.0))
    report = {
        "jax": jax.__version__,
        "options": dataclasses.asdict(options) | {"out": ""},
        "milliseconds_a_step": {
            name: {
                "median": round(1e3 * statistics.median(of), 3),
                "rounds": [round(1e3 * x, 3) for x in of],
                "times_preset": round(
                    statistics.median(a / b for a, b in zip(of, seconds["preset"], strict=True)), 3
                ),
            }
            for name, of in seconds.items()
        },
    }
    write_json(options.out, report)
    for name, row in report["milliseconds_a_step"].items():
        print(f"{name}: {row['median']:.2f} ms a step, {row['times_preset']:.2f} of the preset's")
    return 0


def base(options: Options) -> Config:
    """The preset, learning from its first step on. Raises ConfigError where it cannot be."""
    if options.steps < 1 or options.rounds < 1:
        raise ConfigError("--steps and --rounds must be at least 1.")
    if options.preset not in PRESETS:
        raise ConfigError(
            f"--preset {options.preset} is unknown; choose from {', '.join(PRESETS)}."
        )
    bench = BenchOptions(
        preset=options.preset, steps=options.steps, replay_size=options.replay_size
    )
    preset = PRESETS[options.preset]
    physics = preset.physics
    engine = choose_engine(physics.engine)[0]
    config = loop_config(bench, engine, physics.physics, physics.num_envs)
    return validate(replace(config, random_steps=preset.replay.random_steps))


def variant(config: Config, item: str) -> Config:
    """`config` with the settings that `item` names. Raises ConfigError where it cannot be."""
    known = flat(config)
    for part in item.split(","):
        name, _, text = part.partition("=")
        if not text or name not in known:
            raise ConfigError(
                f"--vary {item} is not understood; give NAME=VALUE[,NAME=VALUE...] of settings of "
                "train.py, such as num_proposals=4."
            )
        try:
            value: Any = json.loads(text)
        except ValueError:
            value = text
        if isinstance(value, str) != isinstance(known[name], str):
            raise ConfigError(f"--vary {item}: {text} is no value of {name}.")
        config = replace(config, **{name: value})
    return validate(config)


if __name__ == "__main__":
    sys.exit(main())
