"""A replica whose data is in DuckDB: its log, its database and a leader's snapshot are brought into agreement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.replica.bench import Bench, config_of
from workbench.protocol.values import Position
from workbench.storage.base import LEFT_OUT


class Killed(Exception):
    """Stands for the end of a process at a failpoint."""


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(config_of(tmp_path / "a", "logical"))
    bench.new_term(1)
    bench.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    for number in range(20):
        bench.write(("INSERT INTO t(v) VALUES (?)", (f"value {number}",)))
    bench.write("DELETE FROM t WHERE id % 3 = 0")
    yield bench
    bench.close()


def observer(tmp_path: Path, name: str = "duck") -> Bench:
    config = replace(config_of(tmp_path / name, "logical", name=name), engine="duckdb", observer=True)
    bench = Bench(config)
    bench.save_term(1)
    return bench


def equal(duck: Bench, leader: Bench) -> bool:
    ours = {name: digest for name, digest in duck.digest().items() if not digest.startswith(LEFT_OUT)}
    return ours == {name: leader.digest()[name] for name in ours} and "t" in ours


def test_it_follows_from_the_beginning_and_comes_back(tmp_path: Path, leader: Bench) -> None:
    duck = observer(tmp_path)
    duck.follow(leader)
    assert equal(duck, leader)
    leader.write("UPDATE t SET v = 1 WHERE id > 15")
    duck.append_only(*leader.entries(duck.last.index + 1))  # logged, and killed before it was applied
    killed = duck.killed("killed")
    assert equal(killed, leader)
    killed.close()
    duck.close()


def test_a_rewind_undoes_rows_or_makes_the_database_anew(tmp_path: Path, leader: Bench) -> None:
    duck = observer(tmp_path)
    duck.follow(leader)
    kept, digest = duck.last, duck.digest()
    other = observer(tmp_path, "other")
    other.follow(leader)
    leader.write("UPDATE t SET v = 'lost'")
    duck.follow(leader)
    duck.rewind(kept)
    assert (duck.digest(), duck.counters.rewinds_by_rebuild) == (digest, 0)
    leader.write("ALTER TABLE t ADD COLUMN w")
    other.follow(leader)
    other.rewind(kept)
    assert (other.digest(), other.counters.rewinds_by_rebuild) == (digest, 1)
    duck.close()
    other.close()


def test_a_database_that_cannot_be_read_is_made_anew(tmp_path: Path, leader: Bench) -> None:
    duck = observer(tmp_path)
    duck.follow(leader)
    duck.close()
    (duck.config.directory / "database" / "database.duckdb").write_bytes(b"torn" * 5000)
    again = Bench(duck.config)
    assert equal(again, leader)
    again.close()


def test_it_makes_no_snapshot_and_takes_a_leaders(tmp_path: Path, leader: Bench) -> None:
    duck = observer(tmp_path)
    assert "makes no snapshots" in str(duck.copy())
    leader.make_snapshot()
    leader.write("INSERT INTO t VALUES (100, x'00')")
    assert not isinstance(duck.receive(leader), str)
    duck.follow(leader)
    assert equal(duck, leader)
    duck.rewind(Position(1, duck.last.index - 1))
    assert duck.rows("SELECT count(*) FROM t WHERE id = 100") == ((0,),)
    again = duck.restarted()
    assert again.rows("SELECT count(*) FROM t") == leader.rows("SELECT count(*) - 1 FROM t")
    again.diverge()
    again.rebuild()
    assert again.rows("SELECT count(*) FROM t") == leader.rows("SELECT count(*) - 1 FROM t")
    again.close()


@pytest.mark.parametrize("point", ["restore.removed", "restore.before_rename", "restore.after_rename"])
def test_an_installation_that_was_interrupted_is_finished(
    tmp_path: Path, leader: Bench, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    leader.make_snapshot()
    duck = observer(tmp_path)
    duck.take(leader.entries(1)[0])
    for chunk in leader.pieces():
        duck.save_chunk(chunk)

    def die(name: str) -> None:
        if name == point:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("workbench.storage.restoring.hit", die)
        patched.setattr("workbench.storage.duckdb_restore.hit", die)
        with pytest.raises(Killed):
            duck.install()
    again = Bench(duck.config)
    assert equal(again, leader)
    assert again.last == leader.last
    left = {entry.name for entry in (duck.config.directory / "database").iterdir()}
    assert left <= {"database.duckdb", "database.duckdb.wal"}
    again.close()
