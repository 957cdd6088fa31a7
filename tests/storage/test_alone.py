"""Statements that run alone, and the pragmas that set a number in the header: VACUUM, auto_vacuum, user_version."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.replicas import Replicas, rows, transaction
from workbench import failpoints
from workbench.config import Limits, LogFormatName
from workbench.errors import StorageError
from workbench.protocol.values import Position, Statement, Transaction
from workbench.protocol.waiting import WriteQueue
from workbench.storage import alone, sqlite
from workbench.storage.sqlite_wal import WalStore

FILL = (
    "CREATE TABLE bare (a, b)",
    "CREATE TABLE indexed (a)",
    "CREATE INDEX i ON indexed (a)",
    "CREATE TABLE keyed (k TEXT PRIMARY KEY, v)",
    "INSERT INTO bare(rowid, a) VALUES (5, 'five'), (90, 'ninety'), (91, zeroblob(50000))",
    "INSERT INTO indexed(rowid, a) VALUES (5, 'five'), (90, 'ninety')",
    "INSERT INTO keyed VALUES ('x', zeroblob(50000)), ('y', 2)",
    "DELETE FROM keyed WHERE k = 'x'",
    "DELETE FROM bare WHERE rowid = 5",
)


def test_which_transactions_run_alone() -> None:
    def runs_alone(*statements: str) -> bool:
        return Transaction(1, 1, tuple(map(Statement, statements))).runs_alone

    assert runs_alone("VACUUM")
    assert runs_alone(" \n vacuum;")
    assert runs_alone("VACUUM INTO 'x'")
    assert runs_alone("PRAGMA main . auto_vacuum=full")
    assert runs_alone("pragma incremental_vacuum")
    for one in (
        "",
        "VACUUMED",
        "PRAGMA auto_vacuum",
        "PRAGMA user_version = 3",
        "PRAGMA page_count",
        "INSERT",
        "VALUES",
    ):
        assert not runs_alone(one)
    assert not runs_alone("VACUUM", "VACUUM")
    assert not runs_alone()


def test_a_queue_puts_nothing_together_with_them() -> None:
    queue = WriteQueue()
    texts = ["a", "b", "VACUUM", "VACUUM", "c", "PRAGMA incremental_vacuum(3)", "d"]
    for number, text in enumerate(texts):
        queue.add("client", Transaction(number, 1, (Statement(text),)), at=0)
    groups = []
    while len(queue):
        groups.append([write.statements[0].sql for write in queue.take_group(100, 1_000_000)])
    assert groups == [["a", "b"], ["VACUUM"], ["VACUUM"], ["c"], ["PRAGMA incremental_vacuum(3)"], ["d"]]


def test_vacuum_leaves_all_replicas_equal(replicas: Replicas) -> None:
    leader, follower, late = (replicas.open(name) for name in ("leader", "follower", "late"))
    replicas.do(leader, *FILL)
    pages = rows(leader, "PRAGMA page_count")
    replicas.catch_up(follower)
    replicas.do(leader, "VACUUM")
    assert rows(leader, "PRAGMA page_count")[0] < pages[0]
    assert rows(leader, "PRAGMA freelist_count") == ((0,),)
    replicas.do(leader, "UPDATE bare SET b = 'changed' WHERE a = 'ninety'")
    replicas.do(leader, "INSERT INTO bare VALUES ('last', 0)", "DELETE FROM indexed WHERE a = 'five'")
    replicas.do(leader, " vacuum main ; -- again")
    replicas.catch_up(follower)
    replicas.catch_up(late, at_once=True)
    for store in (follower, late):
        assert store.digest() == leader.digest()
        assert rows(store, "SELECT rowid, a FROM bare") == rows(leader, "SELECT rowid, a FROM bare")
        assert rows(store, "PRAGMA integrity_check") == (("ok",),)
        assert rows(store, "PRAGMA page_count") == rows(leader, "PRAGMA page_count")
    replicas.do(follower, "VACUUM")  # promoted
    replicas.do(follower, "INSERT INTO bare VALUES ('promoted', 0)")
    replicas.catch_up(leader)
    assert leader.digest() == follower.digest()


def test_what_runs_alone_is_refused_in_company_and_in_other_forms(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, *FILL)
    before = leader.digest()
    assert "runs alone" in replicas.refusal(leader, "INSERT INTO bare VALUES (1, 2)", "VACUUM")
    assert "runs alone" in replicas.refusal(leader, "/* first */ VACUUM")
    assert "without INTO" in replicas.refusal(leader, "VACUUM INTO '/tmp/stolen.db'")
    assert "of the whole database" in replicas.refusal(leader, "VACUUM temp")
    assert "no parameters" in replicas.refusal(leader, ("VACUUM", (1,)))
    assert "auto_vacuum = 7" in replicas.refusal(leader, "PRAGMA auto_vacuum = 7")
    assert "one number or word" in replicas.refusal(leader, "PRAGMA incremental_vacuum(1); DELETE FROM bare")
    assert "runs alone" in replicas.refusal(leader, "PRAGMA auto_vacuum = 1", "DELETE FROM bare")
    assert leader.query(Statement("VACUUM")).error
    assert leader.query(Statement("PRAGMA auto_vacuum = 1")).error
    assert leader.digest() == before
    if replicas.log_format != "wal":
        for sql in ("PRAGMA auto_vacuum = FULL", "PRAGMA incremental_vacuum(2)"):
            assert "wal log format only" in replicas.refusal(leader, sql)


def test_an_abandoned_vacuum_was_never_run(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, *FILL)
    before = rows(leader, "SELECT rowid FROM bare"), rows(leader, "PRAGMA freelist_count")
    leader.execute([transaction("VACUUM")], Position(1, 2))
    leader.abandon()
    assert (rows(leader, "SELECT rowid FROM bare"), rows(leader, "PRAGMA freelist_count")) == before
    replicas.do(leader, "UPDATE bare SET b = rowid")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()


def test_a_vacuum_killed_anywhere_is_finished(
    tmp_path: Path, log_format: LogFormatName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory as it is before and after the mark, the VACUUM and the position, opened again."""
    replicas = Replicas(tmp_path, log_format)
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, *FILL)
    replicas.catch_up(follower)
    copies: list[str] = []

    def copied(name: str) -> None:
        copies.append(f"{name}-{len(copies)}")
        replicas.copy(name, copies[-1])

    real_run, real_hit = alone.run_alone, failpoints.hit

    def run_alone(connection: object, statement: Statement) -> None:
        copied(role)
        real_run(connection, statement)  # type: ignore[arg-type]
        copied(role)

    def hit(point: str) -> None:
        if point == "position.before_save":
            copied(role)
        real_hit(point)

    role = "leader"
    replicas.execute(leader, transaction("VACUUM"))
    copied("leader")
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "run_alone", run_alone)
        patched.setattr(sqlite, "hit", hit)
        leader.commit()
        copied("leader")
        role = "follower"
        replicas.catch_up(follower)
    copied("follower")
    assert len(copies) == (3 if log_format == "wal" else 9)
    replicas.do(leader, "UPDATE bare SET b = rowid")
    for name in copies:
        copy = replicas.open(name)
        applied = copy.applied.index
        if log_format != "wal" and applied == 2:
            assert rows(copy, "SELECT max(rowid) FROM bare") == ((2,),)  # at this position it has happened
        elif log_format != "wal":
            assert rows(copy, "SELECT max(rowid) FROM bare") == ((91,),)
        replicas.catch_up(copy)
        assert copy.digest() == leader.digest()
        assert rows(copy, "SELECT rowid FROM bare") == rows(leader, "SELECT rowid FROM bare")
    replicas.close()


