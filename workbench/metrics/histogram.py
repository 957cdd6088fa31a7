"""A histogram with a bounded relative error: percentiles of any number of values, in little memory.

As in Gil Tene's HdrHistogram, buckets grow with their values, so that a microsecond and a minute are known equally
well. Bucket i holds the values in (s * g^i, s * g^(i+1)], with the smallest value told apart, s, and a growth g of
0.1 %. What is at most 0 counts as 0, exactly. Histograms of parts of a run are merged by adding their counts;
percentiles themselves are never averaged.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

RELATIVE_ERROR: Final = 0.001
"""A percentile is at most this much above the exact one, and never below it."""
SMALLEST: Final = 1e-6
"""Positive values up to this one share the first bucket: with milliseconds, a nanosecond."""
LARGEST: Final = 1e12

_LOG_GROWTH: Final = math.log1p(RELATIVE_ERROR)
_BUCKETS: Final = math.ceil(math.log(LARGEST / SMALLEST) / _LOG_GROWTH) + 1


class Histogram:
    """Counts of values. Values above `LARGEST` count as that one; nan is refused with `ValueError`."""

    def __init__(self) -> None:
        self.count = 0
        self.at_most_zero = 0
        self._counts = np.zeros(_BUCKETS, dtype=np.int64)

    def add(self, values: np.ndarray[Any, Any]) -> None:
        """Count every value of an array."""
        if np.isnan(values).any():
            raise ValueError("nan is no value of a histogram")
        positive = values[values > 0]
        self.count += values.size
        self.at_most_zero += values.size - positive.size
        self._counts += np.bincount(_buckets(positive), minlength=_BUCKETS)

    def merge(self, other: Histogram) -> None:
        """Count what `other` has counted."""
        self.count += other.count
        self.at_most_zero += other.at_most_zero
        self._counts += other._counts

    def percentile(self, fraction: float) -> float:
        """The smallest value that at least `fraction` of the values do not exceed; nan without values.

        What is at most 0 counts as 0.
        """
        return math.nan if self.count == 0 else self.value_of_rank(max(1, math.ceil(fraction * self.count - 1e-9)))

    def value_of_rank(self, rank: int) -> float:
        """The `rank`-th value in ascending order, from 1; nan beyond the number of values."""
        if not 1 <= rank <= self.count:
            return math.nan
        if rank <= self.at_most_zero:
            return 0.0
        bucket = int(np.searchsorted(np.cumsum(self._counts), rank - self.at_most_zero, side="left"))
        return _upper_end(bucket)

    def count_at_most(self, value: float) -> int:
        """How many values are at most `value`; of a positive one's bucket all count, so some may be 0.1 % larger."""
        if value <= 0:
            return self.at_most_zero if value == 0 else 0
        bucket = int(_buckets(np.array([value]))[0])
        return self.at_most_zero + int(self._counts[: bucket + 1].sum())


def _buckets(positive: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    with np.errstate(over="ignore"):
        place = np.ceil(np.log(positive / SMALLEST) / _LOG_GROWTH) - 1
    buckets: np.ndarray[Any, np.dtype[np.int64]] = np.clip(place, 0, _BUCKETS - 1).astype(np.int64)
    return buckets


def _upper_end(bucket: int) -> float:
    return SMALLEST * math.exp((bucket + 1) * _LOG_GROWTH)
