"""What XLA is told for the device at hand."""

import jax
import pytest

from mjx_dm import device
from mjx_dm.config import ConfigError


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


class Platforms:
    """JAX's devices, as JAX_PLATFORMS and the machine have them."""

    def __init__(self, monkeypatch, asked, here, found_before=False):
        self.asked = asked
        self.here = here
        monkeypatch.setattr(jax, "config", self)
        monkeypatch.setattr(jax, "devices", self.devices)
        self.fixed = asked if found_before else None

    jax_platforms = property(lambda self: self.asked)

    def update(self, name, value):
        self.asked = value

    def devices(self, platform=None):
        names = (self.fixed or self.asked).split(",") if self.asked else self.here
        # JAX takes the next of several where the first has no device.
        wanted = [platform] if platform else [x for x in names if x in self.here][:1]
        if not set(wanted) <= set(names) & set(self.here):
            raise RuntimeError(f"Unknown backend {wanted[0]}\nhas no device")
        return wanted


def test_the_cpu_is_added_to_the_platforms_that_are_asked_for(monkeypatch):
    platforms = Platforms(monkeypatch, "cuda", ["cuda", "cpu"])
    device.check()
    assert platforms.asked == "cuda,cpu"
    for asked in ("cpu,cuda", None):
        platforms = Platforms(monkeypatch, asked, ["cuda", "cpu"])
        device.check()
        assert platforms.asked == asked


@pytest.mark.parametrize(
    ("here", "found_before", "sentence"),
    [
        (["cpu"], False, "no device with JAX_PLATFORMS=cuda: unset it, or set it to cpu"),
        (["cuda", "cpu"], True, "leaves out the CPU, where policies are scored: set it to cuda,"),
    ],
)
def test_platforms_that_cannot_be_are_one_sentence(monkeypatch, here, found_before, sentence):
    Platforms(monkeypatch, "cuda", here, found_before)
    with pytest.raises(ConfigError) as refusal:
        device.check()
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)
