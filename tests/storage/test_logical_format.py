"""What is true of the logical format alone."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from tests.storage.replicas import Replicas, rows, transaction
from workbench.errors import CodecError, DivergedError
from workbench.log_formats.logical import Changes, LogicalBody, SchemaChange, decode_body
from workbench.protocol.values import Entry


@pytest.fixture
def replicas(tmp_path: Path) -> Replicas:
    return Replicas(tmp_path, "logical")


def test_conflicts_are_divergence_and_name_table_and_reason(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE)", "CREATE TABLE gone (a PRIMARY KEY)")
    replicas.catch_up(follower)
    shared = len(replicas.log)
    foreign = Replicas(replicas.directory / "foreign", "logical")
    other = foreign.open("leader")
    foreign.do(other, "CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE)", "CREATE TABLE gone (a PRIMARY KEY)")
    foreign.do(other, "INSERT INTO t VALUES (1, 'x'), (2, 'y')")
    follower.apply([Entry(1, shared + 1, "logical", (), foreign.log[-1].body)])
    before = follower.digest()

    def conflict(*sql: str) -> str:
        """What applying an entry of the shared leader's says on the follower that went another way."""
        replicas.do(leader, *sql)
        with pytest.raises(DivergedError) as raised:
            follower.apply([Entry(1, shared + 2, "logical", (), replicas.log[-1].body)])
        assert follower.digest() == before
        return raised.value.message

    message = conflict("INSERT INTO t VALUES (1, 'other')")
    assert "INSERT on table t, (1, 'other'): a row with this key exists already" in message
    assert re.search("UPDATE on table t, .*: the row has other values", conflict("UPDATE t SET b = 'z'"))
    assert "constraint" in conflict("INSERT INTO t VALUES (3, 'y')")
    replicas.do(leader, "INSERT INTO t VALUES (9, 'nine')")
    assert "no such row" in conflict("DELETE FROM t WHERE a = 9")
    replicas.do(leader, "ALTER TABLE gone ADD COLUMN b")
    assert "table gone with 2 stored columns" in conflict("INSERT INTO gone VALUES (1, 2)")
    replicas.do(leader, "CREATE TABLE only_here (a)")
    assert "only_here" in conflict("INSERT INTO only_here VALUES (1)")
    assert "no such table" in conflict("DROP TABLE only_here")
    foreign.close()


def test_a_conflict_clause_of_the_schema_hides_no_divergence(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE ON CONFLICT REPLACE)")
    replicas.do(leader, "INSERT INTO t VALUES (1, 'x')")
    replicas.do(leader, "INSERT INTO t VALUES (2, 'x')", "DELETE FROM t WHERE a = 1")  # replaces: two changes
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    before = follower.digest()
    foreign = Replicas(replicas.directory / "foreign", "logical")
    other = foreign.open("leader")
    foreign.do(other, "CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE ON CONFLICT REPLACE)")
    foreign.do(other, "INSERT INTO t VALUES (7, 'x')")
    with pytest.raises(DivergedError, match="UNIQUE constraint failed"):
        follower.apply([Entry(1, 4, "logical", (), foreign.log[-1].body)])
    assert follower.digest() == before
    foreign.close()


def test_parts_are_in_the_order_of_their_execution(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        "CREATE TABLE t (a PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
        "ALTER TABLE t ADD b",
        "UPDATE t SET b = 2",
    )
    kinds = [type(part) for part in decode_body(replicas.log[0].body).parts]
    assert kinds == [SchemaChange, Changes, SchemaChange, Changes]
    replicas.write(leader, *(transaction(("INSERT INTO t VALUES (?, 0)", (i,))) for i in range(2, 34)))
    assert [type(part) for part in decode_body(replicas.log[1].body).parts] == [Changes]
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()


def test_autoincrement_goes_on_where_the_leader_was(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a)")
    replicas.do(leader, "INSERT INTO t(a) VALUES (1), (2), (3)", "DELETE FROM t WHERE id = 3")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert replicas.do(follower, "INSERT INTO t(a) VALUES (4) RETURNING id").results[0].rows == ((4,),)


