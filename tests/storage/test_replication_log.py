"""What was synced survives; what is damaged is cut or reported; nothing wrong is returned."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from random import Random

import pytest

from workbench.errors import ConfigurationError, LogCorruption, StorageError
from workbench.simulator.forgetful_files import FaultyFiles, PowerCut
from workbench.storage.files import Files, LocalFiles, is_disk_full
from workbench.storage.log_segment import HEADER_BYTES, RECORD_BYTES
from workbench.storage.replication_log import Record, ReplicationLog

IDENTITY = b"cluster-1/replica-1"


def open_log(
    directory: Path,
    files: Files | None = None,
    *,
    segment_bytes_max: int = 1 << 20,
    identity: bytes = IDENTITY,
    known_durable_index: int = 0,
) -> ReplicationLog:
    return ReplicationLog.open(
        files or LocalFiles(),
        directory,
        identity=identity,
        segment_bytes_max=segment_bytes_max,
        known_durable_index=known_durable_index,
    )


def records(first: int, count: int, term: int = 1) -> list[Record]:
    return [Record(term, index, f"{term}.{index}:".encode() * (index % 5)) for index in range(first, first + count)]


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.log"))


def filled(directory: Path, batches: list[list[Record]], segment_bytes_max: int = 1 << 20) -> list[Record]:
    """A closed log into which each batch was appended and synced; returns all records."""
    log = open_log(directory, segment_bytes_max=segment_bytes_max)
    for batch in batches:
        log.append(batch)
        log.sync()
    log.close()
    return [record for batch in batches for record in batch]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log"


# ------------------------------------------------------------------------------------------- append, read, reopen


def test_a_new_log_is_empty(directory: Path) -> None:
    log = open_log(directory)
    assert (log.last, log.durable_index, log.first_index) == ((0, 0), 0, 1)
    assert log.read(1, bytes_max=100, count_max=10) == []
    assert list(log.iterate(1)) == []
    assert (log.term_at(0), log.term_at(1)) == (0, None)
    log.close()
    assert open_log(directory).recovery.cut_bytes == 0


@pytest.mark.parametrize("segment_bytes_max", [1, 200, 1 << 20])
def test_what_was_appended_is_read_before_and_after_reopening(directory: Path, segment_bytes_max: int) -> None:
    whole = records(1, 7) + records(8, 5, term=3) + records(13, 20, term=4)
    log = open_log(directory, segment_bytes_max=segment_bytes_max)
    for start, end in ((0, 1), (1, 6), (6, 15), (15, 32)):
        log.append(whole[start:end])
    assert log.last == (4, 32)
    log.sync()
    assert log.durable_index == 32
    for _ in range(2):
        assert list(log.iterate(1)) == whole
        assert list(log.iterate(20)) == whole[19:]
        assert [log.term_at(record.index) for record in whole] == [record.term for record in whole]
        assert (log.term_at(33), log.term_at(-1), log.last, log.recovery.cut_bytes) == (None, None, (4, 32), 0)
        log.close()
        log = open_log(directory, segment_bytes_max=segment_bytes_max)
    assert len(segments(directory)) == {1: 4, 200: 4, 1 << 20: 1}[segment_bytes_max]


def test_read_keeps_its_bounds_and_gives_at_least_one(directory: Path) -> None:
    whole = [Record(1, index, b"x" * 68) for index in range(1, 21)]  # 100 bytes each, as stored
    filled(directory, [whole[:7], whole[7:13], whole[13:]], segment_bytes_max=600)
    log = open_log(directory, segment_bytes_max=600)
    assert len(segments(directory)) > 1
    for first in (1, 5, 7, 8, 20):
        for bytes_max in (0, 99, 100, 101, 299, 300, 301, 5000):
            for count_max in (1, 3, 50):
                expected = max(1, min(bytes_max // 100, count_max, 21 - first))
                got = log.read(first, bytes_max=bytes_max, count_max=count_max)
                assert got == whole[first - 1 : first - 1 + expected]
    assert log.read(21, bytes_max=100, count_max=1) == []
    with pytest.raises(ValueError, match="begins at 1"):
        log.read(0, bytes_max=100, count_max=1)


@pytest.mark.parametrize(
    "wrong", [[Record(1, 3, b"")], [Record(1, 1, b"")], [Record(0, 2, b"")], [Record(2, 2, b""), Record(1, 3, b"")]]
)
def test_a_record_that_does_not_continue_the_log_is_refused(directory: Path, wrong: list[Record]) -> None:
    log = open_log(directory)
    log.append(records(1, 1))
    with pytest.raises(ValueError, match="does not follow"):
        log.append(wrong)
    assert list(log.iterate(1)) == records(1, 1)


def test_a_batch_is_one_write_and_a_sync_is_one_fdatasync(directory: Path) -> None:
    files = LocalFiles()
    log = open_log(directory, files)
    before = (files.counters.writes, files.counters.syncs, files.counters.bytes_written)
    log.append(records(1, 3000))
    log.sync()
    size = sum(RECORD_BYTES + len(record.payload) for record in records(1, 3000))
    after = (files.counters.writes, files.counters.syncs, files.counters.bytes_written)
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, size]


def test_a_log_of_another_replica_or_version_is_refused(directory: Path) -> None:
    filled(directory, [records(1, 3)])
    with pytest.raises(ConfigurationError, match="another cluster or replica"):
        open_log(directory, identity=b"cluster-2/replica-1")
    with pytest.raises(ValueError, match="identity"):
        open_log(directory / "new", identity=b"x" * 33)
    assert list(open_log(directory).iterate(1)) == records(1, 3)


# --------------------------------------------------------------------------------------------- truncate


@pytest.mark.parametrize("segment_bytes_max", [1, 300, 1 << 20])
@pytest.mark.parametrize("after", [0, 1, 8, 9, 10, 11, 29, 30])
def test_truncate_drops_the_rest_and_other_terms_follow(directory: Path, segment_bytes_max: int, after: int) -> None:
    whole = records(1, 10) + records(11, 20, term=2)
    filled(directory, [whole[start : start + 3] for start in range(0, 30, 3)], segment_bytes_max)
    log = open_log(directory, segment_bytes_max=segment_bytes_max)
    log.read(1, bytes_max=1, count_max=1)  # an earlier segment is open for reading
    log.truncate(after)
    assert log.last == ((whole[after - 1].term, after) if after else (0, 0))
    assert (log.durable_index, log.term_at(after + 1)) == (after, None)
    replacement = records(after + 1, 12, term=5)
    log.append(replacement[:4])
    log.append(replacement[4:])
    log.sync()
    assert log.term_at(after + 1) == 5
    for _ in range(2):
        assert list(log.iterate(1)) == whole[:after] + replacement
        log.close()
        log = open_log(directory, segment_bytes_max=segment_bytes_max)
    with pytest.raises(ValueError, match="truncate"):
        log.truncate(after + 13)


# ------------------------------------------------------------------------------------- torn tails and damage


def test_law_3_a_cut_at_every_byte_recovers_exactly_the_whole_records_before_it(directory: Path) -> None:
    whole = filled(directory, [records(1, 3), records(4, 3)])
    (path,) = segments(directory)
    data = path.read_bytes()
    ends = [HEADER_BYTES]
    for record in whole:
        ends.append(ends[-1] + RECORD_BYTES + len(record.payload))
    assert ends[-1] == len(data)
    for size in range(HEADER_BYTES, len(data) + 1):
        path.write_bytes(data[:size])
        log = open_log(directory)
        survivors = sum(end <= size for end in ends[1:])
        assert list(log.iterate(1)) == whole[:survivors]
        assert (log.recovery.cut_bytes, log.recovery.offset) == (
            (0, 0) if size in ends else (size - ends[survivors], ends[survivors])
        )
        log.append(records(survivors + 1, 2, term=9))  # going on after recovery works
        log.sync()
        log.close()
        again = open_log(directory)
        assert list(again.iterate(1)) == whole[:survivors] + records(survivors + 1, 2, term=9)
        assert again.recovery.cut_bytes == 0
        again.close()


def test_a_cut_within_the_first_header_leaves_an_empty_log(directory: Path) -> None:
    filled(directory, [])
    (path,) = segments(directory)
    data = path.read_bytes()
    for size in range(HEADER_BYTES):
        path.write_bytes(data[:size])
        log = open_log(directory)
        assert log.last == (0, 0)
        assert log.recovery.reason == "the creation of a segment was interrupted"
        log.append(records(1, 1))
        log.close()
        path.unlink()


def damaged_log(directory: Path, path: Path, data: bytes, whole: list[Record], durable: int = 0) -> str:
    """Open the log with `path` holding `data`: what happened. Checks that no wrong record comes out."""
    path.write_bytes(data)
    try:
        log = open_log(directory, segment_bytes_max=300, known_durable_index=durable)
    except LogCorruption as caught:
        error = caught
    else:
        survivors = list(log.iterate(1))
        log.close()
        assert survivors == whole[: len(survivors)]
        assert len(survivors) < len(whole)
        assert log.recovery.cut_bytes > 0
        return f"cut to {len(survivors)}"
    assert error.path.startswith(str(directory))
    assert "leader" in error.hint
    assert path.read_bytes() == data, "a refused log is left as it is"
    return "reported"


def test_every_flipped_bit_is_cut_or_reported_and_never_returned(directory: Path) -> None:
    """One segment of single synced entries: a flip in any but the last has a witness behind it."""
    whole = filled(directory, [[record] for record in records(1, 4)])
    (path,) = segments(directory)
    data = path.read_bytes()
    last_start = len(data) - RECORD_BYTES - len(whole[-1].payload)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        outcome = damaged_log(directory, path, bytes(flipped), whole)
        assert outcome == ("cut to 3" if bit // 8 >= last_start else "reported"), f"bit {bit}"


def test_every_flipped_bit_in_an_earlier_segment_is_reported(directory: Path) -> None:
    whole = filled(directory, [records(1, 6), records(7, 6)], segment_bytes_max=300)
    first, _ = segments(directory)
    data = first.read_bytes()
    for bit in range(0, len(data) * 8, 3):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert damaged_log(directory, first, bytes(flipped), whole) == "reported", f"bit {bit}"


def test_damage_before_an_unfinished_segment_is_reported(directory: Path) -> None:
    """The old segment was synced before the new one was created, however little of that one there is."""
    whole = filled(directory, [records(1, 6), records(7, 6)], segment_bytes_max=300)
    first, second = segments(directory)
    os.truncate(second, 10)
    data = first.read_bytes()
    assert damaged_log(directory, first, data[:-1] + b"?", whole) == "reported"
    assert damaged_log(directory, first, data, whole) == "cut to 6"


def test_a_segment_whose_name_was_not_durable_becomes_so_on_opening(directory: Path) -> None:
    """The process dies between the creation of the file and the sync of the directory; the machine lives on."""
    names_at_risk = 0
    for operations, seed in product(range(12), range(6)):
        files = FaultyFiles()
        path = directory / f"{operations}-{seed}"
        files.make_directory(path)
        files.power_after(operations)
        try:
            open_log(path, files)
        except PowerCut:
            names_at_risk += bool(segments(path))
        files.kill()
        log = open_log(path, files)
        log.append(records(1, 1))
        log.sync()
        files.power_loss(Random(seed))
        assert list(open_log(path, files).iterate(1)) == records(1, 1)
    assert names_at_risk > 0


def test_the_witness_rule(directory: Path) -> None:
    """The same damage, judged by what was written behind it (the rule in `log_recovery.py`)."""

    def damage(path: Path, index: int) -> bytes:
        data = bytearray(path.read_bytes())
        data[data.index(f"1.{index}:".encode())] ^= 1
        return bytes(data)

    one_batch = directory / "one_batch"
    whole = filled(one_batch, [records(1, 4)])
    (path,) = segments(one_batch)
    data = damage(path, 2)
    assert damaged_log(one_batch, path, data, whole, durable=2) == "reported", "the database has applied entry 2"
    assert damaged_log(one_batch, path, data, whole, durable=1) == "cut to 1", "a power loss may tear a batch anywhere"

    two_batches = directory / "two_batches"
    whole = filled(two_batches, [records(1, 4), records(5, 1)])
    (path,) = segments(two_batches)
    assert damaged_log(two_batches, path, damage(path, 2), whole) == "reported", "entry 5 was written after its sync"

    not_synced = directory / "not_synced"
    log = open_log(not_synced)
    for record in records(1, 4):
        log.append([record])
    log.close()
    (path,) = segments(not_synced)
    path.write_bytes(damage(path, 2))
    log = open_log(not_synced)
    assert (log.last, log.recovery.cut_records) == ((1, 1), 2)
    assert "checksum" in log.recovery.reason


def test_a_missing_segment_is_reported(directory: Path) -> None:
    filled(directory, [records(first, 3) for first in range(1, 13, 3)], segment_bytes_max=1)
    paths = segments(directory)
    assert len(paths) == 4
    for path in paths[:3]:
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(LogCorruption, match="missing"):
            open_log(directory)
        path.write_bytes(data)
    paths[3].unlink()
    with pytest.raises(LogCorruption, match="entry 12 was durable"):
        open_log(directory, known_durable_index=12)
    paths[0].rename(paths[3])
    with pytest.raises(LogCorruption, match=r"not as named|missing"):
        open_log(directory)


def test_a_record_copied_to_another_place_is_not_a_record(directory: Path) -> None:
    """A client may store bytes of the log in a blob, also ones that claim to be a witness; a torn write must not
    bring them to life."""
    whole = filled(directory, [[record] for record in records(1, 4)])
    (path,) = segments(directory)
    stolen = path.read_bytes()[HEADER_BYTES:]
    log = open_log(directory)
    log.append([Record(1, 5, stolen)])
    log.close()
    data = bytearray(path.read_bytes())
    data[-len(stolen) - 1] ^= 1  # within the header of entry 5
    path.write_bytes(data)
    log = open_log(directory)
    assert list(log.iterate(1)) == whole
    assert log.recovery.cut_records == 0


def test_damage_after_opening_is_noticed_by_a_read(directory: Path) -> None:
    filled(directory, [records(1, 9)])
    log = open_log(directory)
    (path,) = segments(directory)
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80
    path.write_bytes(data)
    assert log.read(1, bytes_max=1 << 20, count_max=8) == records(1, 8)
    with pytest.raises(LogCorruption, match="entry 9 is not what was written"):
        log.read(8, bytes_max=1 << 20, count_max=5)
    os.truncate(path, len(data) - 1)
    with pytest.raises(LogCorruption, match="entry 9"):
        log.read(9, bytes_max=1, count_max=1)


def test_a_length_that_reaches_beyond_the_file_is_a_torn_tail(directory: Path) -> None:
    whole = filled(directory, [records(1, 2)])
    (path,) = segments(directory)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, HEADER_BYTES + RECORD_BYTES + len(whole[0].payload) + 8, 2**32 - 1)
    path.write_bytes(data)
    log = open_log(directory)
    assert list(log.iterate(1)) == whole[:1]
    assert log.recovery.reason == "a record is cut short"


# --------------------------------------------------------------------------------------- full disk, failed sync


def test_a_full_disk_refuses_the_batch_and_leaves_the_log_as_it_was(directory: Path) -> None:
    files = LocalFiles(bytes_max=1000)
    log = open_log(directory, files, segment_bytes_max=500)
    whole = [Record(1, index, b"x" * 60) for index in range(1, 11)]
    for start in range(0, 8, 2):
        log.append(whole[start : start + 2])
    with pytest.raises(OSError, match="quota") as caught:
        log.append(whole[8:])
    assert is_disk_full(caught.value)
    assert len(segments(directory)) == 3, "there was room for a third segment, but not for an entry in it"
    assert list(log.iterate(1)) == whole[:8]
    assert (log.durable_index, log.last) == (8, (1, 8))
    log.truncate(2)
    log.append([Record(2, 3, b"room again")])
    log.sync()
    log.close()
    again = open_log(directory, LocalFiles(bytes_max=1000), segment_bytes_max=500)
    assert list(again.iterate(1)) == [*whole[:2], Record(2, 3, b"room again")]
    assert again.recovery.cut_bytes == 0


def test_a_disk_too_full_for_a_new_segment_leaves_none_behind(directory: Path) -> None:
    log = open_log(directory, LocalFiles(bytes_max=HEADER_BYTES + RECORD_BYTES + 20), segment_bytes_max=1)
    log.append([Record(1, 1, b"")])
    for _ in range(2):
        with pytest.raises(OSError, match="quota"):
            log.append([Record(1, 2, b"")])
    assert len(segments(directory)) == 1
    assert list(log.iterate(1)) == [Record(1, 1, b"")]


def test_an_entry_refused_by_a_full_disk_never_comes_back(directory: Path) -> None:
    """The client was told that it did not happen, so no power loss may leave it in the log."""
    for seed in range(50):
        path = directory / str(seed)
        files = FaultyFiles(bytes_max=HEADER_BYTES + 3 * (RECORD_BYTES + 100))
        log = open_log(path, files)
        log.append([Record(1, 1, b"a" * 100)])
        with pytest.raises(OSError, match="quota"):
            log.append([Record(1, 2, b"b" * 100), Record(1, 3, b"c" * 100), Record(1, 4, b"d" * 100)])
        files.power_loss(Random(seed))
        assert list(open_log(path, files).iterate(1)) == [Record(1, 1, b"a" * 100)]


def test_after_a_failed_sync_the_log_is_unusable(directory: Path) -> None:
    files = FaultyFiles()
    log = open_log(directory, files)
    log.append(records(1, 2))
    files.fail_sync()
    with pytest.raises(StorageError):
        log.sync()
    assert log.durable_index == 0
    with pytest.raises(StorageError):
        log.append(records(3, 1))
    with pytest.raises(StorageError):
        log.sync()


def test_what_a_restart_calls_durable_is_so_even_after_a_failed_sync(directory: Path) -> None:
    """The page cache shows entries that the disk never got; a restarted replica must not take them for durable."""
    files = FaultyFiles()
    log = open_log(directory, files)
    log.append(records(1, 2))
    log.sync()
    log.append(records(3, 4))
    files.fail_sync()
    with pytest.raises(StorageError):
        log.sync()
    restarted = open_log(directory, files)
    assert restarted.durable_index == 6
    files.power_loss(Random(2))
    assert list(open_log(directory, files).iterate(1)) == records(1, 6)


# ------------------------------------------------------------------------------------------------- power loss


class Machine:
    """A log on a disk that may lose power, beside a model of what must survive."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = Random(seed)
        self.files = FaultyFiles()
        self.directory = directory
        self.written: list[Record] = []  # what was appended
        self.durable = 0  # how many of them must survive
        self.durable_max = 0  # how many may
        self.log = self.start()

    def start(self) -> ReplicationLog:
        return open_log(self.directory, self.files, segment_bytes_max=2000, known_durable_index=self.durable)

    def append(self) -> None:
        term = (self.written[-1].term if self.written else 1) + (self.random.random() < 0.1)
        first = len(self.written) + 1
        batch = [
            Record(term, first + n, self.random.randbytes(self.random.choice((0, 50, 700))))
            for n in range(self.random.randint(1, 6))
        ]
        before = list(self.written)
        self.written = before + batch
        self.log.append(batch)
        self.durable = self.log.durable_index  # a new segment syncs the old one

    def sync(self) -> None:
        self.log.sync()
        self.durable = len(self.written)

    def truncate(self) -> None:
        after = self.random.randint(max(0, len(self.written) - 12), len(self.written))
        self.durable = min(self.durable, after)
        self.log.truncate(after)
        self.written = self.written[:after]
        self.durable = after

    def crash(self) -> None:
        """Half of the crashes keep the page cache: what is seen then, and called durable, the next one may test."""
        if self.random.random() < 0.5:
            self.files.kill()
        else:
            self.files.power_loss(self.random)
        self.log = self.start()
        survivors = list(self.log.iterate(1))
        assert survivors == self.written[: len(survivors)], "a prefix of what was appended, nothing else"
        assert len(survivors) >= self.durable, "everything synced survives"
        assert self.log.durable_index == len(survivors)
        self.written = survivors
        self.durable = len(survivors)


def steps(machine: Machine) -> Iterator[None]:
    while True:
        machine.random.choices((machine.append, machine.sync, machine.truncate), (6, 4, 1))[0]()
        yield


@pytest.mark.parametrize("seed", range(40))
def test_law_3_power_loss_at_any_operation_keeps_what_was_synced(directory: Path, seed: int) -> None:
    machine = Machine(directory, seed)
    lost = 0
    for _ in range(12):
        machine.files.power_after(machine.random.randint(0, 25))
        try:
            for _ in steps(machine):
                pass
        except PowerCut:
            before = len(machine.written)
            machine.crash()
            lost += before - len(machine.written)
    machine.files.power_after(0)
    with pytest.raises(PowerCut):  # recovery itself may be interrupted, again and again
        machine.sync()
    for operations in range(6):
        machine.files.power_loss(machine.random)
        machine.files.power_after(operations)
        try:
            machine.start()
        except PowerCut:
            continue
    machine.crash()
    assert lost > 0, "the disk has lost something, or this shows nothing"
