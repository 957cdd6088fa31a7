"""What SQLite has compiled a statement into (EXPLAIN), as far as it decides about order: which instructions run once
for each row of a scan whose order SQL leaves open.

A statement is one program, and each trigger and foreign key action that it may fire another. Rules:

- A loop is a jump backwards. It is open when it walks through a table or an index, or when what it walks through (a
  temporary table, a sorter, a coroutine, a set of rowids) was filled in an open loop. What is not understood is open.
- That no loop is needed is a proof: SQLite leaves one out only where a unique key allows one row at most.
- The scan of `sqlite_sequence` for AUTOINCREMENT is no loop in this sense.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import apsw

_Row: TypeAlias = tuple[int, str, int, int, int, str | None, int, str | None]

_STEPS = frozenset({"Next", "Prev", "SorterNext", "VNext"})
_REAL = frozenset({"OpenRead", "OpenWrite", "ReopenIdx"})
_OPENS = _REAL | {"VOpen", "OpenEphemeral", "OpenAutoindex", "OpenDup", "OpenPseudo", "SorterOpen"}
_FEEDS = frozenset({"Insert", "IdxInsert", "SorterInsert", "Sequence"})
_SEEKS = frozenset({"SeekRowid", "NotExists", "SeekGE", "SeekGT", "SeekLE", "SeekLT", "Found", "NotFound", "Rewind"})
_CALLS = frozenset({"Function", "PureFunc", "AggStep", "AggStep1", "AggInverse", "AggValue", "AggFinal"})
_FILLS_NOTHING_WORDS = """
    Affinity Close DecrJumpZero Delete EndCoroutine Eq Ge Gosub Goto Gt Halt HaltIfNull IdxGE IdxGT IdxInsert If
    IfNot IfPos Init InitCoroutine Insert IsNull Last Le Lt MustBeInt Ne Next NoConflict NotExists NotNull Once
    OpenEphemeral OpenRead OpenWrite Prev Program Return Rewind SeekGE SeekGT SeekLE SeekLT SeekRowid SorterOpen
    Transaction Yield
