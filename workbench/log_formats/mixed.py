"""The mixed format: safe statements travel as SQL, what unsafe ones changed travels as rows, in one body, in order.

It is the format `mixed`, and the policy `mixed` of the format `statement`. Rules:

- A statement is unsafe here also when it only may be (a date function with an argument that is no constant), when it
  touches a virtual table (the tables behind one depend on when it was written, not only on what), when it may leave
  a deferred foreign key violated (rows that mend it would not be counted), or looks at rowids beside a primary key
  (rows travel without them).
- Rows are taken before the next statement that travels as SQL runs, since a changeset reads present values. Unsafe
  transactions of one statement each that follow each other share one changeset.
- Followers execute statements with triggers and foreign keys on, and apply rows with both off.
- A transaction that is refused takes its rows with it: what was taken before it began is apart from what it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw

from workbench.config import LogFormatName
from workbench.errors import CodecError, StatementError
from workbench.log_formats.base import INTERNAL_PREFIX, StatementFacts, run, set_enforcement
from workbench.log_formats.full_tables import FullTables
from workbench.log_formats.guarded import CLOCK_ASKED, sentence
from workbench.log_formats.pinning import Clock, Counters
from workbench.log_formats.row_apply import RowApplier
from workbench.log_formats.row_capture import RowCapture
from workbench.log_formats.row_parts import Part, SchemaChange
from workbench.log_formats.statement import Rows, StatementBody, decode_body, encode_body, replay
from workbench.protocol.values import Statement

_SAVEPOINT = f"SAVEPOINT {INTERNAL_PREFIX}rows"
_RELEASE = f"RELEASE {INTERNAL_PREFIX}rows"


class MixedFormat:
    """Capture and replay on one connection, which was opened with `clock`."""

    def __init__(self, connection: apsw.Connection, clock: Clock, name: LogFormatName = "mixed") -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._clock = clock
        self._name = name
        self._capture = RowCapture(connection)
        self._applier = RowApplier(connection)
        self._counters = Counters(connection)
        self._full = FullTables(connection)
        self._accepted: list[Sequence[Statement]] = []
        self._rows: list[Rows] = []
        self._captures = False
        self._schema_known = False
        self._schema_version = -1
        # Of the client transaction that runs:
        self._travels: list[bool] = []
        """For each statement that has written: whether it travels as SQL."""
        self._separate = False
        """What was captured before it has been taken, so that it can be dropped alone."""
        self._rows_before: list[Rows] = []
        self._savepoint = False
        # Of the statement that changes the schema:
        self._copies = False
        """It is an unsafe CREATE TABLE ... AS."""
        self._version_before = -1

    @property
    def name(self) -> LogFormatName:
        return self._name

    def refusal(self, facts: StatementFacts) -> str:
        return ""  # whatever is unsafe travels as rows; changes of the schema are SQL, as in the logical format

    def lead(self) -> None:
        self._capture.lead()
        self._schema_known = False
        self._full.forget()

    def follow(self) -> None:
        self._capture.before_schema_change()  # no trigger of the workbench fires when statements are replayed
        self._applier.follow()
        set_enforcement(self._connection, on=True)
        self._schema_version = -1

    # On the leader

    def begin_group(self) -> None:
        self._accepted, self._rows, self._captures = [], [], False
        if not self._schema_known:
            self._learn_schema()

    def begin_transaction(self, *, changes_schema: bool) -> None:
        self._separate = changes_schema
        if changes_schema:
            self._take()
            self._full.forget()

    def begin(self, statements: Sequence[Statement]) -> None:
        self._counters.begin()
        if len(statements) > 1:
            self._separate = True
            self._take()
        self._travels = []
        self._savepoint = False
        if self._separate:
            self._rows_before = self._rows[:]

    def before_examination(self) -> None:
        self._counters.keep()

    def before_statement(self, facts: StatementFacts) -> None:
        self._clock.asked = False
        if facts.reads_only or facts.changes_schema:
            self._copies = facts.copies_into_new_table and self._needs_rows(facts)
            return
        if not self._needs_rows(facts):
            self._take()
            return
        if not self._captures:
            self._capture.start()
            self._captures = True
        if facts.examination.touches_virtual:
            self._cursor.execute(_SAVEPOINT)
            self._savepoint = True

    def after_statement(self, facts: StatementFacts) -> None:
        if facts.reads_only or facts.changes_schema:
            return
        if self._savepoint:
            self._cursor.execute(_RELEASE)
            self._savepoint = False
        self._counters.written()
        self._travels.append(not self._captures)
        if self._captures:
            if facts.examination.sets_rowids:
                self._full.forget()
            return
        if self._clock.asked:
            raise StatementError(sentence(CLOCK_ASKED))
        self._full.after(facts.examination)

    def before_schema_change(self) -> None:
        self._take()
        self._version_before = self._read_schema_version()
        self._capture.before_schema_change()

    def after_schema_change(self, sql: str) -> None:
        parts = self._capture.after_schema_change(sql)
        if self._copies and len(parts) == 1:
            parts = self._empty_table()
        travels_as_rows = len(parts) > 1 or self._copies  # CREATE TABLE ... AS
        if travels_as_rows:
            self._add(parts)
        self._travels.append(not travels_as_rows)
        self._learn_schema()

    def end_transaction(self, statements: Sequence[Statement], *, accepted: bool) -> None:
        self._savepoint = False
        if accepted:
            calls = [call for call, travels in zip(statements, self._travels, strict=True) if travels]
            if calls:
                self._take_before(len(calls))
                self._accepted.append(calls)
        elif self._separate:
            self._rows = self._rows_before
            self._captures = False
            self._capture.discard()
            self._learn_schema()
        self._travels = []

    def finish_group(self) -> bytes:
        self._take()
        body = encode_body(self._accepted, (), self._rows)
        self._accepted, self._rows = [], []
        return body

    def discard_group(self) -> None:
        self._accepted, self._rows, self._captures, self._travels = [], [], False, []
        self._capture.discard()
        self._schema_known = False
        self._full.forget()

    def encode_alone(self, statement: Statement) -> bytes:
        self._schema_known = False
        return encode_body([[statement]])

    def _needs_rows(self, facts: StatementFacts) -> bool:
        examination = facts.examination
        if examination.unsafe or examination.perhaps or examination.touches_virtual or examination.defers_keys:
            return True
        if examination.uses_hidden_rowids:
            return True
        return any(map(self._full.is_full, examination.generates))

    def _take(self) -> None:
        """Put the rows that were captured in the place that the execution has reached."""
        if self._captures:
            self._captures = False
            self._add(self._capture.finish())

    def _take_before(self, calls: int) -> None:
        """The same at the end of a transaction with statements that travel: behind its last one."""
        if self._captures:
            self._captures = False
            self._add(self._capture.finish(), calls)

    def _add(self, parts: Iterable[Part], call: int = -1) -> None:
        place = (len(self._accepted), sum(self._travels) if call < 0 else call)
        found = tuple(parts)
        if self._rows and (self._rows[-1].transaction, self._rows[-1].call) == place:
            found = self._rows.pop().parts + found
        if found:
            self._rows.append(Rows(*place, found))

    def _empty_table(self) -> list[Part]:
        """What CREATE TABLE ... AS an unsafe SELECT without rows has made: elsewhere it might find some."""
        if self._read_schema_version() == self._version_before:
            return []  # IF NOT EXISTS, and it did
        newest = "SELECT sql FROM sqlite_schema WHERE type = 'table' ORDER BY rowid DESC LIMIT 1"
        return [SchemaChange(sql) for (sql,) in run(self._connection, newest)]

    def _learn_schema(self) -> None:
        """Let the capture prepare itself outside of what may be rolled back alone."""
        self._capture.start()
        self._capture.take()
        self._schema_known = True

    # On a follower

    def apply(self, body: bytes) -> None:
        decoded = decode_body(body)
        if decoded.pins:
            raise CodecError("the statements were pinned: this replica's policy is another one")
        texts, execute = decoded.texts, self._cursor.execute
        reset_rowid = self._connection.set_last_insert_rowid
        rows = {(one.transaction, one.call): one.parts for one in decoded.rows}
        for number, statements in enumerate(decoded.transactions):
            reset_rowid(0)
            for place, call in enumerate(statements):
                if rows and (parts := rows.get((number, place))):
                    self._apply_rows(parts)
                replay(execute, texts[call.text], call.parameters)
            if rows and (parts := rows.get((number, len(statements)))):
                self._apply_rows(parts)
        if rows and (parts := rows.get((len(decoded.transactions), 0))):
            self._apply_rows(parts)

    def undo(self, body: bytes) -> bool:
        decoded = decode_body(body)
        if decoded.transactions or decoded.pins:
            return False  # a statement does not say what it replaced
        set_enforcement(self._connection, on=False)
        try:
            self._notice_schema()
            return all(self._applier.undo(part) for part in reversed(_parts(decoded)))
        finally:
            set_enforcement(self._connection, on=True)

    def after_apply(self) -> None:
        self._notice_schema()
        self._applier.after_apply()

    def _apply_rows(self, parts: Sequence[Part]) -> None:
        set_enforcement(self._connection, on=False)
        try:
            self._notice_schema()
            for part in parts:
                self._applier.apply(part)
        finally:
            set_enforcement(self._connection, on=True)

    def _notice_schema(self) -> None:
        """Statements may have changed it."""
        version = self._read_schema_version()
        if version != self._schema_version:
            self._schema_version = version
            self._applier.schema_changed()

    def _read_schema_version(self) -> int:
        ((version,),) = run(self._connection, "PRAGMA schema_version")
        return int(version)


def _parts(decoded: StatementBody) -> list[Part]:
    return [part for rows in decoded.rows for part in rows.parts]
