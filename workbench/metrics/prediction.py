"""Probabilistically bounded staleness (PBS) of quorum systems: how probably a read is fresh, before anybody measures.

The WARS model of Bailis et al. (see `prediction_fits`), by Monte Carlo. A coordinator sends a write to all N replicas:
it arrives at replica i after W_i, and its acknowledgement is back A_i later. The write is acknowledged when W of them
are. A read that begins t after that asks all N replicas; its request arrives after R_i, the reply is back S_i later,
and it returns the newest of the first R replies. A reply is stale when it was sent before the write arrived there. So
one trial answers for every t at once: the read is fresh from

    t* = min over the first R replies of (W_i - R_i) - (when the write was acknowledged)

on. `predict` counts t* in a histogram, chunk by chunk, so that memory does not grow with the number of trials.
All intervals are of the Monte Carlo alone: they say nothing of how well the fit describes a system.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from workbench.errors import ConfigurationError
from workbench.metrics.histogram import Histogram
from workbench.metrics.intervals import proportion_interval
from workbench.metrics.prediction_fits import Fit, Floats

FRACTIONS: Final = {"0.9": 0.9, "0.99": 0.99, "0.999": 0.999}
REPLICAS_MAX: Final = 1_000
_CHUNK_VALUES: Final = 96 * 1024
"""Draws of one array at once: few enough to stay in a processor's cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quorum:
    """N replicas, of which a read waits for `r` and a write for `w`. Raises `ConfigurationError`."""

    n: int
    r: int
    w: int

    def __post_init__(self) -> None:
        if not 1 <= self.n <= REPLICAS_MAX:
            raise ConfigurationError(f"N is {self.n}", hint=f"the number of replicas, from 1 to {REPLICAS_MAX:,}")
        for name, value in (("R", self.r), ("W", self.w)):
            if not 1 <= value <= self.n:
                raise ConfigurationError(f"{name} is {value}", hint=f"of {self.n} replicas, so from 1 to {self.n}")

    @property
    def is_strict(self) -> bool:
        """Whether every read quorum meets every write quorum, so that no read is ever stale."""
        return self.r + self.w > self.n


def share_of_misses(quorum: Quorum) -> float:
    """The probability that a random read quorum misses a random write quorum: C(N-W, R) / C(N, R)."""
    return math.comb(quorum.n - quorum.w, quorum.r) / math.comb(quorum.n, quorum.r)


