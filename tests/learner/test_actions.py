"""From the policy's units to the task's box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.learner.actions import into_box, random_action, to_env_action
from mjx_dm.presets import PRESETS
from mjx_dm.types import Spaces

HUMANOID = Spaces(376, 17, (-0.4,) * 17, (0.4,) * 17)
UNEVEN = Spaces(3, 3, (-1.0, 0.0, -3.0), (1.0, 2.0, -1.0))
OURS, PUBLISHED = PRESETS["cpu"], PRESETS["published"]


def test_a_symmetric_box_is_a_factor_to_the_bit():
    action = jnp.asarray(np.random.default_rng(0).normal(size=(50, 17)), jnp.float32)
    expected = 0.4 * jnp.clip(action, -1.0, 1.0)
    np.testing.assert_array_equal(to_env_action(OURS, HUMANOID, action), expected)
    np.testing.assert_array_equal(to_env_action(PUBLISHED, HUMANOID, action), action)


def test_every_actuator_has_its_own_box():
    action = jnp.stack([jnp.full(3, x) for x in (-5.0, -1.0, 0.0, 0.5, 1.0)])
    low, high = np.array(UNEVEN.action_low), np.array(UNEVEN.action_high)
    found = to_env_action(OURS, UNEVEN, action)
    expected = [low, low, (low + high) / 2, (low + 3 * high) / 4, high]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(into_box(UNEVEN, action)[0], low, atol=1e-6)


@pytest.mark.parametrize("config", [OURS, PUBLISHED], ids=["ours", "published"])
@pytest.mark.parametrize("spaces", [HUMANOID, UNEVEN], ids=["humanoid", "uneven"])
def test_random_actions_fill_the_legal_box(config, spaces):
    drawn = random_action(config, spaces, jax.random.key(0), 3000)
    action = np.asarray(to_env_action(config, spaces, drawn))
    low, high = np.array(spaces.action_low), np.array(spaces.action_high)
    share = (action - low) / (high - low)
    # 3,000 uniform draws come within 1% of both ends of every actuator.
    assert share.min() >= -1e-6 and share.max() <= 1 + 1e-6
    assert share.min(0).max() < 0.01 and share.max(0).min() > 0.99
