"""Updates that hand UNIQUE values from row to row, as the logical format carries them."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest

from tests.storage.replicas import Call, Replicas, rows
from workbench.errors import DivergedError
from workbench.protocol.values import Entry, Position

MANY = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT {}) "
TABLES = {
    "rowid": "CREATE TABLE t (id INTEGER PRIMARY KEY, u INT NOT NULL UNIQUE, v, w AS (u * 2) UNIQUE)",
    "text key": "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, u INT NOT NULL UNIQUE, v)",
    "nullable key": "CREATE TABLE t (id TEXT PRIMARY KEY, u INT NOT NULL UNIQUE, v)",
    "without rowid": "CREATE TABLE t (id INT, u INT NOT NULL, v UNIQUE, PRIMARY KEY (id)) WITHOUT ROWID",
    "no key": "CREATE TABLE t (id, u INT NOT NULL UNIQUE, v TEXT)",
    "strict": "CREATE TABLE t (id INTEGER PRIMARY KEY, u INT NOT NULL UNIQUE CHECK (u > -99999), v ANY UNIQUE) STRICT",
}


@pytest.fixture
def replicas(tmp_path: Path) -> Replicas:
    return Replicas(tmp_path, "logical")


def check(replicas: Replicas) -> None:
    leader, follower = replicas.stores["leader"], replicas.stores["follower"]
    replicas.catch_up(follower)
    assert follower.digest() == leader.digest()
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("count", [3, 20, 300])
def test_values_go_round(replicas: Replicas, kind: str, count: int) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader,
        TABLES[kind],
        "CREATE UNIQUE INDEX i ON t (u, v)",
        "CREATE TABLE bystander (a PRIMARY KEY, b)",
        "CREATE TRIGGER tr AFTER UPDATE ON t WHEN NEW.u > 5000 BEGIN UPDATE bystander SET b = NEW.u; END",
        MANY.format(count) + "INSERT INTO t(id, u, v) SELECT i, i, i FROM r",
        "INSERT INTO bystander VALUES (1, 1)",
    )
    check(replicas)
    before = follower.digest()
    random = Random(count)
    order, other = (random.sample(range(1, count + 1), count) for _ in range(2))  # rings of their own, crossing
    away = ("UPDATE t SET u = u + 10000, v = CAST(v AS INT) + 10000", "INSERT INTO bystander VALUES (2, 2)")
    back: list[Call] = [
        ("UPDATE t SET u = ?, v = ? WHERE id = ?", (u, v, i))
        for i, (u, v) in enumerate(zip(order, other, strict=True), 1)
    ]
    replicas.do(leader, *away, *back, "DELETE FROM bystander WHERE a = 1")
    check(replicas)
    assert follower.rewind(Position(1, 1), reversed(replicas.log[1:]))
    assert follower.digest() == before
    replicas.catch_up(follower)
    replicas.do(
        leader,
        "UPDATE t SET u = u + 10000",
        "DELETE FROM t WHERE u = 10002",
        "UPDATE t SET u = u - 9999 WHERE u > 10001",
    )
    check(replicas)
    if kind in ("rowid", "no key", "strict"):
        assert rows(follower, "SELECT rowid FROM t ORDER BY u") == rows(leader, "SELECT rowid FROM t ORDER BY u")


def test_a_long_chain_takes_no_more_than_its_length(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    times = []
    for size in (5_000, 20_000):
        replicas.do(leader, "DROP TABLE IF EXISTS t", "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)")
        replicas.do(leader, MANY.format(size) + "INSERT INTO t SELECT i, i FROM r")
        replicas.do(leader, "UPDATE t SET u = -u", "UPDATE t SET u = 1 - u")
        replicas.catch_up(leader)
        follower.apply(replicas.log[follower.applied.index : -1])
        start = time.thread_time()
        follower.apply(replicas.log[-1:])
        times.append(time.thread_time() - start)
    check(replicas)
    assert times[1] < 10 * times[0]  # four times the rows: sixteen times as long, if it were their square


def test_rows_that_are_not_what_they_were_are_divergence(replicas: Replicas) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    replicas.do(
        leader, "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v)", "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)"
    )
    swap = ("UPDATE t SET u = -u", "UPDATE t SET u = 3 + u")
    for wrong in ("UPDATE t SET u = 7 WHERE id = 2", "DELETE FROM t WHERE id = 1", "INSERT INTO t VALUES (3, 0, 0)"):
        other = Replicas(replicas.directory / wrong, "logical")
        store = other.open("store")
        other.do(
            store, "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v)", "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)"
        )
        other.do(store, wrong)
        before = store.digest()
        for extra in ((), ("UPDATE t SET u = 0 WHERE id = 1",)):
            twin = Replicas(replicas.directory / f"{wrong}-{len(extra)}", "logical")
            origin = twin.open("store")
            twin.do(
                origin,
                "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v)",
                "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)",
            )
            twin.do(origin, *swap, *extra)
            if wrong.startswith("INSERT") and not extra:
                continue  # fits
            with pytest.raises(DivergedError, match=r"does not fit|cannot"):
                store.apply([Entry(1, 3, "logical", (), twin.log[-1].body)])
            assert store.digest() == before
            twin.close()
        other.close()
    assert follower.applied == Position()
