"""Which entry of a log last touched given rows: the log is executed again, in a database of its own, and watched.

    trace = trace_rows(replica, wanted)          # blocking: run it in a thread
    trace.touches[(table, key)]

SQLite tells of every row that a statement or a changeset changes (its preupdate hook), triggers and cascades included.
Rules:

- Nothing of the replica is changed: its log is read by `LogReader`, a snapshot is copied.
- The log begins with entry 1, or behind a snapshot, from whose database the execution starts then. What was touched
  before that is not known, and said to be so.
- Of the entries that touched a row, the newest *unsafe* statement is what counts; without one, the newest touch.
- What the statement format leaves open turns out differently each time: a row with a random key is never met again.
  The newest unsafe statement that inserted into its table, or touched it, is named then, and said to be a guess.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import apsw

from workbench.config import LOG_FORMATS, Limits, UnsafePolicy
from workbench.errors import WorkbenchError
from workbench.inspection.comparing import TableShape, Values
from workbench.inspection.replica_files import ReplicaFiles
from workbench.log_formats.base import run
from workbench.log_formats.causes import Unsafe
from workbench.log_formats.describing import iterate
from workbench.protocol.codec import decode_entry
from workbench.protocol.values import Entry, Position
from workbench.storage.client_policy import one_line
from workbench.storage.digest import quoted
from workbench.storage.files import LocalFiles
from workbench.storage.log_reader import LogReader
from workbench.storage.read_only import newest_snapshot
from workbench.storage.sqlite import TransactionalStore, open_store
from workbench.storage.sqlite_connection import DATABASE_NAME

TRACE_SECONDS_MAX: Final = 60.0
_TOUCHES_MAX = 500_000
"""Touched rows of one entry that are looked at."""

Key: TypeAlias = tuple[str, Values]
Analyse: TypeAlias = Callable[[apsw.Connection, str], tuple[Unsafe, ...]]
"""SQL -> why it is unsafe; nothing for a safe statement."""


@dataclass(frozen=True, slots=True)
class Touch:
    """An entry, and the statement of it that changed a row; `statement` is empty where rows or pages travel."""

    position: Position
    statement: str = ""
    unsafe: tuple[Unsafe, ...] = ()


@dataclass(slots=True)
class Trace:
    """What was found; see the module."""

    touches: dict[Key, Touch] = field(default_factory=dict)
    guesses: dict[str, Touch] = field(default_factory=dict)
    """Table -> the newest unsafe statement that touched any row of it."""
    insertions: dict[str, Touch] = field(default_factory=dict)
    """Table -> the newest one that inserted rows into it, or gave them other keys."""
    existed: set[Key] = field(default_factory=set)
    """Wanted rows that the snapshot holds from which the execution started."""
    first_entry: int = 1
    last_entry: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Met:
    """One row change, as the hook saw it."""

    table: str
    rowids: tuple[int, int]
    rows: tuple[Values, ...]
    """Before and after, as far as SQLite tells: not for tables with generated columns."""
    statement: str
    inserts: bool


def trace_rows(
    replica: ReplicaFiles,
    shapes: Iterable[TableShape],
    wanted: Iterable[Key],
    analyse: Analyse,
    *,
    unsafe: UnsafePolicy = "allow",
) -> Trace:
    """Execute the log of `replica`, whose policy is `unsafe`, again; `wanted` are the rows to look for, in tables of
    `shapes`.

    Raises nothing: what stands in the way is noted.
    """
    trace = Trace()
    with tempfile.TemporaryDirectory(prefix="workbench-trace-") as name:
        try:
            by_name = {shape.name: shape for shape in shapes}
            tracer = _Tracer(replica, by_name, set(wanted), analyse, trace, unsafe)
            tracer.run(Path(name))
        except WorkbenchError as error:
            trace.notes.append(error.message)
        except apsw.Error as error:
            trace.notes.append(f"the log cannot be executed again: {one_line(error)}")
    return trace


class _Tracer:
    def __init__(
        self,
        replica: ReplicaFiles,
        shapes: Mapping[str, TableShape],
        wanted: set[Key],
        analyse: Analyse,
        trace: Trace,
        unsafe: UnsafePolicy,
    ) -> None:
        self._replica = replica
        self._shapes = shapes
        self._wanted = wanted
        self._analyse = analyse
        self._trace = trace
        self._unsafe: UnsafePolicy = unsafe
        self._met: list[_Met] = []
        self._statement = ""
        self._shadows: dict[str, str] = {}
        """Shadow table -> the virtual table that it belongs to."""
        self._judged: dict[str, tuple[Unsafe, ...]] = {}
        self._schema_version = -1

    def run(self, directory: Path) -> None:
        reader = LogReader(self._replica.log)
        start = self._start(reader, directory)
        store: TransactionalStore | None = None
        waiting: list[Entry] = []
        """Entries before the first one that changes data, which says what format it is in."""
        ends_s = time.monotonic() + TRACE_SECONDS_MAX
        try:
            for record in reader.iterate(start):
                entry = decode_entry(record.payload).entry
                self._trace.last_entry = record.index
                if store is None:
                    waiting.append(entry)
                    if not entry.changes_data:
                        continue
                    store = self._open(directory, entry.kind)
                    entries, waiting = waiting, []
                else:
                    entries = [entry]
                self._apply(store, entries)
                if time.monotonic() > ends_s:
                    raise WorkbenchError(
                        f"executing the log again took more than {TRACE_SECONDS_MAX:g} s: entries behind {record.index}"
                        " were not looked at"
                    )
        finally:
            if store is not None:
                store.connection.preupdate_hook(None)
                store.close()

    def _open(self, directory: Path, kind: str) -> TransactionalStore:
        if kind == "wal":
            raise WorkbenchError(
                "under the wal format all replicas write the same pages: what differs was changed outside of the log,"
                " or is laid out differently"
            )
        names = [name for name in LOG_FORMATS if name == kind]
        if not names:
            raise WorkbenchError(f"entries of the unknown kind {kind!r}")
        unsafe = self._unsafe if names[0] == "statement" else "allow"
        store = open_store(directory, names[0], Limits(), page_size=self._page_size(directory), unsafe=unsafe)
        assert isinstance(store, TransactionalStore), "the wal format was refused before"
        if self._trace.first_entry > 1:
            self._note_existing(store.connection)
        store.connection.preupdate_hook(self._before_update)
        store.connection.exec_trace = self._before_statement
        return store

    def _start(self, reader: LogReader, directory: Path) -> int:
        """The first entry to execute; the database before it lies in `directory` then."""
        if reader.first_index == 1:
            return 1
        snapshot = newest_snapshot(self._replica.directory / "snapshots")
        if snapshot is None or snapshot.position.index < reader.first_index - 1:
            self._trace.first_entry = reader.first_index
            raise WorkbenchError(f"the log begins with entry {reader.first_index}, and no snapshot goes before it")
        try:
            target = LocalFiles().open(directory / DATABASE_NAME)
            snapshot.copy_database(target)
            target.close()
            self._trace.first_entry = snapshot.position.index + 1
            self._trace.notes.append(
                f"the log could be followed only from the snapshot at {snapshot.position} on: what happened before is"
                " not known"
            )
            return self._trace.first_entry
        finally:
            snapshot.close()

    @staticmethod
    def _page_size(directory: Path) -> int:
        path = directory / DATABASE_NAME
        if not path.exists():
            return 4096
        size = int.from_bytes(path.read_bytes()[16:18], "big")
        return 65536 if size == 1 else size

    def _note_existing(self, connection: apsw.Connection) -> None:
        for table, key in self._wanted:
            names = self._shapes[table].key
            where = " AND ".join(f"{quoted(name)} IS ?" for name in names)
            try:
                found = run(connection, f"SELECT 1 FROM {quoted(table)} WHERE {where}", key[: len(names)])  # type: ignore[arg-type]
            except apsw.Error:
                continue  # the table came later
            if found:
                self._trace.existed.add((table, key))

    def _before_statement(self, _cursor: apsw.Cursor, sql: str, _bindings: Any) -> bool:
        self._statement = sql
        return True

    def _before_update(self, update: apsw.PreUpdate) -> None:
        name = update.table_name
        if update.database_name != "main" or (name not in self._shapes and self._shadows.get(name) is None):
            return
        if len(self._met) >= _TOUCHES_MAX:
            return
        rows: list[Values] = []
        try:
            rows = [tuple(row) for row in (update.old, update.new) if row is not None]
        except (apsw.Error, UnicodeDecodeError):
            rows = []  # generated columns, or text that is none: the rowid must do
        rowids = (update.rowid, update.rowid_new)
        inserts = update.op == "INSERT" or rowids[0] != rowids[1]
        self._met.append(_Met(name, rowids, tuple(rows), self._statement, inserts))

    def _apply(self, store: TransactionalStore, entries: list[Entry]) -> None:
        """Apply entries, of which only the last one changes data."""
        entry = entries[-1]
        self._learn_schema(store.connection)
        self._met, self._statement = [], ""
        try:
            store.apply(entries)
        except WorkbenchError as error:
            raise WorkbenchError(f"executing the log again stopped: {error.message}") from error
        self._learn_schema(store.connection)
        if self._met:
            self._note_touches(store.connection, entry)

    def _learn_schema(self, connection: apsw.Connection) -> None:
        ((version,),) = run(connection, "PRAGMA schema_version")
        if version == self._schema_version:
            return
        self._schema_version = version
        self._judged.clear()
        self._shadows = {}
        for (name,) in run(connection, "SELECT name FROM pragma_table_list WHERE schema='main' AND type='shadow'"):
            owners = [owner for owner in self._shapes if name.startswith(f"{owner}_")]
            if owners:
                self._shadows[name] = max(owners, key=len)

    def _note_touches(self, connection: apsw.Connection, entry: Entry) -> None:
        texts = _texts_of(entry)
        places: dict[str, tuple[int, ...] | None] = {}
        for met in self._met:
            table = self._shadows.get(met.table, met.table)
            shape = self._shapes[table]
            statement = met.statement if met.statement in texts else ""
            touch = Touch(entry.position, statement, self._judge(connection, statement) if statement else ())
            if touch.unsafe:
                self._trace.guesses[table] = touch
                if met.inserts:
                    self._trace.insertions[table] = touch
            if met.table not in places:
                places[met.table] = _key_places(connection, shape) if met.table == table else None
            for key in _keys_of(connection, shape, met, places[met.table], is_shadow=met.table != table):
                self._note_row(table, key, touch)

    def _note_row(self, table: str, key: Values, touch: Touch) -> None:
        place = (table, key)
        if place not in self._wanted:
            return
        before = self._trace.touches.get(place)
        if before is None or touch.unsafe or not before.unsafe:
            self._trace.touches[place] = touch

    def _judge(self, connection: apsw.Connection, statement: str) -> tuple[Unsafe, ...]:
        if statement not in self._judged:
            self._judged[statement] = self._analyse(connection, statement)
        return self._judged[statement]


def _texts_of(entry: Entry) -> frozenset[str]:
    """The statements that the entry carries; whatever else runs is the workbench's own."""
    return frozenset(str(part["sql"]) for part in iterate(entry.kind, entry.body) if "sql" in part)


