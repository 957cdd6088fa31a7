"""What `scale` measures of one cluster, in either world: the settings of a cell, its samples, and the row made of them.

All times are milliseconds. What is not measured in a world is nan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from workbench.experiments.base import Row
from workbench.experiments.cells import cell_name
from workbench.metrics.intervals import bootstrap_interval, percentile

NOTHING = math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is different in one cell. `voters`: so many replicas are members, the others observers."""

    size: int
    voters: int
    network: str
    fan_out: str
    election_timeout_ms: float

    @property
    def labels(self) -> Row:
        """The first columns of its row."""
        values = {"size": self.size, "voters": self.voters, "network": self.network, "fan_out": self.fan_out}
        return {"cell": cell_name(**values)} | values | {"election_timeout_ms": self.election_timeout_ms}


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteSample:
    """One write, made while nothing else was going on."""

    latency_ms: float
    bound_ms: float
    """No acknowledgement can come sooner, by the network alone; nan where nobody knows."""
    stale: int
    """Replicas that showed an older state to a reader beside them who asked at the moment of the acknowledgement."""
    asked: int
    lag_ms: Sequence[float] = ()
    """Follower by follower, how long after the client had sent the write it showed it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailoverSample:
    """One kill of a leader. Times count from the kill; nan: it never came to this, or nobody saw it."""

    kill: int
    leader: str
    successor: str = ""
    term_before: int = 0
    term_after: int = 0
    silent_ms: float = NOTHING
    """How long before its death the leader had last said something."""
    candidate_ms: float = NOTHING
    """Until the first replica asked for votes."""
    elected_ms: float = NOTHING
    failover_ms: float = NOTHING
    """Until the client had the first acknowledgement of the next leader."""
    candidates: float = NOTHING
    """Replicas that asked for votes, or for the promise of votes."""
    elections: int = 0
    """Terms that somebody stood in, several of whom may have stood in the same."""
    problem: str = ""

    @property
    def took_effect(self) -> bool:
        """Whether another leader acknowledged a write in a newer term."""
        return self.term_after > self.term_before > 0 and self.failover_ms > 0

    @property
    def split_votes(self) -> int:
        """Terms without a leader that lay between."""
        return max(self.term_after - self.term_before - 1, 0)

    def row(self, labels: Row) -> Row:
        """For the table of failovers."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: labels[name] for name in ("cell", "size", "voters", "network", "fan_out")} | values


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What the leader had to do: at idle a second, and for a write. Messages to all others count once in `out`, and as
    often as there are receivers in `delivered`. nan where a world does not tell."""

    out_per_s: float = NOTHING
    bytes_out_per_s: float = NOTHING
    delivered_per_s: float = NOTHING
    in_per_s: float = NOTHING
    bytes_in_per_s: float = NOTHING
    sync_ms: float = NOTHING
    """How long the leader's disk took for a sync, on average over the writes."""
    leader_busy: float = NOTHING
    """Share of the time in which its CPU works, at idle."""
    broker_busy: float = NOTHING
    out_per_write: float = NOTHING
    """Messages with entries, as in the following."""
    bytes_out_per_write: float = NOTHING
    delivered_per_write: float = NOTHING


@dataclass(slots=True, kw_only=True)
class Cell:
    """Everything about one cluster."""

    setting: Setting
    world: str
    load: Load = field(default_factory=Load)
    writes: list[WriteSample] = field(default_factory=list)
    failovers: list[FailoverSample] = field(default_factory=list)
    acknowledged: int = 0
    lost: int | None = None
    """Acknowledged writes that are absent in the end; None: nobody knows."""
    converged: bool = False
    problem: str = ""


def summary_row(cell: Cell) -> Row:
    """One row of the summary."""
    load = cell.load
    return cell.setting.labels | {
        **_write_columns(cell.writes),
        **_failover_columns(cell.failovers),
        "messages_out_per_s": load.out_per_s,
        "bytes_out_per_s": load.bytes_out_per_s,
        "messages_delivered_per_s": load.delivered_per_s,
        "messages_in_per_s": load.in_per_s,
        "bytes_in_per_s": load.bytes_in_per_s,
        "sync_ms_mean": load.sync_ms,
        "leader_busy_share": load.leader_busy,
        "broker_busy_share": load.broker_busy,
        "messages_out_per_write": load.out_per_write,
        "bytes_out_per_write": load.bytes_out_per_write,
        "messages_delivered_per_write": load.delivered_per_write,
        "acknowledged_writes": cell.acknowledged,
        "lost_acknowledged_writes": cell.lost,
        "converged": cell.converged,
        "problem": cell.problem,
    }


def _write_columns(writes: Sequence[WriteSample]) -> Row:
    latencies = sorted(write.latency_ms for write in writes)
    lags = np.sort(np.concatenate([np.asarray(write.lag_ms, dtype=float) for write in writes] or [np.empty(0)]))
    asked = sum(write.asked for write in writes)
    low, high = bootstrap_interval(latencies, np.median) if latencies else (NOTHING, NOTHING)
    return {
        "writes": len(writes),
        "latency_ms_p50": float(np.median(latencies)) if latencies else NOTHING,
        "latency_ms_p50_low": low,
        "latency_ms_p50_high": high,
        "latency_bound_ms": min((write.bound_ms for write in writes), default=NOTHING),
        "stale_rate": sum(write.stale for write in writes) / asked if asked else NOTHING,
        "lag_ms_p50": percentile(lags, 0.5),
        "lag_ms_p99": percentile(lags, 0.99),
        "lag_ms_max": percentile(lags, 1.0),
    }


def _failover_columns(failovers: Sequence[FailoverSample]) -> Row:
    effective = [one for one in failovers if one.took_effect]
    times = [one.failover_ms for one in effective]
    low, high = bootstrap_interval(times, np.median) if times else (NOTHING, NOTHING)
    return {
        "kills": len(failovers),
        "kills_that_took_effect": len(effective),
        "failover_ms_p50": _median(times),
        "failover_ms_p50_low": low,
        "failover_ms_p50_high": high,
        "candidate_ms_p50": _median([one.candidate_ms for one in effective]),
        "elected_ms_p50": _median([one.elected_ms for one in effective]),
        "candidates_mean": float(np.mean([one.candidates for one in effective])) if effective else NOTHING,
        "elections_mean": float(np.mean([one.elections for one in effective])) if effective else NOTHING,
        "split_votes": sum(one.split_votes for one in effective),
    }


def _median(values: Sequence[float]) -> float:
    """Of what was seen."""
    seen = [value for value in values if not math.isnan(value)]
    return float(np.median(seen)) if seen else NOTHING
