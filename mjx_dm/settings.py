"""What a setting is: a field of a frozen dataclass with its range beside it. Imports no JAX.

A group is a frozen dataclass of settings, a holder one of groups. No two settings of a holder share
a name, so that a setting is called the same on the command line (`--actor-lr`), in `--vary`
(`actor_lr`) and in `replace`, whatever group it stands in.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar, cast

Value = TypeVar("Value")
Holder = TypeVar("Holder")


# Of a float32.
LARGEST = 3.4e38
# Of a setting that is a list: layers, options of a task.
MOST_NUMBERS = 64


class ConfigError(ValueError):
    """One sentence: what is wrong, where, and what would be right."""


@dataclasses.dataclass(frozen=True)
class Range:
    """What a setting may be. A number is finite and below 2^31, the device's counters, unless it
    `may_be_infinite` or is counted on the host alone (`may_exceed_int32`)."""

    above: int | None = None
    at_least: int | None = None
    at_most: int | None = None
    power_of_2: int | None = None
    choices: Collection[str] = ()
    may_be_infinite: bool = False
    may_exceed_int32: bool = False


def setting(default: Value, **limits: Any) -> Value:
    """A field with `default`, whose value `check` holds to the `limits`: fields of `Range`.

    `above` and `choices` hold for everything in a tuple, with `power_of_2` = n a number lies in
    [0, 2^n), and None is within every range.
    """
    return dataclasses.field(default=default, metadata={"range": Range(**limits)})


def flat(holder: Any) -> dict[str, Any]:
    """Every setting of `holder` by name, group after group."""
    return {field.name: getattr(group, field.name) for group, field in _fields(holder)}


def replace(holder: Holder, **values: Any) -> Holder:
    """`holder` with other values of some settings, in whatever groups they stand.

    The values may be traced. Raises TypeError where one is not a setting of `holder`.
    """
    groups = {}
    for name, group in _groups(holder).items():
        own = {field.name for field in dataclasses.fields(group)} & values.keys()
        if own:
            changed = {key: values.pop(key) for key in own}
            groups[name] = dataclasses.replace(group, **changed)
    if values:
        raise TypeError(f"{', '.join(values)}: no setting of {type(holder).__name__}.")
    return dataclasses.replace(cast(Any, holder), **groups)


def flag(name: str) -> str:
    """The setting as the command line spells it."""
    return f"--{name.replace('_', '-')}"


def in_words(choices: Collection[str]) -> str:
    """a, b or c."""
    *head, last = choices
    return f"{', '.join(head)} or {last}" if head else last


def check(holder: Any) -> None:
    """Raises ConfigError where a setting is out of its range."""
    for group, field in _fields(holder):
        _check(field.name, getattr(group, field.name), field.metadata.get("range", Range()))


def to_json(holder: Any) -> dict[str, dict[str, Any]]:
    """The settings as JSON values, {group: {name: value}}."""
    return dataclasses.asdict(holder)


def from_json(holder: type[Holder], raw: dict[str, Any]) -> Holder:
    """What `to_json` wrote; a setting that is left out has its default.

    Raises ValueError where a group or a setting is unknown or of another type.
    """
    groups = {field.name: cast(type, field.type) for field in dataclasses.fields(cast(Any, holder))}
    made = {}
    for name, values in raw.items():
        if name not in groups:
            raise ValueError(f"{json.dumps(name)[:80]} is not a group of settings")
        if not isinstance(values, dict):
            raise ValueError(f'"{name}" is {json.dumps(values)[:80]} and must hold settings')
        made[name] = groups[name](**_from_json(groups[name], values))
    return holder(**made)


def _groups(holder: Any) -> dict[str, Any]:
    return {field.name: getattr(holder, field.name) for field in dataclasses.fields(holder)}


def _fields(holder: Any) -> Iterator[tuple[Any, dataclasses.Field]]:
    for group in _groups(holder).values():
        for field in dataclasses.fields(group):
            yield group, field


def _check(name: str, value: Any, allowed: Range) -> None:
    if value is None:
        return
    numbers = value if isinstance(value, tuple) else (value,)
    for one in numbers if allowed.choices else ():
        if one not in allowed.choices:
            raise ConfigError(
                f"{flag(name)} {one} is unknown; choose from {in_words(allowed.choices)}."
            )
    if len(numbers) > MOST_NUMBERS:
        raise ConfigError(f"{flag(name)} must be at most {MOST_NUMBERS} values.")
    shown = f"{flag(name)} {' '.join(map(str, numbers))} must"
    infinite = isinstance(value, float) and not abs(value) <= LARGEST
    if infinite and not (allowed.may_be_infinite and value == math.inf):
        raise ConfigError(f"{shown} be a finite number.")
    exceeds = any(isinstance(x, int) and x >= 2**31 for x in numbers)
    if exceeds and not allowed.may_exceed_int32:
        raise ConfigError(f"{shown} be less than 2^31.")
    if allowed.power_of_2 is not None and not 0 <= value < 2**allowed.power_of_2:
        raise ConfigError(f"{shown} be at least 0 and less than 2^{allowed.power_of_2}.")
    if allowed.above is not None and allowed.at_most is not None:
        if not allowed.above < value <= allowed.at_most:
            limits = f"above {allowed.above} and at most at {allowed.at_most}"
            raise ConfigError(f"{shown} lie {limits}.")
    elif allowed.above is not None and not (numbers and all(x > allowed.above for x in numbers)):
        raise ConfigError(f"{shown} be greater than {allowed.above}.")
    if allowed.at_least is not None and not value >= allowed.at_least:
        wanted = f"be at least {allowed.at_least}" if allowed.at_least else "not be negative"
        raise ConfigError(f"{shown} {wanted}.")


# How JSON holds a setting of each type: in words, the types it has there, and the way back.
_IN_JSON: dict[Any, tuple[str, set[type], Callable[[Any], Any]]] = {
    bool: ("true or false", {bool}, bool),
    int: ("a whole number", {int}, int),
    int | None: ("a whole number or null", {int, type(None)}, int),
    float: ("a number", {int, float}, float),
    float | None: ("a number or null", {int, float, type(None)}, float),
    str: ("a string", {str}, str),
    tuple[int, ...]: ("a list of whole numbers", {list}, tuple),
    tuple[str, ...]: ("a list of strings", {list}, tuple),
}


def _from_json(group: type, raw: dict[str, Any]) -> dict[str, Any]:
    types = {field.name: field.type for field in dataclasses.fields(group)}
    found = {}
    for name, value in raw.items():
        if name not in types:
            raise ValueError(f"{json.dumps(name)[:80]} is not a setting")
        words, allowed, convert = _IN_JSON[types[name]]
        listed = value if isinstance(value, list) else ()
        item = str if types[name] == tuple[str, ...] else int
        if type(value) not in allowed or any(type(one) is not item for one in listed):
            raise ValueError(f'"{name}" is {json.dumps(value)[:80]} and must be {words}')
        found[name] = None if value is None else convert(value)
    return found
