"""Stale reads under single-leader replication, predicted from the lag of the followers: a model of our own.

A read misses a write if the replica that answers it has not applied the write yet. The leader has applied what it
acknowledged, so its reads are never stale. The lag of a write at a follower is the time from its acknowledgement, as
its client saw it, to its apply there; negative where the follower was sooner. A read needs its way to the follower, and
its turn there. So one that begins `age` after the last acknowledgement of a write to its key, and is answered by
follower f, is stale with the probability

    P(lag at f > age + way to f)

Lag, way and the moments at which clients act are not independent: what holds up a follower's applies holds up its
reads, and a client that was held up learns of writes late and then reads at once. So the probability is counted, not
computed from two distributions: over all pairs of a write and a later moment at which a read was sent, whatever their
keys.

What the model is made of: times of acknowledgements and of applies, and when reads were sent to whom and answered, all
of the first half of a run. Never a value that a read returned. What it is held against: the reads of the second half,
of which it is told when they began, how long ago the last write to their key was acknowledged, and whom they asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from workbench.metrics.intervals import percentile, proportion_interval

APPLY_COLUMNS: Final = ("replica", "term", "index", "applied_ns")
READ_COLUMNS: Final = ("replica", "reads", "answered_ns")
BINS: Final = 12
BIN_READS_MIN: Final = 8
"""Fewer, larger bins where reads are few."""
CURVE_POINTS: Final = 60
PAIRS_MAX: Final = 400_000
"""More pairs of a write and a read are thinned evenly."""
_TERM_FACTOR: Final = 2**40
"""More than any index: (term, index) as one number that orders like the pair."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class LeaderModel:
    """What the first half says.

    `curves`: of each follower, ages in ms and P(lag > age + way) there, falling; it is 0 from the longest lag on.
    `lags_ms`: of each follower, ordered.
    """

    curves: Mapping[str, tuple[Array, Array]]
    lags_ms: Mapping[str, Array]
    writes: int
    leader: str

    def p_stale(self, replica: str, ages_ms: Array) -> Array:
        """The probability that a read of `replica`, begun so long after the last acknowledgement, is stale.

        nan for a follower of which no lag is known.
        """
        if replica == self.leader:
            return np.zeros(len(ages_ms))
        curve = self.curves.get(replica)
        return np.full(len(ages_ms), np.nan) if curve is None else np.interp(ages_ms, *curve)

    def p_stale_anywhere(self, shares: Mapping[str, float], ages_ms: Array) -> Array:
        """The same, of reads that go to each replica with its share."""
        total = np.zeros(len(ages_ms))
        for replica, share in shares.items():
            total += share * self.p_stale(replica, ages_ms)
        return total

    def lag_ms(self, fraction: float) -> float:
        """A percentile of the lags of all followers; nan without any."""
        return percentile(np.sort(np.concatenate([np.empty(0), *self.lags_ms.values()])), fraction)


