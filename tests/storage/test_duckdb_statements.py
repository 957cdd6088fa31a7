"""A leader's SQL, executed by DuckDB: where the dialects agree the rows are the same; elsewhere it stops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.duckdb_followers import Followers, differences
from tests.storage.replicas import rows, transaction
from workbench.config import Limits
from workbench.errors import DivergedError
from workbench.protocol.values import Entry, Position, Statement
from workbench.storage.base import Store
from workbench.storage.duckdb_store import open_duckdb_store
from workbench.storage.files import LocalFiles
from workbench.storage.sqlite import open_store

TABLE = "CREATE TABLE kv (k TEXT PRIMARY KEY, n INTEGER, d DOUBLE)"


@pytest.fixture(params=["statement", "mixed"])
def followers(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Followers]:
    made = Followers(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def leader(followers: Followers) -> Store:
    return followers.open("leader")


def test_sql_that_both_understand(followers: Followers, leader: Store) -> None:
    duck = followers.follow()
    followers.do(leader, TABLE)
    for n in range(20):
        followers.do(leader, ("INSERT INTO kv VALUES (?, ?, ?)", (f"ü{n}", n, n / 4)))
    followers.do(leader, "UPDATE kv SET n = n * 2 WHERE d > 1", "DELETE FROM kv WHERE k = 'ü3'")
    followers.do(leader, "INSERT INTO kv SELECT k || '!', n, NULL FROM kv WHERE n < 5")
    followers.catch_up(duck)
    assert differences(leader, duck) == {}
    duck = followers.reopen()
    assert duck.applied == leader.applied
    assert not duck.rewind(Position(1, 1), [])


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("CREATE TABLE t (a, b)", "Column a must have a type"),
        ("CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT)", "AUTOINCREMENT.*, at line 1, character 39: 'AUTOINCR"),
        ("UPDATE kv\nSET n = 1,\n  k = 'ü' || glob('a', k)", "glob.*, at line 3, character 14: "),
        ("CREATE TRIGGER t AFTER INSERT ON kv BEGIN DELETE FROM kv; END", "at line 1, character 37: 'BEGIN DELETE"),
        ("UPDATE kv SET n = 'text'", "Could not convert string 'text' to INT32"),
        ("UPDATE kv SET n = 3000000000", "INT32"),
        ("INSERT OR FAIL INTO kv VALUES ('new', 1, 1)", 'syntax error at or near "FAIL"'),
    ],
)
def test_sql_of_another_dialect_stops_and_says_where(tmp_path: Path, sql: str, words: str) -> None:
    followers = Followers(tmp_path, "statement")
    leader, duck = followers.open("leader"), followers.follow()
    followers.do(leader, TABLE, "INSERT INTO kv VALUES ('a', 1, 1)")
    followers.catch_up(duck)
    before = duck.digest()
    followers.do(leader, sql)
    with pytest.raises(DivergedError, match=rf"(?s)entry 1\.2: DuckDB cannot execute .*{words}") as raised:
        followers.catch_up(duck)
    assert "\n" not in raised.value.message
    assert (duck.applied, duck.digest()) == (Position(1, 1), before)
    followers.close()


def test_a_snapshot_becomes_tables_that_sql_can_go_on_with(followers: Followers, leader: Store) -> None:
    followers.do(leader, TABLE, "CREATE TABLE untyped (a, b)", "INSERT INTO untyped VALUES (1, 'x'), (2.5, NULL)")
    followers.do(leader, "INSERT INTO kv VALUES ('a', 1, 1), ('b', 2, 2)")
    duck = followers.restore(followers.snapshot(leader))
    assert differences(leader, duck) == {}
    followers.do(leader, "UPDATE kv SET n = n + 1 WHERE k = 'b'", "INSERT INTO untyped VALUES (7, 'y')")
    followers.catch_up(duck)
    assert differences(leader, duck) == {}
    assert rows(duck, "SELECT n FROM kv ORDER BY k") == ((1,), (3,))


def test_rows_of_the_mixed_format_are_taken(tmp_path: Path) -> None:
    followers = Followers(tmp_path, "mixed")
    leader, duck = followers.open("leader"), followers.follow()
    followers.do(leader, TABLE)
    followers.do(
        leader, "INSERT INTO kv VALUES ('a', 1, 1)", "INSERT INTO kv VALUES (hex(randomblob(4)), random() % 9, 2)"
    )
    followers.do(leader, "UPDATE kv SET n = random() % 9")
    followers.catch_up(duck)
    assert differences(leader, duck) == {}
    followers.do(leader, "UPDATE kv SET n = 'text' || random() WHERE k = 'a'")
    with pytest.raises(DivergedError, match="column n of table kv cannot hold 'text"):
        followers.catch_up(duck)
    followers.close()


def test_pinned_values_cannot_be_given_to_duckdb(tmp_path: Path) -> None:
    followers = Followers(tmp_path, "statement")
    leader = followers.stores["leader"] = open_store(tmp_path / "leader", "statement", Limits(), unsafe="pin")
    duck = followers.follow()
    followers.do(leader, TABLE)
    followers.do(leader, "INSERT INTO kv VALUES (random(), 1, 1)")
    with pytest.raises(DivergedError, match=r"entry 1\.2: DuckDB cannot be given the time and the random values"):
        followers.catch_up(duck)
    followers.close()


def test_pages_make_a_database_unreadable(tmp_path: Path) -> None:
    leader = open_store(tmp_path / "leader", "wal", Limits())
    duck = open_duckdb_store(tmp_path / "duck", "wal", Limits(), LocalFiles(), page_size=4096)
    assert duck.query(Statement("SELECT 1")).error == "no entry has come yet"
    execution = leader.execute([transaction("CREATE TABLE t (a)")], Position(1, 1))
    leader.commit()
    duck.apply([Entry(1, 1, "wal", execution.members, execution.body)])
    assert "DuckDB cannot read its database, which holds pages of SQLite" in duck.query(Statement("SELECT 1")).error
    assert "DuckDB cannot read its database" in duck.digest()["(database)"]
    duck.close()
    again = open_duckdb_store(tmp_path / "duck", "wal", Limits(), LocalFiles(), page_size=4096)
    assert again.applied == Position(1, 1)
    again.close()
    leader.close()
