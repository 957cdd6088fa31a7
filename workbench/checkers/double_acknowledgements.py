"""Whether two leaders acknowledged different entries at the same index: what must never happen, and is a split brain.

An acknowledged write names the position of its entry, (term, index). Of two entries at one index at most one can be in
the log that everybody ends up with: the clients of the other one were told of a success that is none. Writes of one
group share an entry, so what is counted is indices, not writes. Indices compare within a cell.
"""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from workbench.checkers.verdict import Verdict

WITNESSES_MAX: Final = 5
COLUMNS: Final = (
    "cell", "index", "old_term", "new_term", "old_writes", "new_writes", "old_values", "new_values", "at_ms",
)  # fmt: skip
VALUES_MAX: Final = 3
"""Values of an entry that are listed."""


def double_acknowledgements(operations: pd.DataFrame) -> pd.DataFrame:
    """One row an index at which entries of two terms were acknowledged, the lowest term and the highest.

    `old_writes`, `new_writes`: acknowledged writes of each; `old_values`, `new_values`: the first few of their values;
    `at_ms`: when both had an acknowledgement, on the axis of the operations.
    """
    acknowledged = operations[
        (operations["kind"] == "write") & (operations["outcome"] == "ok") & (operations["term"] > 0)
    ]
    terms = acknowledged.groupby(["cell", "index"])["term"].transform("nunique")
    rows = [
        _row(str(cell), int(index), entries)
        for (cell, index), entries in acknowledged[terms > 1].groupby(["cell", "index"], sort=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(cell: str, index: int, writes: pd.DataFrame) -> dict[str, Any]:
    terms = sorted(int(term) for term in writes["term"].unique())
    old, new = (writes[writes["term"] == term] for term in (terms[0], terms[-1]))
    return {
        "cell": cell,
        "index": index,
        "old_term": terms[0],
        "new_term": terms[-1],
        "old_writes": len(old),
        "new_writes": len(new),
        "old_values": _values(old),
        "new_values": _values(new),
        "at_ms": max(int(old["completed_ns"].min()), int(new["completed_ns"].min())) / 1e6,
    }


def _values(writes: pd.DataFrame) -> str:
    shown = ", ".join(str(value) for value in writes["value"].head(VALUES_MAX))
    return shown + (", ..." if len(writes) > VALUES_MAX else "")


def no_double_acknowledgement(doubles: pd.DataFrame, acknowledged: int) -> Verdict:
    """Valid if `doubles` is empty; unknown if nothing was acknowledged."""
    counts = {"double_acknowledgements": len(doubles), "acknowledged_writes": acknowledged}
    if len(doubles):
        witness = tuple(doubles.head(WITNESSES_MAX).astype(object).to_dict(orient="records"))
        return Verdict("invalid", f"{len(doubles)} indices were acknowledged by two leaders", witness, counts)
    if not acknowledged:
        return Verdict("unknown", "no write was acknowledged", (), counts)
    return Verdict("valid", f"none of {acknowledged} acknowledged writes has a double", (), counts)