"""
_FILLS_NOTHING = frozenset(_FILLS_NOTHING_WORDS.split())
"""Instructions whose second and third numbers are no registers that they write to."""
_ROOT_IN_REGISTER = 16

NO_BINDINGS: Any = apsw._null_bindings  # type: ignore[attr-defined]
"""Leaves every parameter NULL, however many there are: APSW has it for tools that compile statements only."""


class Operation(NamedTuple):
    """One instruction."""

    address: int
    name: str
    p1: int
    p2: int
    p3: int
    p4: str
    p5: int


class Loop(NamedTuple):
    """Instructions from `start` to `end` that may run more than once."""

    start: int
    end: int
    closing: Operation


class Segment(NamedTuple):
    """The instructions of one statement of a program, from `start` up to `end`."""

    text: str
    start: int
    end: int


class Program:
    """One program, and which of its instructions run in an order that SQL leaves open."""

    def __init__(self, operations: list[Operation], sequence_root: int, fixed_order: bool) -> None:
        self.operations = operations
        self._sequence_root = sequence_root
        self._fixed_order = fixed_order
        """The virtual tables that it reads have an order of their own."""
        self._found: set[tuple[int, int]] = set()

    @property
    def trigger(self) -> str:
        """Name of the trigger, empty for the statement itself and for a foreign key action."""
        return self.operations[0].p4.removeprefix("-- TRIGGER ") if self.operations else ""

    @property
    def defers_keys(self) -> bool:
        """Whether it counts violations of deferred foreign keys."""
        return any(operation.name == "FkCounter" and operation.p1 for operation in self.operations)

    def segments(self, text: str) -> list[Segment]:
        """The statements of a trigger; or the whole program as one statement `text`."""
        end = len(self.operations)
        traces = [operation for operation in self.operations if operation.name == "Trace"]
        if not traces:
            return [Segment(text, 0, end)]
        places = [trace.address for trace in traces] + [end]
        return [Segment("", 0, places[0])] + [
            Segment(trace.p4.removeprefix("-- "), start, stop)
            for trace, start, stop in zip(traces, places, places[1:], strict=False)
        ]

    def opened(self, operation: Operation) -> Operation | None:
        """The instruction that opened the cursor of `operation`."""
        found = self._openings.get(operation.p1, [])
        return next((before for before in reversed(found) if before.address < operation.address), None)

    def root(self, operation: Operation) -> int:
        """Root page of the table or index that `operation` works on, -1 for one made by the statement itself; 0 when
        it is none, or `sqlite_sequence`."""
        opened = self.opened(operation)
        if opened is None or not _is_real(opened) or opened.p2 == self._sequence_root:
            return 0
        return -1 if opened.p5 & _ROOT_IN_REGISTER else opened.p2

    def calls(self, segment: Segment) -> Iterator[tuple[str, Operation]]:
        """(function in lower case, instruction) of each call."""
        for operation in self.operations[segment.start : segment.end]:
            if operation.name in _CALLS and operation.p4:
                yield operation.p4.partition("(")[0].lower(), operation

    def scanned(self, segment: Segment) -> tuple[set[int], bool]:
        """(root pages, whether anything else) of what the open loops of `segment` walk through."""
        roots: set[int] = set()
        others = False
        for loop in self._loops:
            if segment.start <= loop.start < segment.end and (loop.start, loop.end) in self._open:
                root = self.root(loop.closing) if loop.closing.name in _STEPS else 0
                if root:
                    roots.add(root)
                elif loop.closing.name == "VNext":
                    others = True
                probed = {
                    found
                    for operation in self.operations[loop.start : loop.end]
                    if operation.name in _SEEKS and (found := self.root(operation))
                }
                if not root and self._is_list(loop):
                    roots |= probed
        if any(True for _ in self._repeated_subroutines()):
            roots |= {self.root(operation) for operation in self.operations if operation.name in _SEEKS} - {0}
        return roots, others

    def in_open_loop(self, address: int) -> bool:
        """Whether the instruction at `address` may run several times, in an order that SQL leaves open."""
        return any(start <= address <= end for start, end in self._open)

    def in_any_loop(self, address: int) -> bool:
        """Whether the instruction at `address` may run several times at all."""
        return any(loop.start <= address <= loop.end for loop in self._loops)

    def may_be_null(self, operation: Operation) -> bool:
        """Whether the key before `operation`, which generates one in the place of NULL, may be NULL: not when every
        instruction that fills its register copies a rowid."""
        test = self.operations[operation.address - 1]
        if test.name != "NotNull":
            return True
        register, seen = test.p1, set[int]()
        while register not in seen:
            seen.add(register)
            sources = [o for o in self.operations if _fills(o, register) and o is not operation]
            if sources and all(o.name in ("Rowid", "Integer", "Int64", "IdxRowid") for o in sources):
                return False
            if len(sources) != 1:
                return True
            if sources[0].name in ("Copy", "SCopy"):
                register = sources[0].p1 + register - sources[0].p2
            elif sources[0].name == "Column":
                register = self._stored_from(sources[0])
        return True

    def _stored_from(self, column: Operation) -> int:
        """The register from which a column of a temporary table was filled, -1 when that is not clear."""
        opened = self.opened(column)
        if opened is None or opened.name != "OpenEphemeral":
            return -1
        records = {
            o.p2 for o in self.operations if o.name == "Insert" and o.p1 == column.p1 and self.opened(o) is opened
        }
        found = [o for o in self.operations if o.name == "MakeRecord" and o.p3 in records]
        return found[0].p1 + column.p2 if len(found) == 1 and len(records) == 1 else -1

    @cached_property
    def _open(self) -> set[tuple[int, int]]:
        """First and last instruction of every open loop, and of every subroutine that is called like one.

        The least set in which no loop is left out that another in it makes open.
        """
        before = -1
        while before != len(self._found):
            before = len(self._found)
            self._found |= {(loop.start, loop.end) for loop in self._loops if self._is_open(loop)}
            self._found |= set(self._repeated_subroutines())
        return self._found

    @cached_property
    def _openings(self) -> dict[int, list[Operation]]:
        """Cursor -> what opens it."""
        found: dict[int, list[Operation]] = {}
        for operation in self.operations:
            if operation.name in _OPENS:
                found.setdefault(operation.p1, []).append(operation)
        return found

    @cached_property
    def _loops(self) -> list[Loop]:
        last = len(self.operations) - 1
        return [
            Loop(operation.p2, operation.address, operation)
            for operation in self.operations
            if (operation.name in _STEPS or operation.name == "Goto")
            and operation.p2 <= operation.address
            and not (operation.address == last and operation.p2 == 1)  # from the preparations to the beginning
        ]

    def _repeated_subroutines(self) -> Iterator[tuple[int, int]]:
        """Subroutines that are called from an open loop, or from several places of a program that reads tables."""
        callers: dict[tuple[int, int], list[Operation]] = {}
        for operation in self.operations:
            if operation.name == "Gosub":
                callers.setdefault((operation.p1, operation.p2), []).append(operation)
        for (register, start), found in callers.items():
            if any(map(self._in_open, found)) or (len(found) > 1 and self._reads):
                # it may return at once in one place, and at its end in another
                yield (
                    start,
                    max(
                        (o.address for o in self.operations[start:] if o.name == "Return" and o.p1 == register),
                        default=len(self.operations),
                    ),
                )

    @cached_property
    def _reads(self) -> bool:
        return any(
            operation.name == "VOpen" or (operation.name == "OpenRead" and operation.p2 != self._sequence_root)
            for operation in self.operations
        )

    def _is_open(self, loop: Loop) -> bool:
        closing, first = loop.closing, self.operations[loop.start]
        if closing.name == "VNext":
            return not self._fixed_order
        if closing.name in _STEPS:
            opened = self.opened(closing)
            if opened is None or opened.name == "VOpen":
                return True
            if _is_real(opened):
                return opened.p2 != self._sequence_root
            return self._is_list(loop) or any(map(self._in_open, self._feeds(closing)))
        if first.name == "Yield":
            body = self._coroutine(first.p1)
            return body is None or any(
                self._in_open(operation)
                for operation in self.operations[body[0] : body[1]]
                if operation.name == "Yield" and operation.p1 == first.p1
            )
        if first.name == "RowSetRead":
            return any(self._in_open(o) for o in self.operations if o.name == "RowSetAdd" and o.p1 == first.p1)
        return self._reads

    def _in_open(self, operation: Operation) -> bool:
        return any(start <= operation.address <= end for start, end in self._found)

    def _feeds(self, step: Operation) -> list[Operation]:
        cursors = {step.p1}
        opened = self.opened(step)
        if opened is not None and opened.name == "OpenDup":
            cursors.add(opened.p2)
        return [operation for operation in self.operations if operation.name in _FEEDS and operation.p1 in cursors]

    def _is_list(self, loop: Loop) -> bool:
        """Whether it walks through the values behind an IN, and seeks each in a table."""
        return any(feed.name == "IdxInsert" for feed in self._feeds(loop.closing)) and any(
            operation.name in _SEEKS and self.root(operation) for operation in self.operations[loop.start : loop.end]
        )

    def _coroutine(self, register: int) -> tuple[int, int] | None:
        for operation in self.operations:
            if operation.name == "InitCoroutine" and operation.p1 == register:
                start = operation.p3 or operation.address + 1
                return start, max(operation.p2, start)
        return None


def _fills(operation: Operation, register: int) -> bool:
    """Whether it may write to `register`, as far as rows pass from one register to another."""
    match operation.name:
        case "Copy" | "Move":
            return operation.p2 <= register <= operation.p2 + operation.p3
        case "Column" | "VColumn" | "Function" | "PureFunc" | "AggFinal" | "MakeRecord" | "Add" | "Subtract" | "Concat":
            return operation.p3 == register
        case "Rowid" | "IdxRowid" | "Integer" | "Int64" | "SCopy" | "IntCopy" | "Variable" | "String8" | "Real":
            return operation.p2 == register
        case "Null":
            return operation.p2 <= register <= max(operation.p3, operation.p2)
        case name:
            return name not in _FILLS_NOTHING and register in (operation.p2, operation.p3)


def _is_real(opened: Operation) -> bool:
    """Whether a cursor is on a table or an index of the database itself."""
    return opened.name in _REAL and opened.p3 == 0


def compile_programs(
    connection: apsw.Connection, sql: str, *, sequence_root: int, fixed_order: bool = False
) -> list[Program]:
    """The program of `sql`, and those of the triggers and foreign key actions that it may fire."""
    rows = _rows(connection.execute("EXPLAIN " + sql, NO_BINDINGS, can_cache=False))
    return [Program(found, sequence_root, fixed_order) for found in _split(rows)]


def _rows(cursor: apsw.Cursor) -> Iterator[_Row]:
    """The operations; EXPLAIN shows a blob in the SQL as text, which it is not."""
    address = -1
    while True:
        try:
            row: _Row = next(cursor)
        except StopIteration:
            return
        except UnicodeDecodeError:
            row = (address + 1, "Blob", 0, 0, 0, None, 0, None)
        address = row[0]
        yield row


def _split(rows: Iterable[_Row]) -> list[list[Operation]]:
    programs: list[list[Operation]] = []
    for address, name, p1, p2, p3, p4, p5, _comment in rows:
        if address == 0:
            programs.append([])
        programs[-1].append(Operation(address, name, p1, p2, p3, str(p4 or ""), p5))
    return programs
