"""Runs a group of client transactions inside one transaction of SQLite, each of them whole or not at all.

Rules:

- Every client transaction has a savepoint of its own (0.6 us; it also undoes what `OR FAIL` leaves behind), no view of
  another session's `last_insert_rowid()`, and no way to leave a deferred foreign key violated for the next.
- `INSERT OR ROLLBACK`, `RAISE(ROLLBACK)`, an interrupt or a full disk end the whole transaction of SQLite. That is
  noticed; the offender is refused, and the group runs again without it, so that every result is the right one.
- A refusal is one line, and nothing of the refused transaction remains.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import apsw

from workbench.config import Limits
from workbench.errors import StatementError, StorageError
from workbench.log_formats.base import Capture, Watch, run
from workbench.log_formats.table_shapes import quoted
from workbench.protocol.values import Member, Row, Statement, StatementResult, Transaction
from workbench.storage.alone import VACUUM, alone_statement, run_alone
from workbench.storage.base import QueryResult, Refused
from workbench.storage.client_policy import MEMBER_SAVEPOINT, ClientPolicy, changes_schema, one_line

_PROGRESS_STEPS = 50_000
"""Virtual machine steps between two looks at the clock: about a millisecond."""
_SAVEPOINT = "SAVEPOINT " + MEMBER_SAVEPOINT
_RELEASE = "RELEASE " + MEMBER_SAVEPOINT
_ROLLBACK_TO = "ROLLBACK TO " + MEMBER_SAVEPOINT

_CHECKS = re.compile(r"\b(?:integrity|quick)_check\b", re.IGNORECASE)

_NO_ROWS_CHANGED = StatementResult(0)
_ONE_ROW_CHANGED = StatementResult(1)

_BROKEN = (apsw.CorruptError, apsw.NotADBError, apsw.CantOpenError, apsw.MisuseError)
_REFUSABLE = (StatementError, apsw.Error, UnicodeError, OverflowError, TypeError, ValueError)


class GroupEnded(Exception):
    """A client transaction took the whole transaction of SQLite with it."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number
        self.reason = reason


