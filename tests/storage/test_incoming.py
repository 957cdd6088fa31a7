"""Pieces of a snapshot: what is claimed as held is held, after any crash; what does not fit is not kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from zlib import crc32

import msgspec
import pytest

from workbench.protocol.messages import SnapshotChunk
from workbench.simulator.forgetful_files import FaultyFiles, PowerCut
from workbench.storage import incoming
from workbench.storage.files import LocalFiles
from workbench.storage.incoming import Incoming


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "RECORD_BYTES", 2_000)


@dataclass(frozen=True)
class Source:
    """A snapshot somewhere else."""

    name: str
    data: bytes

    def chunk(self, offset: int, size: int = 500) -> SnapshotChunk:
        data = self.data[offset : offset + size]
        return SnapshotChunk(1, "a", self.name, len(self.data), offset, data, crc32(data))

    def chunks(self, start: int = 0) -> Iterator[SnapshotChunk]:
        return (self.chunk(offset) for offset in range(start, len(self.data), 500))


ONE = Source("one", Random(1).randbytes(10_300))
TWO = Source("two", Random(2).randbytes(7_000))


def whole(received: Incoming) -> bytes:
    assert received.is_whole
    file = received.open()
    try:
        return file.pread(1 << 20, 0)
    finally:
        file.close()


def test_pieces_in_order_make_the_whole(tmp_path: Path) -> None:
    received = Incoming(LocalFiles(), tmp_path)
    assert (received.held, received.is_whole) == (("", 0), False)
    for chunk in ONE.chunks():
        assert not received.is_whole
        received.save(chunk)
        assert received.held == ("one", chunk.offset + len(chunk.data))
    assert whole(received) == ONE.data
    received.close()
    assert whole(Incoming(LocalFiles(), tmp_path)) == ONE.data


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    received = Incoming(LocalFiles(), tmp_path)
    received.save(ONE.chunk(500))
    assert received.held == ("", 0)
    for offset in (0, 500, 1000):
        received.save(ONE.chunk(offset))
    good = ONE.chunk(1500)
    replace = msgspec.structs.replace
    for bad in (
        ONE.chunk(1000),
        ONE.chunk(2000),
        ONE.chunk(0),
        TWO.chunk(1500),
        replace(good, checksum=good.checksum ^ 1),
        replace(good, data=good.data[:-1]),
        replace(good, size=1999),
        replace(good, size=20_000),
        replace(TWO.chunk(0), checksum=0),
    ):
        received.save(bad)
        assert received.held == ("one", 1500)
    for chunk in ONE.chunks(1500):
        received.save(chunk)
    assert whole(received) == ONE.data


def test_another_snapshot_replaces_what_is_held(tmp_path: Path) -> None:
    received = Incoming(LocalFiles(), tmp_path)
    for chunk in ONE.chunks():
        received.save(chunk)
    for chunk in TWO.chunks():
        received.save(chunk)
    assert whole(received) == TWO.data


def test_a_restart_claims_what_was_written_down(tmp_path: Path) -> None:
    received = Incoming(LocalFiles(), tmp_path)
    for chunk in list(ONE.chunks())[:7]:
        received.save(chunk)
    assert received.held == ("one", 3500)
    received.close()
    again = Incoming(LocalFiles(), tmp_path)
    assert again.held == ("one", 2000)
    for chunk in ONE.chunks(2000):
        again.save(chunk)
    assert whole(again) == ONE.data


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\x00" * 40])
def test_a_record_that_is_damaged_claims_nothing(tmp_path: Path, damage: bytes) -> None:
    received = Incoming(LocalFiles(), tmp_path)
    for chunk in ONE.chunks():
        received.save(chunk)
    received.close()
    (tmp_path / "held").write_bytes(damage)
    assert Incoming(LocalFiles(), tmp_path).held == ("", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_bytes_that_are_not_there_claims_nothing(tmp_path: Path) -> None:
    received = Incoming(LocalFiles(), tmp_path)
    for chunk in ONE.chunks():
        received.save(chunk)
    received.leave().rename(tmp_path / "taken away")
    assert received.held == ("", 0)
    assert Incoming(LocalFiles(), tmp_path).held == ("", 0)


@pytest.mark.parametrize("seed", range(60))
def test_power_loss_at_any_operation_leaves_what_is_claimed(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    files = FaultyFiles()
    directory = tmp_path / "incoming"
    files.make_directory(directory)
    source = random.choice((ONE, TWO))
    resumed = 0
    for _ in range(200):
        files.power_after(random.randrange(1, 40))
        try:
            received = Incoming(files, directory)
            resumed = max(resumed, received.held[1])
            if random.random() < 0.2:
                source = ONE if source is TWO else TWO
            while not received.is_whole or received.held[0] != source.name:
                name, held = received.held
                received.save(source.chunk(held if name == source.name else 0))
            assert whole(received) == source.data
            break
        except PowerCut:
            files.power_loss(random) if random.random() < 0.7 else files.kill()
    else:
        pytest.fail("it never became whole")
    files.power_loss(random)
    assert whole(Incoming(files, directory)) == source.data
