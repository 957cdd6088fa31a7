"""Confidence intervals: how far a figure could be off, given how often it was observed.

All assume independent observations. Operations of one run are not (a stall hits neighbours alike), so where figures
of different configurations are compared, repeat the runs and use `bootstrap_interval` over the repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np


def proportion_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a rate (E. B. Wilson, 1927); (nan, nan) without trials.

    Also sensible at 0 and at `trials`: 0 of 1,000 gives (0, 0.0038).
    """
    if trials == 0:
        return math.nan, math.nan
    z = _z(confidence)
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == trials else (centre + half) / scale
    return low, high


def difference_interval(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """95 % interval of the difference of two rates, second less first, each (successes, trials).

    From their Wilson intervals (R. G. Newcombe, "Interval estimation for the difference between independent
    proportions", 1998, method 10). (nan, nan) without trials.
    """
    if not first[1] or not second[1]:
        return math.nan, math.nan
    rates = [successes / trials for successes, trials in (first, second)]
    (low_1, high_1), (low_2, high_2) = proportion_interval(*first), proportion_interval(*second)
    difference = rates[1] - rates[0]
    low = difference - math.hypot(rates[1] - low_2, high_1 - rates[0])
    return low, difference + math.hypot(high_2 - rates[1], rates[0] - low_1)


def ratio_interval(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """95 % interval of the ratio of two rates, second by first, each (successes, trials).

    By the logarithm (D. Katz and others, "Obtaining confidence intervals for the risk ratio in cohort studies", 1978).
    (nan, nan) without successes on both sides.
    """
    if not first[0] or not second[0]:
        return math.nan, math.nan
    ratio = (second[0] / second[1]) / (first[0] / first[1])
    variance = sum(1 / successes - 1 / trials for successes, trials in (first, second))
    half = _z(0.95) * math.sqrt(max(variance, 0.0))
    return ratio * math.exp(-half), ratio * math.exp(half)


def percentile(ordered: np.ndarray[Any, Any], fraction: float) -> float:
    """The smallest value that at least `fraction` of the ordered values do not exceed; nan without values.

    Always an observed value: nothing is interpolated into a gap where nothing was measured.
    """
    if len(ordered) == 0:
        return math.nan
    return float(ordered[max(0, _ceil(fraction * len(ordered)) - 1)])


def percentile_interval(
    ordered: np.ndarray[Any, Any], fraction: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Distribution-free interval of a percentile from order statistics, by the exact binomial distribution.

    A bound is nan where too few values lie beyond the percentile to give one (p99.9 needs some 3,700 values for an
    upper bound).
    """
    count = len(ordered)
    if count == 0:
        return math.nan, math.nan
    cumulative = _binomial_cumulative(count, fraction)
    tail = (1 - confidence) / 2
    # P(fewer than `rank` values lie below the percentile): the rank-th value is above it with that probability.
    low = int(np.searchsorted(cumulative, tail, side="right"))  # the largest rank with cumulative[rank - 1] <= tail
    high = int(np.searchsorted(cumulative, 1 - tail, side="left")) + 1
    return (
        float(ordered[low - 1]) if low >= 1 else math.nan,
        float(ordered[high - 1]) if high <= count else math.nan,
    )


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable[[np.ndarray[Any, Any]], float] = np.mean,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap of a statistic over repetitions; (nan, nan) for fewer than two values."""
    data = np.asarray(values, dtype=float)
    if len(data) < 2:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    drawn = [statistic(generator.choice(data, len(data))) for _ in range(resamples)]
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _ceil(value: float) -> int:
    return math.ceil(value - 1e-9)  # 0.99 * 100 is 99.00000000000001


def _binomial_cumulative(count: int, probability: float) -> np.ndarray[Any, Any]:
    """P(X <= k) for k = 0 .. count - 1, X binomial."""
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, count + 1)))))
    k = np.arange(count)
    log_mass = (
        log_factorial[count]
        - log_factorial[k]
        - log_factorial[count - k]
        + k * math.log(probability)
        + (count - k) * math.log1p(-probability)
    )
    cumulative: np.ndarray[Any, Any] = np.cumsum(np.exp(log_mass))
    return cumulative
