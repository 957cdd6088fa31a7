"""Replication logs on disk, as replicas leave them, made without starting one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.storage.replicas import Replicas, transaction
from workbench.config import LogFormatName
from workbench.protocol.codec import encode_entry
from workbench.protocol.values import Entry
from workbench.storage.files import LocalFiles
from workbench.storage.replication_log import Record, ReplicationLog

IDENTITY = b"a cluster"


def write_log(directory: Path, entries: Sequence[Entry], *, segment_bytes_max: int = 2**20) -> Path:
    """The log of a replica in `directory`."""
    log = ReplicationLog.open(LocalFiles(), directory / "log", identity=IDENTITY, segment_bytes_max=segment_bytes_max)
    for entry in entries:
        log.append([Record(entry.term, entry.index, encode_entry(entry).encoded)])
    log.sync()
    log.close()
    return directory


def executed(directory: Path, log_format: LogFormatName, *statements: str) -> list[Entry]:
    """The entries of a leader that executes `statements`, each as a transaction, behind the first entry of its term."""
    replicas = Replicas(directory, log_format)
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
