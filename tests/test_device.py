"""What XLA is told for the device at hand."""

import jax
import pytest

from mjx_dm import device


@pytest.mark.parametrize(
    ("backend", "flags", "mode"),
    [
        ("gpu", "--xla_gpu_autotune_level=0", "CONCURRENT"),
        ("gpu", "--xla_gpu_command_buffer_scheduling_mode=LHS", None),
        ("cpu", "", None),
    ],
)
def test_cuda_graphs_run_kernels_beside_each_other_unless_the_user_says_how(
    monkeypatch, backend, flags, mode
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert device.compiler_options().get(device.GRAPH_MODE) == mode
