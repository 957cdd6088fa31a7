"""What a session owns is found in SQL and parameters, and where in doubt more rather than less."""

from __future__ import annotations

import pytest

from workbench.client.own import Own, names_in, tables_written_by
from workbench.protocol.values import Statement


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("INSERT INTO kv VALUES (1)", {"kv"}),
        ("insert or replace into main.KV (a, b) values (1, 2)", {"kv"}),
        ("REPLACE INTO r VALUES (1)", {"r"}),
        ('WITH x AS (SELECT 1 FROM y) INSERT INTO "My ""Tab" SELECT * FROM x', {'my "tab'}),
        ("INSERT INTO kv VALUES (1) ON CONFLICT DO UPDATE SET a = 1", {"kv"}),
        ("UPDATE OR IGNORE [a b] SET x = 1", {"a b"}),
        ("UPDATE t SET x = (SELECT y FROM u)", {"t"}),
        ("DELETE FROM `t` WHERE x IN (SELECT y FROM u)", {"t"}),
        ("CREATE TABLE IF NOT EXISTS kv (a)", {"kv"}),
        ("DROP TABLE IF EXISTS kv", {"kv"}),
        ("ALTER TABLE old RENAME TO young", {"old", "young"}),
        ("-- INTO a\nINSERT /* INTO b */ INTO c VALUES ('INTO d')", {"c"}),
        ("SELECT 1 FROM kv", set()),
        ("INSERT INTO", set()),
        ("UPDATE", set()),
        ("INSERT INTO 'open", set()),
        ("", set()),
    ],
)
def test_targets_of_a_write(sql: str, tables: set[str]) -> None:
    assert tables_written_by(sql) == tables


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM kv",
        "SELECT * FROM other, KV",
        'SELECT * FROM main."kv"',
        "SELECT * FROM [kv] AS x",
        "SELECT (SELECT max(a) FROM `kv`)",
        "SELECT * FROM 'kv'",
        "WITH x AS (SELECT * FROM other JOIN kv) SELECT * FROM x",
        "SELECT * FROM other -- x\n JOIN kv",
        "SELECT * FROM other WHERE kv = 1",
        "SELECT '" + "x" * 20_000 + "' FROM kv",
    ],
)
def test_a_table_is_found_wherever_it_may_be_named(sql: str) -> None:
    assert "kv" in names_in(sql)
    assert Own(tables=["KV"]).is_read_by(Statement(sql))


@pytest.mark.parametrize("sql", ["SELECT * FROM kv2", "SELECT 1 -- kv", "SELECT /* kv */ 1", "SELECT 'a kv b'", ""])
def test_a_table_that_is_not_named(sql: str) -> None:
    assert not Own(tables=["kv"]).is_read_by(Statement(sql))


def test_by_default_what_was_written_is_own() -> None:
    own = Own()
    read = Statement("SELECT * FROM kv")
    assert not own.is_read_by(read)
    own.wrote([Statement("INSERT INTO other VALUES (1)"), Statement("DELETE FROM kv")])
    assert own.is_read_by(read)
    assert own.is_read_by(Statement("SELECT * FROM other"))
    assert not own.is_read_by(Statement("SELECT * FROM third"))


def test_what_is_named_is_all_that_is_own() -> None:
    own = Own(keys={"mine", 7})
    own.wrote([Statement("INSERT INTO kv VALUES (?)", ("mine",))])
    assert own.is_read_by(Statement("SELECT * FROM kv WHERE k = ?", ("mine",)))
    assert own.is_read_by(Statement("SELECT ?, ?", (None, 7)))
    assert not own.is_read_by(Statement("SELECT * FROM kv WHERE k = ?", ("theirs",)))


def test_keys_may_grow() -> None:
    keys: set[str | int | float | bytes | None] = set()
    own = Own(keys=keys)
    keys.add("k1")
    assert own.is_read_by(Statement("SELECT ?", ("k1",)))
