"""What a trade-off run shows: from what each ack policy's cluster went through to a row a policy and the verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import pandas as pd

from workbench.checkers import Appends, Losses, SessionGuarantees, Staleness, Verdict, convergence
from workbench.checkers.sessions import GUARANTEES, Guarantee
from workbench.cluster.cluster import ConvergenceReport
from workbench.experiments.base import Outcome, Row
from workbench.experiments.cells import cell_name, rate_columns, records
from workbench.experiments.disturbed import DisturbedLoad
from workbench.experiments.failover_claims import kill_rows, survives_failover
from workbench.experiments.failover_kills import Kill
from workbench.experiments.trade_off_claims import AckFacts, ReadFacts, judge
from workbench.metrics import latency_summary, rates_over_time
from workbench.metrics.weighing import dominated_by

LOST_ROWS_MAX = 1_000
"""Lost writes of an ack policy that the run folder lists; all of them are counted."""
JUDGED: tuple[Guarantee, ...] = ("read_your_writes", "monotonic_reads")
_NOTHING = float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What the cluster of one ack policy went through, and what the checkers say of it."""

    ack: str
    read_policies: tuple[str, ...]
    """Session n has the one at place n modulo their number."""
    members: int
    leader: str
    """Until the first failover."""
    begin_ms: float
    end_ms: float
    """What was due in between is measured."""
    failovers: int
    """How many there were to be."""
    load: DisturbedLoad
    kills: tuple[Kill, ...]
    converged: ConvergenceReport = field(
        default_factory=lambda: ConvergenceReport(ok=False, reason="nobody has asked", digests={}, positions={})
    )
    appends: Appends | None = None
    losses: Losses | None = None
    staleness: Staleness | None = None
    guarantees: SessionGuarantees | None = None

    @property
    def measured(self) -> pd.DataFrame:
        """The operations that were due in the measured time."""
        operations = self.load.operations
        due_ms = operations["intended_ns"].to_numpy(dtype=float, na_value=_NOTHING) / 1e6
        return operations[(due_ms >= self.begin_ms) & (due_ms < self.end_ms)]

    def has(self, read_policy: str, table: pd.DataFrame) -> pd.Series:
        """Which rows belong to sessions with this read policy."""
        return table["session"] % len(self.read_policies) == self.read_policies.index(read_policy)


def before_failover(observed: Observed) -> pd.DataFrame:
    """The operations until the first leader was cut off: writes sent, and reads answered, by then.

    A write that was acknowledged before and lost after is missed by nobody who reads before.
    """
    operations = observed.load.operations
    first = observed.kills[0] if observed.kills else None
    end_ms = math.inf if first is None else next((at for at in (first.cut_ms, first.killed_ms) if at), math.inf)
    invoked_ms, completed_ms = (
        operations[name].to_numpy(dtype=float, na_value=math.inf) / 1e6 for name in ("invoked_ns", "completed_ns")
    )
    is_read = (operations["kind"] == "read").to_numpy(dtype=bool)
    return operations[(is_read & (completed_ms < end_ms)) | (~is_read & (invoked_ms < end_ms))]


def outcome_of(observed: Sequence[Observed], *, world: str, slowest_ms: float) -> Outcome:
    """Everything that goes into the run folder. `slowest_ms`: the delay of the farthest follower."""
    failovers = {one.ack: _failover_rows(one) for one in observed}
    summary = _with_front([row for one in observed for row in _summary_rows(one, failovers[one.ack])])
    acks = [_ack_facts(one, failovers[one.ack]) for one in observed]
    reads = [
        ReadFacts(ack=one.ack, read_policy=policy, fresh=_of(one, policy).verdict("stale_rate_acknowledged"))
        for one in observed
        for policy in one.read_policies
    ]
    operations = pd.concat([one.load.operations for one in observed], ignore_index=True)
    operations["operation"] = range(len(operations))
    return Outcome(
        operations=operations,
        summary=summary,
        tables={
            "failovers": [row for rows in failovers.values() for row in rows],
            "lost_writes": [row for one in observed for row in _lost_rows(one)],
            "sessions": [row for one in observed for row in _session_rows(one)],
            "rates": [row for one in observed for row in records(rates_over_time(one.load.operations))],
            "events": [event for one in observed for event in one.load.events],
        },
        verdicts=judge(acks, reads, slowest_ms=slowest_ms),
        checks=_checks(observed),
        invariants=_invariants(observed, acks, world),
    )


