"""An invented run of `trade_off`, and what it is made of."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.unit.synthetic_folder import Row, write
from workbench.metrics.weighing import dominated_by
from workbench.results import RunFolder

ACKS = {
    "async": (1.5, 24.0, 0.32),
    "semi_sync:1": (9.8, 0.0, 0.27),
    "quorum": (26.0, 0.0, 0.17),
    "sync": (75.0, 0.0, 0.0),
}
"""Ack policy -> median write in ms, writes lost at a failover, stale rate of reads from any replica."""
READ_POLICIES = ("any", "sticky", "read_your_writes", "leader", "linearizable")


def policy_row(ack: str, read_policy: str, **changes: object) -> Row:
    """A row of the summary as it should be, but for the front."""
    latency, lost, stale = ACKS[ack]
    leads = read_policy in {"leader", "linearizable"}
    rates = {"stale_rate_acknowledged": 0.0 if leads else stale, "stale_rate": 0.0 if leads else max(stale, 0.2)}
    bounds = {f"{name}_low": max(rate - 0.04, 0.0) for name, rate in rates.items()}
    bounds |= {f"{name}_high": rate + 0.04 for name, rate in rates.items()}
    read_ms = 24.0 if read_policy == "linearizable" else 1.2
    return {
        "cell": f"ack={ack}, read_policy={read_policy}",
        "ack": ack,
        "read_policy": read_policy,
        "writes": 300,
        "writes_not_ok": 0,
        "writes_per_s": 200.0,
        "target_rate_per_s": 1_000.0,
        "achieved_rate_per_s": 999.0,
        "target_met": True,
        **{f"write_latency_ms_{name}": latency * factor for name, factor in _FACTORS.items()},
        "reads": 230,
        "reads_not_ok": 0,
        "reads_at_risk": 230,
        **{f"read_latency_from_send_ms_{name}": read_ms * factor for name, factor in _FACTORS.items()},
        "leader_share": 1.0 if leads else 0.27,
        **rates,
        **bounds,
        "age_ms_p50": 20.0,
        "age_ms_p99": 70.0,
        **{f"read_your_writes_{name}": value for name, value in _VIOLATIONS.items()},
        **{f"monotonic_reads_{name}": value for name, value in _VIOLATIONS.items()},
        "failovers": 1,
        "lost_acknowledged_writes": lost,
        "lost_writes_per_failover": lost,
        "may_lose_writes": ack in {"async", "semi_sync:1"},
        "lost_window_ms": lost * 5.0,
        "election_ms": 700.0,
        "outage_ms": 820.0,
    } | changes


_FACTORS = {"mean": 1.1, "p50": 1.0, "p50_low": 0.9, "p50_high": 1.1, "p99": 4.0}
_VIOLATIONS = {"checked": 150, "violations": 3, "violation_rate": 0.02}


def trade_off_run(
    root: Path, *, empty: bool = False, acks: tuple[str, ...] = tuple(ACKS), **changes: object
) -> RunFolder:
    """The weaker the ack policy, the faster the writes, the more is lost and the staler are reads of any replica."""
    nothing = {"reads": 0, "writes": 0} if empty else {}
    rows = [policy_row(ack, policy, **changes, **nothing) for ack, policy in itertools.product(acks, READ_POLICIES)]
    beaten = dominated_by(rows)
    summary = [
        row | {"on_front": place is None, "dominated_by": "" if place is None else rows[place]["cell"]}
        for row, place in zip(rows, beaten, strict=True)
    ]
    failovers = [{"cell": f"ack={ack}", "ack": ack, "kill": 1, "took_effect": True} for ack in acks]
    return write(root, "trade_off", "What does freshness cost?", summary, {"failovers": failovers}, empty=empty)
