"""The table of operations: what every client did, one row an operation, as a DataFrame.

Checkers and metrics judge this table and nothing else, so whatever enters it is validated once, here: columns and
types as `operation_rows.COLUMNS` has them, and the few laws that every history obeys (a definite outcome has a
time, nothing completed before it was sent). Histories of other systems come in through `workbench.history_tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd

from workbench.errors import HistoryError
from workbench.operation_rows import COLUMNS, KINDS, OUTCOMES, OperationRow, read_rows

SCHEMA: Final[dict[str, str]] = {column.name: column.dtype for column in COLUMNS}
"""Column name -> pandas type, in the order of the table."""

INT64_RANGE = (-(2**63), 2**63 - 1)


def operations_frame(rows: Iterable[OperationRow | Mapping[str, Any]]) -> pd.DataFrame:
    """The validated table of operations made from rows; a mapping may leave out what has a default.

    Raises `HistoryError`.
    """
    structs = [row if isinstance(row, OperationRow) else _row(row) for row in rows]
    columns = zip(*map(msgspec.structs.astuple, structs), strict=True) if structs else ((),) * len(COLUMNS)
    frame = pd.DataFrame(
        {
            column.name: _array(column.name, column.dtype, values)
            for column, values in zip(COLUMNS, columns, strict=True)
        }
    )
    return validate_operations(frame)


def read_operations(path: Path | str, *, partial: bool = False) -> pd.DataFrame:
    """The table of operations that a load generator streamed to `path` (see `operation_rows`).

    Raises `HistoryError`; `partial` accepts a file whose writer was killed.
    """
    return operations_frame(read_rows(path, partial=partial))


def validate_operations(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` itself if it is a table of operations; raise `HistoryError` that names what is wrong."""
    _validate_columns(frame)
    if frame["operation"].duplicated().any():
        _refuse(frame, frame["operation"].duplicated(), "a number that was used before")
    _refuse(frame, ~frame["kind"].isin(KINDS), "a kind that is neither of " + ", ".join(KINDS))
    _refuse(frame, ~frame["outcome"].isin(OUTCOMES), "an outcome that is none of " + ", ".join(OUTCOMES))
    _refuse(frame, (frame["kind"] == "write") & frame["value"].isna(), "no value, though it is a write")
    _refuse(frame, (frame["outcome"] != "fail") & frame["invoked_ns"].isna(), "no invoked_ns, though it did not fail")
    definite = (frame["outcome"] != "info") & frame["invoked_ns"].notna()
    _refuse(frame, definite & frame["completed_ns"].isna(), "no completed_ns, though its outcome is definite")
    _refuse(frame, frame["completed_ns"].notna() & frame["invoked_ns"].isna(), "a completed_ns, but no invoked_ns")
    early = (frame["completed_ns"] < frame["invoked_ns"]).fillna(False)
    _refuse(frame, early, "a completed_ns before its invoked_ns")
    for name in ("term", "index", "member", "sequence", "identifier"):
        _refuse(frame, frame[name] < 0, f"a negative {name}")
    return frame


def complete_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """An older table of operations with the columns that came later: `sequence` and `identifier`, unknown."""
    later = {name: np.int64(0) for name in ("sequence", "identifier") if name not in frame.columns}
    return frame.assign(**later)


def _validate_columns(frame: pd.DataFrame) -> None:
    missing = [name for name in SCHEMA if name not in frame.columns]
    if missing:
        raise HistoryError("the table of operations lacks the column " + ", ".join(missing))
    unknown = [str(name) for name in frame.columns if name not in SCHEMA]
    if unknown:
        raise HistoryError(
            "the table of operations has an unknown column " + ", ".join(unknown),
            hint="its columns are " + ", ".join(SCHEMA),
        )
    for name, dtype in SCHEMA.items():
        if str(frame[name].dtype) != dtype:
            raise HistoryError(f"column {name} has type {frame[name].dtype}", hint=f"it must be {dtype}")


def _refuse(frame: pd.DataFrame, bad: pd.Series, what: str) -> None:
    mask = np.asarray(bad, dtype=bool)
    if mask.any():
        first = int(frame["operation"].to_numpy()[mask][0])
        others = int(mask.sum()) - 1
        raise HistoryError(f"operation {first} has {what}" + (f" (and {others} more)" if others else ""))


def _row(values: Mapping[str, Any]) -> OperationRow:
    try:
        return OperationRow(**values)
    except TypeError as error:
        raise HistoryError(f"not an operation: {error}", hint="columns are " + ", ".join(SCHEMA)) from error


def _array(name: str, dtype: str, values: Iterable[Any]) -> Any:
    listed = list(values)
    expected: type | tuple[type, ...] = str if dtype == "str" else (int, np.integer)
    for value in listed:  # pandas would turn 1.5 into a string or, beyond 2**53, round it
        if not isinstance(value, expected) and not (value is None and dtype == "Int64"):
            raise HistoryError(f"column {name} holds {value!r}", hint=f"its type is {dtype}")
        if isinstance(value, int) and not INT64_RANGE[0] <= value <= INT64_RANGE[1]:
            raise HistoryError(f"column {name} holds {value}, which is beyond 64 bits")
    if dtype == "int64":
        return np.array(listed, dtype=np.int64)
    return pd.array(listed, dtype="Int64") if dtype == "Int64" else pd.array(listed, dtype="str")