class GroupRunner:
    """Executes clients' statements, for groups and for reads, under the limits of the replica."""

    def __init__(
        self, connection: apsw.Connection, log_format: Capture, limits: Limits, watch: Watch | None = None
    ) -> None:
        self._connection = connection
        self._format = log_format
        self._limits = limits
        self._watch = watch
        self._policy = ClientPolicy(connection, log_format.refusal, watch)
        self._cursor = connection.cursor()
        self._deadline_s: float | None = None
        self._timed_out = False
        self._clients_run = False
        connection.set_progress_handler(self._is_overdue, _PROGRESS_STEPS)

    def schema_may_have_changed(self) -> None:
        """Forget what was learnt of SQL texts under another schema."""
        self._policy.forget()

    def reload_schema(self) -> None:
        """The schema has changed behind SQLite's back: let it notice now. It compares versions only when a statement
        begins to run, which is too late for the names of the columns that were taken from the compiled one."""
        self._policy.forget()
        self._cursor.execute("SELECT 1 FROM sqlite_schema LIMIT 0").fetchall()

    def run(self, group: Sequence[Transaction], refused: dict[int, str]) -> list[Member]:
        """Begin, run every transaction that is not in `refused`, and leave the transaction open.

        What is refused now is added to `refused`, by place in the group. Without members left, it has rolled back.
        """
        while True:
            self._cursor.execute("BEGIN IMMEDIATE")
            self._clients_run = True
            try:
                self._format.begin_group()
                members = [
                    member
                    for number, transaction in enumerate(group)
                    if number not in refused and (member := self._run_member(number, transaction, refused)) is not None
                ]
            except GroupEnded as ended:
                refused[ended.number] = ended.reason
                self.roll_back()
            except BaseException:
                self.roll_back()
                raise
            else:
                self._clients_run = False
                if not members:
                    self.roll_back()
                return members

    def run_alone(
        self, transaction: Transaction, refused: dict[int, str], *, moves_pages: bool
    ) -> tuple[list[Member], Statement]:
        """Check a transaction that runs alone; where pages are captured (`moves_pages`), execute it.

        Returns the member, and its statement in the form that the entry carries; without a member, it is refused.
        """
        self._policy.stop_reading()
        self._deadline_s, self._timed_out, self._clients_run = None, False, moves_pages
        try:
            statement = alone_statement(transaction, moves_pages=moves_pages)
            if moves_pages:
                run_alone(self._connection, statement)
        except _REFUSABLE as error:
            if is_broken(error):
                raise StorageError(f"the database cannot be used: {one_line(error)}") from error
            refused[0] = self._reason(error)
            return [], VACUUM
        finally:
            self._clients_run = False
            self._policy.forget()
        return [Member(transaction.session, transaction.sequence, (_NO_ROWS_CHANGED,))], statement

    def roll_back(self) -> None:
        """Undo whatever is open."""
        self._clients_run = False
        self._format.discard_group()
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")
        self._policy.forget()

    def query(self, statement: Statement) -> QueryResult:
        """Run one statement that only reads."""
        if _CHECKS.search(statement.sql):
            self._look_at_virtual_tables()
        self._deadline_s, self._timed_out, self._clients_run = None, False, True
        try:
            facts, cursor = self._policy.execute(statement.sql, statement.parameters, read_only=True)
            rows = self._fetch_read(cursor) if facts.columns else ()
        except _REFUSABLE as error:
            if is_broken(error):
                raise StorageError(f"the database cannot be read: {one_line(error)}") from error
            self._policy.stop_reading()
            return QueryResult(error=self._reason(error))
        finally:
            self._clients_run = False
        return QueryResult(facts.columns, rows)

    def _look_at_virtual_tables(self) -> None:
        """FTS5 finds out that its tables changed behind its back when a query on them begins, but not when they are
        checked: it would report a corruption that is none."""
        try:
            for (name,) in run(
                self._connection, "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage = 0"
            ):
                run(self._connection, f"SELECT 1 FROM {quoted(name)} LIMIT 1")
        except apsw.Error:
            return  # which the check will find, and say better

    def _run_member(self, number: int, transaction: Transaction, refused: dict[int, str]) -> Member | None:
        statements = transaction.statements
        schema = False
        for statement in statements:
            facts = self._policy.facts(statement.sql)
            if facts.changes_schema if facts else changes_schema(statement.sql):
                schema = True
        self._format.begin_transaction(changes_schema=schema)
        self._cursor.execute(_SAVEPOINT)
        self._connection.set_last_insert_rowid(0)
        try:
            self._check_size(statements)
            if self._watch is not None:
                self._watch.begin(statements)
            results, written = self._run_statements(statements)
            if self._connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
                raise StatementError("FOREIGN KEY constraint failed: a deferred one is violated at the end")
        except _REFUSABLE as error:
            if is_broken(error):
                raise StorageError(f"the database cannot be used: {one_line(error)}") from error
            refused[number] = reason = self._reason(error)
            self._policy.stop_reading()
            if not self._connection.in_transaction:
                raise GroupEnded(number, reason) from error
            self._cursor.execute(_ROLLBACK_TO)
            self._cursor.execute(_RELEASE)
            if schema:
                self._policy.forget()
            self._format.end_transaction((), accepted=False)
            return None
        self._cursor.execute(_RELEASE)
        self._format.end_transaction(written, accepted=True)
        return Member(transaction.session, transaction.sequence, results)

    def _run_statements(
        self, statements: Sequence[Statement]
    ) -> tuple[tuple[StatementResult, ...], Sequence[Statement]]:
        """The results, and the statements that did more than read."""
        if not statements:
            raise StatementError("the transaction has no statements")
        results: list[StatementResult] = []
        written: list[Statement] = []
        room = self._limits.reply_bytes_max
        for statement in statements:
            sql = statement.sql
            facts = self._policy.facts(sql)
            self._deadline_s, self._timed_out = None, False
            if facts.changes_schema if facts else changes_schema(sql):
                self._format.before_schema_change()
                facts, cursor = self._policy.execute(sql, statement.parameters)
                cursor.fetchall()
                if self._watch is not None:
                    self._watch.after_statement(facts)
                self._policy.forget()
                self._format.after_schema_change(sql)
                written.append(statement)
                results.append(_NO_ROWS_CHANGED)
                continue
            facts, cursor = self._policy.execute(sql, statement.parameters)
            rows: tuple[Row, ...] = ()
            if facts.columns:
                rows, room = self._fetch(cursor, room)
            changes = 0 if facts.reads_only else self._connection.changes()
            if self._watch is not None:
                self._watch.after_statement(facts)
            if not facts.reads_only:
                written.append(statement)
            results.append(_ONE_ROW_CHANGED if changes == 1 and not rows else StatementResult(changes, rows))
        return tuple(results), written

    def _fetch(self, cursor: apsw.Cursor, room: int) -> tuple[tuple[Row, ...], int]:
        rows: list[Row] = []
        for row in cursor:
            room -= sum(map(value_bytes, row))
            if room < 0:
                raise StatementError(
                    f"a write returns more than {self._limits.reply_bytes_max} bytes", hint="return less, or read it"
                )
            rows.append(row)
        return tuple(rows), room

    def _fetch_read(self, cursor: apsw.Cursor) -> tuple[Row, ...]:
        rows_max, room = self._limits.read_rows_max, self._limits.read_bytes_max
        rows: list[Row] = []
        for row in cursor:
            room -= sum(map(value_bytes, row))
            if room < 0:
                reason = f"the read returns more than {self._limits.read_bytes_max} bytes"
                raise StatementError(reason, hint="read it in parts")
            if len(rows) == rows_max:
                raise StatementError(f"the read returns more than {rows_max} rows", hint="add a LIMIT")
            rows.append(row)
        return tuple(rows)

    def _check_size(self, statements: Sequence[Statement]) -> None:
        size = 0
        for statement in statements:
            size += len(statement.sql)
            for value in statement.parameters:
                size += value_bytes(value)
        if size > self._limits.transaction_bytes_max:
            raise StatementError(
                f"the transaction has {size} bytes of SQL and parameters",
                hint=f"at most {self._limits.transaction_bytes_max}",
            )

    def _is_overdue(self) -> bool:
        if not self._clients_run:
            return False  # applying entries and checkpoints takes as long as it takes
        now_s = time.monotonic()
        if self._deadline_s is None:
            self._deadline_s = now_s + self._limits.statement_timeout_s
        self._timed_out = now_s > self._deadline_s
        return self._timed_out

    def _reason(self, error: BaseException) -> str:
        if self._timed_out and isinstance(error, apsw.InterruptError):
            return f"the statement ran longer than {self._limits.statement_timeout_s:g} s and was interrupted"
        if isinstance(error, apsw.CorruptError):
            return "a virtual table contradicts its content (was a full-text index told to delete what it never had?)"
        if isinstance(error, OverflowError):
            return "a parameter is an integer outside of 64 bits"
        if isinstance(error, UnicodeDecodeError):
            return "the result holds text that is not valid UTF-8 (CAST it AS BLOB)"
        if isinstance(error, UnicodeEncodeError):
            return "SQL or a parameter holds text that is not valid Unicode"
        if isinstance(error, apsw.FullError):
            return "the disk of the replica is full (nothing was written)"
        return one_line(error)


