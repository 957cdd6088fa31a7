"""The statement format under `refuse` and `pin`: nothing that may differ between replicas gets into the log.

`refuse` refuses every unsafe statement, `pin` those that no value could make repeatable; both also what turns out to be
unsafe only when it runs: a date function that was given 'now', a table whose largest rowid is taken. Under `pin` the
time and the seed of the random values travel with each transaction that asked for them. Rules:

- A follower answers a pinned transaction with what the leader was answered, and nobody else.
- Counters (`changes()` and the like) are the same everywhere by construction: see `pinning.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from workbench.config import LogFormatName
from workbench.errors import CodecError, StatementError
from workbench.log_formats.base import INTERNAL_PREFIX, StatementFacts
from workbench.log_formats.causes import REASONS, Cause, Unsafe
from workbench.log_formats.full_tables import FullTables, full
from workbench.log_formats.pinning import Clock, Counters, Draws
from workbench.log_formats.statement import Pin, decode_body, encode_body, replay
from workbench.protocol.values import Statement

_SAVEPOINT = f"SAVEPOINT {INTERNAL_PREFIX}replay"
_RELEASE = f"RELEASE {INTERNAL_PREFIX}replay"

CLOCK_ASKED = Unsafe(Cause.TIME, "a date function", "it was given 'now': " + REASONS[Cause.TIME], pinnable=True)


def sentence(unsafe: Unsafe, *, as_rows: bool = True) -> str:
    """Why a statement is refused, in one line; `as_rows`: it could travel as rows."""
    policies = [*(["pin"] if unsafe.pinnable else []), *(["mixed"] if as_rows else [])]
    remedy = f"; unsafe={' or '.join(policies)} replicates it" if policies else ""
    return f"{unsafe.what} may differ between replicas: {unsafe.reason} (cause {unsafe.cause}{remedy})"


class GuardedFormat:
    """Capture and replay on one connection, which was opened with `clock`."""

    def __init__(self, connection: apsw.Connection, clock: Clock, *, pins: bool) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._clock = clock
        self._pins_unsafe = pins
        self._draws = Draws(connection)
        self._counters = Counters(connection)
        self._full = FullTables(connection)
        self._accepted: list[Sequence[Statement]] = []
        self._pins: list[Pin] = []
        self._time_ms: int | None = None
        self._written = 0

    @property
    def name(self) -> LogFormatName:
        return "statement"

    def refusal(self, facts: StatementFacts) -> str:
        for unsafe in facts.examination.unsafe:
            if not (self._pins_unsafe and unsafe.pinnable):
                return sentence(unsafe, as_rows=not facts.changes_schema or facts.copies_into_new_table)
        return ""

    def lead(self) -> None:
        self._full.forget()

    def follow(self) -> None:
        """Executing and replaying need the same connection."""

    # On the leader

    def begin_group(self) -> None:
        self._accepted, self._pins = [], []

    def begin_transaction(self, *, changes_schema: bool) -> None:
        if changes_schema:
            self._full.forget()

    def begin(self, statements: Sequence[Statement]) -> None:
        self._clock.stop_when_asked()
        self._draws.begin()
        self._counters.begin()
        self._time_ms = None
        self._written = 0

    def before_examination(self) -> None:
        self._counters.keep()

    def before_statement(self, facts: StatementFacts) -> None:
        self._clock.asked = False
        if facts.reads_only:
            self._draws.begin_reading()
            return
        self._draws.begin_statement(self._written)
        self._written += 1
        for table in facts.examination.generates:
            if self._full.is_full(table):
                raise StatementError(sentence(full(table)))

    def after_statement(self, facts: StatementFacts) -> None:
        if facts.reads_only:
            return
        self._counters.written()
        if self._clock.asked:
            if not self._pins_unsafe:
                raise StatementError(sentence(CLOCK_ASKED))
            self._time_ms = self._clock.stopped_at_ms
        self._full.after(facts.examination)

    def before_schema_change(self) -> None:
        """The statement travels like any other."""

    def after_schema_change(self, sql: str) -> None:
        """The statement travels like any other."""

    def end_transaction(self, statements: Sequence[Statement], *, accepted: bool) -> None:
        if accepted and statements:
            if self._time_ms is not None or self._draws.seed:
                self._pins.append(Pin(len(self._accepted), self._time_ms, self._draws.seed))
            self._accepted.append(statements)
        self._release()

    def finish_group(self) -> bytes:
        body = encode_body(self._accepted, self._pins)
        self._accepted, self._pins = [], []
        return body

    def discard_group(self) -> None:
        self._accepted, self._pins = [], []
        self._full.forget()
        self._release()

    def encode_alone(self, statement: Statement) -> bytes:
        return encode_body([[statement]])

    # On a follower

    def apply(self, body: bytes) -> None:
        decoded = decode_body(body)
        if decoded.rows:
            raise CodecError("statements travel as rows: this replica's policy is another one")
        texts, execute = decoded.texts, self._cursor.execute
        pins = {pin.transaction: pin for pin in decoded.pins}
        for number, statements in enumerate(decoded.transactions):
            pin = pins.get(number)
            execute(_SAVEPOINT)  # as on the leader: FTS5 writes when one ends, and that counts
            self._connection.set_last_insert_rowid(0)
            self._counters.begin()
            self._draws.begin(pin.seed if pin else b"")
            if pin and pin.time_ms is not None:
                self._clock.fix(pin.time_ms)
            for place, call in enumerate(statements):
                self._draws.begin_statement(place)
                replay(execute, texts[call.text], call.parameters)
            execute(_RELEASE)
            self._clock.run_freely()

    def undo(self, body: bytes) -> bool:
        return False  # a statement does not say what it replaced

    def after_apply(self) -> None:
        self._release()

    def _release(self) -> None:
        """Nobody's transaction: reads have the time and the values that they like."""
        self._clock.run_freely()
        self._draws.begin()
