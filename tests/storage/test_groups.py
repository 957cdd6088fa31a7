"""What a group of client transactions may and may not do to one another, and what clients are refused."""

from __future__ import annotations

import pytest

from tests.storage.replicas import Replicas, rows, statement, transaction
from workbench.protocol.values import SqlValue, StatementResult


def test_one_failing_transaction_leaves_the_others_alone(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b NOT NULL)")
    execution = replicas.write(
        leader,
        transaction("INSERT INTO t VALUES (1, 'x')", sequence=1),
        transaction("INSERT INTO t VALUES (2, 'x')", "INSERT INTO t VALUES (1, 'again')", sequence=2),
        transaction("INSERT INTO nowhere VALUES (1)", sequence=3),
        transaction("CREATE TABLE u (a)", "INSERT INTO u VALUES (1)", "INSERT INTO t VALUES (3, NULL)", sequence=4),
        transaction("INSERT OR FAIL INTO t VALUES (5, 'x'), (6, 'x'), (1, 'x'), (7, 'x')", sequence=5),
        transaction("CREATE TABLE v (a)", "INSERT INTO v VALUES (1)", sequence=6),
        transaction("SELEC 1", sequence=7),
        transaction("INSERT INTO t VALUES (4, 'x') RETURNING a", sequence=8),
    )
    assert [member.sequence for member in execution.members] == [1, 6, 8]
    assert execution.members[2].results == (StatementResult(1, ((4,),)),)
    reasons = {refused.sequence: refused.reason for refused in execution.refused}
    assert reasons == {
        2: "UNIQUE constraint failed: t.a",
        3: "no such table: nowhere",
        4: "NOT NULL constraint failed: t.b",
        5: "UNIQUE constraint failed: t.a",
        7: 'near "SELEC": syntax error',
    }
    assert rows(leader, "SELECT a FROM t") == ((1,), (4,))
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert set(leader.digest()) == {"t", "v", "(schema)"}


def test_a_group_of_refusals_leaves_no_entry(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a)")
    execution = replicas.write(leader, transaction("INSERT INTO x VALUES (1)"), transaction("COMMIT"))
    assert (execution.members, execution.body, len(execution.refused)) == ((), b"", 2)
    replicas.do(leader, "INSERT INTO t VALUES (1)")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()


@pytest.mark.parametrize(
    "offender",
    [
        "INSERT OR ROLLBACK INTO t VALUES (1, 'again')",
        "INSERT INTO guarded VALUES (1)",
        "UPDATE OR ROLLBACK t SET a = 1 WHERE a = 2",
    ],
)
def test_a_rollback_ends_only_its_own_transaction(replicas: Replicas, offender: str) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b)", "CREATE TABLE guarded (a)")
    replicas.do(
        leader,
        "CREATE TRIGGER no BEFORE INSERT ON guarded BEGIN SELECT RAISE(ROLLBACK, 'guarded against everyone'); END",
    )
    execution = replicas.write(
        leader,
        transaction("INSERT INTO t VALUES (1, 'a') RETURNING b", sequence=1),
        transaction("INSERT INTO t VALUES (2, 'b')", "CREATE TABLE late (a)", sequence=2),
        transaction("INSERT INTO t VALUES (3, 'c')", offender, sequence=3),
        transaction("INSERT INTO t VALUES (4, 'd')", sequence=4),
        transaction(offender, sequence=5),
        transaction("INSERT INTO t SELECT max(a) + 1, 'e' FROM t RETURNING a", sequence=6),
    )
    assert [member.sequence for member in execution.members] == [1, 2, 4, 6]
    assert [refused.sequence for refused in execution.refused] == [3, 5]
    assert execution.members[3].results == (StatementResult(1, ((5,),)),)
    assert rows(leader, "SELECT a FROM t") == ((1,), (2,), (4,), (5,))
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()


def test_deferred_foreign_keys_are_checked_for_each_transaction(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    )
    execution = replicas.write(
        leader,
        transaction("INSERT INTO child VALUES (1, 7)", sequence=1),
        transaction("INSERT INTO child VALUES (2, 8)", "INSERT INTO parent VALUES (8)", sequence=2),
        transaction("INSERT INTO parent VALUES (7)", sequence=3),
    )
    assert [member.sequence for member in execution.members] == [2, 3]
    assert execution.refused[0].reason.startswith("FOREIGN KEY constraint failed")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert rows(follower, "SELECT id FROM child") == ((2,),)


