"""Refusals that every log format must make alike, since what they forbid could not be the same on all replicas."""

from __future__ import annotations

from pathlib import Path

from tests.storage.replicas import Replicas, rows
from workbench.config import Limits, LogFormatName
from workbench.protocol.values import Statement


def test_what_analyze_wrote_is_not_for_clients(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
    replicas.do(leader, "CREATE INDEX i ON kv (v)")
    replicas.do(leader, "INSERT INTO kv VALUES (1, 1)")
    replicas.do(leader, "ANALYZE")
    for sql in (
        "DELETE FROM sqlite_stat1",
        "UPDATE sqlite_stat1 SET stat = ''",
        "INSERT INTO SQLITE_STAT1 VALUES (1, 2, 3)",
    ):
        assert "only ANALYZE writes to it" in replicas.refusal(leader, sql)
    replicas.do(leader, "ANALYZE")
    replicas.do(leader, "DROP INDEX i")
    replicas.do(leader, "DROP TABLE kv")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()


def test_internal_names_are_refused_in_any_case(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    for sql in ("CREATE TABLE _workbench_x (y)", "CREATE TABLE _WorkBench_x (y)"):
        assert "belong to the workbench" in replicas.refusal(leader, sql)


def test_a_group_that_no_entry_can_carry_leaves_nothing(tmp_path: Path, log_format: LogFormatName) -> None:
    replicas = Replicas(tmp_path, log_format, Limits(entry_bytes_max=50_000))
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE kv (k INTEGER PRIMARY KEY, v)")
    long = ("INSERT INTO kv VALUES (1, ?)", (bytes(range(256)) * 400,))
    assert "too much was written at once" in replicas.refusal(leader, long)
    replicas.do(leader, "INSERT INTO kv VALUES (2, 'short')")
    replicas.catch_up(follower)
    assert rows(follower, "SELECT * FROM kv") == rows(leader, "SELECT * FROM kv") == ((2, "short"),)
    replicas.close()


def test_a_read_of_too_many_bytes_is_refused_before_it_is_all_in_memory(
    tmp_path: Path, log_format: LogFormatName
) -> None:
    replicas = Replicas(tmp_path, log_format, Limits(read_bytes_max=1_000_000))
    store = replicas.open("leader")
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT zeroblob(300000) FROM c"
    assert store.query(Statement(endless)).error == "the read returns more than 1000000 bytes (read it in parts)"
    assert rows(store, "SELECT length(zeroblob(300000))") == ((300_000,),)
    replicas.close()


def test_a_full_text_index_that_a_client_has_misled_ends_the_write_and_not_the_replica(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE content (id INTEGER PRIMARY KEY, x)")
    replicas.do(leader, "CREATE VIRTUAL TABLE words USING fts5(x, content='content', content_rowid='id')")
    replicas.do(leader, "INSERT INTO content VALUES (1, 'hello world')")
    replicas.do(leader, "INSERT INTO words(rowid, x) SELECT id, x FROM content WHERE id = 1")
    never_there = "INSERT INTO words(words, rowid, x) VALUES ('delete', 99, 'hello to nobody')"
    for _ in range(3):
        if reason := replicas.refusal(leader, never_there):
            assert "a virtual table contradicts its content" in reason
    replicas.do(leader, "INSERT INTO content VALUES (2, 'goes on')")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