def halves(operations: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The operations due in the first and in the second half of the time that they span."""
    due = operations["intended_ns"].to_numpy(dtype=float, na_value=np.nan)
    if not np.isfinite(due).any():
        return operations.iloc[:0], operations.iloc[:0]
    middle = (np.nanmin(due) + np.nanmax(due)) / 2
    return operations[due < middle], operations[due >= middle]


def fit_leader(operations: pd.DataFrame, applied: pd.DataFrame, ways: pd.DataFrame, *, leader: str) -> LeaderModel:
    """The model of the operations given (the first half of a run).

    `applied` has the rows of `APPLY_COLUMNS`: everything up to (term, index) was visible at `replica` from `applied_ns`
    on, on the clock of the operations. `ways`: as `read_ways` gives them. Writes without a position, or that a follower
    never applied, say nothing about its lag.
    """
    ok = operations[operations["outcome"] == "ok"]
    writes = ok[(ok["kind"] == "write") & (ok["index"] > 0)].sort_values("completed_ns")
    sent = np.sort(ok.loc[ok["kind"] == "read", "invoked_ns"].to_numpy(dtype=np.int64))
    of_first = ways[ways["operation"].isin(ok["operation"])]
    curves, lags = {}, {}
    for name in sorted(set(map(str, applied["replica"])) - {leader}):
        known, lag_ns = _lags(writes, applied[applied["replica"] == name])
        acknowledged = writes["completed_ns"].to_numpy(dtype=np.int64)[known]
        answered = _answered(of_first[of_first["replica"] == name], sent)
        lags[name] = np.sort(lag_ns / 1e6)
        curves[name] = _curve(acknowledged, lag_ns, sent, answered)
    return LeaderModel(curves, lags, len(writes), leader)


def read_ways(operations: pd.DataFrame, answered: pd.DataFrame) -> pd.DataFrame:
    """How long each `ok` read of a whole load was on its way: `operation`, `replica`, `invoked_ns`, `way_ns`.

    `answered` has the rows of `READ_COLUMNS`: so many reads were answered together. A replica answers in order, so the
    n-th to complete was the n-th to be answered. Where their numbers differ (a read was sent again), nothing tells
    which is which, and half of a read's duration is taken.
    """
    reads = operations[(operations["kind"] == "read") & (operations["outcome"] == "ok")]
    parts = []
    for replica, of_one in reads.groupby("replica", sort=True):
        ordered = of_one.sort_values("completed_ns", kind="stable")
        invoked, completed = (ordered[name].to_numpy(dtype=np.int64) for name in ("invoked_ns", "completed_ns"))
        here = answered[answered["replica"] == replica]
        times = np.sort(np.repeat(here["answered_ns"].to_numpy(dtype=np.int64), here["reads"].to_numpy(dtype=np.int64)))
        times = times[(times >= invoked.min()) & (times <= completed.max())]
        half = (completed - invoked) // 2
        way = np.clip(times - invoked, 0, completed - invoked) if len(times) == len(ordered) else half
        frame = {"operation": ordered["operation"].to_numpy(), "replica": str(replica), "invoked_ns": invoked}
        parts.append(pd.DataFrame(frame | {"way_ns": way}))
    return pd.concat(parts) if parts else pd.DataFrame(columns=["operation", "replica", "invoked_ns", "way_ns"])


def _lags(writes: pd.DataFrame, applied: pd.DataFrame) -> tuple[Array, Array]:
    """Which writes the follower has applied, and for these the time from the acknowledgement to the apply in ns."""
    wanted = writes["term"].to_numpy(dtype=np.int64) * _TERM_FACTOR + writes["index"].to_numpy(dtype=np.int64)
    reached = applied["term"].to_numpy(dtype=np.int64) * _TERM_FACTOR + applied["index"].to_numpy(dtype=np.int64)
    times = applied["applied_ns"].to_numpy(dtype=np.int64)
    at = np.searchsorted(np.maximum.accumulate(reached), wanted, side="left")
    known = at < len(times)
    return known, times[at[known]] - writes["completed_ns"].to_numpy(dtype=np.int64)[known]


def _answered(ways: pd.DataFrame, sent: Array) -> Array:
    """When a read sent at each of these moments was answered by one follower, or would have been.

    Its way is that of the real read sent most nearly. Reads of one client are answered in the order in which they were
    sent, so it is answered no sooner than the real one before it and no later than the one after it.
    """
    if ways.empty:
        return sent
    ordered = ways.sort_values("invoked_ns")
    real, way = (ordered[name].to_numpy(dtype=np.int64) for name in ("invoked_ns", "way_ns"))
    answered = np.maximum.accumulate(real + way)
    place = np.searchsorted(real, sent)
    after, before = np.minimum(place, len(real) - 1), np.maximum(place - 1, 0)
    nearest = np.where(np.abs(real[after] - sent) < np.abs(sent - real[before]), after, before)
    soonest = np.where(place > 0, np.maximum(answered[before], sent), sent)
    latest = np.where(place < len(real), np.maximum(answered[after], soonest), np.iinfo(np.int64).max)
    expected: Array = np.clip(sent + way[nearest], soonest, latest)
    return expected


def _curve(acknowledged: Array, lag_ns: Array, sent: Array, answered: Array) -> tuple[Array, Array]:
    """Ages, and the share of pairs of about that age whose read would have missed the write; nan without lags.

    A pair is a write and a later moment at which a read was sent, at most the longest lag apart.
    """
    if not len(lag_ns) or not len(sent):
        return np.zeros(1), np.full(1, np.nan)
    longest_ns = max(int(lag_ns.max()), 1)
    first = np.searchsorted(acknowledged, sent - longest_ns, side="left")
    many = np.searchsorted(acknowledged, sent, side="left") - first
    thin = max(1, -(-int(many.sum()) // PAIRS_MAX))
    read = np.repeat(np.arange(len(sent)), many)
    write = first[read] + np.arange(len(read)) - np.repeat(np.cumsum(many) - many, many)
    read, write = read[::thin], write[::thin]
    age_ns = sent[read] - acknowledged[write]
    missed = acknowledged[write] + lag_ns[write] > answered[read]
    order = np.argsort(age_ns, kind="stable")
    parts = [part for part in np.array_split(order, CURVE_POINTS) if len(part)]
    ages = [float(age_ns[part].mean()) / 1e6 for part in parts]
    shares = _falling(np.array([missed[part].mean() for part in parts]), np.array([len(part) for part in parts]))
    return np.array([*ages, longest_ns / 1e6]), np.append(shares, 0.0)


def _falling(shares: Array, weights: Array) -> Array:
    """The nearest sequence that never rises (isotonic regression): a follower does not forget what it has applied."""
    blocks: list[tuple[float, float, int]] = []
    for share, weight in zip(shares.tolist(), weights.tolist(), strict=True):
        mean, total, length = share, float(weight), 1
        while blocks and blocks[-1][0] < mean:
            earlier, heavy, long = blocks.pop()
            mean = (earlier * heavy + mean * total) / (heavy + total)
            total, length = heavy + total, long + length
        blocks.append((mean, total, length))
    return np.concatenate([np.empty(0), *(np.full(length, mean) for mean, _, length in blocks)])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Prediction and measurement of the same reads. `bins`: reads by the age of the last write, of about equal number:
    `age_ms_from`, `age_ms_to`, `age_ms` (mean), `reads`, `stale_reads`, `stale_rate` with its Wilson interval,
    `predicted_stale_rate`."""

    bins: pd.DataFrame
    shares: Mapping[str, float]
    """Of the reads, by the replica that they asked."""
    reads: int
    predicted: float
    measured: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Prediction less measurement, as a share; nan where one of them is unknown."""
        return self.predicted - self.measured

    @property
    def curve_error(self) -> float:
        """Mean distance of the predicted from the measured curve, over the bins' reads; nan without any."""
        if self.bins.empty:
            return float("nan")
        distance = (self.bins["predicted_stale_rate"] - self.bins["stale_rate"]).abs()
        return float(np.average(distance, weights=self.bins["reads"]))


def compare_with_reads(model: LeaderModel, reads: pd.DataFrame, *, horizon_ms: float | None = None) -> Comparison:
    """Hold the model against judged reads (rows of `Staleness.reads` of the second half).

    Uses `since_write_ms` (nan: no write to its key was acknowledged before it) and `stale_acknowledged`. The bins end
    at `horizon_ms`, by default a quarter beyond the 99.9th percentile of the lags: later on both curves are at zero.
    """
    ages = reads["since_write_ms"].to_numpy(dtype=float)
    stale = reads["stale_acknowledged"].to_numpy(dtype=bool)
    asked = reads["replica"].to_numpy(dtype=object)
    predicted = np.zeros(len(reads))
    at_risk = np.isfinite(ages)
    for replica in set(asked[at_risk]):
        here = at_risk & (asked == replica)
        predicted[here] = model.p_stale(replica, ages[here])
    horizon = horizon_ms if horizon_ms is not None else 1.25 * max(model.lag_ms(0.999), 1.0)
    near = at_risk & (ages <= horizon)
    low, high = proportion_interval(int(stale.sum()), len(reads))
    return Comparison(
        bins=_bins(ages[near], stale[near], predicted[near]),
        shares={str(name): float(share) for name, share in reads["replica"].value_counts(normalize=True).items()},
        reads=len(reads),
        predicted=float(predicted.mean()) if at_risk.any() else float("nan"),
        measured=float(stale.mean()) if at_risk.any() else float("nan"),
        low=low,
        high=high,
    )


def _bins(ages: Array, stale: Array, predicted: Array) -> pd.DataFrame:
    order = np.argsort(ages, kind="stable")
    rows = []
    for part in np.array_split(order, min(BINS, len(order) // BIN_READS_MIN) or 1):
        if not len(part):
            continue
        count = int(stale[part].sum())
        low, high = proportion_interval(count, len(part))
        rows.append(
            {
                "age_ms_from": float(ages[part[0]]),
                "age_ms_to": float(ages[part[-1]]),
                "age_ms": float(ages[part].mean()),
                "reads": len(part),
                "stale_reads": count,
                "stale_rate": count / len(part),
                "stale_rate_low": low,
                "stale_rate_high": high,
                "predicted_stale_rate": float(predicted[part].mean()),
            }
        )
    return pd.DataFrame(rows)
