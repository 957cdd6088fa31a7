"""How each log format would replicate a statement, found out by doing it: what `workbench explain` prints.

    explanation = explain("INSERT INTO t(x) VALUES (random())")
    explanation.causes, explanation.outcomes

For each format and policy a leader executes the statement, its entry is applied by a follower, and their digests are
compared (`pairs.py`). Several statements are one transaction. Without a schema, the tables that the statements need are
guessed (`guessing.py`), and what was assumed is told.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from workbench.config import LogFormatName, UnsafePolicy
from workbench.errors import ConfigurationError, StatementError, WorkbenchError
from workbench.inspection.causes import examined
from workbench.inspection.column_names import ColumnNames
from workbench.inspection.comparing import RowDifference, all_same
from workbench.inspection.compiling import compile_only
from workbench.inspection.guessing import guess_schema
from workbench.inspection.pairs import LateClock, Pair, Tried
from workbench.inspection.value_text import literal, pairs
from workbench.log_formats.causes import Unsafe
from workbench.log_formats.describing import Described, iterate
from workbench.log_formats.programs import NO_BINDINGS
from workbench.log_formats.wal_rows import RowReader
from workbench.protocol.values import Entry, Statement
from workbench.storage.client_policy import changes_schema, one_line
from workbench.workloads.sql_script import read_script, split_statements

VARIANTS: Final[tuple[tuple[LogFormatName, UnsafePolicy | None], ...]] = (
    ("statement", "allow"),
    ("statement", "refuse"),
    ("statement", "pin"),
    ("statement", "mixed"),
    ("mixed", None),
    ("logical", None),
    ("wal", None),
)
"""Every log format, with every policy for unsafe statements where it has one."""
_DIFFERENCES_MAX = 4
_PAGE_BYTES = 4096
_CONTROL_BEGINS, _CONTROL_ENDS = frozenset({"BEGIN", "BEGIN TRANSACTION"}), frozenset({"COMMIT", "END"})


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is not the same after the follower has applied the entry."""

    table: str
    key: str
    column: str
    leader: str
    follower: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one format made of the statement. `agrees` is None where nothing was applied."""

    log_format: str
    unsafe: str
    """The policy; empty where the format has none."""
    refused: str = ""
    content: tuple[Described, ...] = ()
    body_bytes: int = 0
    beyond_bytes: int = 0
    """Bytes of the body beyond those of the SQL itself."""
    entry_bytes: int = 0
    """With position, session, replies: what lies in the log and travels to each follower."""
    not_applied: str = ""
    agrees: bool | None = None
    differences: tuple[Difference, ...] = ()


class _Prepared(NamedTuple):
    """A transaction that is executed before, and its place in a script, for errors."""

    place: str
    statements: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CauseFound:
    """Why a statement is unsafe."""

    statement: str
    cause: str
    what: str
    reason: str
    pinnable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Everything about the statements, which are one transaction if they are several."""

    statements: tuple[str, ...]
    assumed: tuple[str, ...]
    reads_only: bool
    causes: tuple[CauseFound, ...]
    changes: int
    outcomes: tuple[Outcome, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {**asdict(self), "safe": not self.causes}


def explain(sql: str, schema: Path | None = None) -> Explanation:
    """Explain the statement, or the statements, in `sql`. `schema` is a script that is executed before.

    Raises `StatementError` for SQL that cannot be executed, `ConfigurationError` for a script that cannot be read.
    """
    statements = split(sql)
    assumed: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    changes = 0
    if schema is None:
        assumed = guess_schema(statements).statements
        prepared = [_Prepared("", (one,)) for one in assumed]
    else:
        prepared = [
            _Prepared(f"{schema}:{transaction.line}: ", tuple(one.sql for one in transaction.statements))
            for transaction in read_script(schema)
        ]
    clock = LateClock()
    try:
        with tempfile.TemporaryDirectory(prefix="workbench-explain-") as name:
            causes, perhaps, reads_only = _analyse(statements, prepared, schema)
            if reads_only:
                _read_all(Path(name), statements, prepared)
            else:
                outcomes, changes = _try_all(Path(name), statements, prepared, clock)
    finally:
        clock.unregister()
    if any(one.refused for one in outcomes if one.unsafe == "refuse"):
        causes = causes or perhaps  # the values have decided
    return Explanation(
        statements=statements,
        assumed=assumed,
        reads_only=reads_only,
        causes=causes,
        changes=changes,
        outcomes=outcomes,
    )


def split(sql: str) -> tuple[str, ...]:
    """The statements of a text; BEGIN and COMMIT around them are left out. What is no SQL is one statement, about which
    SQLite has something to say."""
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise StatementError("the SQL is not valid UTF-8", hint="write bytes as x'ff'") from error
    try:
        statements = [one.sql for one in split_statements([sql + "\n;\n"], "the SQL")]
    except ConfigurationError:
        statements = [sql]
    if not statements:
        raise StatementError("there is no statement", hint='workbench explain "INSERT INTO t(x) VALUES (random())"')
    first, last = (" ".join(statements[place].upper().split()) for place in (0, -1))
    if len(statements) > 2 and first in _CONTROL_BEGINS and last in _CONTROL_ENDS:
        statements = statements[1:-1]
    return tuple(statements)


def _analyse(
    statements: Sequence[str], prepared: Sequence[_Prepared], schema: Path | None
) -> tuple[tuple[CauseFound, ...], tuple[CauseFound, ...], bool]:
    """The causes of all statements, each under the schema that it meets; those that only values decide; and whether all
    of them only read."""
    connection = apsw.Connection(":memory:")
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1)
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    found: list[CauseFound] = []
    perhaps: list[CauseFound] = []
    reads_only = True
    try:
        for transaction in prepared:
            for sql in transaction.statements:
                _run(connection, sql, transaction.place)
        for sql in statements:
            reads_only = _only_reads(connection, sql) and reads_only
            certain, possible = examined(connection, sql)
            found += [_cause_found(sql, one) for one in certain]
            perhaps += [_cause_found(sql, one) for one in possible]
            if len(statements) > 1:
                with contextlib.suppress(StatementError):  # the real execution says it
                    _run(connection, sql, "")
    except apsw.Error as error:
        raise StatementError(one_line(error), hint=_with_tables_of(schema)) from error
    except UnicodeDecodeError as error:
        raise StatementError(
            "it makes text that is not valid UTF-8, so what SQLite makes of it cannot be read", hint="store a blob"
        ) from error
    finally:
        connection.close()
    return tuple(found), tuple(perhaps), reads_only


