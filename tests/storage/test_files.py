"""The file layer, and that the faulty one really forgets."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

import pytest

from workbench.errors import StorageError
from workbench.simulator.forgetful_files import FaultyFiles, PowerCut
from workbench.storage.files import Files, LocalFiles, is_disk_full


@pytest.fixture(params=[LocalFiles, FaultyFiles])
def files(request: pytest.FixtureRequest) -> Files:
    made: Files = request.param()
    return made


def test_a_file_holds_what_was_written_where_it_was_written(files: Files, tmp_path: Path) -> None:
    file = files.open(tmp_path / "a")
    file.append(b"0123456789")
    file.pwrite(b"xy", 3)
    file.append(memoryview(b"end"))
    file.pwrite(b"far", 20)
    file.truncate(22)
    file.sync()
    assert (file.size, file.pread(100, 0)) == (22, b"012xy56789end" + bytes(7) + b"fa")
    assert (file.pread(2, 3), file.pread(5, 22)) == (b"xy", b"")
    file.close()
    again = files.open(tmp_path / "a")
    again.append(b"!")
    again.close()
    assert files.read(tmp_path / "a") == (tmp_path / "a").read_bytes()
    assert (tmp_path / "a").read_bytes()[22:] == b"!"


def test_names_are_listed_removed_and_absent_without_error(files: Files, tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "er"
    assert files.list(directory) == []
    assert files.read(directory / "b") is None
    files.make_directory(directory)
    files.make_directory(directory)
    for name in ("b", "a"):
        files.open(directory / name).close()
    assert files.list(directory) == ["a", "b"]
    files.remove(directory / "a")
    assert files.list(directory) == ["b"]


def test_counters_count_syncs_writes_and_bytes(tmp_path: Path) -> None:
    files = LocalFiles()
    file = files.open_append(tmp_path / "log")
    file.append(b"12345")
    file.append(b"67")
    file.sync()
    files.sync_directory(tmp_path)
    file.close()
    counters = files.counters
    assert (counters.writes, counters.bytes_written, counters.syncs, counters.directory_syncs) == (2, 7, 1, 1)


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="this system has no fdatasync")
def test_a_failed_sync_surfaces_once_and_is_never_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def failing(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", failing)
    file = LocalFiles().open(tmp_path / "a")
    file.append(b"x")
    with pytest.raises(StorageError, match="cannot sync"):
        file.sync()
    for again in (file.sync, lambda: file.append(b"y"), lambda: file.pwrite(b"y", 0), lambda: file.truncate(0)):
        with pytest.raises(StorageError, match="not used any more"):
            again()
    assert len(calls) == 1
    file.close()


def test_a_write_error_is_a_storage_error_and_a_full_disk_is_not(tmp_path: Path) -> None:
    files = LocalFiles()
    file = files.open(tmp_path / "a")
    file.close()
    with pytest.raises(StorageError, match="cannot write"):
        file.pwrite(b"x", 0)
    if Path("/dev/full").exists():
        full = files.open(Path("/dev/full"))
        with pytest.raises(OSError, match="No space") as caught:
            full.append(b"x")
        assert is_disk_full(caught.value)
        full.close()


def test_the_quota_bounds_the_log_only_and_counts_what_is_there(files: Files, tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(b"1234567")
    bounded = type(files)(bytes_max=10)  # type: ignore[call-arg]
    log = bounded.open_append(tmp_path / "1")
    second = bounded.open_append(tmp_path / "2")
    with pytest.raises(OSError, match="quota") as caught:
        second.append(b"abcd")
    assert is_disk_full(caught.value)
    assert second.size == 3, "a short write, as on a full disk"
    bounded.write_atomically(tmp_path / "hard_state", b"x" * 100)
    log.truncate(5)
    second.append(b"de")
    with pytest.raises(OSError, match="quota"):
        log.append(b"f")
    log.close()
    second.close()
    bounded.remove(tmp_path / "1")
    third = bounded.open_append(tmp_path / "3")
    third.append(b"12345")
    third.close()


@pytest.mark.parametrize("seed", range(30))
def test_an_atomic_replacement_is_whole_at_any_cut(tmp_path: Path, seed: int) -> None:
    """Old or new after a power loss at any operation, and new once the call has returned."""
    random = Random(seed)
    files, path = FaultyFiles(), tmp_path / "state"
    files.write_atomically(path, b"old" * 500)
    for operations in range(20):
        files.power_after(operations)
        try:
            files.write_atomically(path, b"new" * 700)
        except PowerCut:
            files.power_loss(random)
            assert files.read(path) in {b"old" * 500, b"new" * 700}
            files.write_atomically(path, b"old" * 500)
        else:
            files.power_loss(random)
            assert files.read(path) == b"new" * 700
            return
    pytest.fail("the replacement never finished")


def test_the_faulty_disk_forgets_what_was_not_synced(tmp_path: Path) -> None:
    """The layer that the other tests rest on does lose, tear and keep."""
    outcomes = set()
    for seed in range(200):
        files, path = FaultyFiles(), tmp_path / f"{seed}"
        file = files.open(path)
        file.append(b"A" * 600)
        file.sync()
        files.sync_directory(tmp_path)
        file.append(b"B" * 1200)
        files.open(tmp_path / f"{seed}-new").sync()
        files.power_loss(Random(seed))
        content = path.read_bytes()
        assert content.startswith(b"A" * 600)
        tail = content[600:]
        outcomes.add("whole" if tail == b"B" * 1200 else "none" if not tail else "zeros" if 0 in tail else "part")
        outcomes.add("name kept" if (tmp_path / f"{seed}-new").exists() else "name lost")
    assert outcomes == {"whole", "none", "zeros", "part", "name kept", "name lost"}


def test_the_faulty_disk_never_writes_what_a_failed_sync_dropped(tmp_path: Path) -> None:
    files, path = FaultyFiles(), tmp_path / "a"
    file = files.open(path)
    files.sync_directory(tmp_path)
    file.append(b"lost")
    files.fail_sync()
    with pytest.raises(StorageError):
        file.sync()
    again = files.open(path)
    again.sync()
    assert again.pread(10, 0) == b"lost", "the page cache still shows it"
    files.power_loss(Random(1))
    assert path.read_bytes() == b""
