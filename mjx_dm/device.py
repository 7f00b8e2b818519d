"""What JAX runs on, and what its compiler is told for it."""

import os
from typing import Any

# How kernels lie in a CUDA graph: XLA's default, LHS, has them one after another. CONCURRENT has
# those beside each other that do not wait for each other: 1.39 times the updates/s at a batch of
# 256 on an H200, 1.27 times at 1,024.
GRAPH_MODE = "xla_gpu_command_buffer_scheduling_mode"


def platform() -> str:
    """cpu, gpu or tpu: where a program runs that is not told otherwise."""
    import jax

    return jax.default_backend()


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
