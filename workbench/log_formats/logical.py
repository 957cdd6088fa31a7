"""The logical format: which rows changed and how, as SQLite changesets; changes of the schema travel as SQL.

One changeset for a whole group, taken before COMMIT and before each statement that changes the schema. How changes are
taken is in `row_capture.py`, how they are applied in `row_apply.py`; here is their order in a body.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from workbench.config import LogFormatName
from workbench.log_formats.base import StatementFacts, strict_decoder
from workbench.log_formats.row_apply import RowApplier
from workbench.log_formats.row_capture import RowCapture
from workbench.log_formats.row_parts import Changes, Part, RowImages, SchemaChange, Sequences
from workbench.protocol.values import Statement

__all__ = ["Changes", "LogicalBody", "LogicalFormat", "Part", "RowImages", "SchemaChange", "Sequences", "decode_body"]


class LogicalBody(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Parts in order."""

    parts: tuple[Part, ...]


_encode = msgspec.msgpack.Encoder().encode
decode_body = strict_decoder(LogicalBody)


class LogicalFormat:
    """Capture and apply of changesets on one connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._capture = RowCapture(connection)
        self._applier = RowApplier(connection)
        self._parts: list[Part] = []
        self._parts_before = 0

    @property
    def name(self) -> LogFormatName:
        return "logical"

    def refusal(self, facts: StatementFacts) -> str:
        return ""  # what the schema must not become is known only afterwards

    def lead(self) -> None:
        self._capture.lead()

    def follow(self) -> None:
        self._applier.follow()

    # On the leader

    def begin_group(self) -> None:
        self._parts = []
        self._capture.start()

    def begin_transaction(self, *, changes_schema: bool) -> None:
        self._parts_before = -1
        if changes_schema:  # whatever it does to the schema must be separable from the transactions before it
            self._parts += self._capture.take()
            self._parts_before = len(self._parts)
            self._capture.resume()

    def before_schema_change(self) -> None:
        self._parts += self._capture.take()
        self._capture.before_schema_change()

    def after_schema_change(self, sql: str) -> None:
        self._parts += self._capture.after_schema_change(sql)
        self._capture.resume()

    def end_transaction(self, statements: Sequence[Statement], *, accepted: bool) -> None:
        if not accepted and self._parts_before >= 0:
            self._capture.discard()
            del self._parts[self._parts_before :]
            self._capture.resume()

    def finish_group(self) -> bytes:
        self._parts += self._capture.finish()
        body = _encode(LogicalBody(tuple(self._parts)))
        self._parts = []
        return body

    def discard_group(self) -> None:
        self._capture.discard()
        self._parts = []

    def encode_alone(self, statement: Statement) -> bytes:
        return _encode(LogicalBody((SchemaChange(statement.sql),)))

    # On a follower

    def apply(self, body: bytes) -> None:
        for part in decode_body(body).parts:
            self._applier.apply(part)

    def undo(self, body: bytes) -> bool:
        return all(self._applier.undo(part) for part in reversed(decode_body(body).parts))

    def after_apply(self) -> None:
        self._applier.after_apply()
