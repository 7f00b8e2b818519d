"""What holds T and alpha where they are wanted: sign steps of their logarithms."""

from collections.abc import Mapping

from jaxtyping import Array, Float

from mjx_dm.groups import TemperatureSettings
from mjx_dm.learner import losses

Scalar = Float[Array, ""]
TEMPERATURE_STEP = 0.01


def step_temperature(
    settings: TemperatureSettings, log_temperature: Scalar, seen: Mapping[str, Scalar]
) -> Scalar:
    """log T after an update that saw `ess`; as it was where no target is set."""
    if settings.ess_target is None:
        return log_temperature
    return losses.step_towards(log_temperature, seen["ess"], settings.ess_target, TEMPERATURE_STEP)


def step_alpha(
    settings: TemperatureSettings, log_alpha: Scalar, seen: Mapping[str, Scalar]
) -> Scalar:
    """log alpha of a mixture after an update that saw `mean_sigma`; as it was without a target."""
    if settings.std_target is None:
        return log_alpha
    return losses.step_towards(
        log_alpha, seen["mean_sigma"], settings.std_target, settings.alpha_step
    )


def step_alpha_of_entropy(
    settings: TemperatureSettings, log_alpha: Scalar, entropy: Scalar
) -> Scalar:
    """log alpha of SAC after an update that saw an `entropy` of the policy per dimension.

    A step of Adam on log alpha (E[-log pi] - target) has that size, where its sign does not change.
    """
    return losses.step_towards(log_alpha, entropy, settings.target_entropy, settings.alpha_step)
