"""mjx_dm: density matching with a Gaussian-mixture policy on batched MuJoCo Humanoid-v4."""

__version__ = "0.1.0"
