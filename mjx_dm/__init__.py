"""mjx_dm: density matching with a Gaussian-mixture policy on batched MuJoCo worlds.

The public names are imported when they are first asked for: `import mjx_dm` loads no JAX.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that defines it.
_PUBLIC = {
    "CheckpointError": "mjx_dm.checkpoints.manifest",
    "Config": "mjx_dm.config",
    "ConfigError": "mjx_dm.config",
    "GMM": "mjx_dm.learner.gmm",
    "Task": "mjx_dm.tasks",
    "evaluate": "mjx_dm.evaluation.evaluate",
    "get_task": "mjx_dm.tasks",
    "load_policy": "mjx_dm.checkpoints.policy",
    "make_env": "mjx_dm.envs",
    "make_task": "mjx_dm.tasks",
    "train": "mjx_dm.runs.loop",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
