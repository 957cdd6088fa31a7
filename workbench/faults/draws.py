"""Draws from a generator by `Random.random()` alone.

Python promises that `random()` gives the same values in every version for the same seed, and promises it of nothing
else (`choice`, `sample`, `shuffle`, `randrange`). What a seed stands for must not depend on the version.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def below(random: Random, count: int) -> int:
    """A whole number from 0 to `count` - 1; `count` is at least 1."""
    return int(random.random() * count)


def between(random: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return low + below(random, high - low + 1)


def choose(random: Random, options: Sequence[T]) -> T:
    """One of `options`, of which there is at least one."""
    return options[below(random, len(options))]


def shuffled(random: Random, options: Sequence[T]) -> list[T]:
    """All of `options`, in any order."""
    return some(random, options, len(options))


def some(random: Random, options: Sequence[T], count: int) -> list[T]:
    """`count` different ones of `options`, in any order."""
    left = list(options)
    return [left.pop(below(random, len(left))) for _ in range(count)]
