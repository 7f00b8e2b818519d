"""A robot's sizes, limits and name stand in mjx_dm/tasks/ alone."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mjx_dm"

# The task that is taken where none is named, and names that others' scripts know.
KNOWN_NAMES = ('"Humanoid-v4"', "mjx_dm/Humanoid-v4", "humanoid_v4_mjx")
# Humanoid's observation in v4 and v5, its 17 actions as a shape or a size, its box, its name.
OF_A_ROBOT = re.compile(
    r"\b(376|348)\b|(?:OBS|ACTION)_(?:SIZE|LIMIT)|\bN[QV] = \d|[\"( ]17[\"),]|±0\.4\b|"
    r"(?i:limit|low|high|clip)\w*[^\n]{0,20}\b0\.4\b|(?i:humanoid)"
)


def of_a_robot(text):
    """What in `text` is of one robot."""
    for name in KNOWN_NAMES:
        text = text.replace(name, "")
    return [found.group().strip() for found in OF_A_ROBOT.finditer(text)]


@pytest.mark.parametrize(
    "text",
    [
        "OBS_SIZE = 376",
        "from mjx_dm.types import ACTION_SIZE",
        'obs: Float[Array, "N 376"]',
        'action: Float[Array, "*B 17"]',
        "obs = jnp.zeros((n, 348))",
        "action = jnp.zeros((n, 17))",
        "ACTION_LIMIT = 0.4",
        "jnp.clip(action, -0.4, 0.4)",
        '"""Actions in ±0.4."""',
        "class HumanoidEnv:",
        "from mjx_dm.tasks.robots import humanoid",
        'task = "Humanoid-v5"',
    ],
)
def test_the_rule_sees_a_robot(text):
    assert of_a_robot(text)


@pytest.mark.parametrize(
    "text",
    [
        'task: str = "Humanoid-v4"',
        'NAME = "mjx_dm/Humanoid-v4"',
        'NAME = "humanoid_v4_mjx"',
        "height = 2.6 * rows + 0.4",
        'about.supxlabel(text, color="0.4")',
        "seconds = 3760",
        "jnp.zeros((n, spaces.action_size))",
    ],
)
def test_the_rule_lets_defaults_and_other_numbers_be(text):
    assert not of_a_robot(text)


def test_no_robot_stands_outside_tasks():
    found = {
        f"{file.relative_to(PACKAGE.parent)}:{number}": seen
        for file in sorted(PACKAGE.rglob("*.py"))
        if "tasks" not in file.relative_to(PACKAGE).parts[:1]
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (seen := of_a_robot(line))
    }
    assert not found, "\n".join(f"{place}: {seen}" for place, seen in found.items())
