"""Between histories and DataFrames: the table of operations, the tidy frame of any history, Parquet.

- The *table of operations* (`workbench.history`): reads and writes of integers. `write_history` and `read_history` turn
  it into JSON Lines and back; `history_columns` makes one of any history, with a number in place of each value.
- The *tidy frame*: one row an operation of any history, values as JSON text, so that a column has one type and Parquet
  can hold it: `to_frame` and `from_frame`.

`open_history` reads whatever it is given: JSON Lines, either table as Parquet, or a run folder.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec
import pandas as pd

from workbench.errors import HistoryError
from workbench.history import SCHEMA, complete_columns, operations_frame, validate_operations
from workbench.history_bulk import Progress, read_coded
from workbench.history_columns import Coded, coded_table
from workbench.history_events import Event, Pair, placed_operations, read_operations, read_pairs, write_events
from workbench.history_operations import FUNCTIONS, Operation, told
from workbench.history_values import Rule, register_values
from workbench.operation_rows import KINDS, OperationRow

FRAME: Final[dict[str, str]] = {
    "number": "int64", "cell": "str", "process": "int64", "session": "int64", "f": "str", "key": "str", "value": "str",
    "expected": "str", "matched": "boolean", "outcome": "str", "error": "str", "replica": "str", "term": "int64",
    "index": "int64", "member": "int64", "begin": "int64", "end": "int64", "invoked_ns": "int64",
    "completed_ns": "Int64",
}  # fmt: skip
"""Column -> type of the tidy frame; `value` and `expected` are JSON text."""


class History:
    """A history from anywhere; its operations are made when they are asked for, since not every checker needs them."""

    def __init__(
        self,
        name: str,
        operations: Callable[[], list[Operation]],
        coded: Callable[[], Coded] | None = None,
        faults: pd.DataFrame | None = None,
        rollbacks: Sequence[Path] = (),
    ) -> None:
        self.name = name
        self.faults = faults
        """Of a run folder: its table of events (`cell`, `at_ms`, `event`, `replica`, `detail`)."""
        self.rollbacks = tuple(rollbacks)
        """Of a run folder: the files in which rewinds wrote what they dropped."""
        self._operations = operations
        self._coded = coded

    @cached_property
    def operations(self) -> list[Operation]:
        """The operations in the order of their invocation. Raises `HistoryError` with the line that is wrong."""
        return self._operations()

    @cached_property
    def coded(self) -> Coded:
        """The same as a table of operations. Raises `HistoryError` with the line that is wrong."""
        return coded_table(self.operations) if self._coded is None else self._coded()

    def __len__(self) -> int:
        return len(self.operations) if "operations" in self.__dict__ else self.coded.operations


def open_history(
    path: Path | str,
    functions: Collection[str] | None = FUNCTIONS,
    rule: Rule = register_values,
    *,
    progress: Progress | None = None,
) -> History:
    """JSON Lines, Parquet or a run folder.

    `functions`: those that may occur, None for any; `rule`: what their values must be. Raises `HistoryError` for what
    is no history; a bad line is found when the history is read, which is when something of it is asked for.
    """
    path = Path(path)
    if path.is_dir():
        events = path / "tables" / "events.parquet"
        if not (path / "operations.parquet").exists():
            raise HistoryError(f"{path} has no operations.parquet", hint="a history is a file, or a run folder")
        faults = _read_parquet(events) if events.exists() else None
        rollbacks = sorted(path.glob("rollback/**/*.jsonl"))
        return _of_parquet(path / "operations.parquet", functions, rule, faults, rollbacks)
    if path.exists() and not path.is_file():  # a pipe can be read only once
        raise HistoryError(f"{path} is no regular file", hint="save the history to a file first")
    if path.suffix == ".parquet":
        return _of_parquet(path, functions, rule)
    return History(str(path), lambda: read_operations(path, functions, rule), lambda: read_coded(path, progress))


def _of_parquet(
    path: Path,
    functions: Collection[str] | None,
    rule: Rule,
    faults: pd.DataFrame | None = None,
    rollbacks: Sequence[Path] = (),
) -> History:
    frame = _read_parquet(path)
    if "f" in frame.columns:
        operations = from_frame(frame, functions, rule)
        return History(str(path), lambda: operations, None, faults, rollbacks)
    table = validate_operations(complete_columns(frame))
    if functions is not None and not set(KINDS) <= set(functions):
        raise HistoryError(f"{path} holds {' and '.join(KINDS)}", hint=f"asked for are {' and '.join(functions)}")
    sent = int(table["invoked_ns"].notna().sum())
    return History(str(path), lambda: table_operations(table), lambda: Coded(table, sent), faults, rollbacks)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise HistoryError(f"cannot read the history {path}: {' '.join(str(error).split())}") from error


# ---- the table of operations


def write_history(operations: pd.DataFrame, path: Path | str) -> None:
    """Write a table of operations as a history. Operations that were never sent are not part of it."""
    write_events(events(operations), path)


def read_history(path: Path | str) -> pd.DataFrame:
    """The table of operations of a history of integers. Raises `HistoryError` with the line that is wrong.

    An operation that never returned counts as indefinite. Without `intended_ns` an operation was meant to start when
    it did; without `session` its process is its session.
    """
    return operations_frame(_row(pair, str(path)) for pair in read_pairs(path, ("read", "write")))


def _row(pair: Pair, name: str) -> OperationRow:
    start, end = pair.invocation, pair.end
    value = start.value if start.f == "write" or end is None or end.type != "ok" else end.value
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        line = pair.line if start.f == "write" else pair.end_line
        raise HistoryError(f"{name}, line {line}: value is {told(value)}", hint="this table holds integers")
    if value is not None and not -(2**63) <= value < 2**63:
        raise HistoryError(f"{name}, line {pair.line}: value is {value}, which is beyond 64 bits")
    return OperationRow(
        operation=start.operation or 0,
        cell=start.cell,
        session=start.process if start.session is None else start.session,
        kind="read" if start.f == "read" else "write",
        key=start.key,
        value=value,
        outcome="info" if end is None or end.type == "invoke" else end.type,
        error=end.error if end else "",
        replica=end.replica if end else "",
        term=end.term if end else 0,
        index=end.index if end else 0,
        member=end.member if end else 0,
        intended_ns=start.time_ns if start.intended_ns is None else start.intended_ns,
        invoked_ns=start.time_ns,
        completed_ns=end.time_ns if end else None,
        sequence=start.sequence,
        identifier=start.identifier,
    )


def events(operations: pd.DataFrame) -> Iterator[Event]:
    """The events of a table of operations in the order of their times."""
    timed: list[tuple[int, int, int, Event]] = []
    for pair in _pairs(operations):
        number = pair.invocation.operation or 0
        timed.append((pair.invocation.time_ns, 0, number, pair.invocation))
        if pair.end is not None:
            timed.append((pair.end.time_ns, 1, number, pair.end))
    timed.sort(key=lambda item: item[:3])
    return (event for *_, event in timed)


def table_operations(operations: pd.DataFrame) -> list[Operation]:
    """The operations of a table; at equal times invocations come first, so that they are concurrent."""
    pairs = list(_pairs(operations))
    count = len(pairs)
    numbered = [pair._replace(line=number + 1, end_line=count + number + 1) for number, pair in enumerate(pairs)]
    return placed_operations(numbered)


def _pairs(operations: pd.DataFrame) -> Iterator[Pair]:
    names = [str(name) for name in operations.columns]
    columns = [[None if value is pd.NA else value for value in operations[name].tolist()] for name in names]
    rows = [OperationRow(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]
    sent = sorted((row for row in rows if row.invoked_ns is not None), key=lambda row: row.invoked_ns or 0)
    process_of = _processes(sent)
    return (_pair(row, process_of[row.operation]) for row in sent)


def _pair(row: OperationRow, process: int) -> Pair:
    start = Event(
        process=process,
        type="invoke",
        f=row.kind,
        key=row.key,
        value=row.value if row.kind == "write" else None,
        time_ns=row.invoked_ns or 0,
        session=row.session,
        operation=row.operation,
        cell=row.cell,
        intended_ns=row.intended_ns,
        sequence=row.sequence,
        identifier=row.identifier,
    )
    if row.completed_ns is None:
        return Pair(start, 0, None, 0)
    end = msgspec.structs.replace(
        start,
        type=row.outcome,
        value=row.value,
        time_ns=row.completed_ns,
        replica=row.replica,
        term=row.term,
        index=row.index,
        member=row.member,
        error=row.error,
        intended_ns=None,
    )
    return Pair(start, 0, end, 0)


def _processes(rows: Iterable[OperationRow]) -> dict[int, int]:
    """Operation -> process, each with one open operation at a time; rows come in order of invocation."""
    busy: list[tuple[int, int]] = []  # (time at which the process is free again, process)
    free: list[int] = []
    chosen: dict[int, int] = {}
    created = 0
    for row in rows:
        while busy and busy[0][0] < (row.invoked_ns or 0):
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            process = heapq.heappop(free)
        else:
            process, created = created, created + 1
        chosen[row.operation] = process
        if row.outcome != "info" and row.completed_ns is not None:
            heapq.heappush(busy, (row.completed_ns, process))
    return chosen


# ---- the tidy frame


def to_frame(operations: Iterable[Operation]) -> pd.DataFrame:
    """Any history as a DataFrame that Parquet can hold."""
    listed = list(operations)
    columns: dict[str, Any] = {}
    for name, dtype in FRAME.items():
        values = [getattr(one, name) for one in listed]
        if name in {"value", "expected"}:
            values = [msgspec.json.encode(value).decode() for value in values]
        columns[name] = pd.array(values, dtype=dtype)
    return pd.DataFrame(columns)


def from_frame(
    frame: pd.DataFrame, functions: Collection[str] | None = FUNCTIONS, rule: Rule = register_values
) -> list[Operation]:
    """The operations of a tidy frame, in the order of their places.

    `functions` and `rule` as for `open_history`. Raises `HistoryError` with the row that is wrong.
    """
    missing = [name for name in FRAME if name not in frame.columns]
    if missing:
        hint = "it is neither a tidy frame of a history nor a table of operations: " + ", ".join(SCHEMA)
        raise HistoryError("the history lacks the column " + ", ".join(missing), hint=hint)
    columns = [[None if value is pd.NA else value for value in frame[name].tolist()] for name in FRAME]
    operations = []
    numbers: set[int] = set()
    for place, values in enumerate(zip(*columns, strict=True)):
        row = dict(zip(FRAME, values, strict=True))
        try:
            row["value"], row["expected"] = msgspec.json.decode(row["value"]), msgspec.json.decode(row["expected"])
            one = msgspec.convert(row, Operation)
        except (msgspec.MsgspecError, TypeError) as error:
            raise HistoryError(f"row {place} of the history is no operation: {error}") from error
        problem = _problem(one, functions, rule) or ("its number was used before" if one.number in numbers else "")
        if problem:
            raise HistoryError(f"row {place} of the history is no operation: {problem}")
        numbers.add(one.number)
        operations.append(one)
    return sorted(operations, key=lambda one: one.begin)


def _problem(one: Operation, functions: Collection[str] | None, rule: Rule) -> str:
    """What is wrong with an operation of a frame; the empty string if nothing is."""
    if functions is not None and one.f not in functions:
        return f"f is {one.f!r}, not one of {', '.join(functions)}"
    value = [one.expected, one.value] if one.f == "cas" else one.value
    for kind in ("invoke", one.outcome):
        shown = None if one.f == "read" and kind == "invoke" else value
        problem = rule(Event(process=one.process, type=kind, f=one.f, key=one.key, value=shown, time_ns=0))
        if problem is not None:
            return f"{problem[0]} ({problem[1]})"
    if one.end <= one.begin or (one.completed_ns is not None and one.completed_ns < one.invoked_ns):
        return "it completed before it was invoked"
    if one.outcome != "info" and one.completed_ns is None:
        return f"no completed_ns, though its outcome is {one.outcome}"
    return ""
