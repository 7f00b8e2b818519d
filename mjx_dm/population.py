"""Trains many learners at once on one device, alike in shape and different in settings.

  python -m mjx_dm.population --out OUT.json --vary actor_lr=6e-4,1.5e-4 polyak=0.05,0.01

Up to four settings are tried in all combinations; of more, every one is tried at both values in a
resolution IV design of 16 learners (Box and Hunter 1961): main effects are means of 8 learners
against 8, free of the interactions of two settings. A vmapped launch costs a GPU little more than
one learner's, since small kernels leave it idle. Scored on the device, with the physics that it
trains on: whole first episodes of the policy's mean under the averaged weights, one a world.
"""

import dataclasses
import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from mjx_dm import config as configs
from mjx_dm.config import Config, ConfigError, replace
from mjx_dm.device import check, compiler_options, in_float32
from mjx_dm.ending import leave
from mjx_dm.engines import Engine, choose_engine, make_engine
from mjx_dm.envs import batch as envs
from mjx_dm.files import write_json
from mjx_dm.learner import networks
from mjx_dm.learner.actions import into_box, to_env_action
from mjx_dm.learner.protocol import Distribution
from mjx_dm.machine import describe_machine
from mjx_dm.presets import PRESETS, preset_in
from mjx_dm.settings import flag, flat
from mjx_dm.training import normalisation
from mjx_dm.training import program as training
from mjx_dm.training.worlds import make_batch, robot_of
from mjx_dm.validation import of_learner, validate


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a population, each learner as long as the settings say, and write its scores."""

    out: Path = Path("population.json")
    """JSON, written anew after every round."""
    vary: tuple[str, ...] = ()
    """NAME=A,B, up to eight times: two values of a setting."""
    round_env_steps: int = 1_000_000
    """Each learner's environment steps between two scores."""
    config: Config = PRESETS["gpu"]


# Numbers that no shape and no branch of the learner's program depends on.
VARIED = (
    "actor_average", "actor_lr", "alpha_step", "critic_lr", "discount", "ess_target",
    "log_std_min", "max_grad_norm", "polyak", "recency", "reward_scale", "std_target",
    "target_entropy",
)  # fmt: skip

# Settings of a run that is saved and scored in its task.
_OF_A_RUN = (
    "run_dir", "resume", "init_from", "checkpoint_minutes", "keep_checkpoints", "save_replay",
    "replay_minutes", "eval_every", "eval_episodes", "devices", "distributed",
)  # fmt: skip

# Generators of the fifth to the eighth setting in terms of the first four.
_GENERATORS = ((1, 2, 3), (0, 2, 3), (0, 1, 2), (0, 1, 3))


def design(count: int) -> list[tuple[int, ...]]:
    """Which value, 0 or 1, every learner takes of each of `count` settings, at most 8."""
    basis = itertools.product((0, 1), repeat=min(count, 4))
    extra = _GENERATORS[: max(count - 4, 0)]
    return [b + tuple(sum(b[i] for i in g) % 2 for g in extra) for b in basis]


class Pooled:
    """An engine for one learner's worlds, whose steps under vmap are one step of all worlds."""

    def __init__(self, one: Engine, whole: Engine):
        self.name = one.name
        self.start = _pool(one.start, whole.start)
        self.step = _pool(one.step, whole.step)


def _pool(one: Any, whole: Any) -> Any:
    pooled = jax.custom_batching.custom_vmap(one)

    @pooled.def_vmap
    def _rule(axis_size, in_batched, *args):
        def join(x, batched):
            x = x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
            return x.reshape(-1, *x.shape[2:])

        out = whole(*jax.tree.map(join, args, tuple(in_batched)))
        out = jax.tree.map(lambda x: x.reshape(axis_size, -1, *x.shape[1:]), out)
        return out, jax.tree.map(lambda _: True, out)

    return pooled


