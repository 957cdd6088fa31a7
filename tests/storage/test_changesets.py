"""Changesets of tables without a primary key: those of SQLite's sessions are wrong, ours are right."""

from __future__ import annotations

from pathlib import Path
from random import Random

import apsw
import pytest

from tests.storage.replicas import Replicas, rows
from workbench.log_formats import wal
from workbench.log_formats.changesets import rowid_changeset
from workbench.log_formats.image_capture import ImageCapture
from workbench.log_formats.logical import Changes, decode_body
from workbench.log_formats.mixed import MixedFormat
from workbench.storage.base import Store
from workbench.storage.sqlite import TransactionalStore

NUMBERS = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT {}) "


@pytest.mark.parametrize(("count", "is_right"), [(120, True), (300, False)])
def test_why_sessions_are_not_trusted(count: int, is_right: bool) -> None:
    """When this fails for 300 rows, SQLite has mended it, and `changesets.py` can go."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t (a)")
    connection.execute(NUMBERS.format(count) + "INSERT INTO t SELECT i FROM r")
    session = apsw.Session(connection, "main")
    session.config(apsw.SQLITE_SESSION_OBJCONFIG_ROWID, 1)
    session.attach()
    connection.execute("UPDATE t SET a = a + 1")
    connection.execute("UPDATE t SET a = a + 1")
    changes = list(apsw.Changeset.iter(session.changeset()))
    assert (len(changes) == count) == is_right


def test_what_sqlite_reads_in_them() -> None:
    values = (None, 0, -(2**63), 2**63 - 1, 1.5, float("inf"), "", "ü\x00x", b"", b"\x00\xff", "x" * 300, b"y" * 20_000)
    changed = (*values[:-2], "z" * 300, b"y" * 20_000)
    rows_ = [(7, None, values), (2**40, values, None), (9, values, changed), (10, values, values)]
    changeset = rowid_changeset("it's", len(values), rows_)
    found = [(change.name, change.op, change.old, change.new) for change in apsw.Changeset.iter(changeset)]
    same = apsw.no_change
    assert found == [
        ("it's", "INSERT", None, (7, *values)),
        ("it's", "DELETE", (2**40, *values), None),
        ("it's", "UPDATE", (9, *(same,) * 10, "x" * 300, same), (same, *(same,) * 10, "z" * 300, same)),
    ]
    assert all(change.pk_columns == {0} for change in apsw.Changeset.iter(changeset))
    assert rowid_changeset("t", 1, [(1, (1,), (1,)), (2, None, None)]) == b""
    wide = tuple(range(1_999))
    changes = apsw.Changeset.iter(rowid_changeset("t", 1_999, [(1, wide, None)]))
    assert [change.old for change in changes] == [(1, *wide)]


@pytest.mark.parametrize("seed", range(4))
def test_many_rows_without_a_key_changed_more_than_once(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    replicas = Replicas(tmp_path, "logical")
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        "CREATE TABLE t (a, b REAL, changed INT DEFAULT 0)",
        "CREATE TABLE u (a UNIQUE, b)",
        "CREATE TRIGGER x AFTER UPDATE OF a ON t BEGIN UPDATE t SET changed = changed + 1 WHERE rowid = NEW.rowid; END",
        NUMBERS.format(400) + "INSERT INTO t(a, b) SELECT i, i FROM r",
        "INSERT INTO u SELECT a, b FROM t",
    )
    for _ in range(25):
        n = random.randrange(2, 9)
        calls = [
            f"UPDATE t SET a = a + 1 WHERE rowid % {n}",
            f"DELETE FROM t WHERE rowid % {n} = 0",
            f"UPDATE OR IGNORE t SET rowid = rowid + 10000 WHERE rowid % {n} = 1",
            f"INSERT INTO t(a, b) SELECT a, CAST(x'ff0041' AS TEXT) FROM t WHERE rowid % {n} = 1 LIMIT 200",
            f"UPDATE t SET b = -0.0 WHERE rowid % {n} = 1",
            f"UPDATE t SET a = x'00' WHERE rowid % {n} = 1",
            f"INSERT OR REPLACE INTO u SELECT a + {n}, 'replaced' FROM u WHERE rowid % {n} = 0",
            f"UPDATE OR REPLACE u SET a = a + {n}, b = b || 'x'",
            f"INSERT OR REPLACE INTO u(rowid, a, b) SELECT rowid + {n}, -a, 'moved' FROM u WHERE a > 0",
        ]
        replicas.do(leader, *random.choices(calls, k=3))
        assert {type(part) for part in decode_body(replicas.log[-1].body).parts} <= {Changes}
        before, applied = follower.digest(), follower.applied
        replicas.catch_up(follower)
        assert follower.digest() == leader.digest()
        if applied.index:
            assert follower.rewind(applied, replicas.log[-1:])
            assert follower.digest() == before
            replicas.catch_up(follower)
    assert rows(follower, "SELECT rowid, quote(a) FROM t") == rows(leader, "SELECT rowid, quote(a) FROM t")
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)
    replicas.close()


def test_nothing_is_kept_of_statements_whose_rows_do_not_travel(tmp_path: Path) -> None:
    """Under `mixed`, safe statements run between those whose rows are captured."""
    replicas = Replicas(tmp_path, "mixed")
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a, b)")
    for number in range(5):
        replicas.do(leader, ("INSERT INTO t VALUES (?, 0)", (number,)), "UPDATE t SET b = b + 1")
        assert not _images(leader).has_noted
        replicas.do(leader, "UPDATE t SET b = random() % 9", "UPDATE t SET a = a + 1", "UPDATE t SET b = random() % 9")
        assert not _images(leader).has_noted
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    replicas.close()


def _images(store: Store) -> ImageCapture:
    assert isinstance(store, TransactionalStore)
    assert isinstance(store._format, MixedFormat)
    return store._format._capture._images


def test_a_lone_write_takes_three_pages_at_most(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, "wal")
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "CREATE INDEX i ON t (v)")
    pages = []
    for number in range(300):
        replicas.do(leader, ("INSERT INTO t(v) VALUES (?)", (f"{number * 7919 % 1000:050}" * 2,)))
        pages.append(len(wal.decode_body(replicas.log[-1].body, 4096).pages))
    assert sorted(pages)[len(pages) // 2] <= 2  # the table's page, and the index's
    assert sum(count > 3 for count in pages) < 0.2 * len(pages)  # where a page had to be split, and the file to grow
    replicas.close()
