"""Histories as JSON Lines, one event a line, close to Jepsen's: read and written as a stream, refused by line.

An operation is an `invoke` event and, unless it never returned, an `ok`, `fail` or `info` event of the same process.
A process has one operation open at a time, so a process whose operation ended in doubt is never used again.
`null` as the value of an `ok` read means that the key was absent. Events are ordered by time, at equal times by line.

Besides the keys of the design an event may carry `operation`, `cell`, `member`, `sequence`, `identifier`, `error` and,
on its invocation, `intended_ns`; others are ignored. docs/histories.md has the rules with examples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from workbench.errors import HistoryError
from workbench.history_operations import FUNCTIONS, OPEN, Operation, token, told
from workbench.history_values import Rule, register_values

TIME_MAX: Final = 2**62
"""Times are at most so far from 0, in ns: 146 years."""

_SHOWN_MAX: Final = 300
"""Characters of an error that shows values of the file."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"PK\x03\x04", b"\xfd7zXZ")


Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Time: TypeAlias = Annotated[int, msgspec.Meta(ge=-TIME_MAX, le=TIME_MAX)]


class Event(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """One line of a history. Every line has process, type, f, key, value and time_ns; `result` is of an `ok` cas."""

    process: Integer
    type: Literal["invoke", "ok", "fail", "info"]
    f: str
    key: str
    value: Any
    time_ns: Time
    result: bool | None = None
    session: Integer | None = None
    replica: str = ""
    term: Natural = 0
    index: Natural = 0
    member: Natural = 0
    operation: Integer | None = None
    cell: str = ""
    error: str = ""
    intended_ns: Time | None = None
    sequence: Natural = 0
    identifier: Natural = 0


class Pair(NamedTuple):
    """An operation as its events: `line` of each; `end` is None if it never returned."""

    invocation: Event
    line: int
    end: Event | None
    end_line: int


def write_events(events: Iterable[Event], path: Path | str) -> None:
    """Write events as they come, one a line."""
    encode = msgspec.json.Encoder().encode
    with Path(path).open("wb") as file:
        file.writelines(encode(event) + b"\n" for event in events)


def write_operations(operations: Iterable[Operation], path: Path | str) -> None:
    """Write operations as a history. Read again they are what they were, but for where places had gaps."""
    write_events(operation_events(operations), path)


def operation_events(operations: Iterable[Operation]) -> Iterator[Event]:
    """The events of operations in the order of their places."""
    placed: list[tuple[int, int, Event]] = []
    last = 0
    for number, one in enumerate(operations):
        value = [one.expected, one.value] if one.f == "cas" else one.value
        start = Event(
            process=one.process, type="invoke", f=one.f, key=one.key, value=None if one.f == "read" else value,
            time_ns=one.invoked_ns, session=one.session, operation=one.number, cell=one.cell,
        )  # fmt: skip
        placed.append((one.begin, number, start))
        last = max(last, one.begin)
        if one.completed_ns is not None:
            end = msgspec.structs.replace(
                start, type=one.outcome, value=value, time_ns=one.completed_ns, result=one.matched, error=one.error,
                replica=one.replica, term=one.term, index=one.index, member=one.member,
            )  # fmt: skip
            placed.append((one.end, number, end))
    # An operation in doubt has no place for its completion: its time finds one, behind all that have.
    placed.sort(key=lambda item: (item[2].time_ns, item[0], item[1]))
    return (event for *_, event in placed)


def read_pairs(
    path: Path | str, functions: Collection[str] | None = FUNCTIONS, rule: Rule = register_values
) -> Iterator[Pair]:
    """The operations of a history in the order in which they complete, those that never did last; as a stream.

    `functions`: those that may occur, None for any; `rule`: what their values must be. Raises `HistoryError` with the
    line that is wrong.
    """
    try:
        with Path(path).open("rb") as file:
            yield from _Reader(str(path), functions, rule).read(file)
    except OSError as error:
        raise HistoryError(f"cannot read the history {path}: {error.strerror}") from error


def read_operations(
    path: Path | str, functions: Collection[str] | None = FUNCTIONS, rule: Rule = register_values
) -> list[Operation]:
    """The operations of a history in the order of their invocation, with their places.

    `functions` and `rule` as for `read_pairs`. Raises `HistoryError` with the line that is wrong.
    """
    reader = _Reader(str(path), functions, rule)
    try:
        with Path(path).open("rb") as file:  # lines in the order of their times are the places: no event is kept
            operations = [_operation(pair, pair.line - 1, pair.end_line - 1) for pair in reader.read(file)]
    except OSError as error:
        raise HistoryError(f"cannot read the history {path}: {error.strerror}") from error
    if not reader.in_order:
        return placed_operations(list(read_pairs(path, functions, rule)))
    operations.sort(key=lambda operation: operation.begin)
    return operations


def placed_operations(pairs: list[Pair]) -> list[Operation]:
    """Operations with places: events in the order of their times, at equal times of their lines."""
    moments = [(pair.invocation.time_ns, pair.line) for pair in pairs]
    moments += [(pair.end.time_ns, pair.end_line) for pair in pairs if pair.end is not None]
    moments.sort()
    places = {line: place for place, (_, line) in enumerate(moments)}
    operations = [_operation(pair, places[pair.line], places.get(pair.end_line, OPEN)) for pair in pairs]
    operations.sort(key=lambda operation: operation.begin)
    return operations


def _operation(pair: Pair, begin: int, place_of_end: int) -> Operation:
    start, end = pair.invocation, pair.end
    outcome = "info" if end is None or end.type == "invoke" else end.type
    expected, value = start.value if start.f == "cas" else (None, start.value)
    if start.f == "read" or start.f not in FUNCTIONS:
        value = end.value if end is not None and outcome == "ok" else None if start.f == "read" else value
    matched = None
    if start.f == "cas" and outcome == "ok":
        matched = end is None or end.result is not False
    return Operation(
        number=start.operation or 0,
        process=start.process,
        f=start.f,
        key=start.key,
        value=value,
        expected=expected,
        matched=matched,
        outcome=outcome,
        begin=begin,
        end=OPEN if end is None or outcome == "info" else place_of_end,
        invoked_ns=start.time_ns,
        completed_ns=end.time_ns if end is not None else None,
        session=start.process if start.session is None else start.session,
        cell=start.cell,
        replica=end.replica if end else "",
        term=end.term if end else 0,
        index=end.index if end else 0,
        member=end.member if end else 0,
        error=end.error if end else "",
    )


class _Reader:
    """Pairs invocations with completions, line by line; keeps what is open, and which numbers were used."""

    def __init__(self, name: str, functions: Collection[str] | None, rule: Rule) -> None:
        self.name = name
        self.functions = functions
        self.rule = rule
        self.line = 0
        self.in_order = True
        """Whether all lines so far are events, in the order of their times."""
        self.open: dict[int, tuple[Event, int]] = {}
        self.in_doubt: set[int] = set()
        self.operations: set[int] = set()
        self.free_since: dict[int, int] = {}

    def read(self, lines: Iterable[bytes]) -> Iterator[Pair]:
        decode = msgspec.json.Decoder(Event).decode
        latest = -TIME_MAX
        for self.line, line in enumerate(lines, start=1):
            if not line.strip():
                self.in_order = False
                continue
            try:
                event = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise self.wrong(f"not an event: {error}", hint=_hint(line)) from error
            self.check(event)
            if event.time_ns < latest:
                self.in_order = False
            latest = event.time_ns
            if event.type == "invoke":
                self.invoke(event)
            else:
                yield self.complete(event)
        for event, line_number in self.open.values():
            yield Pair(event, line_number, None, 0)

    def check(self, event: Event) -> None:
        """What a line says by itself."""
        if self.functions is not None and event.f not in self.functions:
            raise self.wrong(f"f is {event.f!r}", hint=f"this history holds {', '.join(self.functions)}")
        if event.result is not None and (event.f != "cas" or event.type != "ok"):
            raise self.wrong(f"a result of {event.f} {event.type}", hint="only a cas that is ok has a result")
        problem = self.rule(event)
        if problem is not None:
            raise self.wrong(problem[0], hint=problem[1])

    def invoke(self, event: Event) -> None:
        if event.process in self.open or event.process in self.in_doubt:
            raise self.wrong(
                f"process {event.process} invokes while its earlier operation is open",
                hint="an operation ended by info stays open; go on with a new process",
            )
        if event.time_ns < self.free_since.get(event.process, event.time_ns):
            raise self.wrong(f"process {event.process} invokes before its earlier operation completed")
        event.operation = self.line - 1 if event.operation is None else event.operation
        if event.operation in self.operations:
            raise self.wrong(f"operation {event.operation} was invoked before")
        self.operations.add(event.operation)
        self.open[event.process] = event, self.line

    def complete(self, event: Event) -> Pair:
        if event.process not in self.open:
            raise self.wrong(f"process {event.process} has no open operation to end with {event.type}")
        invocation, line = self.open.pop(event.process)
        if (event.f, event.key) != (invocation.f, invocation.key):
            raise self.wrong(f"{event.f} of {event.key!r} ends {invocation.f} of {invocation.key!r}")
        given = event.f in {"write", "cas"} and event.type == "ok"
        if given and token(event.value) != token(invocation.value):
            raise self.wrong(f"a {event.f} of {told(invocation.value)} ends with value {_null(event.value)}")
        if event.time_ns < invocation.time_ns:
            raise self.wrong("completed before it was invoked")
        if event.type == "info":
            self.in_doubt.add(event.process)
        self.free_since[event.process] = event.time_ns
        return Pair(invocation, line, event, self.line)

    def wrong(self, what: str, *, hint: str = "") -> HistoryError:
        shown = what if len(what) <= _SHOWN_MAX else what[:_SHOWN_MAX] + " ..."
        return HistoryError(f"{self.name}, line {self.line}: {shown}", hint=hint)


def _hint(line: bytes) -> str:
    """What a line that is no event may be instead."""
    if line.startswith(_BYTE_ORDER_MARK):
        return "the file begins with a byte order mark: save it as UTF-8 without one"
    if line.startswith(_COMPRESSED):
        return "the file is compressed: unpack it first"
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "the file is UTF-16: save it as UTF-8"
    if line.startswith(b"[") or line.strip() == b"{":
        return "one object a line (JSON Lines), not one array or object over many"
    return "JSON has no NaN and no Infinity" if b"NaN" in line or b"Infinity" in line else ""


def _null(value: Any) -> str:
    return "null" if value is None else told(value)