def _cause_found(sql: str, one: Unsafe) -> CauseFound:
    return CauseFound(statement=sql, cause=str(one.cause), what=one.what, reason=one.reason, pinnable=one.pinnable)


def _run(connection: apsw.Connection, sql: str, place: str) -> None:
    try:
        connection.execute(sql, NO_BINDINGS).fetchall()
    except apsw.Error as error:
        raise StatementError(f"{place}{one_line(error)}") from error
    except UnicodeDecodeError:
        return  # rows of a statement that nobody looks at here


def _with_tables_of(schema: Path | None) -> str:
    return f"with the tables of {schema}" if schema is not None else ""


def _only_reads(connection: apsw.Connection, sql: str) -> bool:
    """Whether `sql` changes nothing. Raises `apsw.Error`, `StatementError` where values are missing."""
    compiled = compile_only(connection, sql)
    if compiled.parameters:
        raise StatementError(
            "the statement leaves values open, as parameters", hint="write them into it: ... VALUES (1, 'x')"
        )
    return compiled.reads_only and not changes_schema(sql)


def _read_all(directory: Path, statements: Sequence[str], prepared: Sequence[_Prepared]) -> None:
    """Run statements that only read as a client may. Raises `StatementError` for what is refused."""
    pair = Pair(directory, "logical")
    try:
        _prepare(pair, prepared)
        for sql in statements:
            pair.read(Statement(sql))
    finally:
        pair.close()


def _prepare(pair: Pair, prepared: Sequence[_Prepared]) -> None:
    for transaction in prepared:
        reason = pair.execute_before([Statement(sql) for sql in transaction.statements])
        if reason:
            raise StatementError(f"{transaction.place}{reason}")
    pair.begin()


