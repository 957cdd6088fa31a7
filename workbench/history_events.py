"""Histories as JSON Lines, one event a line, close to Jepsen's; to and from the table of operations.

An operation is an `invoke` event and, unless it never returned, an `ok`, `fail` or `info` event of the same process.
A process has one operation open at a time, so a process whose operation ended in doubt is never used again.
`null` as the value of an `ok` read means that the key was absent. Errors name the line.

Besides the keys of the design an event may carry `operation`, `cell`, `member`, `sequence`, `identifier`, `error` and,
on its invocation, `intended_ns`: with them a table comes back from its history as it was, but for operations that were
never sent.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pandas as pd

from workbench.errors import HistoryError
from workbench.history import operations_frame
from workbench.operation_rows import OperationRow

Function = Literal["read", "write"]


class Event(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One line of a history. Every line has process, type, f, key, value and time_ns."""

    process: int
    type: Literal["invoke", "ok", "fail", "info"]
    f: str
    key: str
    value: int | list[int | None] | None
    time_ns: int
    session: int | None = None
    replica: str = ""
    term: int = 0
    index: int = 0
    member: int = 0
    operation: int | None = None
    cell: str = ""
    error: str = ""
    intended_ns: int | None = None
    sequence: int = 0
    identifier: int = 0


def write_history(operations: pd.DataFrame, path: Path | str) -> None:
    """Write a table of operations as a history. Operations that were never sent are not part of it."""
    encode = msgspec.json.Encoder().encode
    with Path(path).open("wb") as file:
        file.writelines(encode(event) + b"\n" for event in events(operations))


def events(operations: pd.DataFrame) -> Iterator[Event]:
    """The events of a table of operations in the order of their times."""
    names = [str(name) for name in operations.columns]
    columns = [[None if value is pd.NA else value for value in operations[name].tolist()] for name in names]
    rows = [OperationRow(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]
    sent = sorted((row for row in rows if row.invoked_ns is not None), key=lambda row: row.invoked_ns or 0)
    process_of = _processes(sent)
    timed: list[tuple[int, int, int, Event]] = []
    for row in sent:
        timed += _pair(row, process_of[row.operation])
    timed.sort(key=lambda item: item[:3])
    return (event for _, _, _, event in timed)


def _pair(row: OperationRow, process: int) -> list[tuple[int, int, int, Event]]:
    """Invocation and completion, each with its place in time; at equal times invocations come first (concurrent)."""
    invoked = row.invoked_ns or 0
    start = Event(
        process=process,
        type="invoke",
        f=row.kind,
        key=row.key,
        value=row.value if row.kind == "write" else None,
        time_ns=invoked,
        session=row.session,
        operation=row.operation,
        cell=row.cell,
        intended_ns=row.intended_ns,
        sequence=row.sequence,
        identifier=row.identifier,
    )
    pair = [(invoked, 0, row.operation, start)]
    if row.completed_ns is not None:
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
        pair.append((row.completed_ns, 1, row.operation, end))
    return pair


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


def read_history(path: Path | str) -> pd.DataFrame:
    """The table of operations of a history. Raises `HistoryError` with the line that is wrong.

    An operation that never returned counts as indefinite. Without `intended_ns` an operation was meant to start when
    it did; without `session` its process is its session.
    """
    try:
        with Path(path).open("rb") as file:
            return operations_frame(_Reader(str(path)).read(file))
    except OSError as error:
        raise HistoryError(f"cannot read the history {path}: {error.strerror}") from error


class _Reader:
    """Pairs invocations with completions, line by line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.line = 0
        self.open: dict[int, Event] = {}
        self.in_doubt: set[int] = set()
        self.operations: set[int] = set()

    def read(self, lines: Iterable[bytes]) -> Iterator[OperationRow]:
        decode = msgspec.json.Decoder(Event).decode
        for self.line, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                event = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise self.wrong(f"not an event: {error}") from error
            if event.f not in ("read", "write"):
                raise self.wrong(f"f is {event.f!r}", hint="this table holds read and write")
            if isinstance(event.value, list):
                raise self.wrong(f"the value of a {event.f} is a list", hint="an integer or null")
            if event.type == "invoke":
                self.invoke(event)
            else:
                yield self.complete(event)
        for event in self.open.values():
            yield _operation(event, None)

    def invoke(self, event: Event) -> None:
        if event.process in self.open or event.process in self.in_doubt:
            raise self.wrong(
                f"process {event.process} invokes while its earlier operation is open",
                hint="an operation ended by info stays open; go on with a new process",
            )
        if event.f == "write" and event.value is None:
            raise self.wrong("a write without a value")
        event.operation = self.line - 1 if event.operation is None else event.operation
        if event.operation in self.operations:
            raise self.wrong(f"operation {event.operation} was invoked before")
        self.operations.add(event.operation)
        self.open[event.process] = event

    def complete(self, event: Event) -> OperationRow:
        invocation = self.open.pop(event.process, None)
        if invocation is None:
            raise self.wrong(f"process {event.process} has no open operation to end with {event.type}")
        if (event.f, event.key) != (invocation.f, invocation.key):
            raise self.wrong(f"{event.f} of {event.key!r} ends {invocation.f} of {invocation.key!r}")
        if event.f == "write" and event.type == "ok" and event.value != invocation.value:
            raise self.wrong(f"a write of {invocation.value} ends with value {event.value}")
        if event.time_ns < invocation.time_ns:
            raise self.wrong("completed before it was invoked")
        if event.type == "info":
            self.in_doubt.add(event.process)
        return _operation(invocation, event)

    def wrong(self, what: str, *, hint: str = "") -> HistoryError:
        return HistoryError(f"{self.name}, line {self.line}: {what}", hint=hint)


def _operation(invocation: Event, end: Event | None) -> OperationRow:
    value = invocation.value if invocation.f == "write" or end is None or end.type != "ok" else end.value
    assert not isinstance(value, list)
    return OperationRow(
        operation=invocation.operation or 0,
        cell=invocation.cell,
        session=invocation.process if invocation.session is None else invocation.session,
        kind="read" if invocation.f == "read" else "write",
        key=invocation.key,
        value=value,
        outcome="info" if end is None or end.type == "invoke" else end.type,
        error=end.error if end else "",
        replica=end.replica if end else "",
        term=end.term if end else 0,
        index=end.index if end else 0,
        member=end.member if end else 0,
        intended_ns=invocation.time_ns if invocation.intended_ns is None else invocation.intended_ns,
        invoked_ns=invocation.time_ns,
        completed_ns=end.time_ns if end else None,
        sequence=invocation.sequence,
        identifier=invocation.identifier,
    )
