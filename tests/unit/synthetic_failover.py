"""An invented run of `failover`, and what it is made of."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tests.unit.synthetic_folder import Row, write
from tests.unit.synthetic_followers import rates
from workbench.checkers import DroppedEntry, Losses, appends, losses
from workbench.experiments.failover_kills import Kill
from workbench.history import operations_frame
from workbench.results import RunFolder

CELL = "ack=async"
KILLED_MS = (1_000.0, 3_000.0)
FIRST_MS = (1_600.0, 3_700.0)
"""When the next leader first acknowledged something."""
EVERY_MS = 10.0


def kill(number: int, **changes: object) -> Kill:
    """The kill of that number, as it should be."""
    at_ms = KILLED_MS[number - 1]
    made = Kill(
        number,
        leader=f"replica-{number}",
        successor=f"replica-{number + 1}",
        term_before=number,
        term_after=number + 1,
        gone=True,
        killed_ms=at_ms,
        elected_ms=at_ms + 590,
        restarted_ms=at_ms + 900,
        caught_up_ms=at_ms + 950,
        rewinds=1,
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def writes_of(terms: int = 3, *, until_ms: float = 4_500.0) -> pd.DataFrame:
    """A write every 10 ms, acknowledged in its term, but for those while nobody led, which failed."""
    rows: list[Row] = []
    for number in range(int(until_ms / EVERY_MS)):
        at_ms = number * EVERY_MS
        term = 1 + sum(at_ms >= first for first in FIRST_MS)
        leaderless = any(killed <= at_ms < first for killed, first in zip(KILLED_MS, FIRST_MS, strict=True))
        is_known = term <= terms and not leaderless
        rows.append(
            {
                "operation": number + 1,
                "cell": CELL,
                "kind": "write",
                "key": "k",
                "value": number + 1,
                "outcome": "ok" if is_known else "fail",
                "replica": f"replica-{term}" if is_known else "",
                "term": term if is_known else 0,
                "index": number + 1 if is_known else 0,
                "invoked_ns": round(at_ms * 1e6),
                "completed_ns": round(at_ms * 1e6),
                "identifier": 5,
                "sequence": number + 1,
            }
        )
    return operations_frame(rows)


def losses_of(operations: pd.DataFrame, *, lost: set[int], dropped: set[int]) -> Losses:
    """Both accounts, where the rows of the values in `lost` are absent and rewinds dropped those in `dropped`."""
    acknowledged = set(operations.loc[operations["outcome"] == "ok", "value"]) - lost
    rows = [("k", int(value)) for value in acknowledged]
    found = appends(operations, {"a": rows, "b": rows})
    entries = [DroppedEntry("replica-1", "0001", 1, value, ((5, value),)) for value in sorted(dropped)]
    return losses(found.writes, entries, {(5, int(value)) for value in acknowledged})


def kill_row(number: int, *, ack: str, lost: int, again: int = 2) -> Row:
    """A row of the summary."""
    at_ms = KILLED_MS[(number - 1) % 2] + 4_000 * ((number - 1) // 2)
    return {
        "cell": f"ack={ack}",
        "ack": ack,
        "kill": number,
        "leader": f"replica-{1 + (number - 1) % 3}",
        "successor": f"replica-{1 + number % 3}",
        "term_before": number,
        "term_after": number + 1,
        "took_effect": True,
        "killed_ms": at_ms,
        "election_ms": 560.0 + 40 * number,
        "recovery_ms": 600.0 + 40 * number,
        "outage_ms": 620.0 + 40 * number,
        "down_ms": 900.0,
        "catch_up_ms": 40.0,
        "failed": 0,
        "indefinite": 0,
        "rewinds": 1,
        "entries_dropped": lost + again,
        "took_effect_again": again,
        "lost_acknowledged_writes": lost,
        "problem": "",
    }


def failover_run(
    root: Path, *, empty: bool = False, kills: int = 2, ack: str = "async", lost: int = 20, again: int = 2
) -> RunFolder:
    """Writes stop from each kill to the next election, reads go on."""
    summary = [] if empty else [kill_row(number, ack=ack, lost=lost, again=again) for number in range(1, kills + 1)]
    events: list[Row] = [_event(0.0, "leads", "replica-1")]
    for row in summary:
        at_ms = row["killed_ms"]
        events += [
            _event(at_ms - 100, "cut off", row["leader"]),
            _event(at_ms, "killed", row["leader"]),
            _event(at_ms + row["election_ms"], "leads", row["successor"]),
            _event(at_ms + row["down_ms"], "restarted", row["leader"]),
            _event(at_ms + row["down_ms"] + row["catch_up_ms"], "caught up", row["leader"]),
        ]

    def rate_of(kind: str, at_ms: float) -> float:
        waits = any(row["killed_ms"] <= at_ms < row["killed_ms"] + row["recovery_ms"] for row in summary)
        burst = any(0 <= at_ms - row["killed_ms"] - row["recovery_ms"] < 100 for row in summary)
        return 150.0 if kind == "read" else 0.0 if waits else 1_500.0 if burst else 200.0

    over_time = rates(f"ack={ack}", 2_500.0 + 2_000 * kills, rate_of)
    tables = {} if empty else {"events": events, "rates": over_time}
    return write(root, "failover", "Which acknowledged writes survive?", summary, tables, empty=empty)


def _event(at_ms: float, event: str, replica: str) -> Row:
    return {"cell": CELL, "at_ms": at_ms, "event": event, "replica": replica, "detail": ""}
