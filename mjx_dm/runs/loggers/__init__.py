"""Where a run's curves, scores and films go besides metrics.jsonl: TensorBoard, Weights & Biases.

A logger that fails is told once and stops nothing.
"""

from mjx_dm.runs.loggers.guarded import Loggers
from mjx_dm.runs.loggers.opening import open_loggers

__all__ = ["Loggers", "open_loggers"]
