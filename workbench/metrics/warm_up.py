"""Where a load's warm-up ends, by rule: MSER-5 (K. P. White, "An effective truncation heuristic for bias reduction in
simulation output", 1997).

Values in the order of their time are averaged in batches of five. Of all beginnings of up to half of the values, the
rule cuts off the one after which the mean of the rest is known best: the one with the smallest standard error. If that
is all of the first half, the load had not settled by then, and nothing is cut.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

BATCH: Final = 5


def warm_up_length(values: np.ndarray[Any, Any]) -> int | None:
    """How many values at the beginning are warm-up; None if there are too few, or they never settle."""
    batches = len(values) // BATCH
    if batches < 4:
        return None
    means = np.asarray(values[: batches * BATCH], dtype=float).reshape(batches, BATCH).mean(axis=1)
    left = np.arange(batches, 0, -1)
    total, squares = np.cumsum(means[::-1])[::-1], np.cumsum(means[::-1] ** 2)[::-1]
    errors = (squares - total**2 / left) / left**2
    half = batches // 2
    cut = int(np.argmin(errors[: half + 1]))
    return None if cut == half else cut * BATCH
