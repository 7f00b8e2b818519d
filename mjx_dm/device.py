"""What JAX runs on, and what its compiler is told for it."""

import functools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar, cast

from mjx_dm.settings import ConfigError

Given = ParamSpec("Given")
Found = TypeVar("Found")

# How kernels lie in a CUDA graph: XLA's default, LHS, has them one after another. CONCURRENT has
# those beside each other that do not wait for each other: 1.39 times the updates/s at a batch of
# 256 on an H200, 1.27 times at 1,024.
GRAPH_MODE = "xla_gpu_command_buffer_scheduling_mode"


def platform() -> str:
    """cpu, gpu or tpu: where a program runs that is not told otherwise."""
    import jax

    return jax.default_backend()


def check() -> None:
    """Has JAX find its devices. Raises ConfigError where JAX_PLATFORMS names what is not there.

    The CPU, where policies are scored, is added to the platforms where that is still possible.
    """
    import jax

    asked = cast(Any, jax.config).jax_platforms
    if asked and "cpu" not in asked.split(","):
        # Of no effect where JAX has found its devices already.
        jax.config.update("jax_platforms", f"{asked},cpu")
    try:
        # By name: JAX takes the next of several platforms where the first has no device.
        jax.devices(asked.split(",")[0] if asked else None)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"JAX finds no device with JAX_PLATFORMS={asked}: unset it, or set it to cpu "
            f"({' '.join(str(error).split())[:200] or type(error).__name__})."
        ) from error
    try:
        jax.devices("cpu")
    except RuntimeError as error:
        raise ConfigError(
            f"JAX_PLATFORMS={asked} leaves out the CPU, where policies are scored: set it to "
            f"{asked},cpu."
        ) from error


def float32() -> AbstractContextManager[None]:
    """Inside, this thread's programs are in float32, whatever JAX_ENABLE_X64 says."""
    import jax

    return cast(Any, jax).enable_x64(False)


def in_float32(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """`function`, called or traced inside `float32`."""

    @functools.wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        with float32():
            return function(*args, **kwargs)

    return call


def compiler_options() -> dict[str, Any]:
    """What XLA is told when it compiles a run's program for the device at hand.

    jax 0.10 hands products and sums to YNNPACK on a CPU, which takes 1.16 times the time of doing
    without (the whole loop of preset `cpu` in float32 on one core). With 0.11.2 they are level.
    These options win over XLA_FLAGS, so a GRAPH_MODE that the user names there is left alone.
    """
    import jax

    if platform() == "gpu" and GRAPH_MODE not in os.environ.get("XLA_FLAGS", ""):
        return {GRAPH_MODE: "CONCURRENT"}
    if platform() == "cpu" and jax.__version_info__ < (0, 11):
        return {"xla_cpu_experimental_ynn_fusion_type": ""}
    return {}
