"""A log is read as it lies there: whatever state it is in, no byte of it changes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.inspection.logs import IDENTITY, snapshot_of, write_log
from workbench.errors import ConfigurationError, LogCorruption
from workbench.protocol.codec import decode_entry
from workbench.protocol.values import Entry
from workbench.storage.files import LocalFiles
from workbench.storage.log_reader import LogReader
from workbench.storage.log_segment import HEADER_BYTES
from workbench.storage.replication_log import ReplicationLog

ENTRIES = [Entry(1 + (index > 5), index, "statement" if index > 1 else "", (), b"x" * index) for index in range(1, 10)]


def last_segment(directory: Path) -> Path:
    return max((directory / "log").glob("*.log"))


@pytest.mark.parametrize("segment_bytes_max", [1, 300, 2**20])
def test_all_entries_are_read_in_order_with_their_place(tmp_path: Path, segment_bytes_max: int) -> None:
    write_log(tmp_path, ENTRIES, segment_bytes_max=segment_bytes_max)
    before = snapshot_of(tmp_path)
    reader = LogReader(tmp_path / "log")
    records = list(reader.iterate())
    assert [decode_entry(record.payload).entry for record in records] == ENTRIES
    assert reader.tail.left_bytes == 0
    for record in records:
        content = record.path.read_bytes()
        assert content[record.offset : record.offset + record.size].endswith(record.payload)
    assert sum(record.size for record in records) + HEADER_BYTES * reader.segments == reader.size
    assert snapshot_of(tmp_path) == before


@pytest.mark.parametrize("first_index", [0, 1, 4, 9, 10])
def test_reading_begins_where_it_is_asked_to(tmp_path: Path, first_index: int) -> None:
    write_log(tmp_path, ENTRIES, segment_bytes_max=200)
    found = [record.index for record in LogReader(tmp_path / "log").iterate(first_index)]
    assert found == [index for index in range(1, 10) if index >= first_index]


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_tail_is_told_and_left(tmp_path: Path, cut: int) -> None:
    write_log(tmp_path, ENTRIES)
    path = last_segment(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    before = snapshot_of(tmp_path)
    reader = LogReader(tmp_path / "log")
    assert [record.index for record in reader.iterate()] == list(range(1, 9))
    assert reader.tail.path == str(path)
    assert reader.tail.left_bytes == path.stat().st_size - reader.tail.offset > 0
    assert reader.tail.reason == "a record is cut short"
    assert snapshot_of(tmp_path) == before


def test_zeros_at_the_end_are_a_torn_tail(tmp_path: Path) -> None:
    write_log(tmp_path, ENTRIES)
    with last_segment(tmp_path).open("ab") as file:
        file.write(bytes(100))
    reader = LogReader(tmp_path / "log")
    assert len(list(reader.iterate())) == len(ENTRIES)
    assert (reader.tail.left_bytes, reader.tail.reason) == (100, "only zeros follow")


def test_damage_in_an_earlier_segment_is_corruption(tmp_path: Path) -> None:
    write_log(tmp_path, ENTRIES, segment_bytes_max=200)
    first = min((tmp_path / "log").glob("*.log"))
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    with pytest.raises(LogCorruption, match="later segments were written after it"):
        list(LogReader(tmp_path / "log").iterate())


def test_a_missing_segment_is_corruption(tmp_path: Path) -> None:
    write_log(tmp_path, ENTRIES, segment_bytes_max=200)
    paths = sorted((tmp_path / "log").glob("*.log"))
    assert len(paths) > 2
    paths[1].unlink()
    with pytest.raises(LogCorruption, match="one of them is missing or was cut"):
        list(LogReader(tmp_path / "log").iterate())


def test_a_damaged_header_is_corruption(tmp_path: Path) -> None:
    write_log(tmp_path, ENTRIES)
    path = last_segment(tmp_path)
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)
    with pytest.raises(LogCorruption, match="header is damaged"):
        LogReader(tmp_path / "log")


def test_the_creation_of_a_segment_may_have_been_interrupted(tmp_path: Path) -> None:
    write_log(tmp_path, ENTRIES)
    (tmp_path / "log" / f"{10:020}.log").write_bytes(b"WBREP")
    reader = LogReader(tmp_path / "log")
    assert len(list(reader.iterate())) == len(ENTRIES)
    assert reader.tail.left_bytes == 5


@pytest.mark.parametrize("content", [None, b"not a log"])
def test_what_is_no_log_is_said_to_be_none(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "log").mkdir()
    if content is not None:
        (tmp_path / "log" / "notes.txt").write_bytes(content)
    with pytest.raises(ConfigurationError, match="holds no replication log"):
        LogReader(tmp_path / "log")


@pytest.mark.parametrize("seed", range(120))
def test_a_damaged_log_is_judged_as_its_replica_would(tmp_path: Path, seed: int) -> None:
    """Random damage: what the reader finds is what opening the log keeps, and what opening refuses it refuses, too."""
    random = Random(seed)
    write_log(tmp_path, ENTRIES, segment_bytes_max=random.choice((1, 200, 2**20)))
    path = random.choice(sorted((tmp_path / "log").glob("*.log")))
    content = bytearray(path.read_bytes())
    match random.choice(("flip", "cut", "append", "remove")):
        case "flip":
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        case "cut":
            del content[random.randrange(len(content)) :]
        case "append":
            content += random.randbytes(random.randrange(1, 60))
        case "remove":
            content.clear()
    path.write_bytes(content)
    before = snapshot_of(tmp_path)
    try:
        reader = LogReader(tmp_path / "log")
        found: list[int] | None = [record.index for record in reader.iterate()]
    except (LogCorruption, ConfigurationError):
        found = None
    assert snapshot_of(tmp_path) == before
    try:
        log = ReplicationLog.open(LocalFiles(), tmp_path / "log", identity=IDENTITY, segment_bytes_max=2**20)
    except (LogCorruption, ConfigurationError):
        assert found is None, seed
        return
    kept = [record.index for record in log.iterate(1)]
    log.close()
    assert found == kept or (found is None and kept == []), seed
