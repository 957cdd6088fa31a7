"""How an invented run becomes a folder, as real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from workbench.checkers.verdict import Verdict
from workbench.results import RunFolder

Row = dict[str, Any]


def write(
    root: Path,
    experiment: str,
    question: str,
    summary: list[Row],
    tables: dict[str, list[Row]],
    *,
    empty: bool,
    world: str = "real",
) -> RunFolder:
    """The run as a folder under `root`."""
    writer = RunFolder.create(
        root,
        experiment=experiment,
        title=question,
        question=question,
        parameters={"followers": 2, "ack": ("async", "sync"), "duration_s": 1.0},
        seed=7,
        profile="quick",
        world=world,
        broker={"name": "mosquitto", "version": "2.0.21", "settings": {"set_tcp_nodelay": "true"}},
    )
    writer.note(claims={"first_claim": "Something holds on any machine.", "second_claim": "Something else does."})
    second = Verdict.unknown("no reads were made") if empty else Verdict.valid("seen 12 times", reads=640)
    return writer.finish(
        summary=pd.DataFrame(summary),
        tables={name: pd.DataFrame(rows) for name, rows in tables.items()},
        verdicts={"first_claim": Verdict.valid("p50 is 21 ms"), "second_claim": second},
        checks={"convergence": Verdict.valid("digests are equal")},
        invariants={"converged": True, "lost_acknowledged_writes": 0},
    )
