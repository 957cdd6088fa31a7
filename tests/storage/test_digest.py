"""Digests tell exactly the differences that matter."""

from __future__ import annotations

import apsw

from workbench.storage.digest import SCHEMA_KEY, database_digest, rows_digest


def digest(*sql: str) -> dict[str, str]:
    connection = apsw.Connection(":memory:")
    for statement in sql:
        connection.execute(statement).fetchall()
    return database_digest(connection)


def test_order_of_insertion_does_not_matter_with_a_key() -> None:
    for table in (
        "t (k TEXT PRIMARY KEY, v)",
        "t (k INTEGER PRIMARY KEY, v)",
        "t (v, k, PRIMARY KEY (k)) WITHOUT ROWID",
    ):
        one = digest(f"CREATE TABLE {table}", "INSERT INTO t(k, v) VALUES (1, 'a'), (2, 'b')")
        two = digest(f"CREATE TABLE {table}", "INSERT INTO t(k, v) VALUES (2, 'b'), (1, 'a')")
        assert one == two
        assert one["t"] != digest(f"CREATE TABLE {table}", "INSERT INTO t(k, v) VALUES (1, 'a'), (2, 'c')")["t"]


def test_rowids_order_tables_without_a_key() -> None:
    one = digest("CREATE TABLE t (rowid, v)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    two = digest("CREATE TABLE t (rowid, v)", "INSERT INTO t VALUES (2, 'b'), (1, 'a')")
    assert one["t"] != two["t"]


def test_types_are_told_apart() -> None:
    values = ("1", "1.0", "'1'", "x'31'", "NULL", "''", "x''", "0.0", "0", "9e999", "9223372036854775807")
    assert len({digest("CREATE TABLE t (a)", f"INSERT INTO t VALUES ({value})")["t"] for value in values}) == len(
        values
    )


def test_zeros_are_equal_whatever_their_sign() -> None:
    one, two = (digest("CREATE TABLE t (a)", f"INSERT INTO t VALUES ({value})") for value in ("0.0", "-0.0"))
    assert one == two


def test_rows_without_a_key_where_there_should_be_one_come_in_any_order() -> None:
    table = "CREATE TABLE t (k TEXT PRIMARY KEY, v COLLATE NOCASE)"
    one = digest(table, "INSERT INTO t VALUES (NULL, 'a'), ('x', 1), (NULL, 'A'), (NULL, 1), (NULL, 1.0)")
    two = digest(table, "INSERT INTO t VALUES (NULL, 1.0), (NULL, 1), (NULL, 'A'), (NULL, 'a'), ('x', 1)")
    assert one == two
    assert (
        one["t"]
        != digest(table, "INSERT INTO t VALUES (NULL, 'a'), ('x', 1), (NULL, 'a'), (NULL, 1), (NULL, 1.0)")["t"]
    )


def test_text_that_is_not_utf8_is_hashed_by_its_bytes() -> None:
    def of(value: str) -> str:
        return digest("CREATE TABLE t (a)", "INSERT INTO t VALUES ('good')", f"INSERT INTO t VALUES ({value})")["t"]

    assert len({of("CAST(x'ff' AS TEXT)"), of("CAST(x'fe' AS TEXT)"), of("x'ff'"), of("'x'")}) == 4
    assert of("CAST(x'ff' AS TEXT)") == of("CAST(x'ff' AS TEXT)")


def test_virtual_tables_by_what_they_show() -> None:
    table = "CREATE VIRTUAL TABLE d USING fts5(x)"
    one = digest(table, "INSERT INTO d VALUES ('a b')", "INSERT INTO d VALUES ('c')")
    two = digest(
        table, "INSERT INTO d VALUES ('a b')", "INSERT INTO d VALUES ('c')", "INSERT INTO d(d) VALUES ('optimize')"
    )
    assert one == two
    assert set(one) == {"d", SCHEMA_KEY}


def test_the_schema_has_a_digest_of_its_own() -> None:
    one, two = digest("CREATE TABLE t (a)"), digest("CREATE TABLE t (a)", "CREATE INDEX i ON t (a)")
    assert one["t"] == two["t"]
    assert one[SCHEMA_KEY] != two[SCHEMA_KEY]


def test_rows_of_any_source() -> None:
    values = [(i, f"v{i}", None, b"x", 1.5) for i in range(2_500)]
    assert rows_digest(iter(values)) == rows_digest(values) != rows_digest(values[:-1])