def _key_places(connection: apsw.Connection, shape: TableShape) -> tuple[int, ...] | None:
    """Where in a stored row the parts of the key stand; None when a stored row does not tell."""
    columns = run(connection, "SELECT name, hidden FROM pragma_table_xinfo(?) ORDER BY cid", (shape.name,))
    if any(hidden for _, hidden in columns):
        return None
    names = [str(name).casefold() for name, _ in columns]
    try:
        return tuple(names.index(name.casefold()) for name in shape.key)
    except ValueError:
        return None


def _keys_of(
    connection: apsw.Connection, shape: TableShape, met: _Met, places: tuple[int, ...] | None, *, is_shadow: bool
) -> list[Values]:
    """The keys of the row that was changed, before and after."""
    if shape.told_by == "rowid":
        if is_shadow and met.table.removeprefix(f"{shape.name}_") not in ("content", "rowid", "docsize"):
            return []
        return [(rowid,) for rowid in dict.fromkeys(met.rowids)]
    if places is not None and met.rows:
        keys = [tuple(row[place] for place in places) for row in met.rows]
        if shape.told_by == "row":
            return [(*key, 1) for key in keys]
        return [(*key, 1) if None in key else key for key in dict.fromkeys(keys)]
    listed = ", ".join(map(quoted, shape.key))
    try:
        found = run(connection, f"SELECT {listed} FROM {quoted(shape.name)} WHERE rowid IN (?, ?)", met.rowids)
    except apsw.Error:
        return []  # WITHOUT ROWID and generated columns: nothing tells
    return [tuple(row) for row in found]