# Rows.


def _failover_rows(one: Observed) -> list[Row]:
    assert one.losses is not None
    labels: Row = {"cell": one.load.cell, "ack": one.ack}
    return [labels | row for row in kill_rows(one.kills, one.load.operations, one.losses)]


def _summary_rows(one: Observed, failovers: Sequence[Row]) -> list[Row]:
    """One row a read policy. Writes and failovers are those of the ack policy: the same in each of them."""
    measured = one.measured
    writes, reads = (measured[measured["kind"] == kind] for kind in ("write", "read"))
    shared = rate_columns(measured) | _latency(writes, "write", "intended") | _failover_figures(one, failovers, writes)
    rows = []
    for policy in one.read_policies:
        mine = reads[one.has(policy, reads)]
        answered = mine[mine["outcome"] == "ok"]
        share = float((answered["replica"] == one.leader).mean()) if len(answered) else _NOTHING
        labels = {"cell": cell_name(ack=one.ack, read_policy=policy), "ack": one.ack, "read_policy": policy}
        rows.append(
            labels
            | shared
            | _latency(mine, "read", "actual")
            | {"leader_share": share}
            | _stale(_of(one, policy))
            | _violations(one, policy)
        )
    return rows


def _latency(operations: pd.DataFrame, kind: str, start: str) -> Row:
    """Columns about the latency of these operations of one kind; from the moment they were sent for `actual`."""
    found = {figures["start"]: figures for figures in records(latency_summary(operations, by=("cell",)))}
    figures = found.get(start, {})
    prefix = f"{kind}_latency_ms" if start == "intended" else f"{kind}_latency_from_send_ms"
    names = ("mean", "p50", "p50_low", "p50_high", "p99")
    return {
        f"{kind}s": figures.get("count", 0),
        f"{kind}s_not_ok": figures.get("failed", 0) + figures.get("indefinite", 0),
        **{f"{prefix}_{name}": figures.get(f"latency_ms_{name}", _NOTHING) for name in names},
    }


def _failover_figures(one: Observed, failovers: Sequence[Row], writes: pd.DataFrame) -> Row:
    """Sums and medians over the failovers that took effect; nan without one, and where contents are unknown."""
    assert one.losses is not None
    effective = [row for row in failovers if row["took_effect"]]
    known = bool(effective) and one.converged.ok
    lost = one.losses.counts["lost_acknowledged_writes"] if known else _NOTHING
    each = lost / len(effective) if known else _NOTHING
    per_s = (writes["outcome"] == "ok").sum() / (one.end_ms - one.begin_ms) * 1e3
    return {
        "writes_per_s": float(per_s),
        "failovers": len(effective),
        "lost_acknowledged_writes": lost,
        "lost_writes_per_failover": each,
        "may_lose_writes": not survives_failover(one.ack, one.members),
        "lost_window_ms": each / per_s * 1e3 if per_s else _NOTHING,
        "election_ms": _median(effective, "election_ms"),
        "outage_ms": _median(effective, "outage_ms"),
    }


def _median(rows: Sequence[Row], column: str) -> float:
    values = [float(row[column]) for row in rows if not math.isnan(row[column])]
    return median(values) if values else _NOTHING


def _of(one: Observed, read_policy: str) -> Staleness:
    """The measured reads of one read policy, judged among all operations before the failover."""
    assert one.staleness is not None
    reads = one.staleness.reads
    mine = one.has(read_policy, reads) & reads["operation"].isin(one.measured["operation"])
    return replace(one.staleness, reads=reads[mine])


