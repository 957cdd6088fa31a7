"""A snapshot takes the place of the log that it covers: on its own replica, and on one that receives it."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.replica.bench import Bench, config_of
from workbench.config import LogFormatName
from workbench.errors import LogCorruption, StorageError
from workbench.protocol.codec import encode_entry
from workbench.protocol.effects import MakeSnapshot, SealSnapshot, SendLog, SendSnapshot
from workbench.protocol.inputs import SnapshotAbandoned, SnapshotCopied
from workbench.protocol.membership import members_entry
from workbench.protocol.messages import AppendEntries, SnapshotChunk
from workbench.protocol.sessions import expiry_entry
from workbench.protocol.values import Position
from workbench.replica.storage import StorageAnswer
from workbench.replica.storage_thread import StorageThread
from workbench.storage.database_copy import DatabaseCopy

SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"
COUNT = "SELECT count(*) FROM t"


def insert(bench: Bench, count: int) -> None:
    for number in range(count):
        bench.write(("INSERT INTO t(v) VALUES (?)", (f"{bench.last}.{number}" * 30,)), session=number % 7)


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for bench in made:
        bench.close()


@pytest.fixture
def leader(tmp_path: Path, log_format: LogFormatName, benches: list[Bench]) -> Bench:
    """51 entries: two terms, a schema, rows of seven sessions, other members."""
    bench = Bench(config_of(tmp_path / "a", log_format))
    benches.append(bench)
    bench.new_term(1)
    bench.write(SCHEMA)
    insert(bench, 20)
    bench.new_term(3)
    bench.take(encode_entry(members_entry(3, bench.last.index + 1, ("a", "b", "d"))))
    insert(bench, 27)
    return bench


def follower(leader: Bench, benches: list[Bench], name: str = "b") -> Bench:
    bench = Bench(config_of(leader.config.directory.parent / name, leader.config.log_format, name=name))
    benches.append(bench)
    bench.save_term(leader.term, "a")
    return bench


def reopened(bench: Bench, benches: list[Bench]) -> Bench:
    benches.remove(bench)
    again = bench.restarted()
    benches.append(again)
    return again


def snapshots(bench: Bench) -> list[str]:
    return sorted(path.name for path in (bench.config.directory / "snapshots").iterdir())


def ledger_of(bench: Bench) -> object:
    return bench.ledger.image_at(bench.last.index)


# ------------------------------------------------------------------------------------- of the own database


def test_law_3_a_replica_comes_back_from_snapshot_and_later_log(leader: Bench, benches: list[Bench]) -> None:
    position = leader.make_snapshot()
    assert position == Position(3, 51)
    first_index = leader.drop_log(position.index)
    assert 40 < first_index <= 52
    insert(leader, 10)
    digest, ledger, size = leader.digest(), ledger_of(leader), sum(len(e.encoded) for e in leader.entries(52))
    again = reopened(leader, benches)
    recovered = again.recovered
    assert (recovered.base, recovered.first_index, recovered.last_index) == (position, first_index, 61)
    assert (recovered.term, recovered.term_starts, recovered.log_bytes) == (3, ((1, 1), (3, 23)), size)
    assert again.digest() == digest
    assert ledger_of(again) == ledger
    assert again.ledger.membership.current == ("a", "b", "d")


@pytest.mark.parametrize("damage", ["gone", "old", "torn"])
def test_law_3_a_database_that_the_log_cannot_bring_up_is_made_from_the_snapshot(
    leader: Bench, benches: list[Bench], damage: str, tmp_path: Path
) -> None:
    database = leader.config.directory / "database"
    again = reopened(leader, benches)
    again.close()
    benches.remove(again)
    shutil.copytree(database, tmp_path / "old")
    leader = Bench(leader.config)
    insert(leader, 30)
    leader.drop_log(leader.make_snapshot().index)
    insert(leader, 3)
    digest = leader.digest()
    leader.close()
    match damage:
        case "gone":
            shutil.rmtree(database)
        case "old":
            shutil.rmtree(database)
            shutil.move(tmp_path / "old", database)
        case "torn":
            path = database / "database.sqlite"
            path.write_bytes(b"\xa5" * path.stat().st_size)
            (database / "applied.position").unlink(missing_ok=True)
            if leader.config.log_format == "wal":
                (database / "applied.position").write_bytes(b"nonsense")
    again = Bench(leader.config)
    benches.append(again)
    assert again.digest() == digest


def test_a_newer_snapshot_takes_the_place_of_the_older(leader: Bench) -> None:
    leader.make_snapshot()
    assert snapshots(leader) == ["00000000000000000051-3.snapshot"]
    insert(leader, 1)
    leader.make_snapshot()
    assert snapshots(leader) == ["00000000000000000052-3.snapshot"]
    assert leader.counters.snapshots_made == 2


def test_a_copy_that_was_not_sealed_is_nothing(leader: Bench, benches: list[Bench]) -> None:
    assert leader.copy() == Position(3, 51)
    assert snapshots(leader) == ["copying"]
    again = reopened(leader, benches)
    assert again.recovered.base == Position()
    assert snapshots(again) == []


def test_after_a_crash_between_two_snapshots_the_newer_counts(leader: Bench, benches: list[Bench]) -> None:
    leader.make_snapshot()
    (path,) = (leader.config.directory / "snapshots").iterdir()
    data = path.read_bytes()
    insert(leader, 1)
    leader.make_snapshot()
    path.write_bytes(data)
    again = reopened(leader, benches)
    assert again.recovered.base == Position(3, 52)
    assert snapshots(again) == ["00000000000000000052-3.snapshot"]


def test_only_what_a_snapshot_covers_can_be_dropped(leader: Bench) -> None:
    assert leader.drop_log(51) == 1
    leader.make_snapshot()
    insert(leader, 20)
    assert leader.drop_log(71) <= 52
    assert leader.drop_log(71, bytes_kept=1 << 30) <= 52
    header = AppendEntries(3, "a", Position(1, 3), 0, 0)
    assert list(leader.storage.perform(SendLog("b", header, 100))) == []


def test_a_log_that_lacks_what_its_snapshot_has_is_reported(leader: Bench, benches: list[Bench]) -> None:
    leader.make_snapshot()
    leader.close()
    benches.remove(leader)
    shutil.rmtree(leader.config.directory / "log")
    with pytest.raises(LogCorruption, match="entry 51 was durable"):
        Bench(leader.config)


# --------------------------------------------------------------------------------------------- abandoned


@pytest.mark.parametrize("moment", ["copying", "copied"])
@pytest.mark.parametrize("by", ["rewind", "install"])
def test_a_rewind_or_an_installation_abandons_a_copy_and_says_so(
    leader: Bench, benches: list[Bench], moment: str, by: str
) -> None:
    other = follower(leader, benches)
    other.follow(leader)
    leader.save_term(4)
    insert(leader, 1)
    insert(other, 2)
    if moment == "copied":
        other.copy()
    else:
        assert not other.storage.perform(MakeSnapshot())
    if by == "rewind":
        abandoned, _ = other.rewind(Position(3, 51))
        assert isinstance(abandoned, SnapshotAbandoned)
    else:
        leader.make_snapshot()
        assert not isinstance(other.receive(leader, 51), str)
    assert not other.storage.proceed()
    assert not other.storage.perform(SealSnapshot(leader.state(Position(3, 51))))
    other.follow(leader)
    assert other.digest() == leader.digest()
    assert snapshots(other) == ([] if by == "rewind" else ["00000000000000000052-4.snapshot"])
    other.make_snapshot() if by == "rewind" else None
    assert other.counters.snapshots_installed == (by == "install")


def test_a_rewind_that_drops_nothing_of_a_copy_abandons_it_all_the_same(leader: Bench) -> None:
    leader.copy()
    leader.append_only(leader.entry(""))
    assert isinstance(leader.rewind(Position(3, 51))[0], SnapshotAbandoned)
    assert leader.make_snapshot() == Position(3, 51)


@pytest.mark.parametrize("moment", ["run", "finish", "seal"])
def test_a_full_disk_abandons_a_copy_and_nothing_else(
    leader: Bench, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if moment == "seal":
        monkeypatch.setattr("workbench.storage.snapshots.write_manifest", full)
        position = leader.copy()
        assert isinstance(position, Position)
        answers = leader.storage.perform(SealSnapshot(leader.state(position)))
        assert list(answers) == [SnapshotAbandoned("the disk is full")]
    else:
        monkeypatch.setattr(DatabaseCopy, moment, full)
        assert leader.copy() == "the disk is full"
    assert snapshots(leader) == []
    monkeypatch.undo()
    insert(leader, 3)
    assert leader.make_snapshot() == leader.last


def test_a_disk_that_fails_while_a_copy_is_made_ends_the_replica(
    leader: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise StorageError("cannot sync")

    monkeypatch.setattr(DatabaseCopy, "run", failing)
    with pytest.raises(StorageError, match="cannot sync"):
        leader.copy()


# ------------------------------------------------------------------------------------------- installation


@pytest.mark.parametrize("bytes_max", [1000, 4096, 1 << 20])
def test_a_new_replica_becomes_what_the_snapshot_says(leader: Bench, benches: list[Bench], bytes_max: int) -> None:
    leader.drop_log(leader.make_snapshot().index)
    insert(leader, 5)
    new = follower(leader, benches)
    chunks = leader.pieces(bytes_max)
    assert all(len(chunk.data) <= bytes_max for chunk in chunks)
    (path,) = (leader.config.directory / "snapshots").iterdir()
    assert b"".join(chunk.data for chunk in chunks) == path.read_bytes()
    assert leader.counters.snapshot_bytes_sent == path.stat().st_size == chunks[0].size
    for chunk in chunks:
        answer = new.save_chunk(chunk)
        assert (answer.snapshot, answer.size_bytes) == (chunk.snapshot, chunk.offset + len(chunk.data))
    recovered = new.install()
    assert not isinstance(recovered, str)
    assert (recovered.base, recovered.first_index, recovered.last_index) == (Position(3, 51), 52, 51)
    assert (recovered.term, recovered.voted_for, recovered.log_bytes) == (3, "a", 0)
    assert (recovered.term_starts, recovered.incoming) == (((1, 1), (3, 23)), ("", 0))
    for _ in range(2):
        new.follow(leader)
        assert new.digest() == leader.digest()
        assert ledger_of(new) == ledger_of(leader)
        new = reopened(new, benches)
    new.make_snapshot()  # and can be the source of another
    third = follower(leader, benches, "c")
    assert not isinstance(third.receive(new), str)
    assert third.digest() == leader.digest()


def test_an_installation_replaces_another_history_which_can_be_read_afterwards(
    leader: Bench, benches: list[Bench]
) -> None:
    other = follower(leader, benches)
    other.follow(leader)
    other.save_term(4)
    insert(other, 9)
    other.write("CREATE TABLE other (a)")
    leader.save_term(5)
    insert(leader, 1)
    leader.drop_log(leader.make_snapshot().index)
    recovered = other.receive(leader, kept=51)
    assert not isinstance(recovered, str)
    assert recovered.base == Position(5, 52)
    (file,) = (other.config.directory / "rollback").iterdir()
    assert file.name == "0001-after-3.51.jsonl"
    assert len(file.read_text().splitlines()) == 10
    assert other.counters.entries_rolled_back == 10
    assert other.digest() == leader.digest()
    insert(leader, 3)
    other.follow(leader)
    again = reopened(other, benches)
    assert again.digest() == leader.digest()
    assert [entry.entry.index for entry in again.entries(53)] == [53, 54, 55]


def test_a_snapshot_that_is_of_no_use_is_thrown_away(leader: Bench, benches: list[Bench]) -> None:
    other = follower(leader, benches)
    other.follow(leader)
    before = other.digest()
    assert "complete" in str(other.install())
    leader.make_snapshot()
    assert "holds entry 3.51 already" in str(other.receive(leader))
    insert(leader, 2)
    leader.make_snapshot()
    *chunks, last = leader.pieces(1000)
    for chunk in chunks:
        other.save_chunk(chunk)
    assert "complete" in str(other.install())
    assert other.save_chunk(last).size_bytes == 0, "nothing of it is kept"
    assert other.digest() == before
    again = reopened(other, benches)
    assert (again.last, again.recovered.base) == (Position(3, 51), Position())
    assert not isinstance(again.receive(leader), str)


def test_a_snapshot_below_the_own_one_is_held_already(leader: Bench, benches: list[Bench]) -> None:
    leader.make_snapshot()
    chunks = leader.pieces()
    other = follower(leader, benches)
    other.follow(leader)
    insert(leader, 10)
    other.follow(leader)
    other.drop_log(other.make_snapshot().index)
    for chunk in chunks:
        other.save_chunk(chunk)
    assert "holds entry 3.51 already" in str(other.install())


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 0.97, 1.0])
def test_a_snapshot_that_was_altered_is_never_installed(leader: Bench, benches: list[Bench], place: float) -> None:
    leader.make_snapshot()
    new = follower(leader, benches)
    for chunk in leader.pieces():
        new.save_chunk(chunk)
    path = new.config.directory / "incoming" / "snapshot"
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    assert "damaged" in str(new.install())
    assert new.last == Position()
    assert not isinstance(new.receive(leader), str)


def test_a_damaged_snapshot_is_not_sent(leader: Bench) -> None:
    leader.make_snapshot()
    (path,) = (leader.config.directory / "snapshots").iterdir()
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogCorruption, match="a chunk does not match"):
        leader.piece()


def test_pages_of_another_size_are_refused_where_pages_travel_and_made_anew_elsewhere(
    tmp_path: Path, leader: Bench, benches: list[Bench]
) -> None:
    leader.write("CREATE TABLE bare (a)")
    for number in range(9):
        leader.write(("INSERT INTO bare VALUES (?)", (number,)))
    leader.write("DELETE FROM bare WHERE a % 2 = 0")  # rowids, by which they are known, have gaps
    leader.make_snapshot()
    other = Bench(config_of(tmp_path / "z", leader.config.log_format, name="z", page_size=8192))
    benches.append(other)
    other.save_term(1)
    received = other.receive(leader)
    if leader.config.log_format == "wal":
        assert "page size 4096; this replica has" in str(received)
        return
    assert not isinstance(received, str), received
    assert other.rows("PRAGMA page_size") == ((8192,),)
    other.take(leader.write("UPDATE bare SET a = -a WHERE a > 4"), leader.write("DELETE FROM bare WHERE a = 1"))
    assert other.digest() == leader.digest()
    assert other.rows("SELECT rowid, a FROM bare") == leader.rows("SELECT rowid, a FROM bare")
    again = reopened(other, benches)
    again.rewind(Position(3, again.last.index - 1))
    assert again.rows("PRAGMA page_size") == ((8192,),)
    left = {entry.name for entry in (tmp_path / "z" / "database").iterdir()}
    assert left <= {"database.sqlite", "database.sqlite-wal"}


def test_whoever_has_no_snapshot_sends_none(leader: Bench) -> None:
    header = SnapshotChunk(3, "a", "other", 0, 5, b"", 0)
    assert list(leader.storage.perform(SendSnapshot("b", header, 100))) == []


def test_a_replica_that_was_killed_with_the_whole_snapshot_needs_only_its_size(
    leader: Bench, benches: list[Bench]
) -> None:
    leader.make_snapshot()
    new = follower(leader, benches)
    for chunk in leader.pieces():
        new.save_chunk(chunk)
    again = new.killed("killed")
    benches.append(again)
    name, held = again.recovered.incoming
    chunk = leader.piece(name, held)
    assert (chunk.data, chunk.size) == (b"", held)
    assert again.save_chunk(chunk).size_bytes == held
    assert not isinstance(again.install(), str)
    assert again.digest() == leader.digest()


def test_a_foreign_name_or_offset_begins_anew(leader: Bench) -> None:
    leader.make_snapshot()
    first = leader.piece()
    assert leader.piece("other", 5) == first
    assert first.offset == 0
    rest = leader.piece(first.snapshot, first.size)
    assert (rest.offset, rest.data, rest.size) == (first.size, b"", first.size)


# --------------------------------------------------------------------------- entries that change no data


def test_entries_without_data_advance_every_store_and_reach_the_ledger(leader: Bench, benches: list[Bench]) -> None:
    other = follower(leader, benches)
    before = leader.digest()
    insert(leader, 2)
    horizon = leader.last.index - 2
    leader.take(
        encode_entry(members_entry(3, leader.last.index + 1, ("a", "b", "e"))),
        encode_entry(expiry_entry(3, leader.last.index + 2, horizon)),
    )
    other.follow(leader)
    assert other.digest() == leader.digest() != before
    again = reopened(other, benches)
    assert again.ledger.membership.current == ("a", "b", "e")
    assert again.ledger.sessions.may_have_expired(horizon - 1)
    assert ledger_of(again) == ledger_of(leader)


# ------------------------------------------------------------------------------------ on the storage thread


async def test_a_copy_goes_on_beside_other_effects_and_is_answered(
    tmp_path: Path, log_format: LogFormatName, benches: list[Bench]
) -> None:
    bench = Bench(config_of(tmp_path / "a", log_format), copies_beside=True)
    benches.append(bench)
    bench.new_term(1)
    bench.write(SCHEMA)
    insert(bench, 100)
    copied: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
    failed: list[Exception] = []

    def answered(answers: Sequence[StorageAnswer]) -> None:
        for answer in answers:
            if isinstance(answer, SnapshotCopied):
                copied.set_result(answer.position)

    thread = StorageThread(bench.storage, answered=answered, failed=failed.append)
    thread.submit([MakeSnapshot()])
    assert await asyncio.wait_for(copied, 30) == Position(1, 102)
    await thread.stop()
    assert failed == []
    bench.seal(Position(1, 102))


def test_an_execution_says_when_it_happened(tmp_path: Path, log_format: LogFormatName, benches: list[Bench]) -> None:
    bench = Bench(config_of(tmp_path / "a", log_format))
    benches.append(bench)
    bench.new_term(1)
    one, two = bench.write(SCHEMA).entry, bench.write("INSERT INTO t(v) VALUES (1)").entry
    assert 1_700_000_000_000 < one.wall_ms <= two.wall_ms
    assert bench.entries(2)[0].entry.wall_ms == one.wall_ms


def test_a_copy_may_be_asked_for_before_the_first_entry(
    tmp_path: Path, log_format: LogFormatName, benches: list[Bench]
) -> None:
    bench = Bench(config_of(tmp_path / "a", log_format))
    benches.append(bench)
    assert bench.copy() == Position()
