"""The statement format: the SQL of each accepted transaction, with its parameters, executed again by every follower.

Here is the body that all policies share, and `allow`: nothing is refused, nothing is pinned, so `random()` and the
current time differ between replicas. That is what the format shows. The other policies are in `guarded.py` (refuse,
pin) and `mixed.py`. Rules:

- Only accepted transactions travel, in the order of their execution; statements that only read do not.
- A statement that fails on a follower is divergence and said so. One that changes another number of rows is not
  noticed here: digests find it.
- A follower needs no savepoints: whatever fails undoes the whole apply.
- What `allow` has no use for comes last in a body, and takes no room there when it is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import apsw
import msgspec

from workbench.config import LogFormatName
from workbench.errors import CodecError
from workbench.log_formats.base import NO_DIVERGENCE, Parameter, StatementFacts, diverged, strict_decoder
from workbench.log_formats.pinning import SEED_BYTES, TIME_MS_MAX
from workbench.log_formats.row_parts import Part
from workbench.protocol.values import Statement


class StatementCall(msgspec.Struct, frozen=True, array_like=True):
    """One execution: the place of its SQL in `StatementBody.texts`, and its parameters."""

    text: int
    parameters: tuple[Any, ...] = ()
    """Values of type `Parameter`: msgspec cannot tell text and blobs apart in a declared union."""


class Pin(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one transaction got from outside of the database, to be given to it again."""

    transaction: int
    """Its place in `StatementBody.transactions`."""
    time_ms: int | None
    """Milliseconds since the beginning of SQLite's Julian days; none when it did not ask for the time."""
    seed: bytes
    """Of its random values; empty when it drew none."""


class Rows(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Changes of rows, made by statements that do not travel, before one that does."""

    transaction: int
    """The place of a transaction; their number for what comes after all of them."""
    call: int
    """The place of the call in it before which the rows change."""
    parts: tuple[Part, ...]


class StatementBody(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """SQL texts, each once, and the transactions that call them."""

    texts: tuple[str, ...]
    transactions: tuple[tuple[StatementCall, ...], ...]
    pins: tuple[Pin, ...] = ()
    """In the order of the transactions."""
    rows: tuple[Rows, ...] = ()
    """In the order in which they are applied."""


_PARAMETER_TYPES = frozenset(get_args(Parameter))
_encode = msgspec.msgpack.Encoder().encode
_decode_structure = strict_decoder(StatementBody)


def encode_body(
    transactions: Sequence[Sequence[Statement]], pins: Sequence[Pin] = (), rows: Sequence[Rows] = ()
) -> bytes:
    """The body for `transactions`, in the order of their execution."""
    places: dict[str, int] = {}
    calls = [
        [(places.setdefault(statement.sql, len(places)), statement.parameters) for statement in statements]
        for statements in transactions
    ]
    if rows:
        return _encode((tuple(places), calls, pins, rows))
    if pins:
        return _encode((tuple(places), calls, pins))
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
    if decoded.pins:
        _check_pins(decoded)
    if decoded.rows:
        _check_rows(decoded)
    return decoded


def in_order(decoded: StatementBody) -> Iterator[Pin | StatementCall | Part]:
    """Everything in a body as a follower comes to it: a transaction's pin before its first call."""
    pins = {pin.transaction: pin for pin in decoded.pins}
    rows = {(one.transaction, one.call): one.parts for one in decoded.rows}
    for number, calls in enumerate(decoded.transactions):
        if number in pins:
            yield pins[number]
        for place, call in enumerate(calls):
            yield from rows.get((number, place), ())
            yield call
        yield from rows.get((number, len(calls)), ()) if calls else ()
    yield from rows.get((len(decoded.transactions), 0), ())


def _check_pins(decoded: StatementBody) -> None:
    before = -1
    for pin in decoded.pins:
        if not before < pin.transaction < len(decoded.transactions):
            raise CodecError(f"not a StatementBody: a pin of transaction {pin.transaction} stands behind {before}")
        if pin.time_ms is not None and not 0 <= pin.time_ms <= TIME_MS_MAX:
            raise CodecError(f"not a StatementBody: {pin.time_ms} ms is no time that SQLite knows")
        if len(pin.seed) not in (0, SEED_BYTES):
            raise CodecError(f"not a StatementBody: a seed of {len(pin.seed)} bytes")
        before = pin.transaction


def _check_rows(decoded: StatementBody) -> None:
    before = (-1, 0)
    for rows in decoded.rows:
        place = (rows.transaction, rows.call)
        calls = decoded.transactions[place[0]] if 0 <= place[0] < len(decoded.transactions) else ()
        if not before < place <= (len(decoded.transactions), 0) or not 0 <= rows.call <= len(calls):
            raise CodecError(f"not a StatementBody: rows at {place} stand behind {before}")
        before = place


def replay(execute: Callable[..., apsw.Cursor], sql: str, parameters: tuple[Any, ...]) -> None:
    """Execute a statement of the leader. Raises `DivergedError` where it fails."""
    try:
        for _row in execute(sql, parameters):
            pass  # RETURNING: the leader has answered with its own rows
    except NO_DIVERGENCE:
        raise
    except (apsw.Error, ValueError, OverflowError) as error:
        raise diverged(f"replay {sql!r:.200}", error) from error


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
        if decoded.pins or decoded.rows:
            raise CodecError("the statements were pinned, or travel as rows: this replica's policy is unsafe=allow")
        texts = decoded.texts
        execute = self._cursor.execute
        reset_rowid = self._connection.set_last_insert_rowid
        for statements in decoded.transactions:
            reset_rowid(0)  # as on the leader, where no session sees another's
            for call in statements:
                replay(execute, texts[call.text], call.parameters)

    def undo(self, body: bytes) -> bool:
        return False  # a statement does not say what it replaced

    def after_apply(self) -> None:
        """SQLite itself changed the rows: its caches are right."""
