"""The statement format: the SQL of each accepted transaction, with its parameters, executed again by every follower.

Policy `allow`: nothing is refused, nothing is pinned, so `random()` and the current time differ between replicas.
That is what the format shows. Rules:

- Only accepted transactions travel, in the order of their execution; statements that only read do not.
- A statement that fails on a follower is divergence and said so. One that changes another number of rows is not
  noticed here: digests find it.
- A follower needs no savepoints: whatever fails undoes the whole apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import apsw
import msgspec

from workbench.config import LogFormatName
from workbench.errors import CodecError
from workbench.log_formats.base import NO_DIVERGENCE, Parameter, StatementFacts, diverged, strict_decoder
from workbench.protocol.values import Statement


class StatementCall(msgspec.Struct, frozen=True, array_like=True):
    """One execution: the place of its SQL in `StatementBody.texts`, and its parameters."""

    text: int
    parameters: tuple[Any, ...] = ()
    """Values of type `Parameter`: msgspec cannot tell text and blobs apart in a declared union."""


class StatementBody(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """SQL texts, each once, and the transactions that call them."""

    texts: tuple[str, ...]
    transactions: tuple[tuple[StatementCall, ...], ...]


_PARAMETER_TYPES = frozenset(get_args(Parameter))
_encode = msgspec.msgpack.Encoder().encode
_decode_structure = strict_decoder(StatementBody)


def encode_body(transactions: Sequence[Sequence[Statement]]) -> bytes:
    """The body for `transactions`, in the order of their execution."""
    places: dict[str, int] = {}
    calls = [
        [(places.setdefault(statement.sql, len(places)), statement.parameters) for statement in statements]
        for statements in transactions
    ]
    return _encode((tuple(places), calls))


def decode_body(body: bytes) -> StatementBody:
    """Read a body back. Raises `CodecError`."""
    decoded = _decode_structure(body)
    count = len(decoded.texts)
    for statements in decoded.transactions:
        for call in statements:
            if not 0 <= call.text < count:
                raise CodecError(f"not a StatementBody: text {call.text} of {count}")
            if not _PARAMETER_TYPES.issuperset(map(type, call.parameters)):
                raise CodecError("not a StatementBody: a parameter is of no type that SQLite has")
    return decoded


class StatementFormat:
    """Capture and replay of SQL on one connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._accepted: list[Sequence[Statement]] = []

    @property
    def name(self) -> LogFormatName:
        return "statement"

    def refusal(self, facts: StatementFacts) -> str:
        return ""  # under `allow`, everything may travel

    def lead(self) -> None:
        """Executing and replaying need the same connection."""

    def follow(self) -> None:
        """Executing and replaying need the same connection."""

    def begin_group(self) -> None:
        self._accepted = []

    def begin_transaction(self, *, changes_schema: bool) -> None:
        """Nothing is captured while a transaction runs."""

    def before_schema_change(self) -> None:
        """The statement travels like any other."""

    def after_schema_change(self, sql: str) -> None:
        """The statement travels like any other."""

    def end_transaction(self, statements: Sequence[Statement], *, accepted: bool) -> None:
        if accepted and statements:
            self._accepted.append(statements)

    def finish_group(self) -> bytes:
        body = encode_body(self._accepted)
        self._accepted = []
        return body

    def discard_group(self) -> None:
        self._accepted = []

    def encode_alone(self, statement: Statement) -> bytes:
        return encode_body([(statement,)])

    def apply(self, body: bytes) -> None:
        decoded = decode_body(body)
        texts = decoded.texts
        execute = self._cursor.execute
        reset_rowid = self._connection.set_last_insert_rowid
        for statements in decoded.transactions:
            reset_rowid(0)  # as on the leader, where no session sees another's
            for call in statements:
                try:
                    for _row in execute(texts[call.text], call.parameters):
                        pass  # RETURNING: the leader has answered with its own rows
                except NO_DIVERGENCE:
                    raise
                except (apsw.Error, ValueError, OverflowError) as error:
                    raise diverged(f"replay {texts[call.text]!r:.200}", error) from error

    def undo(self, body: bytes) -> bool:
        return False  # a statement does not say what it replaced

    def after_apply(self) -> None:
        """SQLite itself changed the rows: its caches are right."""
