"""What holds T and alpha where they are wanted: sign steps of their logarithms."""

from collections.abc import Mapping

from jaxtyping import Array, Float

from mjx_dm.config import LearnerConfig
from mjx_dm.learner import losses

Scalar = Float[Array, ""]
TEMPERATURE_STEP = 0.01


def step_temperature(
    config: LearnerConfig, log_temperature: Scalar, seen: Mapping[str, Scalar]
) -> Scalar:
    """log T after an update that saw `ess` and `weights_kl`; as it was where no target is set."""
    # Moved proposals all count alike, whatever T is.
    if config.proposal == "moved":
        return log_temperature
    if config.ess_target is not None:
        return losses.step_towards(
            log_temperature, seen["ess"], config.ess_target, TEMPERATURE_STEP
        )
    if config.kl_target is not None:
        # A higher T lowers the KL.
        return losses.step_towards(
            log_temperature, -seen["weights_kl"], -config.kl_target, TEMPERATURE_STEP
        )
    return log_temperature


def step_alpha(config: LearnerConfig, log_alpha: Scalar, seen: Mapping[str, Scalar]) -> Scalar:
    """log alpha after an update that saw `mean_sigma` and `entropy`; as it was without a target."""
    if config.std_target is not None:
        return losses.step_towards(
            log_alpha, seen["mean_sigma"], config.std_target, config.alpha_step
        )
    if config.entropy_target is not None:
        return losses.step_towards(
            log_alpha, seen["entropy"], config.entropy_target, config.alpha_step
        )
    return log_alpha
