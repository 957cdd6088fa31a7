"""One-way latencies of messages, as distributions, and the published fits of production systems.

Source of the fits: P. Bailis, S. Venkataraman, M. J. Franklin, J. M. Hellerstein and I. Stoica, "Probabilistically
Bounded Staleness for Practical Partial Quorums", PVLDB 5(8), 2012, tables of the section on production latencies. W is
the way of a write request to a replica, A of its acknowledgement, R of a read request, S of its reply. (The authors'
simulator uses 3.5 for the 3.35 of YMMR; here it is the printed value.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


class Latency(Protocol):
    """A distribution of one-way latencies in ms. All draws are independent."""

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """An array of draws."""
        ...

    def share_at_most(self, ms: float) -> float:
        """The probability of a latency of at most `ms`."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same."""

    ms: float

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return np.full(shape, self.ms)

    def share_at_most(self, ms: float) -> float:
        return float(ms >= self.ms)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Density rate * exp(-rate * x); the mean is 1 / rate."""

    rate_per_ms: float

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return random.standard_exponential(shape) / self.rate_per_ms

    def share_at_most(self, ms: float) -> float:
        return -math.expm1(-self.rate_per_ms * max(ms, 0.0))


@dataclass(frozen=True, slots=True)
class Pareto:
    """P(X > x) = (xm / x)^alpha for x above the minimum xm."""

    minimum_ms: float
    alpha: float

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        values: Floats = random.standard_exponential(shape)  # the logarithm of a Pareto variable is exponential
        values /= self.alpha
        np.exp(values, out=values)
        values *= self.minimum_ms
        return values

    def share_at_most(self, ms: float) -> float:
        return 0.0 if ms <= self.minimum_ms else 1 - (self.minimum_ms / ms) ** self.alpha


@dataclass(frozen=True, slots=True)
class Mixture:
    """A body and a tail: `body` with probability `body_share`, else `tail`."""

    body_share: float
    body: Latency
    tail: Latency

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        values = self.body.draw(random, shape)
        in_tail = random.random(shape) >= self.body_share
        values[in_tail] = self.tail.draw(random, (int(in_tail.sum()),))
        return values

    def share_at_most(self, ms: float) -> float:
        return self.body_share * self.body.share_at_most(ms) + (1 - self.body_share) * self.tail.share_at_most(ms)


@dataclass(frozen=True, slots=True)
class Measured:
    """Draws with replacement from latencies that were measured."""

    values_ms: Sequence[float]

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return random.choice(np.asarray(self.values_ms, dtype=float), shape)

    def share_at_most(self, ms: float) -> float:
        return float((np.asarray(self.values_ms) <= ms).mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """The four ways of a quorum system. With `apart_ms`, each replica is in a datacentre of its own, and so are the
    coordinators of write and read, in independently random ones: every message between two of them takes that longer.
    """

    name: str
    words: str
    write: Latency
    acknowledgement: Latency
    read: Latency
    reply: Latency
    apart_ms: float = 0.0

    @classmethod
    def of(cls, name: str, words: str, write: Latency, others: Latency, apart_ms: float = 0.0) -> Fit:
        """A fit whose other three ways are alike."""
        return cls(
            name=name,
            words=words,
            write=write,
            acknowledgement=others,
            read=others,
            reply=others,
            apart_ms=apart_ms,
        )


_SSD: Final = Mixture(0.9122, Pareto(0.235, 10), Exponential(1.66))
_DISK_WRITE: Final = Mixture(0.38, Pareto(1.05, 1.51), Exponential(0.183))
_YMMR_WRITE: Final = Mixture(0.939, Pareto(3, 3.35), Exponential(0.0028))
_YMMR_OTHERS: Final = Mixture(0.982, Pareto(1.5, 3.8), Exponential(0.0217))

FITS: Final[Mapping[str, Fit]] = {
    fit.name: fit
    for fit in (
        Fit.of("LNKD-SSD", "LinkedIn's Voldemort on solid-state disks", _SSD, _SSD),
        Fit.of("LNKD-DISK", "LinkedIn's Voldemort on spinning disks", _DISK_WRITE, _SSD),
        Fit.of("YMMR", "Yammer's Riak", _YMMR_WRITE, _YMMR_OTHERS),
        Fit.of("WAN", "LNKD-DISK, each replica in a datacentre of its own, 75 ms apart", _DISK_WRITE, _SSD, 75.0),
    )
}
"""Name -> published fit."""