def test_no_session_sees_the_last_rowid_of_another(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    execution = replicas.write(
        leader,
        transaction("INSERT INTO t VALUES (41, 'x')", "INSERT INTO t(b) SELECT last_insert_rowid() RETURNING b"),
        transaction("INSERT INTO t(b) SELECT last_insert_rowid() RETURNING b"),
    )
    assert [member.results[-1].rows for member in execution.members] == [((41,),), ((0,),)]


REFUSED_WRITES: list[tuple[str, str]] = [
    ("BEGIN", "transaction control"),
    ("  /* x */ -- y\n commit;", "transaction control"),
    ("END", "transaction control"),
    ("ROLLBACK", "transaction control"),
    ("SAVEPOINT a", "transaction control"),
    ("SAVEPOINT _workbench_member", "transaction control"),
    ("RELEASE _workbench_member", "transaction control"),
    ("ATTACH ':memory:' AS other", "ATTACH"),
    ("DETACH main", "ATTACH"),
    ("VACUUM INTO '/tmp/stolen.db'", "VACUUM"),
    ("CREATE TEMP TABLE x (a)", "temporary"),
    ("CREATE TABLE temp.x (a)", "temporary"),
    ("CREATE TEMP VIEW x AS SELECT 1", "temporary"),
    ("CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END", "temporary"),
    ("SELECT load_extension('x')", "load_extension"),
    ("PRAGMA journal_mode = DELETE", "journal_mode"),
    ("PRAGMA synchronous = OFF", "synchronous"),
    ("PRAGMA schema_version = 5", "schema_version"),
    ("PRAGMA writable_schema = ON", "writable_schema"),
    ("PRAGMA foreign_keys = OFF", "foreign_keys"),
    ("PRAGMA wal_checkpoint", "wal_checkpoint"),
    ("CREATE TABLE _workbench_x (a)", "_workbench_"),
    ("ALTER TABLE t RENAME TO _workbench_x", "_workbench_"),
    ("CREATE VIRTUAL TABLE d USING dbstat", "dbstat"),
    ("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", "more than one statement"),
    ("", "empty"),
    (" ; -- nothing\n", "empty"),
    ("/* only", "empty"),
    ("INSERT INTO t VALUES (1) garbage", "syntax error"),
    ("INSERT INTO t VALUES ('unterminated", "unrecognized token"),
    ("SELECT 1 \x00 DROP TABLE t", "null character"),
    ("INSERT INTO t VALUES ('\ud800')", "Unicode"),
    ("INSERT INTO sqlite_schema VALUES (1, 2, 3, 4, 5)", "may not be modified"),
    ("SELECT CAST(x'ff' AS TEXT)", "UTF-8"),
    ("SELECT count(*) FROM sqlite_temp_schema", "temporary"),
]


@pytest.mark.parametrize(("sql", "reason"), REFUSED_WRITES)
def test_refused_to_clients(replicas: Replicas, sql: str, reason: str) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (a)")
    for _ in range(2):  # the second time, SQLite may have the statement compiled
        assert reason in replicas.refusal(leader, sql)
        assert reason in replicas.refusal(leader, "INSERT INTO t VALUES (0)", sql)
    assert rows(leader, "SELECT * FROM t") == ()
    replicas.do(leader, "INSERT INTO t VALUES (1)")
    assert rows(leader, "SELECT * FROM t") == ((1,),)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ((2**63,), "64 bits"),
        ((-(2**63) - 1,), "64 bits"),
        ((), "parameters"),
        ((1, 2), "parameters"),
        (("\ud800",), "Unicode"),
    ],
)
def test_refused_parameters(replicas: Replicas, parameters: tuple[SqlValue, ...], reason: str) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (a)")
    for _ in range(2):
        assert reason in replicas.refusal(leader, ("INSERT INTO t VALUES (?)", parameters))
    for bad_type in ([1], {"a": 1}, object()):
        assert "type" in replicas.refusal(leader, ("INSERT INTO t VALUES (?)", (bad_type,)))  # type: ignore[arg-type]
    replicas.do(leader, ("INSERT INTO t VALUES (?)", (2**63 - 1,)))


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)", "DELETE FROM t", "CREATE TABLE u (a)", "DROP TABLE t", "REINDEX", "ANALYZE",
        "INSERT INTO t VALUES (1) RETURNING a", "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "PRAGMA user_version = 1", "PRAGMA journal_mode", "BEGIN", "ATTACH 'x' AS y", "VACUUM",
        "VACUUM INTO '/tmp/x.db'", "SELECT 1; DELETE FROM t", "", "PRAGMA optimize", "SAVEPOINT _workbench_member",
    ],
)  # fmt: skip
def test_reads_cannot_write(replicas: Replicas, sql: str) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (a PRIMARY KEY)", "INSERT INTO t VALUES (7)")
    before = leader.digest()
    for _ in range(2):
        result = leader.query(statement(sql))
        assert result.error
        assert "\n" not in result.error
        assert result.rows == ()
        assert leader.digest() == before
    if sql.startswith(("INSERT", "DELETE", "WITH")):
        replicas.do(leader, sql)  # a statement compiled for a write is still no read
        assert "read-only" in leader.query(statement(sql)).error


def test_reads(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (a, b)", "INSERT INTO t VALUES (1, 'x')")
    result = leader.query(statement(("SELECT a AS one, b FROM t WHERE a = :a -- comment", (1,))))
    assert (result.columns, result.rows, result.error) == (("one", "b"), ((1, "x"),), "")
    assert leader.query(statement("SELECT a FROM t WHERE 0")).columns == ("a",)
    assert rows(leader, "SELECT name FROM pragma_table_info('t')") == (("a",), ("b",))
    assert rows(leader, "PRAGMA table_info(t)")[0][1] == "a"
    assert rows(leader, "EXPLAIN QUERY PLAN SELECT * FROM t")
    assert leader.query(statement("SELECT * FROM missing")).error == "no such table: missing"
    assert leader.query(statement("SELECT * FROM _workbench_position")).error


def test_a_trigger_cannot_reach_what_its_author_cannot(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (a)")
    replicas.do(leader, "CREATE TRIGGER sly AFTER INSERT ON t BEGIN UPDATE _workbench_position SET term = 99; END")
    assert "_workbench_position" in replicas.refusal(leader, "INSERT INTO t VALUES (1)")
    assert rows(leader, "SELECT * FROM t") == ()


def test_many_statements_in_turn_stay_right(replicas: Replicas) -> None:
    """More SQL texts than any cache holds, each used twice."""
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a)")
    for i in range(0, 1_400, 100):
        assert not replicas.write(
            leader, *(transaction(f"INSERT INTO t VALUES ({j})") for j in range(i, i + 100))
        ).refused
        assert not replicas.write(
            leader, *(transaction(f"INSERT INTO t VALUES ({j})") for j in range(i, i + 100))
        ).refused
    replicas.catch_up(follower)
    assert rows(follower, "SELECT count(*), sum(a) FROM t") == ((2_800, 1_399 * 1_400),)
    assert follower.digest() == leader.digest()
