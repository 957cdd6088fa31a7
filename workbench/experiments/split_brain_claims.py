"""What a split-brain run shows, as pure functions over what happened and the operations: rows, and the claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from workbench.checkers import Verdict
from workbench.experiments.base import Row
from workbench.experiments.cells import claim

MINIMUMS = {"asked_the_old_leader": 3, "acknowledged_writes": 20}
_NOTHING = float("nan")


@dataclass(slots=True)
class Brains:
    """Two leaders of one cell. Times are in ms on the axis of the operations; None: it never came to this."""

    old_leader: str = ""
    old_term: int = 0
    new_leader: str = ""
    new_term: int = 0
    stopped_ms: float | None = None
    elected_ms: float | None = None
    back_ms: float | None = None
    old_still_leads: bool = False
    """Whether the old one led in its old term when the load ended."""
    problem: str = ""


def summary_row(brains: Brains, operations: pd.DataFrame, doubles: pd.DataFrame) -> Row:
    """Who led, what each acknowledged, and what was acknowledged twice.

    `asked_the_old_leader`: writes after its return that ended without an acknowledgement, or with one of its own; of
    them `acknowledged_by_the_old_leader`. With fencing it acknowledges none, and sessions that insist wait in vain.
    """
    writes = operations[operations["kind"] == "write"]
    acknowledged = writes[writes["outcome"] == "ok"]
    back_ns = float("inf") if brains.back_ms is None else brains.back_ms * 1e6
    after = writes[(writes["completed_ns"] > back_ns).fillna(False).to_numpy(dtype=bool)]
    ok_after = after[after["outcome"] == "ok"]
    by_old = int(((ok_after["term"] == brains.old_term) & (ok_after["replica"] == brains.old_leader)).sum())
    return {
        "old_leader": brains.old_leader,
        "new_leader": brains.new_leader,
        "old_term": brains.old_term,
        "new_term": brains.new_term,
        "took_over": _took_over(brains, acknowledged),
        "election_ms": _between(brains.stopped_ms, brains.elected_ms),
        "away_ms": _between(brains.stopped_ms, brains.back_ms),
        "acknowledged_writes": len(acknowledged),
        "asked_the_old_leader": by_old + len(after) - len(ok_after),
        "acknowledged_by_the_old_leader": by_old,
        "acknowledged_by_the_new_leader": int((ok_after["term"] > brains.old_term).sum()),
        "double_acknowledgements": len(doubles),
        "old_still_leads": brains.old_still_leads,
        "problem": brains.problem,
    }


def _took_over(brains: Brains, acknowledged: pd.DataFrame) -> bool:
    """Another leader acknowledged writes under a newer term before the old one came back."""
    if brains.back_ms is None or not brains.new_term > brains.old_term > 0:
        return False
    newer = acknowledged[acknowledged["term"] > brains.old_term]
    return bool((newer["completed_ns"] < brains.back_ms * 1e6).any())


def _between(begin: float | None, end: float | None) -> float:
    return _NOTHING if begin is None or end is None else end - begin


def judge(rows: Sequence[Row]) -> dict[str, Verdict]:
    """The claims, from the rows of the summary. Claims about cells that were not measured are not made."""
    fenced, unfenced = _split(rows)
    verdicts = {"a_new_leader_takes_over": claim({row["cell"]: _takes_over(row) for row in rows})}
    if fenced:
        verdicts["fencing_stops_the_old_leader"] = claim({row["cell"]: _is_stopped(row) for row in fenced})
    if unfenced:
        verdicts["without_fencing_two_leaders_acknowledge"] = _seen_somewhere(unfenced)
    return verdicts


def _split(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    every = list(rows)
    return [row for row in every if row["fencing"]], [row for row in every if not row["fencing"]]


def _takes_over(row: Row) -> Verdict:
    words = f"{row['new_leader']} leads in term {row['new_term']}, {row['old_leader']} led in term {row['old_term']}"
    return Verdict.expect(bool(row["took_over"]), row["problem"] or words)


def _is_stopped(row: Row) -> Verdict:
    """Nothing is shown where nobody took over, or nobody asked the old leader any more."""
    counts = {name: row[name] for name in ("double_acknowledgements", *MINIMUMS)}
    if row["double_acknowledgements"]:
        return Verdict.invalid(f"{row['double_acknowledgements']} indices were acknowledged twice", [row], **counts)
    if not row["took_over"]:
        return Verdict.unknown(row["problem"] or "nobody took over", **counts)
    judged = Verdict.valid(
        f"no index was acknowledged twice, though {row['asked_the_old_leader']} writes were kept waiting for "
        f"{row['old_leader']}",
        **counts,
    )
    for name, minimum in MINIMUMS.items():
        judged = judged.needing(name, minimum)
    return judged


def _seen_somewhere(rows: Sequence[Row]) -> Verdict:
    """Whether it was seen in one cell at least, and how often in each."""
    doubles = sum(row["double_acknowledgements"] for row in rows)
    reason = "; ".join(f"{row['cell']}: {row['double_acknowledgements']} indices" for row in rows)
    if not any(row["took_over"] for row in rows):
        return Verdict.unknown(next((row["problem"] for row in rows if row["problem"]), "nobody took over"))
    return Verdict.expect(doubles > 0, f"acknowledged twice in {reason}", double_acknowledgements=doubles)


def invariants(rows: Sequence[Row]) -> dict[str, Any]:
    """What must be the same on any machine: of the cells with fencing if there are any, else of the others.

    Those of the others stand beside them with `_without_fencing`. A value that could not be found out is None.
    """
    fenced, unfenced = _split(rows)
    found = _values(fenced or unfenced)
    if fenced and unfenced:
        found |= {f"{name}_without_fencing": value for name, value in _values(unfenced).items()}
    return found


def _values(rows: Sequence[Row]) -> dict[str, Any]:
    lost = [row["lost_acknowledged_writes"] for row in rows]
    return {
        "converged": all(row["converged"] for row in rows),
        "double_acknowledgements": sum(row["double_acknowledgements"] for row in rows),
        "lost_acknowledged_writes": None if None in lost else sum(lost),
    }
