"""The machine that figures belong to."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from mjx_dm import host

_VERSIONS = ("jax", "jaxlib", "mujoco", "mujoco-mjx", "warp-lang", "flax", "optax", "gymnasium")


def describe_machine() -> dict[str, Any]:
    """The device, the processor, the versions and the commit that figures belong to."""
    import jax

    device = jax.devices()[0]
    installed = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "processor": _processor(),
        "cores": host.cores(),
        "load": host.load(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _VERSIONS if name in installed},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str | None:
    """The commit of this code, marked where files differ from it; None outside a checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return git("describe", "--always", "--dirty", "--abbrev=9", "--exclude=*")