def _stale(found: Staleness) -> Row:
    figures = next(iter(records(found.summary())), {})
    rates = [f"{name}{end}" for name in ("stale_rate_acknowledged", "stale_rate") for end in ("", "_low", "_high")]
    ages = ["age_ms_p50", "age_ms_p99"]
    return {"reads_at_risk": figures.get("reads_at_risk", 0)} | {
        name: figures.get(name, _NOTHING) for name in [*rates, *ages]
    }


def _violations(one: Observed, read_policy: str) -> Row:
    """What the sessions with this read policy saw of their guarantees, until the failover."""
    assert one.guarantees is not None
    checked = one.guarantees.checked
    mine = replace(one.guarantees, checked=checked[one.has(read_policy, checked)])
    found = {figures["guarantee"]: figures for figures in records(mine.summary("guarantee"))}
    row: Row = {}
    for guarantee in JUDGED:
        figures = found.get(guarantee, {})
        row |= {f"{guarantee}_{name}": figures.get(name, 0) for name in ("checked", "violations")}
        row |= {
            f"{guarantee}_violation_rate{end}": figures.get(f"violation_rate{end}", _NOTHING)
            for end in ("", "_low", "_high")
        }
    return row


def _with_front(rows: list[Row]) -> list[Row]:
    beaten = dominated_by(rows)
    return [
        row | {"on_front": place is None, "dominated_by": "" if place is None else rows[place]["cell"]}
        for row, place in zip(rows, beaten, strict=True)
    ]


def _lost_rows(one: Observed) -> list[Row]:
    """What either account names."""
    assert one.losses is not None
    kept = ("operation", "key", "value", "term", "index", "completed_ns", "sequence", "identifier")
    flags = ("lost", "dropped", "took_effect_again")
    labels: Row = {"cell": one.load.cell, "ack": one.ack}
    return [labels | row for row in records(one.losses.writes[[*kept, *flags]].head(LOST_ROWS_MAX))]


def _session_rows(one: Observed) -> list[Row]:
    count = len(one.read_policies)
    return [
        {"cell": one.load.cell, "session": session, "read_policy": one.read_policies[session % count]}
        for session in range(one.load.config.sessions)
    ]


# Verdicts.


def _ack_facts(one: Observed, failovers: Sequence[Row]) -> AckFacts:
    assert one.losses is not None
    assert one.appends is not None
    writes = one.measured[one.measured["kind"] == "write"]
    figures = _latency(writes, "write", "intended")
    return AckFacts(
        ack=one.ack,
        survives=survives_failover(one.ack, one.members),
        writes=figures["writes"],
        write_latency_ms_p50=figures["write_latency_ms_p50"],
        failovers=tuple(failovers),
        failovers_asked=one.failovers,
        losses=one.losses,
        problem=one.appends.problem,
        rates=rate_columns(one.measured),
    )


def _checks(observed: Sequence[Observed]) -> dict[str, Verdict]:
    checks: dict[str, dict[str, Verdict]] = {}
    for one in observed:
        assert one.appends is not None
        assert one.staleness is not None
        assert one.guarantees is not None
        report = one.converged
        found: dict[str, Verdict] = {
            "convergence": convergence(report.digests) if report.digests else Verdict.invalid(report.reason),
            **one.appends.verdicts(),
            "staleness": one.staleness.verdict("stale_rate_acknowledged"),
            **{guarantee: one.guarantees.verdict(guarantee) for guarantee in GUARANTEES},
        }
        for name, verdict in found.items():
            checks.setdefault(name, {})[one.load.cell] = verdict
    return {name: Verdict.all(verdicts) for name, verdicts in checks.items()}


def _invariants(observed: Sequence[Observed], acks: Sequence[AckFacts], world: str) -> dict[str, Any]:
    known = all(one.converged.ok for one in observed)
    promised = [facts.losses.counts["lost_acknowledged_writes"] for facts in acks if facts.survives]
    return {
        "converged": known,
        "failovers": sum(one.failovers for one in observed),
        "failovers_that_took_effect": sum(bool(row["took_effect"]) for facts in acks for row in facts.failovers),
        "lost_acknowledged_writes": sum(promised) if known else None,
        "replica_processes": max((one.members for one in observed), default=0),
        "world": world,
    }
