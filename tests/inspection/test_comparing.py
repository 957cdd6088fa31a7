"""Rows of two or more databases are matched by key, whatever their keys are, and what differs is found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import apsw
import pytest

from workbench.errors import StatementError
from workbench.inspection import comparing
from workbench.inspection.comparing import Reader, RowDifference, Values, compare_table, shape_of
from workbench.storage.digest import database_digest


def reader_of(*statements: str, rows_at_once: int = 10**6) -> Reader:
    """A replica: its database, and how many rows it answers with at once."""
    connection = apsw.Connection(":memory:")
    for sql in statements:
        connection.execute(sql)

    async def read(sql: str, parameters: Sequence[object]) -> Sequence[Values]:
        try:
            rows = connection.execute(sql, tuple(parameters)).fetchall()
        except UnicodeDecodeError as error:
            raise StatementError("the result holds text that is not valid UTF-8 (CAST it AS BLOB)") from error
        if len(rows) > rows_at_once:
            raise StatementError("the read returns more than 100 bytes")
        return rows

    return read


def compare(readers: Sequence[Reader], rows_max: int = 100) -> tuple[list[RowDifference], str]:
    async def run() -> tuple[list[RowDifference], str]:
        shape = await shape_of(readers[0], "t")
        assert shape is not None
        return await compare_table({str(number): read for number, read in enumerate(readers)}, shape, rows_max)

    return asyncio.run(run())


def keys(found: Sequence[RowDifference]) -> list[Values]:
    return [one.key for one in found]


SHAPES = {
    "integer key": "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
    "text key": "CREATE TABLE t (id TEXT PRIMARY KEY COLLATE NOCASE, v)",
    "without rowid": "CREATE TABLE t (id PRIMARY KEY, v) WITHOUT ROWID",
    "two keys": "CREATE TABLE t (id, v, PRIMARY KEY (v, id))",
    "rowid": "CREATE TABLE t (id, v)",
    "hidden rowid": "CREATE TABLE t (rowid, oid, _rowid_)",
    "generated": "CREATE TABLE t (id PRIMARY KEY, v, w AS (v || '!'))",
    "full text": "CREATE VIRTUAL TABLE t USING fts5(id, v)",
}


@pytest.mark.parametrize("schema", SHAPES.values(), ids=SHAPES)
def test_equal_tables_do_not_differ_and_one_row_is_found(schema: str) -> None:
    columns = {"hidden rowid": "rowid, oid, _rowid_"}.get(next(k for k, v in SHAPES.items() if v == schema), "id, v")
    values = ", ".join(f"({number}, 'x'{', 0' if columns.count(',') == 2 else ''})" for number in range(50))
    base = [schema, f"INSERT INTO t ({columns}) VALUES {values}"]
    assert compare([reader_of(*base), reader_of(*base)]) == ([], "")
    first = columns.split(",", maxsplit=1)[0]
    found, note = compare([reader_of(*base), reader_of(*base, f"DELETE FROM t WHERE {first} = 7")])
    assert (len(found), note) == (1, "")
    assert found[0].rows["1"] is None
    row = found[0].rows["0"]
    assert row is not None
    assert str(row[0]) == "7"


def test_changed_missing_and_additional_rows_among_three() -> None:
    base = ["CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)"]
    found, _ = compare(
        [
            reader_of(*base),
            reader_of(*base, "UPDATE t SET v = 'two' WHERE id = 2"),
            reader_of(*base, "DELETE FROM t WHERE id = 3", "INSERT INTO t VALUES (9, 9)"),
        ]
    )
    assert {one.key: dict(one.rows) for one in found} == {
        (2,): {"0": (2, 2), "1": (2, "two"), "2": (2, 2)},
        (3,): {"0": (3, 3), "1": (3, 3), "2": None},
        (9,): {"0": None, "1": None, "2": (9, 9)},
    }


def test_types_count() -> None:
    one = reader_of("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 1)")
    other = reader_of("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 1.0)")
    assert keys(compare([one, other])[0]) == [(1,)]


def test_null_in_a_key_may_stand_twice() -> None:
    base = ["CREATE TABLE t (id TEXT PRIMARY KEY, v)", "INSERT INTO t VALUES (NULL, 1), (NULL, 2), ('a', 3)"]
    found, _ = compare([reader_of(*base), reader_of(*base, "UPDATE t SET v = 9 WHERE v = 1")])
    assert [(one.rows["0"], one.rows["1"]) for one in found] == [((None, 1), (None, 9))]


def test_text_that_is_not_utf_8_can_be_compared() -> None:
    base = ["CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, CAST(x'ff' AS TEXT)), (2, 'b')"]
    assert compare([reader_of(*base), reader_of(*base)]) == ([], "")
    found, _ = compare([reader_of(*base), reader_of(*base, "UPDATE t SET v = CAST(x'fe' AS TEXT) WHERE id = 1")])
    assert [one.rows for one in found] == [{"0": (1, "\\xff"), "1": (1, "\\xfe")}]


def test_large_rows_are_read_in_smaller_steps() -> None:
    base = ["CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t SELECT value FROM generate_series(1, 500)"]
    base[1] = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO t SELECT i FROM n"
    found, note = compare([reader_of(*base, rows_at_once=40), reader_of(*base, "DELETE FROM t WHERE id = 333")])
    assert (keys(found), note) == ([(333,)], "")


def test_differences_are_bounded_and_that_is_said() -> None:
    schema = "CREATE TABLE t (id INTEGER PRIMARY KEY)"
    many = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO t SELECT i FROM n"
    found, note = compare([reader_of(schema, many), reader_of(schema)], rows_max=10)
    assert (len(found), note) == (10, "more than 10 rows differ")


def test_rows_read_are_bounded_and_an_early_difference_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "ROWS_READ_MAX", 100)
    monkeypatch.setattr(comparing, "_PAGE_ROWS", 50)
    schema = "CREATE TABLE t (id INTEGER PRIMARY KEY)"
    many = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i FROM n"
    found, note = compare([reader_of(schema, many), reader_of(schema, many, "DELETE FROM t WHERE id = 3")])
    assert (keys(found), note) == ([(3,)], "its first 100 rows were compared")


VALUES = (
    "1",
    "1.0",
    "'1'",
    "x'31'",
    "NULL",
    "'a'",
    "'A'",
    "''",
    "-0.0",
    "9223372036854775807",
    "1e300",
    "CAST(x'ff' AS TEXT)",
)


@pytest.mark.parametrize("seed", range(40))
def test_rows_are_found_to_differ_exactly_when_digests_do(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random rows of all types in tables of all shapes, compared in small pages."""
    random = Random(seed)
    monkeypatch.setattr(comparing, "_PAGE_ROWS", random.choice((1, 3, 50)))
    schema = random.choice([sql for name, sql in SHAPES.items() if name not in ("full text", "hidden rowid")])
    inserts = [
        f"INSERT OR IGNORE INTO t (id, v) VALUES ({random.randrange(9)}, {random.choice(VALUES)})" for _ in range(30)
    ]
    changes = [
        random.choice(
            (
                f"UPDATE OR IGNORE t SET v = {random.choice(VALUES)} WHERE id = {random.randrange(9)}",
                f"DELETE FROM t WHERE id = {random.randrange(9)}",
                f"INSERT OR IGNORE INTO t (id, v) VALUES ({random.randrange(20)}, {random.choice(VALUES)})",
            )
        )
        for _ in range(random.randrange(3))
    ]
    digests, readers = [], []
    for statements in ((schema, *inserts), (schema, *inserts, *changes)):
        connection = apsw.Connection(":memory:")
        for sql in statements:
            connection.execute(sql)
        digests.append(database_digest(connection)["t"])
        readers.append(reader_of(*statements))
    found, note = compare(readers)
    assert note == ""
    assert bool(found) == (digests[0] != digests[1]), (seed, schema, changes)
