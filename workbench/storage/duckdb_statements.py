"""Executing a leader's SQL in DuckDB as it is. Where the dialects differ, it stops and says where.

Tables are DuckDB's own here, made by the leader's CREATE TABLE. What DuckDB takes but means differently is not noticed
by it: digests find that, as they find what is nondeterministic. Rows of the mixed format are brought in as rows.
"""

from __future__ import annotations

from typing import Any

from workbench.errors import DivergedError
from workbench.log_formats.row_parts import Changes, Part, RowImages, SchemaChange, Sequences
from workbench.log_formats.statement import Pin, StatementCall, decode_body, in_order
from workbench.protocol.values import Position
from workbench.storage.duckdb import Connection, Error, is_broken, place_of, reason
from workbench.storage.duckdb_changes import read_changes
from workbench.storage.duckdb_images import write_images
from workbench.storage.duckdb_own_tables import OwnSchema
from workbench.storage.duckdb_rows import Rows

_EXCERPT = 40
_HINT = "its dialect is not SQLite's; the logical log format carries rows instead of SQL"


class Statements:
    """The dialect of a leader, tried in DuckDB."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def apply(self, body: bytes, position: Position) -> None:
        """Execute every statement of a body, inside the open transaction. Raises `DivergedError` or `CodecError`."""
        decoded = decode_body(body)
        for found in in_order(decoded):
            match found:
                case Pin():
                    raise DivergedError("DuckDB cannot be given the time and the random values that the leader had")
                case StatementCall(text, parameters):
                    self.execute(decoded.texts[text], parameters)
                case part:
                    self._apply_rows(part, position)

    def execute(self, sql: str, parameters: tuple[Any, ...]) -> None:
        """Execute one statement. Raises `DivergedError`."""
        try:
            self._connection.execute(sql, list(parameters))
        except (Error, UnicodeError, OverflowError, ValueError, RuntimeError) as error:
            if is_broken(error):
                raise
            raise _refused(sql, error) from error

    def _apply_rows(self, part: Part, position: Position) -> None:
        rows = Rows(self._connection, OwnSchema(self._connection))
        rows.position = position
        try:
            match part:
                case Changes(changeset):
                    for change in read_changes(changeset):
                        rows.change(change)
                    rows.flush()
                case RowImages():
                    write_images(rows, part)
                case SchemaChange(sql):
                    self.execute(sql, ())
                case Sequences():
                    pass  # which key comes next only a leader must know
        except Error as error:
            if is_broken(error):
                raise
            raise DivergedError(f"DuckDB cannot take the leader's rows: {reason(error)}", hint=_HINT) from error


def _refused(sql: str, error: BaseException) -> DivergedError:
    """What DuckDB says of a statement that SQLite has executed, and where in its text."""
    place = place_of(error)
    where = ""
    if place is not None:
        before = sql.encode("utf-8", "surrogatepass")[:place].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        excerpt = " ".join(sql[len(before) : len(before) + _EXCERPT].split())
        where = f", at line {line}, character {column}: {excerpt!r}"
    return DivergedError(f"DuckDB cannot execute {sql!r:.200}: {reason(error)}{where}", hint=_HINT)