def k_staleness(quorum: Quorum, k: int) -> float:
    """The probability that a read returns one of the newest k versions, by the closed form of PBS.

    Quorums are random and independent, and writes reach no more replicas than they waited for: what a system does that
    never forwards a write. Real ones do better, and `predict` says how soon.
    """
    _check_k(k)
    return 1 - share_of_misses(quorum) ** k


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What `predict` found. Times are ms; intervals are at 95 % confidence.

    With `k` above 1 a read counts as good when it returns one of the newest k versions. As in PBS, k writes at once are
    taken for the worst case, each missed independently: the chance to miss all of them is that of missing one to the
    power of k.
    """

    fit: Fit
    quorum: Quorum
    k: int
    trials: int
    seed: int
    fresh_from: Histogram
    """t* of every trial."""
    write_latency: Histogram
    read_latency: Histogram

    def p_consistent(self, t_ms: float = 0.0) -> float:
        """The probability that a read which begins `t_ms` after the acknowledgement is good."""
        return self._within_k(self.fresh_from.count_at_most(t_ms) / self.trials)

    def p_consistent_interval(self, t_ms: float = 0.0) -> tuple[float, float]:
        """Its Wilson interval."""
        low, high = proportion_interval(self.fresh_from.count_at_most(t_ms), self.trials)
        return self._within_k(low), self._within_k(high)

    def t_visibility_ms(self, probability: float) -> float:
        """After how long a read is good with at least that probability; as fine as the histogram (0.1 %)."""
        return self.fresh_from.percentile(self._of_one(probability))

    def t_visibility_interval_ms(self, probability: float) -> tuple[float, float]:
        """Its interval from order statistics (normal approximation of their ranks); nan where trials are too few."""
        share, trials = self._of_one(probability), self.trials
        half = NormalDist().inv_cdf(0.975) * math.sqrt(trials * share * (1 - share))
        low, high = math.floor(trials * share - half), math.ceil(trials * share + half) + 1
        return self.fresh_from.value_of_rank(low), self.fresh_from.value_of_rank(high)

    def to_json(self) -> dict[str, Any]:
        """Everything that `workbench predict --json` shows."""
        quorum = self.quorum
        return {
            "fit": self.fit.name,
            "n": quorum.n,
            "r": quorum.r,
            "w": quorum.w,
            "k": self.k,
            "trials": self.trials,
            "seed": self.seed,
            "strict": quorum.is_strict,
            "p_consistent_at_0": self.p_consistent(),
            "p_consistent_at_0_interval": list(self.p_consistent_interval()),
            "t_visibility_ms": {name: self.t_visibility_ms(share) for name, share in FRACTIONS.items()},
            "t_visibility_ms_interval": {
                name: list(self.t_visibility_interval_ms(share)) for name, share in FRACTIONS.items()
            },
            "k_staleness": {str(k): k_staleness(quorum, k) for k in range(1, max(self.k, 3) + 1)},
            "write_latency_ms": _percentiles(self.write_latency),
            "read_latency_ms": _percentiles(self.read_latency),
        }

    def _within_k(self, share: float) -> float:
        return 1.0 - float((1.0 - share) ** self.k)

    def _of_one(self, probability: float) -> float:
        """The probability of being fresh that makes being within k versions as probable as asked."""
        if not 0 < probability < 1:
            raise ConfigurationError(f"a probability of {probability}", hint="between 0 and 1")
        return 1.0 - float((1.0 - probability) ** (1.0 / self.k))


def predict(
    fit: Fit,
    quorum: Quorum,
    *,
    k: int = 1,
    trials: int = 1_000_000,
    seed: int = 1,
    progress: Callable[[float], None] | None = None,
) -> Prediction:
    """Run the trials. The same seed gives the same figures. Raises `ConfigurationError`.

    `progress` is told the share done, about twenty times.
    """
    if trials < 1:
        raise ConfigurationError(f"trials is {trials}", hint="at least 1; a million gives three digits")
    _check_k(k)
    random = np.random.default_rng(seed)
    fresh_from, write_latency, read_latency = Histogram(), Histogram(), Histogram()
    chunk = max(1, _CHUNK_VALUES // quorum.n)
    step = max(1, trials // chunk // 20)
    for number, done in enumerate(range(0, trials, chunk)):
        if progress is not None and number % step == 0:
            progress(done / trials)
        visible, acknowledged, replied = run_trials(fit, quorum, random, min(chunk, trials - done))
        fresh_from.add(visible)
        write_latency.add(acknowledged)
        read_latency.add(replied)
    return Prediction(
        fit=fit,
        quorum=quorum,
        k=k,
        trials=trials,
        seed=seed,
        fresh_from=fresh_from,
        write_latency=write_latency,
        read_latency=read_latency,
    )


def run_trials(fit: Fit, quorum: Quorum, random: np.random.Generator, trials: int) -> tuple[Floats, Floats, Floats]:
    """Of each trial: t* (see above), the latency of the write and of the read, all in ms."""
    shape = (trials, quorum.n)
    write, read = fit.write.draw(random, shape), fit.read.draw(random, shape)
    acknowledgement, reply = fit.acknowledgement.draw(random, shape), fit.reply.draw(random, shape)
    if fit.apart_ms:
        for ways in ((write, acknowledgement), (read, reply)):
            far_ms = fit.apart_ms * (np.arange(quorum.n) != random.integers(quorum.n, size=(trials, 1)))
            for way in ways:
                np.add(way, far_ms, out=way)
    acknowledgement += write
    acknowledged = _nth_smallest(acknowledgement, quorum.w)
    reply += read
    write -= read
    if quorum.r == 1:
        first = reply.argmin(axis=1)[:, np.newaxis]
    else:
        first = np.argpartition(reply, quorum.r - 1, axis=1)[:, : quorum.r]
    visible = np.take_along_axis(write, first, axis=1).min(axis=1) - acknowledged
    return visible, acknowledged, np.take_along_axis(reply, first, axis=1).max(axis=1)


def _nth_smallest(values: Floats, nth: int) -> Floats:
    smallest: Floats = values.min(axis=1) if nth == 1 else np.partition(values, nth - 1, axis=1)[:, nth - 1]
    return smallest


def _check_k(k: int) -> None:
    if k < 1:
        raise ConfigurationError(f"k is {k}", hint="how many versions old a read may be, from 1: the newest")


def _percentiles(histogram: Histogram) -> Mapping[str, float]:
    return {name: histogram.percentile(share) for name, share in (("0.5", 0.5), *FRACTIONS.items())}
