"""Applying the one change of a small changeset by a statement that stays compiled.

`sqlite3changeset_apply` compiles four statements for each table each time: 14 us, of which the change itself takes two.
A write that comes alone is mostly one change. Rules:

- What fails here, for whatever reason, has changed nothing: SQLite is asked then, and says what does not fit.
- Old values are checked as SQLite does. A conflict clause of the schema does not count, which SQLite would obey: a row
  that stands in the way is divergence, and not replaced in silence.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

from workbench.log_formats.base import NO_DIVERGENCE
from workbench.log_formats.key_kinds import Table
from workbench.log_formats.row_parts import Image
from workbench.log_formats.table_shapes import quoted

_COLUMNS_MAX: Final = 100
_KNOWN_MAX: Final = 1_000


class SingleChange:
    """Statements for changes of one row, on one connection. Forget them when the schema changes."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._known: dict[tuple[Any, ...], str] = {}
        self.broke = ""

    def forget(self) -> None:
        """The schema has changed."""
        self._known.clear()

    def apply(self, table: Table, operation: str, old: Image | None, new: Image | None) -> bool:
        """Whether the change was applied; if not, nothing has happened, and `broke` says whether for a constraint."""
        self.broke = ""
        same = apsw.no_change
        if new is None or old is None:
            changed: tuple[int, ...] = ()
            values: Any = new if old is None else old
        else:
            changed = tuple(place for place, value in enumerate(new) if value is not same)
            known = [value for value in old if value is not same]
            values = [*(new[place] for place in changed), *known]
        shape = (table.name, operation, changed)
        sql = self._known.get(shape)
        if sql is None:
            if len(table.stored) > _COLUMNS_MAX:
                return False
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            sql = self._known[shape] = _sql(table, operation, changed, old)
        try:
            self._cursor.execute(sql, values)
        except NO_DIVERGENCE:
            raise
        except apsw.ConstraintError as error:
            self.broke = str(error)
            return False
        except apsw.Error:
            return False
        return operation == "INSERT" or self._connection.changes() == 1


def _sql(table: Table, operation: str, changed: tuple[int, ...], old: Image | None) -> str:
    columns = [quoted(name) for name in table.stored]
    keys = {place for place, name in enumerate(table.stored) if name in {column.name for column in table.key}}
    if not table.key:
        columns, keys = [table.rowid, *columns], {0}
    name = f"main.{quoted(table.name)}"
    if operation == "INSERT":
        return f"INSERT OR ABORT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    assert old is not None
    condition = " AND ".join(
        f"{column} {'=' if place in keys else 'IS'} ?"
        for place, column in enumerate(columns)
        if old[place] is not apsw.no_change
    )
    if operation == "DELETE":
        return f"DELETE FROM {name} WHERE {condition}"
    settings = ", ".join(f"{columns[place]} = ?" for place in changed)
    return f"UPDATE OR ABORT {name} SET {settings} WHERE {condition}"