def test_every_kind_of_value_and_table_travels(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        "CREATE TABLE generated (k PRIMARY KEY, v, twice AS (v || v) STORED, thrice AS (v || v || v))",
        "CREATE TABLE strict_one (k TEXT PRIMARY KEY, v ANY) STRICT",
        "CREATE TABLE bare (a, b)",
        "CREATE VIRTUAL TABLE box USING rtree(id, x0, x1)",
    )
    replicas.do(
        leader, "INSERT INTO generated(k, v) VALUES (CAST(x'ff00fe' AS TEXT), CAST(x'80' AS TEXT)), (9e999, -9e999)"
    )
    replicas.do(
        leader,
        "INSERT INTO strict_one VALUES ('a', -0.0), ('b', zeroblob(70000))",
        "INSERT INTO bare VALUES (1, NULL), (1, NULL)",
    )
    replicas.do(
        leader,
        "DELETE FROM bare WHERE rowid = 1",
        "UPDATE bare SET b = 3",
        "INSERT INTO box VALUES (1, 0, 5), (2, 3, 9)",
    )
    replicas.do(leader, "UPDATE generated SET v = 'x' WHERE v < 0", "UPDATE box SET x1 = 7 WHERE id = 2")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert rows(follower, "SELECT rowid, a, b FROM bare") == ((2, 1, 3),)
    assert rows(follower, "SELECT id FROM box WHERE x0 < 4 AND x1 > 6") == ((2,),)


def test_full_text_tables_renamed_and_dropped_in_the_middle(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader, "CREATE VIRTUAL TABLE a USING fts5(x)", "INSERT INTO a VALUES ('one')", "CREATE TABLE t (k PRIMARY KEY)"
    )
    replicas.do(leader, "INSERT INTO a VALUES ('two')", "ALTER TABLE a RENAME TO b", "INSERT INTO b VALUES ('three')")
    replicas.do(
        leader,
        "INSERT INTO b VALUES ('four')",
        "DROP TABLE b",
        "CREATE VIRTUAL TABLE b USING fts5(x, y)",
        "INSERT INTO b VALUES ('5', 'five')",
    )
    replicas.write(
        leader,
        transaction("INSERT INTO b VALUES ('6', 'six')"),
        transaction("INSERT INTO b VALUES ('7', 'x')", "INSERT INTO t VALUES (NULL)"),
    )
    replicas.do(leader, "INSERT INTO b(b) VALUES ('integrity-check')")
    for entry in replicas.log:
        follower.apply([entry])
        rows(follower, "SELECT name FROM sqlite_schema")
    assert follower.digest() == leader.digest()
    assert rows(follower, "SELECT x FROM b WHERE b MATCH 'five OR six OR four'") == (("5",), ("6",))
    replicas.do(follower, "INSERT INTO b(b) VALUES ('integrity-check')")


def test_unique_values_may_swap(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader, "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)", "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')"
    )
    replicas.do(
        leader,
        "UPDATE t SET u = NULL WHERE id = 1",
        "UPDATE t SET u = 'a' WHERE id = 2",
        "UPDATE t SET u = 'b' WHERE id = 1",
    )
    replicas.do(leader, "UPDATE t SET id = -id", "UPDATE t SET id = 4 + id")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()


def test_altered_bodies_never_apply_in_part(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b)", "CREATE TABLE u (a PRIMARY KEY)")
    replicas.catch_up(follower)
    replicas.do(leader, "INSERT INTO t VALUES (1, 'one'), (2, 'two')", "INSERT INTO u VALUES (3)")
    before, good = follower.digest(), replicas.log[-1].body
    random = Random(7)
    failed = 0
    for attempt in range(400):
        bad = bytearray(good)
        for _ in range(random.choice((1, 1, 2, 8))):
            bad[random.randrange(len(bad))] = random.randrange(256)
        try:
            follower.apply([Entry(1, 2, "logical", (), bytes(bad))])
        except (CodecError, DivergedError):
            failed += 1
            assert follower.digest() == before
        else:  # the altered byte was part of a value; checksums of the log are there for that
            follower = replicas.open(f"follower-{attempt}")
            follower.apply(replicas.log[:1])
    assert failed > 100


def test_a_body_of_unknown_parts_is_refused() -> None:
    import msgspec

    good = msgspec.msgpack.encode(LogicalBody((SchemaChange("SELECT 1"), Changes(b"x"))))
    assert decode_body(good).parts == (SchemaChange("SELECT 1"), Changes(b"x"))
    for bad in (
        b"",
        good[:-1],
        good + b"\x00",
        msgspec.msgpack.encode([[[7, b"x"]]]),
        msgspec.msgpack.encode([[[0, b"x", 1]]]),
    ):
        with pytest.raises(CodecError):
            decode_body(bad)
