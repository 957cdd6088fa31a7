"""What is true of the WAL format alone: pages, files, and what a crash leaves behind."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import apsw
import pytest

from tests.storage.replicas import Replicas, rows, transaction
from workbench.errors import CodecError, DivergedError, StorageError
from workbench.log_formats import wal
from workbench.protocol.values import Entry, Position
from workbench.storage import sqlite_wal
from workbench.storage.sqlite_wal import WalStore


@pytest.fixture
def replicas(tmp_path: Path) -> Replicas:
    return Replicas(tmp_path, "wal")


def opened(replicas: Replicas, name: str) -> WalStore:
    store = replicas.open(name)
    assert isinstance(store, WalStore)
    return store


def fill(replicas: Replicas, leader: WalStore, groups: int = 20) -> None:
    if not replicas.log:
        replicas.do(leader, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "CREATE INDEX t_by_v ON t (v)")
    for group in range(groups):
        calls = [("INSERT INTO t(v) VALUES (?)", (f"{group}.{i}" * 20,)) for i in range(20)]
        replicas.write(leader, *(transaction(call) for call in calls))


def main_file(replicas: Replicas, name: str) -> bytes:
    return (replicas.directory / name / "database.sqlite").read_bytes()


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_files_are_byte_identical_after_a_checkpoint(tmp_path: Path, page_size: int) -> None:
    replicas = Replicas(tmp_path, "wal", page_size=page_size)
    leader, follower = opened(replicas, "leader"), opened(replicas, "follower")
    assert main_file(replicas, "leader") == main_file(replicas, "follower")  # from the very start
    fill(replicas, leader)
    replicas.do(leader, "CREATE TABLE big (b)", "INSERT INTO big VALUES (zeroblob(300000))")
    replicas.do(leader, "CREATE VIRTUAL TABLE doc USING fts5(x)", "INSERT INTO doc SELECT v FROM t")
    replicas.do(leader, "DROP TABLE big", "DELETE FROM t WHERE id % 3 = 0")
    replicas.catch_up(follower)
    assert leader.page_digest() == follower.page_digest()
    assert main_file(replicas, "leader") == main_file(replicas, "follower")
    assert rows(follower, "PRAGMA integrity_check") == (("ok",),)
    replicas.close()
    assert main_file(replicas, "leader") == main_file(replicas, "follower")
    assert sorted(path.name for path in (tmp_path / "leader").iterdir()) == ["applied.position", "database.sqlite"]


def test_checkpoints_happen_and_keep_the_pace(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_wal, "CHECKPOINT_BYTES", 50_000)
    monkeypatch.setattr(sqlite_wal, "PERSIST_BYTES", 50_000)
    leader, follower = opened(replicas, "leader"), opened(replicas, "follower")
    fill(replicas, leader, groups=60)
    replicas.catch_up(follower)
    for store in (leader, follower):
        assert Position(1, 10) < store.durable_applied <= store.applied
    assert (replicas.directory / "leader" / "database.sqlite-wal").stat().st_size < 150_000
    assert leader.page_digest() == follower.page_digest()


def test_opening_does_not_read_what_a_crash_has_torn(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_wal, "PERSIST_ENTRIES", 7)
    leader, follower = opened(replicas, "leader"), opened(replicas, "follower")
    fill(replicas, leader)
    replicas.catch_up(follower)
    durable = follower.durable_applied
    assert durable < follower.applied
    directory = replicas.copy("follower", "copy")
    torn = bytearray((directory / "database.sqlite").read_bytes())
    for entry in replicas.log[durable.index :]:  # exactly what was not synced may be anything
        for page in wal.decode_body(entry.body, 4096).pages:
            torn[(page.number - 1) * 4096 : page.number * 4096] = b"\xa5" * 4096
    assert torn[:4096] == b"\xa5" * 4096
    (directory / "database.sqlite").write_bytes(torn[: len(torn) - 5000])
    copy = opened(replicas, "copy")
    assert copy.applied == durable
    replicas.catch_up(copy)
    assert copy.digest() == leader.digest()
    assert rows(copy, "PRAGMA integrity_check") == (("ok",),)


def test_a_database_torn_beyond_its_log_is_said_to_be(replicas: Replicas) -> None:
    leader = opened(replicas, "leader")
    fill(replicas, leader)
    replicas.close()
    path = replicas.directory / "leader" / "database.sqlite"
    path.write_bytes(b"\xa5" * path.stat().st_size)
    store = opened(replicas, "leader")
    with pytest.raises(StorageError):
        store.digest()
    with pytest.raises(StorageError):
        rows(store, "SELECT * FROM t")
    replicas.stores.clear()


def test_a_position_file_that_was_altered_is_refused(replicas: Replicas) -> None:
    fill(replicas, opened(replicas, "leader"))
    replicas.close()
    path = replicas.directory / "leader" / "applied.position"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(StorageError, match="checksum"):
        replicas.open("leader")


def test_another_start_is_no_follower_of_this_log(replicas: Replicas) -> None:
    leader = opened(replicas, "leader")
    fill(replicas, leader, groups=1)
    for bad in (
        wal.encode_body(512, 1, {1: bytes(512)}),
        wal.encode_body(4096, 1, {2: bytes(4096)}),
        wal.encode_body(4096, 1, {0: bytes(4096)}),
        wal.encode_body(4096, 2, {2: bytes(4095)}),
        wal.encode_body(4096, 2, {}),
    ):
        with pytest.raises((CodecError, DivergedError)):
            wal.decode_body(bad, 4096)
    follower = opened(replicas, "follower")
    with pytest.raises(DivergedError, match="page size"):
        follower.apply([Entry(1, 1, "wal", (), wal.encode_body(512, 1, {1: bytes(512)}))])


def test_frames_are_parsed_purely_and_strictly(tmp_path: Path) -> None:
    path = tmp_path / "any.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.wal_autocheckpoint(0)
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (1)")
    data = (tmp_path / "any.sqlite-wal").read_bytes()
    connection.close()
    header = wal.parse_header(data)
    frames = data[wal.HEADER_BYTES :]
    pages, database_pages = wal.parse_frames(frames, header, verify=True)
    assert (set(pages), database_pages) == ({1, 2}, 2)
    assert pages == {number + 1: path.read_bytes()[number * 4096 : (number + 1) * 4096] for number in range(2)}
    altered = bytearray(frames)
    altered[100] ^= 1
    with pytest.raises(StorageError, match="checksum"):
        wal.parse_frames(bytes(altered), header, verify=True)
    with pytest.raises(StorageError, match="middle of a frame"):
        wal.parse_frames(frames[:-1], header)
    with pytest.raises(StorageError, match="middle of a transaction"):
        wal.parse_frames(frames[: 24 + 4096], header)
    altered = bytearray(frames)
    altered[8] ^= 1
    with pytest.raises(StorageError, match="earlier life"):
        wal.parse_frames(bytes(altered), header)
    for bad in (b"", data[:31], b"\x00" * 32, data[:24] + b"\x00" * 8):
        with pytest.raises(StorageError):
            wal.parse_header(bad)


def test_a_page_written_twice_travels_once(replicas: Replicas) -> None:
    leader = opened(replicas, "leader")
    fill(replicas, leader, groups=1)
    replicas.write(leader, *(transaction(("UPDATE t SET id = id + 1000 WHERE id = ?", (i,))) for i in range(1, 20)))
    pages = wal.decode_body(replicas.log[-1].body, 4096).pages
    assert len(pages) == len({page.number for page in pages}) <= 6


def test_spilled_pages_of_a_shrinking_transaction_are_left_out(replicas: Replicas) -> None:
    leader, follower = opened(replicas, "leader"), opened(replicas, "follower")
    leader._connection.execute("PRAGMA cache_size = 10").fetchall()
    replicas.do(leader, "CREATE TABLE big (b)")
    numbers = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 200) SELECT i FROM r"
    member = f"INSERT INTO big SELECT zeroblob(3000) FROM ({numbers})"
    replicas.do(leader, member, "DELETE FROM big WHERE rowid > 3", "UPDATE big SET b = 'x'")
    assert not replicas.write(leader, transaction(member), transaction("INSERT INTO nowhere VALUES (1)")).members[1:]
    replicas.catch_up(follower)
    assert leader.page_digest() == follower.page_digest()


def test_nothing_is_checkpointed_before_it_is_logged(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_wal, "CHECKPOINT_BYTES", 0)
    leader = opened(replicas, "leader")
    fill(replicas, leader)
    before = main_file(replicas, "leader")
    replicas.execute(leader, transaction("INSERT INTO t(v) VALUES ('pending')"))
    assert main_file(replicas, "leader") == before
    assert leader.durable_applied == leader.applied
    leader.commit()
    assert main_file(replicas, "leader") != before


def test_an_abandoned_group_leaves_the_log_of_sqlite_usable(replicas: Replicas) -> None:
    leader, follower = opened(replicas, "leader"), opened(replicas, "follower")
    for round_number in range(3):
        leader.execute([transaction("CREATE TABLE gone (a)")], Position(1, len(replicas.log) + 1))
        leader.abandon()
        fill(replicas, leader, groups=2)
        assert rows(leader, "SELECT count(*) FROM t") == (((round_number + 1) * 40,),)
    replicas.catch_up(follower)
    assert leader.page_digest() == follower.page_digest()


def test_a_copied_leader_forgets_what_only_its_scratch_held(replicas: Replicas) -> None:
    leader = opened(replicas, "leader")
    fill(replicas, leader)
    shutil.copytree(replicas.directory / "leader", replicas.directory / "copy")
    assert (replicas.directory / "copy" / "database.sqlite-wal").stat().st_size > 10_000
    copy = opened(replicas, "copy")
    assert copy.applied == Position(0, 0)
    replicas.catch_up(copy, at_once=True)
    assert copy.page_digest() == leader.page_digest()


def test_the_length_of_the_file_follows_the_leader(replicas: Replicas) -> None:
    leader, follower = opened(replicas, "leader"), opened(replicas, "follower")
    fill(replicas, leader)
    replicas.catch_up(follower)
    grown = main_file(replicas, "follower")
    for database_pages in (5, 9):  # 9: the last pages of a database may be free, and are then not written
        body = wal.encode_body(4096, database_pages, {1: grown[:4096]})
        follower.apply([Entry(1, follower.applied.index + 1, "wal", (), body)])
        assert main_file(replicas, "follower") == grown[: 5 * 4096] + bytes(4096 * (database_pages - 5))


def test_pages_given_up_by_their_transaction_are_left_out() -> None:
    header = wal.WalHeader(512, (1, 2), False, (0, 0))
    frames = [
        struct.pack(">6I", number, size, 1, 2, 0, 0) + bytes([number]) * 512
        for number, size in ((1, 0), (9, 0), (2, 2))
    ]
    assert wal.parse_frames(b"".join(frames), header) == ({1: b"\x01" * 512, 2: b"\x02" * 512}, 2)


def test_a_leader_that_steps_down_right_after_it_gave_up_a_group_keeps_what_was_logged(replicas: Replicas) -> None:
    """The connection is a new one then, and has not looked at its `-wal` yet when it is to checkpoint."""
    leader, follower = opened(replicas, "leader"), opened(replicas, "follower")
    fill(replicas, leader, groups=2)
    replicas.catch_up(follower)
    leader.execute([transaction("CREATE TABLE gone (a)")], Position(1, len(replicas.log) + 1))
    leader.abandon()
    replicas.do(follower, "CREATE TABLE other (a)")
    replicas.catch_up(leader)
    assert leader.digest() == follower.digest()
    assert leader.page_digest() == follower.page_digest()
