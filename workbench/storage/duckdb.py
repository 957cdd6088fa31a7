"""DuckDB, as far as the store needs it: opening a database, classifying SQL, and what errors mean. The only importer.

One connection, on one thread, of one process among several on a machine: a single worker thread, and a bound of memory
beyond which DuckDB writes to a folder beside the database. Nothing outside of the database can be reached by SQL.
"""

from __future__ import annotations

import atexit
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from workbench.errors import StorageError

DATABASE_NAME: Final = "database.duckdb"
SPILL_NAME: Final = "spill"

_MEMORY = "1GB"
_ALONE: Final[dict[str, Any]] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
"""Without, DuckDB asks the network for an extension as soon as it sees a file of another database."""
_SETTINGS = (
    "SET threads = 1",
    f"SET memory_limit = '{_MEMORY}'",
    "SET default_null_order = 'nulls_first'",
    "SET errors_as_json = true",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)

_READING: Final = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)

Error = duckdb.Error


class Connection:
    """What is needed of a connection of DuckDB.

    It lets go of it when the process ends, even where a thread still holds this object: otherwise the last words of a
    process that failed would be DuckDB's binding complaining of leaks, instead of the reason.
    """

    def __init__(self, path: Path) -> None:
        self._raw: Any = duckdb.connect(str(path), config=_ALONE)
        _open.add(self)

    def execute(self, sql: str, parameters: Sequence[object] | None = None) -> Connection:
        """Run one statement; its rows wait to be fetched."""
        self._raw.execute(sql, parameters)
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows of the statement that ran last."""
        rows: list[tuple[Any, ...]] = self._raw.fetchall()
        return rows

    def fetchmany(self, count: int) -> list[tuple[Any, ...]]:
        """The next rows of it, none at its end."""
        rows: list[tuple[Any, ...]] = self._raw.fetchmany(count)
        return rows

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns."""
        return tuple(str(column[0]) for column in self._raw.description or ())

    def interrupt(self) -> None:
        """Let the statement that is running end with an error. From any thread."""
        self._raw.interrupt()

    def close(self) -> None:
        """Release the database."""
        if self._raw is not None:
            self._raw.close()
            self._raw = None


_open: weakref.WeakSet[Connection] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for connection in list(_open):
        connection.close()


def connect(path: Path) -> Connection:
    """Open, or create, the database at `path`. Raises `StorageError`."""
    try:
        connection = Connection(path)
        spill = str(path.parent / SPILL_NAME).replace("'", "''")
        connection.execute(f"SET temp_directory = '{spill}'")
        for setting in _SETTINGS:
            connection.execute(setting)
    except duckdb.Error as error:
        raise StorageError(f"cannot open {path}: {reason(error)}") from error
    return connection


def create(path: Path) -> None:
    """Make an empty database."""
    duckdb.connect(str(path), config=_ALONE).close()


def why_unreadable(path: Path) -> str:
    """What DuckDB says about the file at `path`; empty when it is a database."""
    try:
        duckdb.connect(str(path), read_only=True, config=_ALONE).close()
    except duckdb.Error as error:
        return reason(error)
    return ""


def statements_that_read(sql: str) -> list[bool]:
    """For each statement in `sql`, whether it is a query. Raises `Error` for what is no SQL."""
    return [statement.type in _READING for statement in duckdb.extract_statements(sql)]


def is_interrupt(error: BaseException) -> bool:
    """Whether `interrupt` ended the statement."""
    return isinstance(error, duckdb.InterruptException)


def is_broken(error: BaseException) -> bool:
    """Whether the disk or the database failed, rather than what was asked of it."""
    return isinstance(error, duckdb.IOException | duckdb.FatalException | duckdb.InternalException)


def reason(error: BaseException) -> str:
    """An error of DuckDB in one line."""
    return _parts(error)[0]


def place_of(error: BaseException) -> int | None:
    """Where in the SQL text the error is, in bytes from 0, as far as DuckDB says so."""
    return _parts(error)[1]


def _parts(error: BaseException) -> tuple[str, int | None]:
    text = str(error)
    place = None
    _, brace, rest = text.partition("{")
    if brace:
        try:
            found = json.loads(brace + rest)
            text = str(found["exception_message"])
            place = int(found["position"]) if "position" in found else None
        except (ValueError, KeyError, TypeError):
            pass
    first, _, hint = text.strip().partition("\n")
    if hint.startswith("Did you mean"):
        first = f"{first} {hint.splitlines()[0]}"
    return " ".join(first.split()) or type(error).__name__, place
