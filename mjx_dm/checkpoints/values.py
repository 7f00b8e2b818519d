"""Values of a JSON file that a stranger may have written: of the type that they should be, or a
ValueError that says which is not."""

from collections.abc import Collection
from typing import Any

from mjx_dm.settings import LARGEST


def whole(raw: Any, name: str, least: int, most: int) -> int:
    """A whole number in [least, most]; neither 3.0 nor "3" nor true is one."""
    value = _of(raw, name)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is not a whole number from {least} to {most}")
    return value


def number(raw: Any, name: str) -> float:
    """A finite number."""
    return finite(_of(raw, name), name)


def finite(value: Any, name: str) -> float:
    """`value` itself, if it is a finite number for a float32 too."""
    if type(value) not in (int, float) or not -LARGEST < value < LARGEST:
        raise ValueError(f"{name} is not a finite number")
    return float(value)


def truth(raw: Any, name: str) -> bool:
    """true or false."""
    value = _of(raw, name)
    if type(value) is not bool:
        raise ValueError(f"{name} is neither true nor false")
    return value


def text(raw: Any, name: str, choices: Collection[str] = ()) -> str:
    """A string of one line, one of `choices` where there are any."""
    value = _of(raw, name)
    if not isinstance(value, str) or not value.isprintable() or len(value) > 1000:
        raise ValueError(f"{name} is not a line of text")
    if choices and value not in choices:
        raise ValueError(f"{value} is not one of {', '.join(choices)}")
    return value


def numbers(raw: Any, name: str) -> tuple[float, ...]:
    """A list of finite numbers."""
    return tuple(finite(x, name) for x in listed(raw, name))


def listed(raw: Any, name: str) -> list[Any]:
    """A list, of whatever."""
    value = _of(raw, name)
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    return value


def group(raw: Any, name: str) -> dict[str, Any]:
    """A group of named values."""
    value = _of(raw, name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a group of values")
    return value


def _of(raw: Any, name: str) -> Any:
    if not isinstance(raw, dict) or name not in raw:
        raise ValueError(f"{name} is absent")
    return raw[name]
