"""Invented runs in which followers come and go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.unit.synthetic_folder import Row, write
from workbench.results import RunFolder

BUCKET_MS = 100.0


def rates(cell: str, until_ms: float, rate_of: Callable[[str, float], float]) -> list[Row]:
    """Rows of `rates_over_time`: `rate_of(kind, at_ms)` operations a second end well, none badly."""
    return [
        {"cell": cell, "at_ms": place * BUCKET_MS, "kind": kind, "ok_per_s": rate_of(kind, place * BUCKET_MS)}
        | {"not_ok_per_s": 0.0}
        for kind in ("read", "write")
        for place in range(int(until_ms / BUCKET_MS))
    ]


def crash_row(ack: str, **changes: object) -> Row:
    """A row of the summary of `follower_crash` as it should be."""
    waits = ack == "sync"
    missed = 9 if waits else 700
    return {
        "cell": f"ack={ack}",
        "ack": ack,
        "followers": 2,
        "position_on_disk": "1.260",
        "position_recovered": "1.260",
        "first_entry_fetched": "1.261",
        "entries_missed": missed,
        "entries_fetched": missed,
        "entries_sent_twice": 0,
        "down_ms": 2_000.0,
        "restart_ms": 350.0,
        "catch_up_ms": 40.0,
        "catch_up_entries_per_s": missed / 0.04,
        "catch_up_writes_per_s": missed / 0.04,
        "writes_begun_down": 3 if waits else 780,
        "writes_acknowledged_down": 0 if waits else 778,
        "writes_waiting": 16 if waits else 2,
        "writes": 1_800,
        "writes_per_s_before": 400.0,
        "writes_per_s_down": 0.0 if waits else 390.0,
        "write_gap_ms_down": 2_000.0 if waits else 20.0,
        "reads": 1_700,
        "reads_per_s_before": 400.0,
        "reads_per_s_down": 150.0,
        "read_gap_ms_down": 90.0,
        "not_ok": 0,
    } | changes


def follower_crash_run(root: Path, *, empty: bool = False, twice: int = 0) -> RunFolder:
    """Writes go on under quorum and wait under sync. `twice`: entries sent although they were there."""
    summary = [crash_row(ack, entries_sent_twice=twice) for ack in ("quorum", "sync")]
    if empty:
        summary = [row | {"position_recovered": "0.0"} for row in summary]
    events, over_time = [], []
    moments = {"killed": 1_000.0, "restarted": 3_000.0, "asks for what it missed": 3_350.0, "caught up": 3_500.0}
    for row in summary:
        cell = str(row["cell"])
        waits = row["ack"] == "sync"

        def rate_of(kind: str, at_ms: float, *, waits: bool = waits) -> float:
            down = moments["killed"] <= at_ms < moments["caught up"]
            return 400.0 if not down else 150.0 if kind == "read" else 0.0 if waits else 390.0

        over_time += rates(cell, 4_500.0, rate_of)
        events += [
            {"cell": cell, "at_ms": at_ms, "event": event, "replica": "replica-3", "detail": ""}
            for event, at_ms in moments.items()
        ]
    tables = {} if empty else {"events": events, "rates": over_time}
    return write(root, "follower_crash", "Where was I?", summary, tables, empty=empty)


def join_row(megabytes: float = 8.0, **changes: object) -> Row:
    """A row of the summary of `new_follower` as it should be."""
    steps = {
        "start_ms": 400.0,
        "snapshot_wait_ms": 120.0,
        "snapshot_transfer_ms": 15.0 * megabytes,
        "snapshot_install_ms": 12.0 * megabytes,
        "catch_up_ms": 40.0,
    }
    return {
        "cell": f"database_mb={megabytes:g}",
        "ack": "sync",
        "database_mb": megabytes,
        "followers": 2,
        "snapshot_position": "1.582",
        "first_entry": "1.583",
        "entries_during_join": 90,
        "entries_fetched": 80,
        "snapshot_bytes": int(megabytes * 1e6),
        **steps,
        "snapshot_made_ms": 100.0,
        "join_ms": sum(steps.values()),
        "writes": 1_200,
        "writes_during_join": 180,
        "writes_per_s_before": 200.0,
        "writes_per_s_during": 196.0,
        "reads_per_s_before": 200.0,
        "reads_per_s_during": 199.0,
        "write_gap_ms_before": 30.0,
        "write_gap_ms_during": 71.0,
        "write_latency_ms_p50_before": 3.0,
        "write_latency_ms_p99_before": 9.0,
        "write_latency_ms_p50_during": 8.0,
        "write_latency_ms_p99_during": 76.0,
        "write_latency_ms_p50_after": 4.0,
        "write_latency_ms_p99_after": 12.0,
        "probe_needed": True,
        "probe_waited": True,
        "probe_acknowledged": True,
        "is_member": True,
        "converged": True,
        "not_ok": 0,
    } | changes


def new_follower_run(root: Path, *, empty: bool = False) -> RunFolder:
    """A replica joins with 8 MB and with 40 MB."""
    summary = [join_row(8.0), join_row(40.0)]
    if empty:
        summary = [row | {"snapshot_position": "0.0"} for row in summary]
    events, over_time = [], []
    for row in summary:
        cell, at_ms = str(row["cell"]), 1_000.0
        named = {"asked to join": 0.0, "asks the leader": row["start_ms"], "snapshot ready": row["snapshot_wait_ms"]}
        named |= {"snapshot received": row["snapshot_transfer_ms"], "snapshot installed": row["snapshot_install_ms"]}
        named |= {"member": row["catch_up_ms"]}
        moments = {}
        for event, after_ms in named.items():
            at_ms += float(after_ms)
            moments[event] = at_ms
        of_leader = {"snapshot begun": moments["snapshot ready"] - 100.0, "snapshot made": moments["snapshot ready"]}
        for replica, times in (("replica-4", moments), ("replica-1", of_leader)):
            events += [
                {"cell": cell, "at_ms": time_ms, "event": event, "replica": replica, "detail": ""}
                for event, time_ms in times.items()
            ]
        over_time += rates(cell, at_ms + 1_000.0, lambda kind, _: 200.0 if kind == "read" else 196.0)
    tables = {} if empty else {"events": events, "rates": over_time}
    return write(root, "new_follower", "Can a replica join while writes go on?", summary, tables, empty=empty)
