"""A leader's snapshot becomes a database of DuckDB: this is where the logical snapshot is made.

What travels is what every replica gets, a file of SQLite with a manifest (`snapshot_file.py`). Here its tables are read
through SQLite and loaded into DuckDB, a bounded number of rows at a time. The new database is whole and durable before
it gets its name, as in `restoring.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import apsw

from workbench.config import Limits, LogFormatName
from workbench.errors import DivergedError, StorageError
from workbench.failpoints import hit
from workbench.log_formats.base import INTERNAL_PREFIX
from workbench.storage.duckdb import DATABASE_NAME, Connection, Error, reason
from workbench.storage.duckdb_logical import Tables
from workbench.storage.duckdb_pages import POSITION_NAME, write_position
from workbench.storage.duckdb_schema import SCHEMA, Created, Mirror, Table
from workbench.storage.duckdb_store import DuckDBStore
from workbench.storage.duckdb_values import quoted, text_of
from workbench.storage.files import Files
from workbench.storage.snapshot_file import SnapshotFile

_NEW_NAME: Final = f"{DATABASE_NAME}.new"
_COPY_NAME: Final = "snapshot.sqlite"

_SCHEMA_SQL = f"""
    SELECT name, sql FROM sqlite_schema
    WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name NOT GLOB '{INTERNAL_PREFIX}*'
        AND name NOT IN (SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow')
    ORDER BY CASE type WHEN 'table' THEN 1 WHEN 'index' THEN 2 WHEN 'view' THEN 3 ELSE 4 END, rowid"""


def restore_duckdb(
    files: Files, directory: Path, snapshot: SnapshotFile, log_format: LogFormatName, limits: Limits
) -> None:
    """Make the database in `directory`, which is empty, that of `snapshot`, durably.

    Raises `LogCorruption` for a damaged snapshot, `StorageError` for one that cannot be loaded.
    """
    copy = directory / (_NEW_NAME if log_format == "wal" else _COPY_NAME)
    target = files.open(copy)
    try:
        snapshot.copy_database(target)
        target.sync()
    finally:
        target.close()
    if log_format == "wal":
        write_position(files, directory / POSITION_NAME, snapshot.position)
    else:
        _load(copy, directory, snapshot, log_format, limits)
        made = files.open(directory / _NEW_NAME)
        try:
            made.sync()
        finally:
            made.close()
        files.remove(copy)
    hit("restore.before_rename")
    files.rename(directory / _NEW_NAME, directory / DATABASE_NAME)
    hit("restore.after_rename")


def _load(copy: Path, directory: Path, snapshot: SnapshotFile, log_format: LogFormatName, limits: Limits) -> None:
    try:
        source = apsw.Connection(
            f"file:{quote(str(copy))}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        store = DuckDBStore(directory, log_format, limits, file_name=_NEW_NAME)
        try:
            store.begin_restore()
            if log_format == "logical":
                load_tables(source, store.tables)
            else:
                _load_own_tables(source, store.connection)
            store.finish_restore(snapshot.position)
        finally:
            store.close()
            source.close()
    except (apsw.Error, Error, DivergedError) as error:
        raise StorageError(f"the snapshot at {snapshot.position} cannot be loaded: {reason(error)}") from error


def load_tables(source: apsw.Connection, tables: Tables) -> None:
    """Make the tables of `source` in an open transaction, with all their rows."""
    tables.start(Mirror())
    for name, sql in source.execute(_SCHEMA_SQL).fetchall():
        try:
            for step in tables.mirror.execute(str(sql)):
                assert isinstance(step, Created), "a new schema only makes tables"
                tables.take(step)
        except DivergedError as error:
            raise StorageError(f"{name} of the snapshot cannot be made: {error.message}") from error
    for table in tables.mirror.catalog.tables:
        tables.insert(table, rows_of(source, table))


def rows_of(source: apsw.Connection, table: Table) -> Iterator[tuple[object, ...]]:
    """The rows of a table in SQLite: its stored columns, text included that is not valid UTF-8."""
    names = [quoted(column.name) for column in table.stored]
    if table.source != table.name:  # a table of FTS5, by the one that holds its content
        names = [quoted(name) for (name,) in source.execute("SELECT name FROM pragma_table_info(?)", (table.source,))]
    elif table.stored[0].is_hidden:
        names[0] = table.rowid_name
    place = f"FROM {quoted(table.source)}"
    count = 0
    try:
        for row in source.execute(f"SELECT {', '.join(names)} {place}"):
            yield row
            count += 1
    except UnicodeDecodeError:
        typed = ", ".join(
            f"typeof({name}) = 'text', CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END"
            for name in names
        )
        yield from islice(map(_untyped, source.execute(f"SELECT {typed} {place}")), count, None)


def _untyped(row: tuple[Any, ...]) -> tuple[object, ...]:
    return tuple(text_of(value) if is_text else value for is_text, value in zip(row[::2], row[1::2], strict=True))


def _load_own_tables(source: apsw.Connection, connection: Connection) -> None:
    """Make tables that SQL in DuckDB's dialect can go on with."""
    tables = Tables(connection)
    load_tables(source, tables)
    for table in tables.mirror.catalog.tables:
        columns = ", ".join(f"{column.physical} AS {quoted(column.name)}" for column in table.shown)
        order = ", ".join(column.physical for column in table.key)
        place = f"main.{quoted(table.name)}"
        connection.execute(f"CREATE TABLE {place} AS SELECT {columns} FROM {SCHEMA}.{table.physical} ORDER BY {order}")
        connection.execute(f"DROP TABLE {SCHEMA}.{table.physical}")
        key = [column for column in table.key if not column.is_hidden]
        if key and all(column.kind != "any" for column in key):  # DuckDB has no index over unions
            names = ", ".join(quoted(column.name) for column in key)
            connection.execute(f"ALTER TABLE {place} ADD PRIMARY KEY ({names})")
    tables.mirror.close()
