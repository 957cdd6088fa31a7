"""What clients may ask of DuckDB, and what they get: one statement that reads, within the limits of the replica.

Values come out as SQLite has them. What DuckDB has besides becomes the nearest: a truth value 0 or 1, an integer beyond
64 bits and a decimal a real, NaN NULL, dates and times their ISO text, everything composed JSON. Rules:

- Every read runs in a transaction that cannot write, whatever it calls.
- DuckDB reaches no file and no network: the connection was opened so.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Final

from workbench.config import Limits
from workbench.errors import StatementError, StorageError
from workbench.protocol.outcomes import QueryResult
from workbench.protocol.values import Row, SqlValue, Statement
from workbench.storage.client_policy import leading_keyword
from workbench.storage.duckdb import Connection, Error, is_broken, is_interrupt, reason, statements_that_read
from workbench.storage.groups import value_bytes

_ROWS_AT_ONCE: Final = 1_000
_REFUSABLE = (Error, StatementError, UnicodeError, OverflowError, TypeError, ValueError, RuntimeError)


class Reader:
    """Runs clients' reads on one connection."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._timed_out = False

    def query(self, statement: Statement) -> QueryResult:
        """Run one statement that only reads. Raises `StorageError` when the database itself fails."""
        self._timed_out = False
        watch = threading.Timer(self._limits.statement_timeout_s, self._interrupt)
        watch.daemon = True
        try:
            _check(statement.sql)
            self._connection.execute("BEGIN TRANSACTION READ ONLY")
            try:
                watch.start()
                self._connection.execute(statement.sql, list(statement.parameters))
                columns = self._connection.columns
                rows = self._fetch()
            finally:
                watch.cancel()
                self._connection.execute("ROLLBACK")
        except _REFUSABLE as error:
            if is_broken(error):
                raise StorageError(f"the database cannot be read: {reason(error)}") from error
            return QueryResult(error=self._reason(error))
        return QueryResult(columns, rows)

    def _fetch(self) -> tuple[Row, ...]:
        rows_max, room = self._limits.read_rows_max, self._limits.read_bytes_max
        rows: list[Row] = []
        for row in sqlite_rows(fetched(self._connection)):
            room -= sum(map(value_bytes, row))
            if room < 0:
                message = f"the read returns more than {self._limits.read_bytes_max} bytes"
                raise StatementError(message, hint="read it in parts")
            if len(rows) == rows_max:
                raise StatementError(f"the read returns more than {rows_max} rows", hint="add a LIMIT")
            rows.append(row)
        return tuple(rows)

    def _interrupt(self) -> None:
        self._timed_out = True
        self._connection.interrupt()

    def _reason(self, error: Exception) -> str:
        if self._timed_out and is_interrupt(error):
            return f"the statement ran longer than {self._limits.statement_timeout_s:g} s and was interrupted"
        return str(error) if isinstance(error, StatementError) else reason(error)


def fetched(connection: Connection) -> Iterator[tuple[Any, ...]]:
    """The rows of the statement that was executed last."""
    while rows := connection.fetchmany(_ROWS_AT_ONCE):
        yield from rows


def sqlite_rows(rows: Iterable[tuple[Any, ...]]) -> Iterator[Row]:
    """Rows with values such as SQLite has."""
    for row in rows:
        yield tuple(map(sqlite_value, row))


def sqlite_value(value: Any) -> SqlValue:
    """The nearest that SQLite has."""
    match value:
        case None | str() | bytes():
            return value
        case bool():
            return int(value)
        case int():
            return value if -(2**63) <= value < 2**63 else float(value)
        case float():
            return None if math.isnan(value) else value
        case bytearray() | memoryview():
            return bytes(value)
        case decimal.Decimal():
            return float(value)
        case dt.date() | dt.time():
            return value.isoformat(" ") if isinstance(value, dt.datetime) else value.isoformat()
        case dict() | list() | tuple():
            return json.dumps(value, default=lambda inner: _plain(sqlite_value(inner)), ensure_ascii=False)
    return str(value)


def _plain(value: SqlValue) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _check(sql: str) -> None:
    statements = statements_that_read(sql)
    if not statements:
        raise StatementError("the statement is empty")
    if len(statements) > 1:
        raise StatementError(f"{len(statements)} statements", hint="send one at a time")
    if not statements[0]:
        raise StatementError(f"{leading_keyword(sql) or 'the statement'} is not a read", hint="an observer only reads")
