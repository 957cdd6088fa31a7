"""An invented run of `split_brain`, and what it is made of."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.unit.synthetic_folder import Row, write
from tests.unit.synthetic_followers import rates
from workbench.results import RunFolder

STOPPED_MS, ELECTED_MS, BACK_MS, END_MS = 400.0, 1_000.0, 1_500.0, 3_000.0


def brain_row(how: str, *, fencing: bool, **changes: object) -> Row:
    """A row of the summary as it should be."""
    return {
        "cell": f"how={how}, fencing={str(fencing).lower()}",
        "how": how,
        "fencing": fencing,
        "ack": "quorum",
        "old_leader": "replica-1",
        "new_leader": "replica-2",
        "old_term": 1,
        "new_term": 2,
        "took_over": True,
        "election_ms": ELECTED_MS - STOPPED_MS,
        "away_ms": BACK_MS - STOPPED_MS,
        "acknowledged_writes": 150,
        "asked_the_old_leader": 12 if fencing else 90,
        "acknowledged_by_the_old_leader": 0 if fencing else 90,
        "acknowledged_by_the_new_leader": 60,
        "double_acknowledgements": 0 if fencing else 40,
        "old_still_leads": not fencing,
        "problem": "",
        "converged": True,
        "lost_acknowledged_writes": 0 if fencing else 90,
    } | changes


def split_brain_run(
    root: Path,
    *,
    empty: bool = False,
    fencings: tuple[bool, ...] = (True, False),
    hows: tuple[str, ...] = ("pause", "cut"),
) -> RunFolder:
    """With fencing the new leader alone acknowledges after its election, without both do, at the same indices."""
    summary = [brain_row(how, fencing=fencing) for how, fencing in itertools.product(hows, fencings)]
    acknowledged: list[Row] = []
    events: list[Row] = []
    over_time: list[Row] = []
    for row in summary:
        cell = str(row["cell"])
        acknowledged += _acknowledged(cell, both=not row["fencing"])
        words = ("paused", "resumed") if row["how"] == "pause" else ("cut off", "mended")
        told = [(0.0, "leads", 1), (STOPPED_MS, words[0], 1), (ELECTED_MS, "leads", 2), (BACK_MS, words[1], 1)]
        told += [] if row["fencing"] else [(BACK_MS, "still leads", 1)]
        events += [
            {"cell": cell, "at_ms": at_ms, "event": event, "replica": f"replica-{number}", "detail": ""}
            for at_ms, event, number in told
        ]
        over_time += rates(cell, END_MS, lambda _, at_ms: 0.0 if STOPPED_MS <= at_ms < ELECTED_MS else 80.0)
    tables = {} if empty else {"acknowledged": acknowledged, "events": events, "rates": over_time}
    summary = [row | {"acknowledged_writes": 0} for row in summary] if empty else summary
    return write(root, "split_brain", "Who stops the old leader?", summary, tables, empty=empty)


def _acknowledged(cell: str, *, both: bool) -> list[Row]:
    rows = [(at_ms, 1, 1 + at_ms // 20) for at_ms in range(0, int(STOPPED_MS), 20)]
    rows += [(at_ms, 2, 1 + (at_ms - 600) // 20) for at_ms in range(int(ELECTED_MS), int(END_MS), 20)]
    if both:
        rows += [(at_ms, 1, 1 + (at_ms - 1_000) // 20) for at_ms in range(int(BACK_MS) + 100, int(END_MS), 20)]
    return [
        {"cell": cell, "at_ms": float(at_ms), "replica": f"replica-{term}", "term": term, "index": index}
        for at_ms, term, index in rows
    ]
