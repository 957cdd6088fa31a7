"""Tables for statements that come without a schema: SQLite is asked again and again, and what it misses is made.

    guess_schema(["INSERT INTO t(x) VALUES (random())"]).statements      -> ("CREATE TABLE t (x)",)

Rules:

- Nothing is assumed that SQLite did not ask for: columns have no type, tables no key and no constraint.
- What a table's columns are called is learnt from SQLite's complaints; those that are only counted are called x, y, ...
- Tables get a few rows where a statement reads or changes rows that are there already, or nothing would happen.
- The number of questions is bounded. What cannot be guessed raises `StatementError`, which asks for a schema.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import apsw

from workbench.errors import StatementError
from workbench.inspection.compiling import compile_only
from workbench.log_formats.programs import NO_BINDINGS
from workbench.storage.client_policy import leading_keyword, one_line
from workbench.storage.digest import quoted

_QUESTIONS_MAX: Final = 200
_COLUMNS_MAX: Final = 64
_ROWS: Final = 3
_FIRST_NAMES = ("x", "y", "z")
_HINT = "give the tables with --schema FILE.sql"

_NO_TABLE = re.compile(r"no such table: (?:main\.)?(?P<table>.+)")
_NO_COLUMN = re.compile(r"no such column: (?P<column>.+?)(?: - should this be a string literal.*)?")
_NOT_IN_TABLE = re.compile(r"table (?P<table>.+) has no column named (?P<column>.+)")
_COUNT = re.compile(r"table (?P<table>.+) has \d+ columns but (?P<count>\d+) values were supplied")
_MISSING = ("no such table", "no such column", "no such view", "no such index", "no such trigger", "ON CONFLICT clause")
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(QUERY\s+PLAN\s+)?", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Guess:
    """Statements that make what was missing; none when nothing was."""

    statements: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tables:
    columns: dict[str, list[str]] = field(default_factory=dict)

    def statements(self, *, rows: bool) -> list[str]:
        found = []
        for table, columns in self.columns.items():
            names = columns or [_FIRST_NAMES[0]]
            found.append(f"CREATE TABLE {_name(table)} ({', '.join(map(_name, names))})")
            if rows:
                values = ", ".join(f"({', '.join([str(row)] * len(names))})" for row in range(1, _ROWS + 1))
                found.append(f"INSERT INTO {_name(table)} VALUES {values}")
        return found


def guess_schema(statements: Sequence[str]) -> Guess:
    """What `statements` need, one after the other. Raises `StatementError`."""
    tables = _Tables()
    rows = any(_needs_rows(sql) for sql in statements)
    for _ in range(_QUESTIONS_MAX):
        complaint = _first_complaint(tables, statements, rows=rows)
        if complaint is None:
            return Guess(tuple(tables.statements(rows=rows)))
        if not _learn(tables, complaint, statements, rows=rows):
            raise StatementError(complaint, hint=_HINT if _asks_for_schema(complaint) else "")
    raise StatementError("the tables cannot be guessed from the statement", hint=_HINT)


def _needs_rows(sql: str) -> bool:
    return leading_keyword(sql) not in ("INSERT", "REPLACE", "CREATE") or bool(re.search(r"\bSELECT\b", sql, re.I))


def _first_complaint(tables: _Tables, statements: Sequence[str], *, rows: bool) -> str | None:
    """What SQLite says to the first statement that it does not accept, with the tables guessed so far."""
    connection = apsw.Connection(":memory:")
    try:
        connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
        for sql in tables.statements(rows=rows):
            connection.execute(sql)
        for sql in statements:
            compile_only(connection, _EXPLAIN.sub("", sql))
            if len(statements) > 1:
                _run(connection, sql)
    except apsw.Error as error:
        return one_line(error)
    finally:
        connection.close()
    return None


def _run(connection: apsw.Connection, sql: str) -> None:
    """Run what later statements may build on; that it fails is for the real execution to say."""
    try:
        connection.execute(sql, NO_BINDINGS).fetchall()
    except (apsw.Error, UnicodeDecodeError):
        return  # of text that is none, too: nobody looks at the rows


def _learn(tables: _Tables, complaint: str, statements: Sequence[str], *, rows: bool) -> bool:
    """Make what SQLite misses; False when its complaint does not say what."""
    if match := _NO_TABLE.fullmatch(complaint):
        table = _unquoted(match["table"])
        if "." in table or table in tables.columns:
            return False
        tables.columns[table] = []
        return True
    if match := _NOT_IN_TABLE.fullmatch(complaint):
        return _add(tables, _unquoted(match["table"]), _unquoted(match["column"]))
    if match := _COUNT.fullmatch(complaint):
        table, count = _unquoted(match["table"]), int(match["count"])
        if table not in tables.columns or count > _COLUMNS_MAX:
            return False
        names = (*_FIRST_NAMES, *(f"c{number}" for number in range(4, _COLUMNS_MAX + 1)))
        columns = tables.columns[table]
        fresh = [name for name in names if name not in columns]
        tables.columns[table] = [*columns, *fresh[: count - len(columns)]]
        return True
    if match := _NO_COLUMN.fullmatch(complaint):
        return _add_somewhere(tables, _unquoted(match["column"]), complaint, statements, rows=rows)
    return False


def _add(tables: _Tables, table: str, column: str) -> bool:
    columns = tables.columns.get(table)
    if columns is None or column in columns or len(columns) >= _COLUMNS_MAX:
        return False
    columns.append(column)
    return True


def _add_somewhere(tables: _Tables, column: str, complaint: str, statements: Sequence[str], *, rows: bool) -> bool:
    """Add a column to the table in which SQLite looks for it: the one that makes the complaint go away."""
    qualifier, _, name = column.rpartition(".")
    name = name or column
    if qualifier in tables.columns:
        return _add(tables, qualifier, name)
    for table in tables.columns:
        if not _add(tables, table, name):
            continue
        if _first_complaint(tables, statements, rows=rows) != complaint:
            return True
        tables.columns[table].remove(name)
    return False


def _asks_for_schema(complaint: str) -> bool:
    return " has no column" in complaint or complaint.startswith(_MISSING)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if len(name) > 1 and name[0] == name[-1] == '"' else name


def _name(name: str) -> str:
    """A name as people write it, quoted where it must be."""
    return name if _PLAIN.fullmatch(name) and name.upper() not in apsw.keywords else quoted(name)
