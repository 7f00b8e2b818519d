"""Numbers, durations and moments for reading."""

import math
import time

from mjx_dm.report.intervals import Estimate

NOTHING = "–"


def number(value: int | float | None) -> str:
    """1,234,567, 1,234, 12.3, 0.0123 or –."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def interval(estimate: Estimate) -> str:
    """low to high, or nothing where nothing can be told."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    return f"{number(estimate.low)} to {number(estimate.high)}"


def duration(seconds: int | float | None) -> str:
    """1 h 05 min, 12 min 30 s, 45 s or –."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def moment(seconds: int | float) -> str:
    """2026-05-17 14:03 UTC of Unix seconds, or –."""
    if not math.isfinite(seconds) or seconds <= 0:
        return NOTHING
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def share(value: int | float) -> str:
    """12%, or <1%."""
    return "<1%" if 0 < value < 0.01 else f"{value:.0%}"
