"""A log may begin behind what a snapshot covers: what was dropped is gone, holes are not taken for it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from workbench.errors import ConfigurationError, LogCorruption
from workbench.simulator.forgetful_files import FaultyFiles, PowerCut
from workbench.storage.files import Files, LocalFiles
from workbench.storage.log_reset import RESET_NAME
from workbench.storage.log_segment import HEADER_BYTES, RECORD_BYTES
from workbench.storage.replication_log import Record, ReplicationLog

IDENTITY = b"cluster-1/replica-1"


def open_log(
    directory: Path, files: Files | None = None, *, covered_index: int = 0, known_durable_index: int = 0
) -> ReplicationLog:
    return ReplicationLog.open(
        files or LocalFiles(),
        directory,
        identity=IDENTITY,
        segment_bytes_max=HEADER_BYTES + 3 * (RECORD_BYTES + 68),
        known_durable_index=known_durable_index,
        covered_index=covered_index,
    )


def reset(files: Files, directory: Path, term: int, index: int) -> None:
    ReplicationLog.reset(files, directory, identity=IDENTITY, term=term, index=index)


def records(first: int, last: int, term: int = 1) -> list[Record]:
    """Three of them fit into a segment."""
    return [Record(term, index, b"%068d" % index) for index in range(first, last + 1)]


def segments(directory: Path) -> list[str]:
    return [path.name for path in sorted(directory.glob("*.log"))]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log"


def filled(directory: Path, files: Files | None = None) -> ReplicationLog:
    """Entries 1 to 15 in five segments: term 1 begins with entry 1, term 2 with 5, term 4 with 13."""
    log = open_log(directory, files)
    for record in (*records(1, 4), *records(5, 12, term=2), *records(13, 15, term=4)):
        log.append([record])
    log.sync()
    return log


# ------------------------------------------------------------------------------------------------ dropping


def test_whole_segments_go_and_everything_else_stays(directory: Path) -> None:
    log = filled(directory)
    assert log.drop(2, 0) == 1
    assert log.drop(7, 0) == 7
    for _ in range(2):
        assert (log.first_index, log.last, log.term_starts) == (7, (4, 15), [(4, 13)])
        assert [log.term_at(index) for index in (0, 5, 6, 7, 12, 13, 15, 16)] == [0, None, 2, 2, 2, 4, 4, None]
        assert [record.index for record in log.iterate(7)] == list(range(7, 16))
        assert len(segments(directory)) == 3
        with pytest.raises(ValueError, match="begins at 7"):
            log.read(6, bytes_max=100, count_max=1)
        log.close()
        log = open_log(directory, covered_index=9)
    assert log.drop(15, 0) == 13, "the last segment stays"
    assert log.term_at(12) == 2
    log.append(records(16, 16, term=4))
    assert log.last == (4, 16)


def test_as_many_bytes_stay_as_were_asked_for(directory: Path) -> None:
    log = filled(directory)
    size = [(directory / name).stat().st_size for name in segments(directory)]
    assert log.drop(15, sum(size)) == 1
    assert log.drop(15, sum(size[1:]) + 1) == 1
    assert log.drop(15, sum(size[1:])) == 4
    assert log.drop(15, sum(size[3:])) == 10
    assert log.drop(15, sum(size[3:])) == 10


def test_a_log_without_its_beginning_can_be_cut_to_its_beginning(directory: Path) -> None:
    log = filled(directory)
    log.drop(9, 0)
    log.truncate(9)
    assert (log.last, log.term_at(9), log.term_starts) == ((2, 9), 2, [])
    with pytest.raises(ValueError, match="truncate"):
        log.truncate(8)
    with pytest.raises(ValueError, match="does not follow"):
        log.append(records(10, 10, term=1))
    log.append(records(10, 11, term=2))
    log.append(records(12, 12, term=7))
    for _ in range(2):
        assert (log.last, log.term_starts) == ((7, 12), [(7, 12)])
        assert [record.index for record in log.iterate(10)] == [10, 11, 12]
        log.close()
        log = open_log(directory, covered_index=9)


def test_what_no_snapshot_covers_must_be_there(directory: Path) -> None:
    log = filled(directory)
    log.drop(9, 0)
    log.close()
    for covered in (0, 8):
        with pytest.raises(LogCorruption, match="the segments before it are missing"):
            open_log(directory, covered_index=covered)
    open_log(directory, covered_index=9).close()


def test_a_hole_behind_the_beginning_is_reported_whatever_is_covered(directory: Path) -> None:
    filled(directory).close()
    names = segments(directory)
    (directory / names[2]).unlink()
    with pytest.raises(LogCorruption, match="missing or was cut"):
        open_log(directory, covered_index=15)


@pytest.mark.parametrize("seed", range(40))
def test_power_loss_while_dropping_leaves_no_hole(directory: Path, seed: int) -> None:
    random = Random(seed)
    files = FaultyFiles()
    filled(directory, files).close()
    files.kill()
    log = open_log(directory, files)
    files.power_after(random.randrange(8))
    with suppress(PowerCut):
        log.drop(12, 0)
    files.power_loss(random)
    log = open_log(directory, files, covered_index=12)
    assert log.first_index in {1, 4, 7, 10, 13}
    assert [record.index for record in log.iterate(log.first_index)] == list(range(log.first_index, 16))


# ------------------------------------------------------------------------------------------------ beginning anew


@pytest.mark.parametrize("index", [3, 9, 12, 40])
def test_a_log_begins_anew_behind_a_position(directory: Path, index: int) -> None:
    filled(directory).close()
    reset(LocalFiles(), directory, 3, index)
    log = open_log(directory, covered_index=index)
    for _ in range(2):
        assert (log.first_index, log.last, log.term_starts, log.term_at(index)) == (index + 1, (3, index), [], 3)
        assert (log.durable_index, list(log.iterate(index + 1))) == (index, [])
        log.close()
        log = open_log(directory, covered_index=index)
    whole = [*records(index + 1, index + 2, term=3), *records(index + 3, index + 9, term=5)]
    for record in whole:
        log.append([record])
    log.sync()
    log.close()
    log = open_log(directory, covered_index=index)
    assert list(log.iterate(index + 1)) == whole
    assert log.term_starts == [(5, index + 3)]
    log.close()
    with pytest.raises(LogCorruption, match=r"no snapshot covers|which is missing"):
        open_log(directory, covered_index=index - 1)


def test_a_log_that_is_not_there_yet_can_begin_anywhere(directory: Path) -> None:
    reset(LocalFiles(), directory, 7, 70)
    assert open_log(directory, covered_index=70).last == (7, 70)


@pytest.mark.parametrize("seed", range(60))
def test_power_loss_while_beginning_anew_leaves_the_old_log_or_the_new(directory: Path, seed: int) -> None:
    random = Random(seed)
    files = FaultyFiles()
    filled(directory, files).close()
    files.kill()
    operations = random.randrange(26)
    files.power_after(operations)
    done = False
    try:
        reset(files, directory, 6, 8)
        done = True
    except PowerCut:
        pass
    for again in range(4):  # recovery may be interrupted, too
        files.power_loss(random)
        files.power_after(random.randrange(1, 20) if again < 3 else 1000)
        try:
            log = open_log(directory, files, covered_index=8)
        except PowerCut:
            continue
        found = [record.index for record in log.iterate(log.first_index)]
        assert (log.last, found) in [((6, 8), []), ((4, 15), list(range(1, 16)))]
        assert not done or log.last == (6, 8)
        done = log.last == (6, 8)
    assert not (directory / RESET_NAME).exists()


def test_a_damaged_reset_is_reported(directory: Path) -> None:
    filled(directory).close()
    (directory / RESET_NAME).write_bytes(b"?" * HEADER_BYTES)
    with pytest.raises(LogCorruption, match="reset: damaged"):
        open_log(directory)


def test_the_beginning_of_another_log_is_refused(directory: Path) -> None:
    reset(LocalFiles(), directory, 6, 8)
    with pytest.raises(ConfigurationError, match="another cluster or replica"):
        ReplicationLog.open(LocalFiles(), directory, identity=b"cluster-2", segment_bytes_max=1000, covered_index=8)
