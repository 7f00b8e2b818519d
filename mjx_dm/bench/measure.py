"""The rounds: which cases live together, how long each runs, and the shares of a round."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from mjx_dm.bench import cases
from mjx_dm.bench.cases import Case
from mjx_dm.bench.options import Options, batch_sizes, loop_config, with_batch
from mjx_dm.config import library_of
from mjx_dm.engines import choose_engine
from mjx_dm.presets import PRESETS
from mjx_dm.runs.signals import is_interrupt


class Ask(NamedTuple):
    """A case, or several that share a program, to be built: what to call it, and how."""

    name: str
    build: Callable[[], list[Case]]


class Step(NamedTuple):
    """What is being done: compiling, warming up or round, and which."""

    verb: str
    what: str


class Failure(NamedTuple):
    """A case that could not be built or run, and one line that says why."""

    name: str
    reason: str


def plan(options: Options) -> list[list[Ask]]:
    """Groups of cases that are alive together and measured in turns.

    One group a world count. The update at the preset's batch size takes part in every group that
    measures the whole loop, of whose rate it is a part; other batch sizes get a last group. Raises
    ConfigError where an engine that is asked for is not installed.
    """
    library = library_of(options.task)
    engines, kinds = ["auto"], ["auto"]
    if library is None:
        engines = list(dict.fromkeys(choose_engine(name)[0] for name in options.engines))
        kinds = list(dict.fromkeys(options.physics))
    preset = PRESETS[options.preset]
    updates = {
        size: Ask(f"update, batch {size}", _once(functools.partial(_update, options, size)))
        for size in batch_sizes(options)
    }
    own = updates.get(preset.replay.batch_size)
    groups: list[list[Ask]] = []
    for n in dict.fromkeys(options.num_envs):
        group: list[Ask] = []
        for engine in engines:
            for physics in kinds:
                config = loop_config(options, engine, physics, n)
                name = library or f"{engine} {physics}"
                if "physics" in options.parts:
                    group.append(Ask(f"physics, {name}, {n} worlds", _one("physics_case", config)))
                loops = tuple(part for part in ("rollout", "whole") if part in options.parts)
                if loops:
                    build = functools.partial(cases.loop_cases, config, loops)
                    group.append(Ask(f"{' and '.join(loops)}, {name}, {n} worlds", build))
        if "replay" in options.parts:
            config = loop_config(options, engines[0], kinds[0], n)
            group.append(Ask(f"insert, {n} worlds", _one("insert_case", config)))
            group += [
                Ask(f"sample, {n} worlds", _one("sample_case", with_batch(config, size)))
                for size in batch_sizes(options)
            ]
        if own and "update" in options.parts and "whole" in options.parts:
            group.append(own)
        groups.append(group)
    if "update" in options.parts:
        measured = [ask for group in groups for ask in group]
        groups.append([ask for ask in updates.values() if ask not in measured])
    return [group for group in groups if group]


def measure_group(
    group: Sequence[Ask],
    rounds: int,
    seconds: float,
    seen: list[Case],
    failures: list[Failure],
) -> Iterator[Step]:
    """Builds the group, warms it up and measures it; yields what it does next before it does it.

    Args:
        seen: every case of the run, to which the group's are added; their rates and shares grow as
            the rounds pass.
        failures: likewise, for what could not be built or run.
    """
    alive: list[Case] = []
    for ask in group:
        yield Step("compiling", ask.name)
        built = _guarded(ask.name, ask.build, failures)
        alive += built or []
        seen += [case for case in built or [] if case not in seen]
    begin = {case: len(case.rates) for case in alive}
    for number in range(rounds + 1):
        yield Step("round", f"{number} of {rounds}") if number else Step("warming up", "")
        for case in list(alive):
            rate = _guarded(describe(case), functools.partial(run, case, seconds), failures)
            if rate is None:
                case.release()
                alive.remove(case)
            elif number:
                case.rates.append(rate)
        add_shares({case: case.rates[begin[case] :] for case in alive})
    for case in alive:
        if case.part != "update":  # small, and other groups may use it
            case.release()


def run(case: Case, seconds: float) -> float:
    """Launches `case` until `seconds` have passed; returns its work per second."""
    assert case.launch is not None, "the case has been released"
    state, launches, start = case.state, 0, time.perf_counter()
    while True:
        state = jax.block_until_ready(case.launch(state))
        launches += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            break
    case.state = state
    return launches * case.work / elapsed


def limit(physics_rate: float, update_rate: float, updates_per_env_step: float) -> float:
    """Env steps/s if a loop did nothing but physics and updates, one after the other.

    physics_rate in env steps/s, update_rate in updates/s.
    """
    return 1.0 / (1.0 / physics_rate + updates_per_env_step / update_rate)


def add_shares(rates: Mapping[Case, Sequence[float]]) -> None:
    """Sets the shares of the rollout and whole cases among `rates`, one a finished round.

    rates: a group's cases and what they reached in its rounds. `share` is a rollout's rate over
    that of bare physics, or the whole loop's over `limit`, each with the others of the same round.
    """
    for case in rates:
        place = {k: v for k, v in case.settings.items() if k in ("engine", "physics", "num_envs")}
        physics = _partner(rates, "physics", place)
        if case.part not in ("rollout", "whole") or physics is None:
            continue
        bounds = rates[physics]
        if case.part == "whole":
            update = _partner(rates, "update", {"batch_size": case.settings["batch_size"]})
            if update is None:
                continue
            per_step = case.settings["updates_per_step"] / case.settings["num_envs"]
            pairs = zip(bounds, rates[update], strict=False)
            bounds = [limit(p, u, per_step) for p, u in pairs]
            case.shares["limit"] = bounds
        case.shares["share"] = [r / b for r, b in zip(rates[case], bounds, strict=False)]


def describe(case: Case) -> str:
    """The case in a few words."""
    settings = case.settings
    words = [str(settings[key]) for key in ("engine", "physics") if key in settings]
    if "num_envs" in settings:
        words.append(f"{settings['num_envs']} worlds")
    if "batch_size" in settings:
        words.append(f"batch {settings['batch_size']}")
    return " ".join([case.part, *words])


def _partner(group: Iterable[Case], part: str, settings: dict[str, Any]) -> Case | None:
    matching = (c for c in group if c.part == part and settings.items() <= c.settings.items())
    return next(matching, None)


def _guarded(name: str, call: Callable[[], Any], failures: list[Failure]) -> Any:
    """The result of `call`, or None and one more failure: out of device memory, mostly."""
    try:
        return call()
    except (RuntimeError, ValueError, NotImplementedError, MemoryError) as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        failures.append(Failure(name, _in_one_line(error)))
        return None


def _in_one_line(error: Exception) -> str:
    """Its first line, or in place of a traceback the last, where the cause stands."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    before, traceback, _ = lines[0].partition("Traceback")
    return before + lines[-1] if traceback else lines[0]


def _one(name: str, config: Any) -> Callable[[], list[Case]]:
    return lambda: [getattr(cases, name)(config)]


def _update(options: Options, batch_size: int) -> list[Case]:
    preset = loop_config(options, "mujoco", "fast", 1)
    return [cases.update_case(with_batch(preset, batch_size))]


def _once(build: Callable[[], list[Case]]) -> Callable[[], list[Case]]:
    return functools.cache(build)
