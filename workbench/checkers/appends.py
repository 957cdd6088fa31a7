"""What became of writes that overwrite nothing, by the rows that were there at the end. Nothing has to be inferred.

Every write adds a row with a value of its own, so each replica's rows say of each write exactly whether it took effect:
- `lost`: it was acknowledged, and its row is absent;
- `denied`: it was reported as failed for certain, and its row is there;
- `repeated`: its row is there more than once.
Whether a write in doubt took effect is counted too: it may have.

Judges one cell at a time, since each has a table of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import pandas as pd

from workbench.checkers.verdict import Verdict

Fault: TypeAlias = Literal["lost", "denied", "repeated"]

FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
WITNESSES_MAX: Final = 5
WRITE_COLUMNS: Final = [
    "operation", "session", "key", "value", "outcome", "term", "index", "completed_ns", "sequence", "identifier",
]  # fmt: skip
"""Columns of `Appends.writes` that come from the table of operations."""

_WORDS: Final[dict[Fault, str]] = {
    "lost": "acknowledged writes are absent",
    "denied": "writes that failed for certain are there",
    "repeated": "writes are there more than once",
}

FinalRows = Mapping[str, Iterable[tuple[str, int]]]
"""Replica -> (key, value) of every row that it held."""


@dataclass(frozen=True, slots=True)
class Appends:
    """`writes`: one row a write, with its operation, `replicas` (how many hold it), `copies` (the most that one of them
    holds), and whether it was `lost` (on at least one replica), `denied` or `repeated`."""

    writes: pd.DataFrame
    counts: Mapping[str, int | float]
    problem: str = ""

    def verdict(self, fault: Fault) -> Verdict:
        """Valid: there were writes that could have had the fault, and none has it."""
        found = self.writes[self.writes[fault]]
        if self.problem:
            return Verdict("unknown", self.problem, (), self.counts)
        if len(found):
            shown = found.head(WITNESSES_MAX).astype(object)
            witness = tuple(shown.where(shown.notna(), None).to_dict(orient="records"))
            return Verdict("invalid", f"{len(found)} {_WORDS[fault]}", witness, self.counts)
        if fault == "lost" and not self.counts["acknowledged_writes"]:
            return Verdict("unknown", "no write was acknowledged", (), self.counts)
        return Verdict("valid", f"of {len(self.writes)} writes none is {fault}", (), self.counts)

    def verdicts(self) -> dict[str, Verdict]:
        """Fault -> whether no write has it."""
        return {fault: self.verdict(fault) for fault in FAULTS}


def appends(operations: pd.DataFrame, final: FinalRows) -> Appends:
    """Compare one cell's table of operations with the rows that each replica held at the end.

    Raises `ValueError` for operations of several cells.
    """
    if operations["cell"].nunique() > 1:
        raise ValueError("appends judges one cell at a time")
    writes = operations.loc[operations["kind"] == "write", WRITE_COLUMNS].reset_index(drop=True)
    names = list(zip(writes["key"], writes["value"].tolist(), strict=True))
    held = {replica: Counter(rows) for replica, rows in final.items()}
    writes["replicas"] = [sum(name in rows for rows in held.values()) for name in names]
    writes["copies"] = [max((rows[name] for rows in held.values()), default=0) for name in names]
    writes["lost"] = (writes["outcome"] == "ok") & (writes["replicas"] < len(held))
    writes["denied"] = (writes["outcome"] == "fail") & (writes["replicas"] > 0)
    writes["repeated"] = writes["copies"] > 1
    counts = _counts(writes, len(held))
    unexplained = {name for rows in held.values() for name in rows} - set(names)
    return Appends(writes, counts | {"unexplained_rows": len(unexplained)}, _problem(names, held, unexplained))


def _counts(writes: pd.DataFrame, replicas: int) -> dict[str, int | float]:
    in_doubt = writes[writes["outcome"] == "info"]
    return {
        "replicas": replicas,
        "writes": len(writes),
        "acknowledged_writes": int((writes["outcome"] == "ok").sum()),
        "lost_acknowledged_writes": int(writes["lost"].sum()),
        "denied_writes": int(writes["denied"].sum()),
        "repeated_writes": int(writes["repeated"].sum()),
        "writes_in_doubt": len(in_doubt),
        "writes_in_doubt_there": int((in_doubt["replicas"] > 0).sum()),
    }


def _problem(names: list[tuple[str, int]], held: Mapping[str, Counter[Any]], unexplained: set[tuple[str, int]]) -> str:
    """Why nothing can be said, in one line; the empty string if something can."""
    if not held:
        return "no final rows were given"
    if len(set(names)) < len(names):
        return "two writes have the same key and value, so a row does not tell which it is"
    return f"{len(unexplained)} rows are explained by no write" if unexplained else ""
