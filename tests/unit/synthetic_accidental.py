"""An invented run of `accidental_failover`, and what it is made of."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.unit.synthetic_folder import Row, write
from tests.unit.synthetic_followers import rates
from workbench.results import RunFolder

END_MS = 9_000.0


def accidental_row(congestion: float, timeout_ms: float, **changes: object) -> Row:
    """A row of the summary as it should be: only short timeouts with congestion depose anybody."""
    deposed = 6 if congestion > 1 and timeout_ms < 400 else 0
    return {
        "cell": f"congestion={congestion:g}, election_timeout_ms={timeout_ms:g}",
        "congestion": congestion,
        "election_timeout_ms": timeout_ms,
        "pre_vote": True,
        "check_quorum": True,
        "ack": "quorum",
        "observed_s": 8.0,
        "observed_timeouts": 8_000.0 / timeout_ms * (1 if timeout_ms <= 400 else 2),
        "write_bytes": 4_087.0,
        "bandwidth_bytes_per_s": 64 * 4_087.0 / congestion if congestion else float("nan"),
        "queue_ms_max": 500.0 * congestion,
        "false_failovers": deposed,
        "false_failovers_per_min": deposed / 8 * 60,
        "elections": deposed,
        "without_leader_share": 0.4 if deposed else 0.0,
        "lag_ms_p50": 200.0 if congestion else 0.0,
        "lag_ms_max": 700.0 if congestion else 0.0,
        "acknowledged_writes": 250,
        "writes_per_s": 31.0 if deposed else 41.0,
        "latency_ms_p50": 900.0 if congestion else 2.0,
        "failed": 0,
        "indefinite": 0,
        **{f"writes_per_s_{window}": 30.0 if deposed else float("nan") for window in ("before", "during", "after")},
        **{f"failed_{window}": 0 for window in ("before", "during", "after")},
        "stall_ms": 12.0,
        "crashed_replicas": 0,
        "converged": True,
        "lost_acknowledged_writes": 0,
        "problem": "",
    } | changes


def accidental_failover_run(root: Path, *, empty: bool = False) -> RunFolder:
    """Two loads at two timeouts."""
    summary = [accidental_row(load, timeout) for load, timeout in itertools.product((0.0, 1.5), (200.0, 800.0))]
    failovers: list[Row] = []
    events: list[Row] = []
    over_time: list[Row] = []
    for row in summary:
        cell = str(row["cell"])
        events += [
            {"cell": cell, "at_ms": at_ms, "event": "link", "replica": "", "detail": "slow"}
            for at_ms in (700.0, 8_700.0)
        ]
        over_time += rates(cell, END_MS, lambda kind, _: 40.0 if kind == "write" else 0.0)
        failovers += [
            {"cell": cell, "failover": place + 1, "at_ms": 1_000.0 + 1_200 * place, "elected_ms": 400.0}
            for place in range(int(str(row["false_failovers"])))
        ]
    tables = {} if empty else {"failovers": failovers, "events": events, "rates": over_time}
    question = "When does a slow network depose a healthy leader?"
    return write(root, "accidental_failover", question, [] if empty else summary, tables, empty=empty)