def _try_all(
    directory: Path,
    statements: Sequence[str],
    prepared: Sequence[_Prepared],
    clock: LateClock,
) -> tuple[tuple[Outcome, ...], int]:
    outcomes = []
    changes = 0
    for number, (log_format, unsafe) in enumerate(VARIANTS):
        outcome, tried = _try(directory / str(number), log_format, unsafe, statements, prepared, clock)
        changes = max(changes, tried.changes)
        outcomes.append(outcome)
    reasons = {outcome.refused for outcome in outcomes}
    if len(reasons) == 1 and (reason := reasons.pop()):
        raise StatementError(reason)
    return tuple(outcomes), changes


def _try(
    directory: Path,
    log_format: LogFormatName,
    unsafe: UnsafePolicy | None,
    statements: Sequence[str],
    prepared: Sequence[_Prepared],
    clock: LateClock,
) -> tuple[Outcome, Tried]:
    pair = Pair(directory, log_format, unsafe or "allow")
    try:
        try:
            _prepare(pair, prepared)
        except StatementError as error:
            tried = Tried(refused=error.message)
        else:
            tried = pair.run([Statement(sql) for sql in statements], clock)
        differing = pair.differing() if tried.entry is not None and not tried.not_applied else []
        return _outcome(pair, log_format, unsafe, statements, tried, differing), tried
    finally:
        pair.close()


def _outcome(
    pair: Pair,
    log_format: LogFormatName,
    unsafe: UnsafePolicy | None,
    statements: Sequence[str],
    tried: Tried,
    differing: Sequence[str],
) -> Outcome:
    if tried.entry is None:
        return Outcome(log_format=log_format, unsafe=unsafe or "", refused=tried.refused)
    entry = tried.entry
    differences = [one for table in differing for one in _differences(table, pair.differences(table))]
    return Outcome(
        log_format=log_format,
        unsafe=unsafe or "",
        content=_described(pair.entries),
        body_bytes=len(entry.body),
        beyond_bytes=len(entry.body) - sum(len(sql.encode("utf-8", "surrogatepass")) for sql in statements),
        entry_bytes=tried.entry_bytes,
        not_applied=tried.not_applied,
        agrees=None if tried.not_applied else not differing,
        differences=tuple(differences[:_DIFFERENCES_MAX]),
    )


def _described(entries: Sequence[Entry]) -> tuple[Described, ...]:
    """What the last of `entries` changes; those before it, from the first one on, tell of columns and pages."""
    names, content = ColumnNames(), list[Described]()
    rows: RowReader | None = None
    try:
        for entry in entries:
            content = []
            for part in iterate(entry.kind, entry.body, names.columns):
                if isinstance(sql := part.get("sql"), str):
                    names.execute(sql)
                content.append(part)
            if entry.kind == "wal":
                rows = rows or RowReader(b"", _PAGE_BYTES)
                if entry is entries[-1]:
                    content += rows.describe(entry.body)
                else:
                    rows.advance(entry.body)
    except (WorkbenchError, UnicodeDecodeError) as error:
        reason = error.message if isinstance(error, WorkbenchError) else "it holds text that is not valid UTF-8"
        content.append({"unknown": f"rows not described: {reason}"})
    finally:
        names.close()
        if rows is not None:
            rows.close()
    return tuple(content)


def _differences(table: str, rows: Sequence[RowDifference]) -> list[Difference]:
    if not rows:
        return [Difference(table, "", "", "", "")]
    found = []
    for one in rows:
        shape = one.shape
        key = pairs(shape.key_names, one.key)
        leader, follower = one.rows["leader"], one.rows["follower"]
        if leader is None or follower is None:
            texts = ["(absent)" if row is None else pairs(shape.columns, row) for row in (leader, follower)]
            found.append(Difference(table, key, "(row)", *texts))
            continue
        for name, left, right in zip(shape.columns, leader, follower, strict=True):
            if not all_same([left, right]):
                found.append(Difference(table, key, name, literal(left), literal(right)))
    return found