def population(options: Options) -> tuple[list[dict[str, float]], dict[str, jax.Array]]:
    """Every learner's settings, and the same stacked by name.

    Raises ConfigError where --vary is not understood, a value is out of its setting's range, a
    setting is given that a population has no use for, or --out is a folder.
    """
    preset = flat(PRESETS[options.config.run.preset])
    for name in _OF_A_RUN:
        if flat(options.config)[name] != preset[name]:
            raise ConfigError(
                f"{flag(name)} is for train.py: a population is scored every "
                "--round-env-steps and only its scores are written; leave it out."
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
    if not 0 < len(values) <= 8:
        raise ConfigError(f"--vary takes 1 to 8 settings, not {len(values)}.")
    rows = [
        {name: values[name][i] for name, i in zip(values, chosen, strict=True)}
        for chosen in design(len(values))
    ]
    for row in rows:
        of_learner(validate(replace(options.config, **row)))
    return rows, {name: jnp.asarray([row[name] for row in rows]) for name in values}


def programs(config: Config, stacked: dict[str, jax.Array], engine: Engine) -> tuple[Any, Any, Any]:
    """init(keys) -> state, advance(state) -> (state, metrics) and score(learner, normalizer, keys)
    -> (returns, lengths), each with a leading axis of learners."""
    num_envs = config.physics.num_envs
    env = make_batch(config, robot_of(config), engine)
    whole = envs.BatchEnv(env.task, engine, num_envs)
    spaces = env.spaces

    def init(keys: jax.Array) -> Any:
        def one(varied, key):
            return training.init(replace(config, **varied), env, key)

        return jax.vmap(one)(stacked, keys)

    def advance(state: Any) -> Any:
        def one(varied, state):
            return training.make_chunk(replace(config, **varied), env)(state)

        return jax.vmap(one)(stacked, state)

    def score(learner: Any, normalizer: Any, keys: jax.Array) -> Any:
        policy, n = networks.policy_network(config, spaces), num_envs
        obs_dtype, normalize_obs = config.replay.obs_dtype, config.replay.normalize_obs

        def one(actor, normalizer, key):
            def step(carry, _):
                state, total, alive, length = carry
                obs = normalisation.seen(normalizer, state.obs, obs_dtype, normalize_obs)
                made = cast(Distribution, policy.apply(actor, obs))
                action = into_box(spaces, to_env_action(config, spaces, made.mean()))
                state = whole.step(state, action)
                total = total + jnp.where(alive, state.reward, 0.0)
                length = length + alive
                alive = alive & ~state.terminated & ~state.truncated
                return (state, total, alive, length), None

            start = (
                whole.reset(key),
                jnp.zeros(n),
                jnp.ones(n, bool),
                jnp.zeros(n, jnp.int32),
            )
            (_, total, _, length), _ = jax.lax.scan(step, start, length=whole.max_episode_steps)
            return total, length

        return jax.vmap(one)(learner.average_actor, normalizer, keys)

    return jax.jit(init), jax.jit(advance, donate_argnums=0), jax.jit(score)


@in_float32
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        default = Options(config=preset_in(arguments, "gpu"))
        options = tyro.cli(
            tyro.conf.OmitArgPrefixes[Options],
            args=arguments,
            default=default,
            prog="python -m mjx_dm.population",
        )
        config = options.config
        check()
        rows, stacked = population(options)
        task = robot_of(config)
        name, _ = choose_engine(config.physics.engine)
        options.out.parent.mkdir(parents=True, exist_ok=True)
    except (ConfigError, OSError) as error:
        print(f"mjx_dm.population: {error}", file=sys.stderr)
        return 2
    size = len(rows)
    physics, n = config.physics.physics, config.physics.num_envs
    engines = (make_engine(task, name, physics, count * n) for count in (1, size))
    init, advance, score = programs(config, stacked, Pooled(*engines))
    keys, score_keys = jax.random.split(jax.random.key(config.run.seed), (2, size))
    shapes = jax.eval_shape(init, keys)
    begun = time.monotonic()
    with ThreadPoolExecutor() as pool:
        lowered = advance.lower(shapes), score.lower(shapes.learner, shapes.normalizer, score_keys)
        chunk, judge = pool.map(
            lambda program: program.compile(compiler_options()),
            lowered,
        )
    print(f"{size} learners compiled in {time.monotonic() - begun:.0f} s", flush=True)
    state = init(keys)
    round_steps = min(options.round_env_steps, config.run.env_steps)
    launches = max(1, round_steps // (n * config.run.chunk_iterations))
    found: dict[str, Any] = {
        "machine": describe_machine(),
        "settings": configs.to_json(config),
        "learners": rows,
        "rounds": [],
    }
    steps, trained = 0, 0.0
    while steps < config.run.env_steps and trained < 60 * (config.run.minutes or np.inf):
        start = time.monotonic()
        for _ in range(launches):
            state, metrics = chunk(state)
        metrics = jax.device_get(jax.block_until_ready(metrics))
        trained += time.monotonic() - start
        returns, lengths = jax.device_get(judge(state.learner, state.normalizer, score_keys))
        steps = int(state.iteration[0]) * n
        found["rounds"].append(
            {
                "env_steps": steps,
                "updates": int(state.learner.updates[0]),
                "train_seconds": trained,
                "return": returns.mean(1).tolist(),
                "return_std": returns.std(1).tolist(),
                "length": lengths.mean(1).tolist(),
                "metrics": {k: np.asarray(v).tolist() for k, v in metrics.items()},
            }
        )
        write_json(options.out, found)
        shown = " ".join(f"{x:.0f}" for x in returns.mean(1))
        print(f"{trained:.0f} s of training, {steps:,} steps each: {shown}", flush=True)
    summary(found)
    return 0


def summary(found: dict[str, Any]) -> None:
    """Every learner's returns over the later half of the rounds, and what each setting changed.

    The standard error is that of a fit by main effects alone, from what it leaves unexplained.
    """
    table = np.asarray([r["return"] for r in found["rounds"]])
    late = table[len(table) // 2 :].mean(0)
    for i in np.argsort(-late):
        print(f"{late[i]:8.0f}  last {table[-1, i]:6.0f}  {found['learners'][i]}")
    names = list(found["learners"][0])
    signs = 2.0 * np.asarray(design(len(names))) - 1.0
    model = np.column_stack([np.ones(len(late)), signs])
    effects = 2.0 * (model.T @ late / len(late))[1:]
    spare = len(late) - model.shape[1]
    unexplained = late - model @ (model.T @ late) / len(late)
    error = 2.0 * np.sqrt(np.sum(unexplained**2) / spare / len(late)) if spare else np.nan
    for name, effect in zip(names, effects, strict=True):
        first, second = dict.fromkeys(row[name] for row in found["learners"])
        print(f"{name} {first:g} -> {second:g}: {effect:+.0f} (standard error {error:.0f})")


if __name__ == "__main__":
    leave(main)