def test_pages_of_a_vacuum_that_no_entry_can_carry_are_given_up(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, "wal", Limits(entry_bytes_max=200_000))
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a)")
    for _ in range(4):
        replicas.do(leader, "INSERT INTO t VALUES (randomblob(90000))")
    replicas.do(leader, "DELETE FROM t WHERE rowid = 2")
    assert "too much was written at once" in replicas.refusal(leader, "VACUUM")
    replicas.do(leader, "INSERT INTO t VALUES (1)")
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    replicas.close()


def test_a_file_learns_to_shrink_and_does(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, "wal")
    leader, follower = replicas.open("leader"), replicas.open("follower")
    assert isinstance(leader, WalStore)
    assert isinstance(follower, WalStore)
    replicas.do(leader, *FILL)
    replicas.do(leader, "PRAGMA auto_vacuum = INCREMENTAL")
    leader.execute([transaction("DELETE FROM bare")], Position(1, len(replicas.log) + 1))
    leader.abandon()  # a new connection, which has to be told again
    replicas.do(leader, "VACUUM")
    assert rows(leader, "PRAGMA auto_vacuum") == ((2,),)
    replicas.do(leader, "INSERT INTO bare VALUES (zeroblob(100000), 1)")
    replicas.do(leader, "DELETE FROM bare")
    (free,) = rows(leader, "PRAGMA freelist_count")
    replicas.do(leader, "PRAGMA incremental_vacuum(5)")
    assert rows(leader, "PRAGMA freelist_count") == ((free[0] - 5,),)  # type: ignore[operator]
    replicas.catch_up(follower)
    assert follower.page_digest() == leader.page_digest()
    replicas.do(leader, "PRAGMA incremental_vacuum")
    assert rows(leader, "PRAGMA freelist_count") == ((0,),)
    replicas.do(leader, "PRAGMA auto_vacuum = 1")
    replicas.do(leader, "INSERT INTO bare VALUES (zeroblob(100000), 1)")
    replicas.do(leader, "DELETE FROM bare")
    assert rows(leader, "PRAGMA freelist_count") == ((0,),)
    replicas.catch_up(follower)
    assert rows(follower, "PRAGMA auto_vacuum") == ((1,),)
    assert follower.page_digest() == leader.page_digest()
    replicas.close()


