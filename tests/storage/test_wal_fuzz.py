"""A leader's pages and those of its followers: after a checkpoint, the files are the same, byte for byte.

One seed makes one program; a failure prints it. `WORKBENCH_FUZZ_SEEDS` says how many there are.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from tests.storage.replicas import Call, Replicas, rows, transaction
from workbench.protocol.values import Position
from workbench.storage import sqlite_wal
from workbench.storage.sqlite_wal import WalStore

SEEDS = range(int(os.environ.get("WORKBENCH_FUZZ_SEEDS", "10")))
STEPS = 45
SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


def alone(random: Random) -> str:
    return random.choice(
        (
            "VACUUM",
            "VACUUM",
            "PRAGMA auto_vacuum = FULL",
            "PRAGMA auto_vacuum = INCREMENTAL",
            "PRAGMA auto_vacuum = NONE",
            "PRAGMA incremental_vacuum(3)",
            "PRAGMA incremental_vacuum",
        )
    )


def call(random: Random) -> Call:
    n = random.randrange(6)
    blob = random.randbytes(random.choice((0, 10, 300, 5_000, 70_000)))
    return random.choice(
        (
            (f"INSERT INTO t{n} VALUES (?, ?)", (random.randrange(50), blob)),
            (f"INSERT INTO t{n} VALUES (?, ?)", (random.randrange(50), blob)),
            (f"INSERT INTO t{n} SELECT a, zeroblob({random.choice((5, 900, 9_000))}) FROM t{(n + 1) % 6} LIMIT 40", ()),
            (f"UPDATE t{n} SET b = ? WHERE a % 3 = ?", (blob, n % 3)),
            (f"UPDATE t{n} SET a = a + 1", ()),
            (f"DELETE FROM t{n} WHERE a % 2 = ?", (n % 2,)),
            (f"DELETE FROM t{n}", ()),
            (f"CREATE TABLE IF NOT EXISTS t{n} (a, b)", ()),
            (f"CREATE TABLE IF NOT EXISTS t{n} (a, b)", ()),
            (f"DROP TABLE IF EXISTS t{n}", ()),
            (f"CREATE INDEX IF NOT EXISTS i{n} ON t{n} (a)", ()),
            (f"ALTER TABLE t{n} ADD COLUMN c{random.randrange(999)}", ()),
            ("INSERT INTO doc VALUES (?)", (f"word{n} " * random.randrange(1, 300),)),
            ("INSERT INTO doc(doc) VALUES ('optimize')", ()),
            (f"PRAGMA user_version = {n}", ()),
            ("ANALYZE", ()),
            ("INSERT INTO nowhere VALUES (1)", ()),
        )
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_files_are_equal_byte_for_byte(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    page_size = SIZES[seed % len(SIZES)]
    monkeypatch.setattr(sqlite_wal, "CHECKPOINT_BYTES", random.choice((0, 100_000, 1_000_000, 16_000_000)))
    monkeypatch.setattr(sqlite_wal, "PERSIST_ENTRIES", random.choice((1, 5, 20_000)))
    replicas = Replicas(tmp_path, "wal", page_size=page_size)
    names = ["one", "two"]
    for name in names:
        replicas.open(name)
    replicas.do(replicas.stores["one"], "CREATE TABLE t0 (a, b)", "CREATE VIRTUAL TABLE doc USING fts5(x)")
    for step in range(STEPS):
        where = f"seed {seed}, step {step}"
        leader, follower = (replicas.stores[name] for name in names)
        assert isinstance(leader, WalStore)
        assert isinstance(follower, WalStore)
        if random.random() < 0.3:  # so small a cache that pages are spilled before the commit
            leader._connection.execute(f"PRAGMA cache_size = {random.choice((1, 3, 2_000))}").fetchall()
        if random.random() < 0.25:
            group = [transaction(alone(random))]
        else:
            group = [
                transaction(*(call(random) for _ in range(random.choice((1, 1, 4, 12)))), sequence=number)
                for number in range(random.choice((1, 1, 6)))
            ]
        if random.random() < 0.15 and leader.execute(group, Position(1, len(replicas.log) + 1)).members:
            leader.abandon()
        replicas.write(leader, *group)
        if random.random() < 0.5:
            replicas.catch_up(follower, at_once=random.random() < 0.5)
        match random.randrange(9):
            case 0:
                replicas.catch_up(follower)
                assert leader.page_digest() == follower.page_digest(), where
                assert rows(follower, "PRAGMA integrity_check") == (("ok",),), where
                assert rows(follower, "PRAGMA auto_vacuum") == rows(leader, "PRAGMA auto_vacuum"), where
            case 1:
                names.reverse()
                replicas.catch_up(follower)
            case 2:  # closed, and back
                follower.close()
                replicas.open(names[1])
            case 3:  # killed, and back from what its disk holds
                replicas.copy(names[0], f"copy-{step}")
                copy = replicas.open(f"copy-{step}")
                replicas.catch_up(copy, at_once=True)
                assert isinstance(copy, WalStore)
                assert copy.page_digest() == leader.page_digest(), where
                copy.close()
                del replicas.stores[f"copy-{step}"]
    leader, follower = (replicas.stores[name] for name in names)
    replicas.catch_up(follower)
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)
    assert follower.digest() == leader.digest()
    replicas.close()
    one, two = ((tmp_path / name / "database.sqlite").read_bytes() for name in names)
    assert one == two, f"seed {seed}"


def test_no_read_sees_half_an_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads and applies share one connection and one thread: a read before, and one after, each see a whole state, with
    the schema, compiled statements and cached pages that belong to it."""
    replicas = Replicas(tmp_path, "wal", page_size=1024)
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, n, b)", "CREATE INDEX i ON t (n)")
    for n in range(40):
        replicas.do(leader, ("INSERT INTO t(n, b) VALUES (0, ?)", (bytes([n]) * 700,)))
    replicas.catch_up(follower)
    random = Random(1)
    seen = 0
    for n in range(1, 60):
        calls: list[Call] = [("UPDATE t SET n = ?, b = b || 'x'", (n,))]
        if n % 7 == 0:
            calls.append(f"ALTER TABLE t ADD COLUMN c{n} DEFAULT {n}")
        if n % 11 == 0:
            calls += ["DROP INDEX i", "CREATE INDEX i ON t (n, b)"]
        replicas.do(leader, *calls)
        if random.random() < 0.7:
            expected = replicas.log[follower.applied.index - 1]
            replicas.catch_up(follower, at_once=True)
            assert follower.applied.index > expected.index
        wanted = follower.applied.index - 2 - 39
        values = rows(follower, "SELECT n, count(*) FROM t GROUP BY n")
        assert values == ((wanted, 40),)
        assert rows(follower, "SELECT count(*) FROM t NOT INDEXED WHERE n = ?", wanted) == ((40,),)
        assert rows(follower, "SELECT count(*) FROM t INDEXED BY i WHERE n = ?", wanted) == ((40,),)
        assert len(rows(follower, "SELECT * FROM t LIMIT 1")[0]) == 3 + wanted // 7
        seen += 1
    assert seen == 59
    replicas.close()


def test_an_apply_waits_for_no_open_read(tmp_path: Path) -> None:
    """RESET_CACHE would do nothing while a statement is open, so a read is always fetched whole, or given up."""
    replicas = Replicas(tmp_path, "wal")
    leader, follower = replicas.open("leader"), replicas.open("follower")
    assert isinstance(follower, WalStore)
    replicas.do(leader, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1), (2), (x'00')")
    replicas.catch_up(follower)
    replicas.do(leader, "UPDATE t SET a = 'changed'")
    for sql in (
        "SELECT a FROM t",
        "SELECT CAST(x'ff' AS TEXT) FROM t",
        "SELECT json(a) FROM t",
        "SELECT abs(-9223372036854775808)",
    ):
        follower.query(transaction(sql).statements[0])
        cursor = follower._connection.cursor()
        cursor.execute("SELECT a FROM t")  # what no read leaves behind
        with pytest.raises(AssertionError, match="a statement is open"):
            follower.apply(replicas.log[follower.applied.index :])
        cursor.close()
        break
    replicas.catch_up(follower)
    assert rows(follower, "SELECT DISTINCT a FROM t") == (("changed",),)
    replicas.close()
