"""A copy is exactly the database at the position that it claims, whatever happened while it was made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.storage.replicas import Replicas, rows, transaction
from workbench.config import LogFormatName
from workbench.protocol.values import Position
from workbench.storage import database_copy, sqlite, sqlite_wal
from workbench.storage.base import Store
from workbench.storage.database_copy import CopyRefused, DatabaseCopy
from workbench.storage.files import LocalFiles, OpenFile
from workbench.storage.sqlite import TransactionalStore, open_store
from workbench.storage.sqlite_wal import WalStore
from workbench.storage.wal_files import WalFiles

PIECE_BYTES = 8192


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_copy, "_PIECE_BYTES", PIECE_BYTES)
    monkeypatch.setattr(database_copy, "_PAGES_LEFT", 4)


class Watched:
    """A file that lets something happen before each of the first reads of it, as another thread would."""

    def __init__(self, file: OpenFile, happens: Callable[[], None]) -> None:
        self._file = file
        self._happens = happens
        self._times = 30

    def pread(self, count: int, offset: int) -> bytes:
        self._times -= 1
        if self._times >= 0:
            self._happens()
        return self._file.pread(count, offset)


def copy_of(store: Store, path: Path, meanwhile: Callable[[], None]) -> DatabaseCopy:
    """A copy at `path`, with something happening before each piece; spoilt or finished."""
    copy = store.begin_copy()
    source = copy._source
    copy._source = Watched(source, meanwhile)  # type: ignore[assignment]
    target = LocalFiles().open(path)
    copy.run(target)
    copy._source = source
    copy.finish(target)
    target.close()
    store.end_copy()
    return copy


def check_copy(replicas: Replicas, name: str, copy: DatabaseCopy, path: Path) -> None:
    """The copy, opened as a database, against a model that applied the log up to the same position."""
    assert not copy.spoilt
    assert path.stat().st_size == copy.size
    directory = replicas.directory / f"{name}-restored"
    directory.mkdir()
    if replicas.log_format == "wal":
        WalFiles(directory, replicas.page_size, LocalFiles()).write_position(copy.position)
    path.rename(directory / "database.sqlite")
    restored, model = replicas.open(directory.name), replicas.open(f"{name}-model")
    model.apply(replicas.log[: copy.position.index])
    assert restored.applied == copy.position == model.applied
    assert restored.digest() == model.digest()
    assert rows(restored, "PRAGMA integrity_check") == (("ok",),)
    if isinstance(restored, WalStore) and isinstance(model, WalStore):
        assert restored.page_digest() == model.page_digest()
    replicas.catch_up(restored)
    replicas.catch_up(model)
    assert restored.digest() == model.digest()


def fill(replicas: Replicas, store: Store, count: int = 30) -> None:
    if not replicas.log:
        replicas.do(store, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "CREATE INDEX t_by_v ON t (v)")
    for number in range(count):
        replicas.do(store, ("INSERT INTO t(v) VALUES (?)", (f"{len(replicas.log)}.{number}" * 150,)))


class Changes:
    """What a client does, seeded: inserts, updates all over the file, a table that comes and goes."""

    def __init__(self, replicas: Replicas, leader: Store, seed: int) -> None:
        self._replicas = replicas
        self._leader = leader
        self._random = Random(seed)
        self._has_big = False

    def one(self) -> None:
        random, n = self._random, len(self._replicas.log)
        choice = random.randrange(10)
        if choice == 0:
            sql = "DROP TABLE big" if self._has_big else "CREATE TABLE big AS SELECT zeroblob(60000) AS b"
            if self._replicas.log_format == "logical" and not self._has_big:
                self._replicas.do(self._leader, "CREATE TABLE big (b)", "INSERT INTO big VALUES (zeroblob(60000))")
            else:
                self._replicas.do(self._leader, sql)
            self._has_big = not self._has_big
        elif choice < 5:
            self._replicas.do(self._leader, ("INSERT INTO t(v) VALUES (?)", (f"{n}" * 300,)))
        else:
            place = random.randrange(100)
            self._replicas.do(self._leader, ("UPDATE t SET v = ? WHERE id = ?", (f"u{n}" * 200, place)))


@pytest.mark.parametrize("seed", range(6))
def test_a_leader_is_copied_while_it_writes(replicas: Replicas, tmp_path: Path, seed: int) -> None:
    leader = replicas.open("leader")
    fill(replicas, leader)
    changes = Changes(replicas, leader, seed)
    before = leader.applied
    copy = copy_of(leader, tmp_path / "copy", changes.one)
    assert copy.position == before < leader.applied
    check_copy(replicas, "leader", copy, tmp_path / "copy")
    fill(replicas, leader, 5)
    again = copy_of(leader, tmp_path / "again", changes.one)
    assert again.position > before
    check_copy(replicas, "again", again, tmp_path / "again")


@pytest.mark.parametrize("seed", range(12))
def test_a_follower_is_copied_while_it_applies(replicas: Replicas, tmp_path: Path, seed: int) -> None:
    leader, follower = replicas.open("leader"), replicas.open("follower")
    fill(replicas, leader)
    replicas.catch_up(follower)
    changes = Changes(replicas, leader, seed)

    def meanwhile() -> None:
        changes.one()
        changes.one()
        replicas.catch_up(follower, at_once=seed % 2 == 0)

    copy = copy_of(follower, tmp_path / "copy", meanwhile)
    assert copy.position == (follower.applied if replicas.log_format == "wal" else Position(1, 31))
    check_copy(replicas, "follower", copy, tmp_path / "copy")


def test_pages_that_vanish_and_come_back_empty_are_copied_as_they_are(tmp_path: Path) -> None:
    """The file of a WAL follower shrinks and grows; pages of which nobody says anything are zeros then."""
    source, target = (LocalFiles().open(tmp_path / name) for name in ("source", "target"))
    source.append(b"a" * 40960)
    copy = DatabaseCopy(source, size=40960, page_size=4096, position=Position(1, 1))
    steps = iter([[], [], [], [(2, 2), (9, 9)], [(10, 1)]])

    def meanwhile() -> None:
        for pages, number in next(steps, []):
            source.pwrite(b"b" * 4096, (number - 1) * 4096)
            source.truncate(pages * 4096)
            copy.changed([number], pages)

    copy._source = Watched(source, meanwhile)  # type: ignore[assignment]
    copy.run(target)
    copy._source = source
    copy.finish(target)
    assert target.pread(100_000, 0) == source.pread(100_000, 0)


def test_a_follower_that_is_promoted_meanwhile(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, "wal")
    leader, follower = replicas.open("leader"), replicas.open("follower")
    fill(replicas, leader)
    steps = iter(range(100))

    def meanwhile() -> None:
        if next(steps) == 0:
            replicas.catch_up(follower)
        else:
            replicas.do(follower, "INSERT INTO t(v) VALUES ('by the new leader')")

    copy = copy_of(follower, tmp_path / "copy", meanwhile)
    assert copy.position == Position(1, 31) < follower.applied
    check_copy(replicas, "follower", copy, tmp_path / "copy")


def test_a_leader_that_steps_down_spoils_its_copy_and_only_that(tmp_path: Path) -> None:
    replicas = Replicas(tmp_path, "wal")
    one, two = replicas.open("one"), replicas.open("two")
    fill(replicas, one)
    replicas.catch_up(two)
    steps = iter(range(100))

    def meanwhile() -> None:
        step = next(steps)
        if step == 0:
            replicas.do(one, "INSERT INTO t(v) VALUES ('last')")
            replicas.catch_up(two)
        elif step == 1:
            replicas.do(two, "INSERT INTO t(v) VALUES ('by the new leader')")
            replicas.catch_up(one)

    copy = copy_of(one, tmp_path / "copy", meanwhile)
    assert copy.spoilt
    assert one.digest() == two.digest()
    (tmp_path / "copy").unlink()
    check_copy(replicas, "one", copy_of(one, tmp_path / "copy", lambda: None), tmp_path / "copy")


def test_nothing_is_checkpointed_while_a_copy_is_made_and_everything_after(
    replicas: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_wal, "CHECKPOINT_BYTES", 50_000)
    monkeypatch.setattr(sqlite, "_CHECKPOINT_BYTES", 50_000)
    leader = replicas.open("leader")
    main_file = tmp_path / "leader" / "database.sqlite"
    fill(replicas, leader)
    leader.begin_copy()
    before = main_file.read_bytes()
    fill(replicas, leader, 60)
    assert main_file.read_bytes() == before
    leader.end_copy()
    fill(replicas, leader, 1)
    assert main_file.read_bytes() != before


def test_a_copy_gives_way_when_too_much_is_written(
    replicas: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite, sqlite_wal):
        monkeypatch.setattr(module, "WAL_BYTES_MAX", 200_000)
    leader = replicas.open("leader")
    fill(replicas, leader)
    copy = leader.begin_copy()
    fill(replicas, leader, 10)
    assert not copy.spoilt
    fill(replicas, leader, 60)
    assert "meanwhile" in copy.spoilt
    leader.end_copy()
    check_copy(replicas, "leader", copy_of(leader, tmp_path / "copy", lambda: None), tmp_path / "copy")


def test_a_checkpoint_that_is_held_back_is_not_copied(replicas: Replicas, tmp_path: Path) -> None:
    leader = replicas.open("leader")
    fill(replicas, leader)
    assert isinstance(leader, WalStore | TransactionalStore)
    reader = leader._connection.cursor()
    reader.execute("SELECT * FROM t")
    next(reader)
    replicas.do(leader, "INSERT INTO t(v) VALUES ('behind the reader')")
    with pytest.raises(CopyRefused):
        leader.begin_copy()
    reader.close(True)
    check_copy(replicas, "leader", copy_of(leader, tmp_path / "copy", lambda: None), tmp_path / "copy")


def test_a_copy_may_end_while_a_group_is_executed(replicas: Replicas, tmp_path: Path) -> None:
    leader = replicas.open("leader")
    fill(replicas, leader)
    steps = iter(range(100))

    def meanwhile() -> None:
        if next(steps) == 1:
            replicas.execute(leader, transaction("INSERT INTO t(v) VALUES ('pending')"))

    copy = copy_of(leader, tmp_path / "copy", meanwhile)
    leader.commit()
    check_copy(replicas, "leader", copy, tmp_path / "copy")


def test_a_closed_store_spoils_its_copy(replicas: Replicas) -> None:
    leader = replicas.open("leader")
    fill(replicas, leader)
    copy = leader.begin_copy()
    leader.close()
    assert copy.spoilt
    del replicas.stores["leader"]


@pytest.mark.parametrize("page_size", [512, 65536])
def test_other_page_sizes(tmp_path: Path, log_format: LogFormatName, page_size: int) -> None:
    replicas = Replicas(tmp_path, log_format, page_size=page_size)
    leader = replicas.open("leader")
    fill(replicas, leader)
    copy = copy_of(leader, tmp_path / "copy", Changes(replicas, leader, 1).one)
    check_copy(replicas, "leader", copy, tmp_path / "copy")
    replicas.close()
    assert open_store(tmp_path / "leader", log_format, replicas.limits, page_size=page_size).applied > copy.position
