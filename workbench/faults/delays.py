"""How delays of links are drawn, in both worlds.

Only `random()` is asked of the source of randomness, and no function of the C library: one seed tells one story on
every platform and every Python.
"""

from __future__ import annotations

from collections.abc import Callable

TAIL_FRACTION = 0.1
"""Of the messages on a `pareto` link: those with the heavy tail."""
BODY = 0.65
"""The delay of the others, in means."""
TIMES_MAX = 100.0
"""A tail ends somewhere: the longest delay, in means."""


def draw_delay_ms(random: Callable[[], float], mean_ms: float, distribution: str) -> float:
    """One delay. `random` gives uniform numbers in [0, 1).

    `exponential` has the mean `mean_ms`. `pareto` is a mixture: nine of ten by `BODY` means, the others by that divided
    by a uniform number, a Pareto tail with exponent 1, so that the mean of all is about `mean_ms`.
    """
    uniform = 1.0 - random()
    match distribution:
        case "exponential":
            delay_ms = -natural_logarithm(uniform) * mean_ms
        case "pareto":
            tail = random() < TAIL_FRACTION
            delay_ms = BODY * mean_ms / (uniform if tail else 1.0)
        case _:
            delay_ms = mean_ms
    return min(delay_ms, TIMES_MAX * mean_ms)


def natural_logarithm(value: float) -> float:
    """By a series of its own: that of the C library may differ between platforms in its last bit. `value` in (0, 1]."""
    exponent = 0
    while value < 0.5:
        value *= 2
        exponent -= 1
    ratio = (value - 1) / (value + 1)
    square, power, total = ratio * ratio, ratio, 0.0
    for odd in range(1, 40, 2):
        total += power / odd
        power *= square
    return 2 * total + exponent * 0.6931471805599453
