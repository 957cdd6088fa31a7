"""Executing a leader's SQL in DuckDB as it is. Where the dialects differ, it stops and says where.

Tables are DuckDB's own here, made by the leader's CREATE TABLE, under the leader's names. What DuckDB takes but means
differently is not noticed by it: digests find that, as they find what is nondeterministic.
"""

from __future__ import annotations

from typing import Any

from workbench.errors import DivergedError
from workbench.log_formats.statement import decode_body
from workbench.storage.duckdb import Connection, Error, is_broken, place_of, reason

_EXCERPT = 40


class Statements:
    """The dialect of a leader, tried in DuckDB."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def apply(self, body: bytes) -> None:
        """Execute every statement of a body, inside the open transaction. Raises `DivergedError` or `CodecError`."""
        decoded = decode_body(body)
        for calls in decoded.transactions:
            for call in calls:
                self.execute(decoded.texts[call.text], call.parameters)

    def execute(self, sql: str, parameters: tuple[Any, ...]) -> None:
        """Execute one statement. Raises `DivergedError`."""
        try:
            self._connection.execute(sql, list(parameters))
        except (Error, UnicodeError, OverflowError, ValueError, RuntimeError) as error:
            if is_broken(error):
                raise
            raise refused(sql, error) from error


def refused(sql: str, error: BaseException) -> DivergedError:
    """What DuckDB says of a statement that SQLite has executed, and where in its text."""
    place = place_of(error)
    where = ""
    if place is not None:
        before = sql.encode("utf-8", "surrogatepass")[:place].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        excerpt = " ".join(sql[len(before) : len(before) + _EXCERPT].split())
        where = f", at line {line}, character {column}: {excerpt!r}"
    return DivergedError(
        f"DuckDB cannot execute {sql!r:.200}: {reason(error)}{where}",
        hint="its dialect is not SQLite's; the logical log format carries rows instead of SQL",
    )