def is_broken(error: BaseException) -> bool:
    """Whether the database itself is unusable, rather than a virtual table in it that a client has misled."""
    return isinstance(error, _BROKEN) and getattr(error, "extendedresult", 0) != apsw.SQLITE_CORRUPT_VTAB


def refuse_all(group: Sequence[Transaction], refused: dict[int, str], reason: str) -> tuple[Refused, ...]:
    """All members of a group that was undone: those in `refused` for their own reasons, the others for `reason`."""
    return refusals(group, {number: refused.get(number, reason) for number in range(len(group))})


def too_long(body: bytes, limits: Limits) -> str:
    """Why no entry can carry what a group became, or the empty string."""
    if len(body) <= limits.entry_bytes_max:
        return ""
    return f"too much was written at once: {len(body)} bytes for the log, at most {limits.entry_bytes_max} (write less)"


def value_bytes(value: object) -> int:
    """About how many bytes a value takes up on the wire."""
    if type(value) is str:
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if type(value) is bytes:
        return len(value)
    return 8


def refusals(group: Sequence[Transaction], refused: dict[int, str]) -> tuple[Refused, ...]:
    """The refused members of a group, in its order."""
    return tuple(
        Refused(group[number].session, group[number].sequence, reason) for number, reason in sorted(refused.items())
    )