def test_numbers_in_the_header_travel(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a)", "PRAGMA user_version = 7", "INSERT INTO t VALUES (1)")
    replicas.do(leader, "PRAGMA main.application_id(99)")
    assert not replicas.write(leader, transaction("PRAGMA user_version = 8", "INSERT INTO nowhere VALUES (1)")).members
    replicas.write(
        leader, transaction("INSERT INTO t VALUES (2)"), transaction("PRAGMA user_version = 9", "SELEC"),
        transaction("INSERT INTO t VALUES (3)"),
    )  # fmt: skip
    replicas.catch_up(follower)
    for store in (leader, follower):
        assert rows(store, "PRAGMA user_version") == ((7,),)
        assert rows(store, "PRAGMA application_id") == ((99,),)
        assert rows(store, "SELECT a FROM t") == ((1,), (2,), (3,))
    assert "schema_version" in replicas.refusal(leader, "PRAGMA schema_version = 3")
    assert leader.query(Statement("PRAGMA user_version = 1")).error


def test_a_copy_under_way_stays_right_while_vacuum_runs(replicas: Replicas, tmp_path: Path) -> None:
    from workbench.storage.files import LocalFiles

    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, *FILL)
    replicas.do(leader, "INSERT INTO bare VALUES (randomblob(100000), 1), (2, 2)", "DELETE FROM bare WHERE a <> 2")
    replicas.catch_up(follower)
    for name in ("leader", "follower"):
        store = replicas.stores[name]
        copy = store.begin_copy()
        target = LocalFiles().open(tmp_path / f"{name}.copy")
        if name == "leader":
            replicas.do(leader, "VACUUM")
            replicas.do(leader, "INSERT INTO bare VALUES (zeroblob(30000), 3)")
        else:
            replicas.catch_up(follower)
        copy.run(target)
        copy.finish(target)
        target.close()
        store.end_copy()
        assert not copy.spoilt
        assert copy.position.index == (2 if name == "leader" or replicas.log_format != "wal" else 4)
        directory = replicas.copy(name, f"{name}-restored")
        store.close()
        for path in directory.glob("database.sqlite*"):
            path.unlink()
        (tmp_path / f"{name}.copy").rename(directory / "database.sqlite")
        if replicas.log_format == "wal":
            from workbench.storage.wal_files import WalFiles

            WalFiles(directory, 4096, LocalFiles()).write_position(copy.position)
        restored = replicas.open(f"{name}-restored")
        assert restored.applied == copy.position
        replicas.catch_up(restored)
        replicas.open(name)
        replicas.catch_up(replicas.stores[name])
        assert restored.digest() == replicas.stores[name].digest()


def test_a_failing_vacuum_is_a_failure_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import apsw

    def run_alone(_connection: object, _statement: Statement) -> None:
        raise apsw.FullError("no room")

    replicas = Replicas(tmp_path, "logical")
    leader = replicas.open("leader")
    replicas.do(leader, *FILL)
    replicas.execute(leader, transaction("VACUUM"))
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "run_alone", run_alone)
        with pytest.raises(StorageError, match=r"cannot commit entry 1\.2: no room"):
            leader.commit()
    replicas.stores.clear()
    copy = replicas.copy("leader", "again")
    assert copy.exists()
    assert replicas.open("again").applied == Position(1, 2)
    replicas.close()
