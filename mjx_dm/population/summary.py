"""What a population showed, in words."""

from typing import Any

import numpy as np


def summary(found: dict[str, Any]) -> None:
    """Every learner's returns over the later half of the rounds, their mean in the last, and what
    each varied setting changed.

    The standard error is that of a fit by main effects alone, from what it leaves unexplained.
    """
    table = np.asarray([r["return"] for r in found["rounds"]], float)
    late = np.ma.masked_invalid(table[len(table) // 2 :]).mean(0).filled(np.nan)
    for i in np.argsort(-late):
        print(f"{late[i]:8.0f}  last {table[-1, i]:6.0f}  {found['learners'][i]}")
    last = table[-1][np.isfinite(table[-1])]
    if len(last):
        print(
            f"Mean return of {len(last)} learners {last.mean():.0f}, from {last.min():.0f} to "
            f"{last.max():.0f}."
        )
    first = found["learners"][0]
    names = [name for name in first if name != "seed"]
    if not names:
        return
    # -1 where a learner has the first learner's value, 1 where it has the other.
    signs = np.array(
        [[1.0 - 2.0 * (row[x] == first[x]) for x in names] for row in found["learners"]]
    )
    model = np.column_stack([np.ones(len(late)), signs])
    effects = 2.0 * (model.T @ late / len(late))[1:]
    spare = len(late) - model.shape[1]
    unexplained = late - model @ (model.T @ late) / len(late)
    error = 2.0 * np.sqrt(np.sum(unexplained**2) / spare / len(late)) if spare else np.nan
    for name, effect in zip(names, effects, strict=True):
        [other] = {row[name] for row in found["learners"]} - {first[name]}
        print(f"{name} {first[name]:g} -> {other:g}: {effect:+.0f} (standard error {error:.0f})")
