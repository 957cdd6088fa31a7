"""Unsafe statements: those that may have another effect on a replica that executes the same SQL again.

    analyse(connection, sql) -> tuple[Unsafe, ...]      the causes, none for a safe statement or one that only reads
    examine(connection, sql) -> Examination             the same, with what a replica must know besides

Both only compile `sql` under the schema of `connection` (parameters stay unbound, nothing runs); they raise
`apsw.Error` for a text that SQLite does not accept, such as one about a missing table. Rules:

- SQLite itself is asked: EXPLAIN shows every function that the statement calls, also one in a DEFAULT, a CHECK, a
  generated column, a view or a trigger, and every loop; the authorizer names tables and views. The small reader of
  tokens finds only what neither says: LIMIT, ORDER BY, ON CONFLICT.
- What cannot be proven safe is unsafe.
- `pinnable`: the same SQL has the same effect again once the time, the random values and the counters that it saw are
  put back. Where rows are visited in an open order, values would be handed to other rows: that is not pinnable.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

import apsw

from workbench.log_formats.causes import REASONS, ROOT_PAGES, SAFE, Action, Cause, Examination, Touched, Unsafe
from workbench.log_formats.examining import Examiner
from workbench.log_formats.programs import NO_BINDINGS, compile_programs
from workbench.log_formats.total_orders import ROWID_NAMES, Tables

_ONLY_HINTS = re.compile(r"\s*(?:ANALYZE|REINDEX)\b", re.IGNORECASE)
"""Statements that change no row that a client can see, and none of the schema."""
_PHYSICAL_TABLES = frozenset({"dbstat", "sqlite_dbpage", "sqlite_stmt", "bytecode", "tables_used"})


def analyse(connection: apsw.Connection, sql: str) -> tuple[Unsafe, ...]:
    """The causes for which `sql` is unsafe under the schema of `connection`. Raises `apsw.Error`."""
    return examine(connection, sql).unsafe


def examine(connection: apsw.Connection, sql: str) -> Examination:
    """Compile `sql` and find out all about it. The authorizer of `connection` is replaced meanwhile, which makes it
    compile every cached statement again: not for the connection of a running replica."""
    actions: list[Action] = []

    def note(action: int, first: str | None, second: str | None, _database: str | None, through: str | None) -> int:
        actions.append((action, (first or "").lower(), (second or "").lower(), (through or "").lower()))
        return apsw.SQLITE_OK

    before = connection.authorizer
    connection.authorizer = note
    try:
        reads_only = _reads_only(connection, sql)
    finally:
        connection.authorizer = before
    return SAFE if reads_only else examine_compiled(connection, sql, actions)


def examine_compiled(
    connection: apsw.Connection, sql: str, actions: Iterable[Action], tables: Tables | None = None
) -> Examination:
    """As `examine`, for a text that was compiled just now under an authorizer that noted `actions`, and writes.

    `tables`: what an earlier call was told about the present schema.
    """
    if _ONLY_HINTS.match(sql):
        return SAFE
    touched = touched_by(actions)
    if tables is None:
        tables = Tables(connection)
    fixed_order = not (touched.tables & tables.virtual or touched.physical)
    programs = compile_programs(connection, sql, sequence_root=tables.sequence_root, fixed_order=fixed_order)
    return Examiner(sql, programs, tables, touched).examination()


def touched_by(actions: Iterable[Action]) -> Touched:
    """The calls of the authorizer, sorted."""
    read: set[str] = set()
    through: set[str] = set()
    updated: set[tuple[str, str]] = set()
    rowids: set[str] = set()
    physical: set[str] = set()
    for action, first, second, name in actions:
        if name:
            through.add(name)
        if second in ROWID_NAMES and action in (apsw.SQLITE_READ, apsw.SQLITE_UPDATE):
            rowids.add(first)
        if action == apsw.SQLITE_READ:
            read.add(first)
            if first in _PHYSICAL_TABLES or first.startswith("pragma_"):
                physical.add(first)
            elif first in ("sqlite_master", "sqlite_schema") and second == "rootpage":
                physical.add(ROOT_PAGES)
        elif action == apsw.SQLITE_UPDATE:
            updated.add((first, second))
    return Touched(frozenset(read), frozenset(through), frozenset(updated), frozenset(rowids), frozenset(physical))


def _reads_only(connection: apsw.Connection, sql: str) -> bool:
    """Compile `sql` without running it."""
    cursor = connection.cursor()
    found: list[bool] = []

    def stop(traced: apsw.Cursor, _sql: str, _parameters: object) -> bool:
        found.append(traced.is_readonly or bool(traced.is_explain))
        return False

    cursor.exec_trace = stop
    with contextlib.suppress(apsw.ExecTraceAbort):
        cursor.execute(sql, NO_BINDINGS, can_cache=False)
    return all(found)


__all__ = [
    "REASONS",
    "SAFE",
    "Action",
    "Cause",
    "Examination",
    "Touched",
    "Unsafe",
    "analyse",
    "examine",
    "examine_compiled",
    "touched_by",
]
