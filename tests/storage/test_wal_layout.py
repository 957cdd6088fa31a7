"""A WAL follower whose pages have another size: refused, or let in and ruined, as `layout_check` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.replicas import Replicas, rows
from workbench.config import Limits
from workbench.errors import DivergedError
from workbench.protocol.values import Position, Statement
from workbench.storage.digest import SCHEMA_KEY
from workbench.storage.sqlite import open_store

SIZES = [(4096, 1024), (4096, 8192), (512, 65536), (65536, 512), (1024, 4096)]


def fill(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    replicas.do(leader, "CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    for _ in range(3):
        replicas.do(leader, "INSERT INTO t(b) VALUES (randomblob(3000)), ('x')")
    replicas.do(leader, "CREATE INDEX i ON t (b)")


@pytest.mark.parametrize(("leads", "follows"), SIZES)
def test_another_page_size_is_refused_and_nothing_is_written(tmp_path: Path, leads: int, follows: int) -> None:
    replicas = Replicas(tmp_path, "wal", page_size=leads)
    fill(replicas)
    follower = open_store(tmp_path / "follower", "wal", Limits(), page_size=follows)
    before = (tmp_path / "follower" / "database.sqlite").read_bytes()
    with pytest.raises(
        DivergedError, match=rf"entry 1\.1: pages of {leads} bytes do not fit a database with .* {follows}"
    ):
        follower.apply(replicas.log[:1])
    assert (tmp_path / "follower" / "database.sqlite").read_bytes() == before
    assert follower.applied == Position()
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)
    follower.close()
    replicas.close()


@pytest.mark.parametrize(("leads", "follows"), SIZES)
def test_a_careless_follower_is_ruined_and_lives_to_say_so(tmp_path: Path, leads: int, follows: int) -> None:
    replicas = Replicas(tmp_path, "wal", page_size=leads)
    fill(replicas)
    follower = open_store(tmp_path / "follower", "wal", Limits(), page_size=follows, layout_check=False)
    for opened_again in (False, True):
        if opened_again:
            follower.close()
            follower = open_store(tmp_path / "follower", "wal", Limits(), page_size=follows, layout_check=False)
        else:
            for entry in replicas.log:
                follower.apply([entry])
        assert follower.applied == replicas.log[-1].position
        for sql in ("SELECT count(*) FROM t", "SELECT sum(a) FROM t", "PRAGMA integrity_check"):
            error = follower.query(Statement(sql)).error
            assert error == "the database cannot be read: database disk image is malformed"
        assert follower.digest() == {SCHEMA_KEY: "the database cannot be read: database disk image is malformed"}
    follower.close()
    replicas.close()


def test_without_the_check_a_follower_of_the_same_layout_is_as_ever(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, "wal")
    fill(replicas)
    follower = open_store(tmp_path / "follower", "wal", Limits(), layout_check=False)
    follower.apply(replicas.log)
    assert follower.digest() == replicas.stores["leader"].digest()
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)
    follower.close()
    replicas.close()
