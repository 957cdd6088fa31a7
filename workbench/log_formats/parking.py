"""Applying updates that hand UNIQUE values from row to row: `UPDATE t SET u = u + 1`, or two rows that swap.

SQLite applies the changes of a changeset one by one, sets aside those that a constraint does not allow yet, and tries
them again while that helps. Rows in a ring never get on, and a long chain takes a time that grows with its square.
Here, all updated rows are taken out of their tables first, the other changes are applied, and then the rows are put
back as they become. In between, nobody reads. Rules:

- What a row was is checked as SQLite does: by its key, and by the old values of what changes.
- A row keeps its rowid.
- Values that Python cannot hold (text that is not UTF-8) raise `UnicodeDecodeError`, and nothing has changed then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import apsw

from workbench.errors import DivergedError
from workbench.log_formats.base import INTERNAL_PREFIX
from workbench.log_formats.key_kinds import Table
from workbench.log_formats.table_shapes import quoted

_SAVEPOINT = f"{INTERNAL_PREFIX}parking"

Conflict = Callable[[int, apsw.TableChange], int]


class _ParkedTable:
    """One table, and the temporary one that holds its updated rows meanwhile."""

    def __init__(self, cursor: apsw.Cursor, table: Table, number: int) -> None:
        self._cursor = cursor
        self._name = f"main.{quoted(table.name)}"
        self._place = f"temp.{INTERNAL_PREFIX}parked_{number}"
        self._columns = [quoted(name) for name in table.stored]
        self._parked = [f"c{place}" for place in range(len(self._columns))]
        self._rowid = table.rowid if table.key_index is not None or not table.key else ""
        self._is_keyless = not table.key
        if self._is_keyless:
            self._keys = [(0, table.rowid)]
        else:
            places = {name: place for place, name in enumerate(table.stored)}
            self._keys = [(places[column.name], quoted(column.name)) for column in table.key]
        self._is_key = " AND ".join(f"{name} = ?" for _, name in self._keys)
        self._inserts: dict[tuple[int, ...], str] = {}
        cursor.execute(f"CREATE TABLE {self._place} ({', '.join(self._parked)})")

    def park(self, change: apsw.TableChange) -> None:
        """Take one row out, as it becomes."""
        new, old = change.new, change.old
        assert new is not None
        assert old is not None
        key = tuple(old[place] for place, _ in self._keys)
        if self._is_keyless:
            new, old = new[1:], old[1:]
        changed = tuple(place for place, value in enumerate(new) if value is not apsw.no_change)
        sql = self._inserts.get(changed) or self._inserts.setdefault(changed, self._insert(changed))
        values = (*(new[place] for place in changed), *key, *(old[place] for place in changed))
        self._cursor.execute(sql, values)
        if self._cursor.connection.changes() != 1:
            raise DivergedError(
                f"a change of the leader does not fit: UPDATE on table {change.name}, {old!r:.120}: there is no such"
                " row, or it has other values",
                hint="this replica's database differs from the leader's",
            )
        self._cursor.execute(f"DELETE FROM {self._name} WHERE {self._is_key}", key)

    def put_back(self) -> None:
        """Insert all rows that were taken out."""
        into, source = self._columns, self._parked
        if self._rowid:
            into, source = [self._rowid, *into], ["rowid", *source]
        self._cursor.execute(
            f"INSERT INTO {self._name} ({', '.join(into)}) SELECT {', '.join(source)} FROM {self._place} ORDER BY rowid"
        )
        self._cursor.execute(f"DROP TABLE {self._place}")

    def _insert(self, changed: tuple[int, ...]) -> str:
        into, values = list(self._parked), list(self._columns)
        for place in changed:
            values[place] = "?"
        if self._rowid:
            into, values = ["rowid", *into], [self._rowid, *values]
        conditions = [self._is_key, *(f"{self._columns[place]} IS ?" for place in changed)]
        return (
            f"INSERT INTO {self._place} ({', '.join(into)}) SELECT {', '.join(values)}"
            f" FROM {self._name} WHERE {' AND '.join(conditions)}"
        )


def apply_parked(connection: apsw.Connection, changeset: bytes, tables: Iterable[Table], conflict: Conflict) -> None:
    """Apply a changeset, its updates of `tables` all at once. Raises `DivergedError`, and what APSW raises."""
    cursor = connection.cursor()
    cursor.execute(f"SAVEPOINT {_SAVEPOINT}")
    try:
        parked = {table.name: _ParkedTable(cursor, table, number) for number, table in enumerate(tables)}

        def is_other(change: apsw.TableChange) -> bool:
            return change.op != "UPDATE" or change.name not in parked

        others = 0
        for change in apsw.Changeset.iter(changeset):
            if is_other(change):
                others += 1
            else:
                parked[change.name].park(change)
        if others:
            apsw.Changeset.apply(changeset, connection, filter_change=is_other, conflict=conflict)
        for table in parked.values():
            table.put_back()
    except BaseException:
        if connection.in_transaction:
            cursor.execute(f"ROLLBACK TO {_SAVEPOINT}")
            cursor.execute(f"RELEASE {_SAVEPOINT}")
        raise
    cursor.execute(f"RELEASE {_SAVEPOINT}")
