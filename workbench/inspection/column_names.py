"""Which columns a table had when an entry was made: the schema statements of the log, executed in memory.

Only the schema is made, on empty tables, so this is quick however many rows there are, and right for every entry, which
the database file, as it is now, would not be. Rules:

- What fails is passed over: then the columns of that table are not known, and values are shown by their places.
- A statement may take a bounded number of steps: CREATE TABLE ... AS runs a query.
"""

from __future__ import annotations

import apsw

from workbench.log_formats.base import INTERNAL_PREFIX, run
from workbench.storage.client_policy import changes_schema

_STEPS_MAX = 1_000_000
_COLUMNS = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid"
_KEYS = "SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk"
_SCHEMA = f"""
    SELECT s.sql FROM sqlite_schema AS s JOIN pragma_table_list AS t ON t.name = s.name AND t.schema = 'main'
    WHERE s.type = 'table' AND t.type <> 'shadow' AND s.sql IS NOT NULL
        AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND s.name NOT GLOB '{INTERNAL_PREFIX}*'"""


class ColumnNames:
    """The tables of a database as far as statements have made them."""

    def __init__(self) -> None:
        self._connection = apsw.Connection(":memory:")
        self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)
        self._connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
        self._connection.set_progress_handler(lambda: True, _STEPS_MAX)

    def start_from(self, database: bytes) -> None:
        """Take the tables of a database's main file."""
        with_rows = apsw.Connection(":memory:")
        image = bytearray(database)
        image[18:20] = b"\x01\x01"  # a database in memory has no write-ahead log
        try:
            with_rows.deserialize("main", bytes(image))
            for (sql,) in run(with_rows, _SCHEMA):
                self.execute(sql)
        finally:
            with_rows.close()

    def execute(self, sql: str) -> None:
        """Follow one statement of the log, if it changes the schema."""
        if changes_schema(sql):
            try:
                self._connection.execute(sql).fetchall()
            except (apsw.Error, ValueError, TypeError):
                return

    def columns(self, table: str) -> tuple[str, ...]:
        """The names of the stored columns of `table`; none when they are not known."""
        return tuple(str(name) for (name,) in run(self._connection, _COLUMNS, (table,)))

    def keys(self, table: str) -> tuple[str, ...]:
        """The columns of its primary key, in order."""
        return tuple(str(name) for (name,) in run(self._connection, _KEYS, (table,)))

    def close(self) -> None:
        """Release the memory."""
        self._connection.close()
