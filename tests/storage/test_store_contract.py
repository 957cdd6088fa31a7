"""The contract of `Store`, held against each log format."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.storage.replicas import Replicas, rows, statement, transaction
from workbench.config import LOG_FORMATS, Limits, LogFormatName
from workbench.errors import CodecError, ConfigurationError, DivergedError, StorageError
from workbench.protocol.values import Entry, Position, Statement, StatementResult
from workbench.storage.base import Store
from workbench.storage.sqlite import TransactionalStore, open_store
from workbench.storage.sqlite_wal import WalStore

SCHEMA = (
    "CREATE TABLE kv (k TEXT PRIMARY KEY, v)",
    "CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT COLLATE NOCASE, amount REAL DEFAULT 1.5)",
    "CREATE TABLE note (text, n INT)",
    "CREATE TABLE pair (a INT, b TEXT, c BLOB, PRIMARY KEY (b, a)) WITHOUT ROWID",
    "CREATE INDEX note_by_n ON note (n)",
    "CREATE VIEW both AS SELECT k AS x FROM kv UNION ALL SELECT text FROM note",
)


def script(replicas: Replicas, leader: Store) -> None:
    """A mixture of everything that all formats carry."""
    replicas.do(leader, *SCHEMA)
    replicas.write(leader, *(transaction(("INSERT INTO kv VALUES (?, ?)", (f"k{i}", i))) for i in range(40)))
    replicas.do(
        leader,
        ("INSERT INTO kv VALUES (?, ?)", ("types", None)),
        ("UPDATE kv SET v = ? WHERE k = 'k1'", (b"\x00\xff",)),
    )
    replicas.do(
        leader, ("UPDATE kv SET v = ? WHERE k = 'k2'", (2**63 - 1,)), ("UPDATE kv SET v = ? WHERE k = 'k3'", (1e300,))
    )
    replicas.do(
        leader, ("INSERT INTO note VALUES (?, ?)", ("grün 🙂 \x00 nul", -(2**63))), "INSERT INTO note VALUES ('x', 2)"
    )
    replicas.do(leader, "INSERT INTO item(name) VALUES ('a'), ('b'), ('c')", "DELETE FROM item WHERE name = 'C'")
    replicas.do(leader, "INSERT INTO item(name) VALUES ('d')")
    replicas.do(leader, "DELETE FROM item WHERE name = 'd'")
    replicas.do(leader, ("INSERT INTO pair VALUES (1, 'x', ?), (2, 'x', zeroblob(9000))", (b"b" * 5000,)))
    replicas.do(leader, "UPDATE pair SET a = a + 10", "DELETE FROM pair WHERE a = 11")
    replicas.do(leader, "ALTER TABLE note ADD COLUMN extra DEFAULT 'e'", "INSERT INTO note VALUES ('y', 3, 'f')")
    replicas.do(leader, "DELETE FROM kv WHERE k GLOB 'k3*'", "INSERT OR REPLACE INTO kv VALUES ('k4', 'four')")
    replicas.do(leader, "DROP INDEX note_by_n", "CREATE TABLE late (a PRIMARY KEY)", "INSERT INTO late VALUES (1)")
    replicas.do(leader, "ANALYZE")


@pytest.mark.parametrize("at_once", [False, True])
def test_followers_equal_the_leader(replicas: Replicas, at_once: bool) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    script(replicas, leader)
    replicas.catch_up(follower, at_once=at_once)
    assert follower.applied == leader.applied == Position(1, len(replicas.log))
    assert follower.digest() == leader.digest()
    assert set(leader.digest()) == {"kv", "item", "note", "pair", "late", "sqlite_sequence", "(schema)"}
    assert rows(follower, "SELECT count(*), max(v) FROM kv WHERE typeof(v) = 'integer'") == rows(
        leader, "SELECT count(*), max(v) FROM kv WHERE typeof(v) = 'integer'"
    )
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)


def test_digest_tells_differences(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (k PRIMARY KEY, v)", "CREATE TABLE u (a)")
    seen = set()
    for value in ("1", "1.0", "'1'", "x'31'", "NULL", "''", "x''", "0", "0.0"):
        replicas.do(leader, f"INSERT OR REPLACE INTO t VALUES (1, {value})")
        seen.add(leader.digest()["t"])
    assert len(seen) == 9
    before = leader.digest()
    replicas.do(leader, "INSERT INTO u VALUES (1)")
    changed = {table for table, digest in leader.digest().items() if digest != before[table]}
    assert changed == {"u"}


def test_reopened_stores_are_where_they_were(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    script(replicas, leader)
    replicas.catch_up(follower)
    digest, position = leader.digest(), leader.applied
    replicas.close()
    for name in ("leader", "follower"):
        again = replicas.open(name)
        assert again.applied == position
        assert again.digest() == digest


@pytest.mark.parametrize("moment", ["executed", "committed"])
def test_a_killed_leader_recovers_from_its_log(replicas: Replicas, moment: str) -> None:
    leader = replicas.open("leader")
    script(replicas, leader)
    logged = replicas.log[:]
    replicas.execute(leader, transaction("INSERT INTO kv VALUES ('last', 1)"))
    if moment == "committed":
        leader.commit()
        logged = replicas.log[:]
    replicas.copy("leader", "copy")
    if moment == "executed":
        leader.abandon()
    copy = replicas.open("copy")
    assert copy.applied <= logged[-1].position
    copy.apply(logged[copy.applied.index :])
    assert copy.applied == logged[-1].position == leader.applied
    assert copy.digest() == leader.digest()
    assert len(rows(copy, "SELECT 1 FROM kv WHERE k = 'last'")) == (moment == "committed")


def test_a_logged_but_uncommitted_entry_is_applied_after_a_crash(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    script(replicas, leader)
    replicas.execute(leader, transaction("INSERT INTO kv VALUES ('last', 1)"))
    replicas.copy("leader", "copy")
    leader.commit()
    copy = replicas.open("copy")
    replicas.catch_up(copy)
    assert copy.digest() == leader.digest()
    assert copy.applied == leader.applied


def test_a_killed_follower_goes_on(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    script(replicas, leader)
    half = len(replicas.log) // 2
    follower.apply(replicas.log[:half])
    replicas.copy("follower", "copy")
    copy = replicas.open("copy")
    assert copy.applied.index <= half
    replicas.catch_up(copy)
    assert copy.digest() == leader.digest()


def test_nothing_uncommitted_is_kept_by_abandon(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    script(replicas, leader)
    before = leader.digest()
    for _ in range(2):
        execution = leader.execute(
            [
                transaction(
                    "CREATE TABLE gone (a)", "INSERT INTO kv VALUES ('gone', 1)", "INSERT INTO item(name) VALUES ('g')"
                )
            ],
            Position(2, len(replicas.log) + 1),
        )
        assert execution.members
        leader.abandon()
        assert leader.digest() == before
        assert leader.applied == replicas.log[-1].position
    replicas.do(leader, "INSERT INTO kv VALUES ('after', 1)", "INSERT INTO item(name) VALUES ('h')")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert rows(follower, "SELECT k FROM kv WHERE k IN ('gone', 'after')") == (("after",),)


def test_roles_change_both_ways(replicas: Replicas) -> None:
    one, two = replicas.open("one"), replicas.open("two")
    script(replicas, one)
    for round_number in range(3):
        leader, follower = (two, one) if round_number % 2 == 0 else (one, two)
        replicas.catch_up(leader)
        replicas.do(
            leader, f"CREATE TABLE round_{round_number} (a PRIMARY KEY)", f"INSERT INTO round_{round_number} VALUES (1)"
        )
        replicas.write(
            leader, *(transaction(("INSERT INTO kv VALUES (?, ?)", (f"r{round_number}.{i}", i))) for i in range(300))
        )
        assert replicas.refusal(leader, "INSERT INTO kv VALUES ('k1', 1)").startswith("UNIQUE constraint failed")
        replicas.catch_up(follower)
        assert follower.digest() == leader.digest()
        assert len(rows(follower, "SELECT 1 FROM kv WHERE k GLOB ?", f"r{round_number}.*")) == 300
    replicas.catch_up(one)
    assert rows(one, "PRAGMA integrity_check") == rows(two, "PRAGMA integrity_check") == (("ok",),)
    replicas.close()
    assert replicas.open("one").digest() == replicas.open("two").digest()


def test_results_and_returning(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, *SCHEMA)
    member = replicas.do(
        leader,
        "INSERT INTO item(name) VALUES ('a'), ('b') RETURNING id, name",
        "SELECT count(*) FROM item",
        "UPDATE item SET amount = 2",
        "DELETE FROM item WHERE id = 99",
    )
    assert member.results == (
        StatementResult(2, ((1, "a"), (2, "b"))),
        StatementResult(0, ((2,),)),
        StatementResult(2),
        StatementResult(0),
    )
    replicas.do(leader, "SELECT * FROM item")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()


def test_empty_entries_advance_the_position(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, *SCHEMA)
    replicas.log.append(Entry(2, 2, "", (), b""))
    for store in (leader, follower):
        replicas.catch_up(store)
        assert store.applied == Position(2, 2)
    assert leader.digest() == follower.digest()
    replicas.close()
    assert replicas.open("follower").applied == Position(2, 2)


def test_a_gap_and_a_foreign_format_are_refused(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, *SCHEMA)
    replicas.do(leader, "INSERT INTO kv VALUES ('a', 1)")
    with pytest.raises(StorageError, match=r"entry 1\.2 cannot follow entry 0\.0"):
        follower.apply(replicas.log[1:])
    other = next(name for name in LOG_FORMATS if name != replicas.log_format)
    with pytest.raises(DivergedError, match="log format"):
        follower.apply([Entry(1, 1, other, replicas.log[0].members, replicas.log[0].body)])
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()


def test_bytes_that_are_no_body_change_nothing(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    script(replicas, leader)
    replicas.catch_up(follower)
    before = follower.digest()
    position = Position(1, len(replicas.log) + 1)
    good = replicas.log[1].body
    for bad in (
        b"",
        b"\xc1",
        b"\x90",
        good[:-1],
        good[: len(good) // 2],
        good + b"\x00",
        b"\x93" + good,
        b"\x92\xc0\xc0",
    ):
        entries = [Entry(1, position.index, replicas.log_format, (), bad)]
        with pytest.raises((CodecError, DivergedError), match=str(position)):
            follower.apply(entries)
        assert follower.digest() == before
    assert follower.applied == replicas.log[-1].position


def test_several_entries_apply_whole_or_not_at_all(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, *SCHEMA)
    replicas.catch_up(follower)
    before = follower.digest()
    replicas.do(leader, "INSERT INTO kv VALUES ('a', 1)")
    with pytest.raises((CodecError, DivergedError)):
        follower.apply([replicas.log[1], Entry(1, 3, replicas.log_format, (), b"\xc1")])
    assert follower.digest() == before
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()


def test_followers_see_schema_changes_in_cached_statements(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
    replicas.catch_up(follower)
    read = Statement("SELECT * FROM t")
    for _ in range(3):
        assert follower.query(read).columns == ("a",)
    replicas.do(leader, "ALTER TABLE t ADD COLUMN b DEFAULT 2")
    replicas.catch_up(follower)
    assert (follower.query(read).columns, follower.query(read).rows) == (("a", "b"), ((1, 2),))
    replicas.do(leader, "DROP TABLE t")
    replicas.catch_up(follower)
    assert follower.query(read).error == "no such table: t"
    replicas.do(leader, "CREATE TABLE t (x, y)", "INSERT INTO t VALUES (3, 4)")
    replicas.catch_up(follower)
    assert (follower.query(read).columns, follower.query(read).rows) == (("x", "y"), ((3, 4),))


def test_triggers_and_cascades_take_effect_once(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE CASCADE)",
        "CREATE TABLE audit (what TEXT, n INT)",
        "CREATE TRIGGER on_insert AFTER INSERT ON child BEGIN INSERT INTO audit VALUES ('insert', NEW.id); END",
        "CREATE TRIGGER on_delete AFTER DELETE ON child BEGIN INSERT INTO audit VALUES ('delete', OLD.id); END",
    )
    replicas.do(leader, "INSERT INTO parent VALUES (1), (2)", "INSERT INTO child VALUES (10, 1), (11, 1), (12, 2)")
    replicas.do(leader, "DELETE FROM parent WHERE id = 1")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert rows(follower, "SELECT what, n FROM audit ORDER BY rowid") == (
        ("insert", 10), ("insert", 11), ("insert", 12), ("delete", 10), ("delete", 11),
    )  # fmt: skip
    assert "FOREIGN KEY" in replicas.refusal(leader, "INSERT INTO child VALUES (13, 99)")
    replicas.do(leader, "DROP TABLE parent")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()


def test_full_text_search(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader, "CREATE VIRTUAL TABLE doc USING fts5(title, body)", "INSERT INTO doc VALUES ('zero', 'hello world')"
    )
    replicas.catch_up(follower)
    for i in range(60):
        group = [
            transaction(("INSERT INTO doc VALUES (?, ?)", (f"t{i}.{j}", f"common word{i % 7} only{i}x{j}")))
            for j in range(5)
        ]
        assert not replicas.write(leader, *group).refused
        replicas.catch_up(follower)
        assert rows(follower, "SELECT title FROM doc WHERE doc MATCH ?", f"only{i}x3") == ((f"t{i}.3",),)
        assert rows(follower, "SELECT count(*) FROM doc WHERE doc MATCH 'common'") == (((i + 1) * 5,),)
    replicas.do(leader, "DELETE FROM doc WHERE rowid % 3 = 0", "UPDATE doc SET body = 'rewritten' WHERE rowid = 1")
    replicas.do(leader, "INSERT INTO doc(doc) VALUES ('optimize')")
    replicas.catch_up(follower)
    ranked = "SELECT rowid, bm25(doc) FROM doc WHERE doc MATCH 'word3' ORDER BY 2, 1"
    assert rows(follower, ranked) == rows(leader, ranked)
    assert follower.digest() == leader.digest()
    replicas.do(follower, "INSERT INTO doc VALUES ('promoted', 'by election')")  # leads now
    replicas.do(follower, "INSERT INTO doc(doc) VALUES ('integrity-check')")
    replicas.catch_up(leader)
    assert rows(leader, "SELECT title FROM doc WHERE doc MATCH 'election'") == (("promoted",),)
    assert follower.digest() == leader.digest()
    replicas.do(follower, "DROP TABLE doc")
    replicas.catch_up(leader)
    assert list(leader.digest()) == list(follower.digest()) == ["(schema)"]


def test_another_format_or_page_size_is_refused_at_opening(tmp_path: Path, replicas: Replicas) -> None:
    replicas.do(replicas.open("leader"), "CREATE TABLE t (a)")
    replicas.close()
    for other in LOG_FORMATS:
        if other != replicas.log_format:
            with pytest.raises(ConfigurationError):
                open_store(tmp_path / "leader", other, Limits())
    with pytest.raises(ConfigurationError, match="4096"):
        open_store(tmp_path / "leader", replicas.log_format, Limits(), page_size=8192)
    assert rows(replicas.open("leader"), "SELECT * FROM t") == ()


@pytest.mark.parametrize("page_size", [512, 65536])
def test_page_sizes(tmp_path: Path, log_format: LogFormatName, page_size: int) -> None:
    replicas = Replicas(tmp_path, log_format, page_size=page_size)
    leader, follower = replicas.open("leader"), replicas.open("follower")
    script(replicas, leader)
    replicas.catch_up(follower)
    assert rows(follower, "PRAGMA page_size") == ((page_size,),)
    assert follower.digest() == leader.digest()
    replicas.close()


def test_limits(tmp_path: Path, log_format: LogFormatName) -> None:
    limits = dataclasses.replace(
        Limits(), transaction_bytes_max=10_000, reply_bytes_max=1_000, read_rows_max=100, statement_timeout_s=0.05
    )
    replicas = Replicas(tmp_path, log_format, limits)
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (a)")
    assert "10027 bytes" in replicas.refusal(leader, ("INSERT INTO t VALUES (?)   ", ("x" * 10_000,)))
    assert "1000 bytes" in replicas.refusal(leader, "INSERT INTO t VALUES (zeroblob(2000)) RETURNING a")
    assert rows(leader, "SELECT count(*) FROM t") == ((0,),)
    endless = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r)"
    assert "0.05 s" in replicas.refusal(leader, f"{endless} INSERT INTO t SELECT i FROM r")
    assert "0.05 s" in leader.query(statement(f"{endless} SELECT count(*) FROM r")).error
    few = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT {}) SELECT i FROM r"
    assert len(rows(leader, few.format(100))) == 100
    assert "more than 100 rows" in leader.query(statement(few.format(101))).error
    assert rows(leader, "SELECT count(*) FROM t") == ((0,),)
    replicas.do(leader, "INSERT INTO t VALUES (1)")
    replicas.close()


def test_a_full_disk_refuses_what_does_not_fit_and_nothing_else(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    assert isinstance(leader, WalStore | TransactionalStore)
    replicas.do(leader, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t(v) VALUES ('first')")
    ((pages,),) = leader._connection.execute("PRAGMA page_count").fetchall()
    leader._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    execution = replicas.write(
        leader,
        transaction("INSERT INTO t(v) VALUES ('fits')", sequence=1),
        transaction(("INSERT INTO t(v) VALUES (?)", ("x" * 20_000,)), sequence=2),
        transaction("UPDATE t SET v = 'fits, too' WHERE id = 1", sequence=3),
    )
    assert [member.sequence for member in execution.members] == [1, 3]
    assert "full" in execution.refused[0].reason
    leader._connection.execute("PRAGMA max_page_count = 100000").fetchall()
    replicas.do(leader, ("INSERT INTO t(v) VALUES (?)", ("x" * 20_000,)))
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert rows(follower, "SELECT count(*) FROM t") == ((3,),)


def test_nothing_is_read_or_applied_between_execute_and_commit(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (a)")
    replicas.execute(leader, transaction("INSERT INTO t VALUES (1)"))
    for early in (lambda: rows(leader, "SELECT * FROM t"), leader.digest, lambda: leader.apply(replicas.log[-1:])):
        with pytest.raises(AssertionError):
            early()
    leader.commit()
    assert rows(leader, "SELECT * FROM t") == ((1,),)
