"""Applying updates that hand UNIQUE values from row to row: `UPDATE t SET u = u + 1`, or two rows that swap.

SQLite applies the changes of a changeset one by one, sets aside those that a constraint does not allow yet, and tries
them again while that helps. Rows in a ring never get on, and a long chain takes a time that grows with its square.
Here, all updated rows are taken out of their tables first, the other changes are applied, and then the rows are put
back as they become. In between, nobody reads. Rules:

- What a row was is checked as SQLite does: by its key, and by the old values of what changes.
- A row keeps its rowid.
- Tables of so many columns that SQLite cannot apply their changes at all are treated alike, with all their changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import apsw

from workbench.errors import DivergedError
from workbench.log_formats.base import INTERNAL_PREFIX
from workbench.log_formats.changesets import Change, read_changes
from workbench.log_formats.key_kinds import Table
from workbench.log_formats.row_images import bound, insert_image, read_images
from workbench.log_formats.row_parts import Image
from workbench.log_formats.table_shapes import quoted

WIDE_COLUMNS: Final = 900
_RESULT_COLUMNS_MAX: Final = 2_000
_SAVEPOINT = f"{INTERNAL_PREFIX}parking"

Conflict = Callable[[int, apsw.TableChange], int]
AnyChange = apsw.TableChange | Change


class _ParkedTable:
    """One table, and the temporary one that holds its updated rows meanwhile."""

    def __init__(self, cursor: apsw.Cursor, table: Table, number: int) -> None:
        self._cursor = cursor
        self._table = table
        self._name = f"main.{quoted(table.name)}"
        self._place = f"temp.{INTERNAL_PREFIX}parked_{number}"
        self._columns = [quoted(name) for name in table.stored]
        self._parked = [f"c{place}" for place in range(len(self._columns))]
        self._rowid = table.rowid if table.key_index is not None or not table.key else ""
        if table.key and len(self._columns) >= _RESULT_COLUMNS_MAX:
            self._rowid = ""  # no room for it beside them; rows are known by their key
        self._is_keyless = not table.key
        if self._is_keyless:
            self._keys = [(0, table.rowid)]
        else:
            places = {name: place for place, name in enumerate(table.stored)}
            self._keys = [(places[column.name], quoted(column.name)) for column in table.key]
        self._inserts: dict[tuple[object, ...], str] = {}
        cursor.execute(f"CREATE TABLE {self._place} ({', '.join(self._parked)})")

    def takes(self, change: AnyChange) -> bool:
        """Whether a change of this table is applied here: all of them when SQLite cannot."""
        return change.op == "UPDATE" or is_wide(self._table)

    def park(self, change: AnyChange) -> None:
        """Take one row out, as it becomes."""
        old, new = change.old, change.new
        if old is None:
            assert new is not None
            self._keep(new)
            return
        key = [old[place] for place, _ in self._keys]
        is_key = " AND ".join(f"{name} = {_place_of(value)}" for (_, name), value in zip(self._keys, key, strict=True))
        if self._is_keyless:
            old, new = old[1:], None if new is None else new[1:]
        if is_wide(self._table):
            self._check_wide(change.op, is_key, key, old)
        if new is not None:
            self._merge(change.op, is_key, key, old, new)
        self._cursor.execute(f"DELETE FROM {self._name} WHERE {is_key}", bound(key))

    def put_back(self) -> None:
        """Insert all rows that were taken out."""
        into, source = self._columns, self._parked
        if self._rowid:
            into, source = [self._rowid, *into], ["rowid", *source]
        self._cursor.execute(
            f"INSERT INTO {self._name} ({', '.join(into)}) SELECT {', '.join(source)} FROM {self._place} ORDER BY rowid"
        )
        self._cursor.execute(f"DROP TABLE {self._place}")

    def _keep(self, new: Image) -> None:
        """A row that is new."""
        columns = ["rowid", *self._parked] if self._is_keyless else self._parked
        insert_image(self._cursor, self._place, columns, new)

    def _merge(self, operation: str, is_key: str, key: list[Any], old: Image, new: Image) -> None:
        """A row that has changed: what it was, with what is new."""
        changed = [place for place, value in enumerate(new) if value is not apsw.no_change]
        after, before = [new[place] for place in changed], [old[place] for place in changed]
        shape = (is_key, *changed, *(isinstance(value, list) for value in (*after, *before)))
        sql = self._inserts.get(shape) or self._inserts.setdefault(shape, self._insert(is_key, changed, after, before))
        self._cursor.execute(sql, bound([*after, *key, *([] if is_wide(self._table) else before)]))
        if self._cursor.connection.changes() != 1:
            raise self._does_not_fit(operation, old)

    def _insert(self, is_key: str, changed: list[int], after: list[Any], before: list[Any]) -> str:
        into, values, conditions = list(self._parked), list(self._columns), [is_key]
        for place, now, was in zip(changed, after, before, strict=True):
            values[place] = _place_of(now)
            if not is_wide(self._table):
                conditions.append(f"{self._columns[place]} IS {_place_of(was)}")
        if self._rowid:
            into, values = ["rowid", *into], [self._rowid, *values]
        return (
            f"INSERT INTO {self._place} ({', '.join(into)}) SELECT {', '.join(values)}"
            f" FROM {self._name} WHERE {' AND '.join(conditions)}"
        )

    def _check_wide(self, operation: str, is_key: str, key: list[Any], old: Image) -> None:
        """Compare old values here: a condition of so many terms is too deep for SQLite."""
        rows = read_images(self._cursor.connection, self._table, is_key, bound(key))
        if not rows or any(was is not apsw.no_change and was != is_ for was, is_ in zip(old, rows[0], strict=True)):
            raise self._does_not_fit(operation, old)

    def _does_not_fit(self, operation: str, old: Image) -> DivergedError:
        return DivergedError(
            f"a change of the leader does not fit: {operation} on table {self._table.name}, {old!r:.120}: there is no"
            " such row, or it has other values",
            hint="this replica's database differs from the leader's",
        )


def is_wide(table: Table) -> bool:
    """Whether the statements by which SQLite would apply changes of the table are too deep for it."""
    return len(table.stored) > WIDE_COLUMNS


def apply_parked(connection: apsw.Connection, changeset: bytes, tables: Collection[Table], conflict: Conflict) -> None:
    """Apply a changeset, its updates of `tables` all at once. Raises `DivergedError`, and what APSW raises."""
    try:
        _apply(connection, changeset, apsw.Changeset.iter(changeset), tables, conflict)
    except UnicodeDecodeError:
        _apply(connection, changeset, read_changes(changeset), tables, conflict)


def _apply(
    connection: apsw.Connection,
    changeset: bytes,
    changes: Iterator[AnyChange],
    tables: Collection[Table],
    conflict: Conflict,
) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SAVEPOINT {_SAVEPOINT}")
    try:
        parked = {table.name: _ParkedTable(cursor, table, number) for number, table in enumerate(tables)}

        def is_other(change: AnyChange) -> bool:
            return change.name not in parked or not parked[change.name].takes(change)

        has_others = False
        for change in changes:
            if is_other(change):
                has_others = True
            else:
                parked[change.name].park(change)
        if has_others:
            apsw.Changeset.apply(changeset, connection, filter_change=is_other, conflict=conflict)
        for table in parked.values():
            table.put_back()
    except BaseException:
        if connection.in_transaction:
            cursor.execute(f"ROLLBACK TO {_SAVEPOINT}")
            cursor.execute(f"RELEASE {_SAVEPOINT}")
        raise
    cursor.execute(f"RELEASE {_SAVEPOINT}")


def _place_of(value: Any) -> str:
    return "CAST(? AS TEXT)" if isinstance(value, list) else "?"
