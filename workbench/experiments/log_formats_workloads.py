"""What `log_formats` writes when it compares costs: a few workloads, each a table and one transaction after the other.

Every value comes from a seeded generator, so that the bodies of entries have the same sizes on any machine. Nothing in
them is unsafe: what they cost is compared, not what they break.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from workbench.protocol.values import Statement

Statements: TypeAlias = tuple[Statement, ...]

WIDE_COLUMNS = 100
DELETED_ROWS = 100
REPEATS_MAX = 60
"""Transactions of a workload; there is something to delete for so many."""
_VALUE_BYTES = 100
_FILLED_ROWS = 2_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """`setup` makes the table, a transaction a text; `write(n, random)` is the n-th transaction, from 0."""

    name: str
    words: str
    setup: tuple[str, ...]
    write: Callable[[int, Random], Statements]
    rows: int = 1
    """Rows that each transaction changes, those of triggers included."""


def _text(random: Random, length: int = _VALUE_BYTES) -> str:
    return "".join(random.choices(_LETTERS, k=length))


def filled(table: str, columns: str, values: str, rows: int, first: int = 1) -> str:
    """SQL that adds `rows` rows whose `values` are made of their number `n`, from `first` on, in this order."""
    return (
        f"WITH RECURSIVE counted(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM counted LIMIT {rows})"
        f" INSERT INTO {table}({columns}) SELECT {values} FROM counted ORDER BY n"
    )


def _notes(rows: int) -> tuple[str, ...]:
    return (
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, value TEXT)",
        filled("notes", "id, value", f"n, printf('%0{_VALUE_BYTES}d', n)", rows),
    )


_WIDE_NAMES = ", ".join(f"c{number}" for number in range(1, WIDE_COLUMNS + 1))
_WIDE = (f"CREATE TABLE wide (id INTEGER PRIMARY KEY, {_WIDE_NAMES})",)
_INDEXED = (
    "CREATE TABLE indexed (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, c INTEGER, d INTEGER, e INTEGER)",
    *(f"CREATE INDEX indexed_{name} ON indexed({name})" for name in "abcde"),
    filled(
        "indexed",
        "id, a, b, c, d, e",
        "n, n * 7919 % 10007, n * 6131 % 10009, n * 4253 % 10037, n * 3571 % 10039, n * 2741 % 10061",
        _FILLED_ROWS,
    ),
)
_AUDIT = (
    "CREATE TRIGGER audit_rows AFTER INSERT ON audited BEGIN"
    " INSERT INTO audit(audited, value) VALUES (new.id, new.value); END"
)
_AUDITED = (
    "CREATE TABLE audited (id INTEGER PRIMARY KEY, value TEXT)",
    "CREATE TABLE audit (id INTEGER PRIMARY KEY, audited INTEGER, value TEXT)",
    _AUDIT,
)


def _insert(_number: int, random: Random) -> Statements:
    return (Statement("INSERT INTO notes(value) VALUES (?)", (_text(random),)),)


def _update(_number: int, random: Random) -> Statements:
    return (Statement("UPDATE notes SET value = ? WHERE id = ?", (_text(random), random.randint(1, _FILLED_ROWS))),)


def _delete(number: int, _random: Random) -> Statements:
    first = 1 + number * DELETED_ROWS
    return (Statement("DELETE FROM notes WHERE id BETWEEN ? AND ?", (first, first + DELETED_ROWS - 1)),)


def _insert_wide(_number: int, random: Random) -> Statements:
    marks = ", ".join("?" * WIDE_COLUMNS)
    values = tuple(random.randint(0, 999) for _ in range(WIDE_COLUMNS))
    return (Statement(f"INSERT INTO wide({_WIDE_NAMES}) VALUES ({marks})", values),)


def _update_wide(_number: int, random: Random) -> Statements:
    column, row = random.randint(1, WIDE_COLUMNS), random.randint(1, 100)
    return (Statement(f"UPDATE wide SET c{column} = ? WHERE id = ?", (random.randint(1_000, 9_999), row)),)


def _insert_indexed(_number: int, random: Random) -> Statements:
    values = tuple(random.randint(0, 10_000) for _ in range(5))
    return (Statement("INSERT INTO indexed(a, b, c, d, e) VALUES (?, ?, ?, ?, ?)", values),)


def _insert_audited(_number: int, random: Random) -> Statements:
    return (Statement("INSERT INTO audited(value) VALUES (?)", (_text(random),)),)


WORKLOADS: tuple[Workload, ...] = (
    Workload(name="insert", words="insert a row", setup=_notes(_FILLED_ROWS), write=_insert),
    Workload(name="update", words="update a row", setup=_notes(_FILLED_ROWS), write=_update),
    Workload(
        name="range_delete",
        words=f"delete {DELETED_ROWS} rows",
        setup=_notes(REPEATS_MAX * DELETED_ROWS),
        write=_delete,
        rows=DELETED_ROWS,
    ),
    Workload(name="wide_insert", words=f"insert {WIDE_COLUMNS} columns", setup=_WIDE, write=_insert_wide),
    Workload(
        name="wide_update",
        words=f"update 1 of {WIDE_COLUMNS} columns",
        setup=(
            *_WIDE,
            filled("wide", f"id, {_WIDE_NAMES}", ", ".join(["n", *(["n % 1000"] * WIDE_COLUMNS)]), WIDE_COLUMNS),
        ),
        write=_update_wide,
    ),
    Workload(name="indexed_insert", words="insert, 5 indexes", setup=_INDEXED, write=_insert_indexed),
    Workload(name="triggered_insert", words="insert, audit trigger", setup=_AUDITED, write=_insert_audited, rows=2),
)
BULK = "bulk_update"
BULK_WORDS = "update n rows at once"
CHUNK_ROWS = 100_000


def bulk_setup(rows: int, row_bytes: int, chunk_rows: int = CHUNK_ROWS) -> tuple[str, ...]:
    """A table of `rows` counters with `row_bytes` bytes beside each, made in parts that no entry is too small for."""
    columns, values = "id, value, note", f"n, 1000, substr(hex(zeroblob({(row_bytes + 1) // 2})), 1, {row_bytes})"
    return (
        "CREATE TABLE counters (id INTEGER PRIMARY KEY, value INTEGER, note TEXT)",
        *(
            filled("counters", columns, values, min(chunk_rows, rows - done), done + 1)
            for done in range(0, rows, chunk_rows)
        ),
    )


def bulk_update(rows: int) -> Statements:
    """One statement that changes so many neighbouring rows."""
    return (Statement("UPDATE counters SET value = value + 1 WHERE id <= ?", (rows,)),)
