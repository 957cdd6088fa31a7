"""Replication logs on disk, as replicas leave them, made without starting one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.storage.replicas import Replicas, transaction
from workbench.config import LogFormatName, UnsafePolicy
from workbench.protocol.codec import encode_entry
from workbench.protocol.ledger import Ledger
from workbench.protocol.snapshot import SnapshotState
from workbench.protocol.values import Entry
from workbench.storage.files import LocalFiles
from workbench.storage.replication_log import Record, ReplicationLog
from workbench.storage.snapshot_file import measure
from workbench.storage.snapshots import Snapshots

IDENTITY = b"a cluster"


def write_log(directory: Path, entries: Sequence[Entry], *, segment_bytes_max: int = 2**20) -> Path:
    """The log of a replica in `directory`."""
    log = ReplicationLog.open(LocalFiles(), directory / "log", identity=IDENTITY, segment_bytes_max=segment_bytes_max)
    for entry in entries:
        log.append([Record(entry.term, entry.index, encode_entry(entry).encoded)])
    log.sync()
    log.close()
    return directory


def executed(
    directory: Path, log_format: LogFormatName, *statements: str, unsafe: UnsafePolicy = "allow"
) -> list[Entry]:
    """The entries of a leader that executes `statements`, each as a transaction, behind the first entry of its term."""
    replicas = Replicas(directory, log_format, unsafe=unsafe)
    replicas.log.append(Entry(1, 1, "", (), b""))
    leader = replicas.open("made")
    leader.apply(replicas.log)
    for number, sql in enumerate(statements, 1):
        execution = replicas.write(leader, transaction(sql, session=255, sequence=number))
        assert not execution.refused, execution.refused[0].reason
    replicas.close()
    return replicas.log


def snapshot_of(directory: Path) -> dict[str, bytes]:
    """Every file below `directory` with its content, to see that nothing was touched."""
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def seal_snapshot(directory: Path, scratch: Path, log_format: LogFormatName, entries: Sequence[Entry]) -> None:
    """A snapshot in the directory of a replica, of what `entries` make."""
    store = Replicas(scratch, log_format).open("made")
    store.apply(entries)
    copy = store.begin_copy()
    snapshots = Snapshots(
        LocalFiles(), directory / "snapshots", maker="replica-1", log_format=log_format, page_size=4096
    )
    target = snapshots.begin_copy()
    copy.run(target)
    copy.finish(target)
    store.end_copy()
    image = Ledger(("replica-1",)).image_at(store.applied.index)
    snapshots.seal(measure(target, copy.size), SnapshotState(store.applied, ((1, 1),), image))
    snapshots.close()
    store.close()
