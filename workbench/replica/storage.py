"""How each storage effect is carried out on a replica's disk.

Synchronous, used by one thread at a time; only the copying for a snapshot goes on beside it, and says by `wake` that
`proceed` has something to do. `disk.py` keeps log, database and snapshots in agreement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from workbench.config import ReplicaConfig
from workbench.errors import CodecError, DivergedError, LogCorruption, StorageError, WorkbenchError
from workbench.failpoints import hit
from workbench.protocol.effects import (
    Abandon,
    Append,
    Apply,
    Commit,
    DropLog,
    Execute,
    InstallSnapshot,
    MakeSnapshot,
    Query,
    Rebuild,
    Rewind,
    SaveChunk,
    SaveTerm,
    SealSnapshot,
    Send,
    SendLog,
    SendSnapshot,
    StorageEffect,
)
from workbench.protocol.inputs import (
    Applied,
    ChunkSaved,
    Diverged,
    Durable,
    Executed,
    Installed,
    InstallFailed,
    LogDropped,
    Queried,
    Rebuilt,
    Rewound,
    SnapshotAbandoned,
    SnapshotCopied,
    SnapshotSealed,
)
from workbench.protocol.messages import EntryPiece, SnapshotChunk
from workbench.protocol.outcomes import Execution
from workbench.protocol.snapshot import Recovered
from workbench.protocol.values import LoggedEntry, Position
from workbench.replica.apply_times import ApplyTimes
from workbench.replica.counters import Counters
from workbench.replica.disk import ReplicaDisk
from workbench.replica.snapshot_making import SnapshotMaking
from workbench.replica.surroundings import HOST, Surroundings
from workbench.storage.files import Files, LocalFiles, is_disk_full
from workbench.storage.replication_log import Record
from workbench.storage.snapshot_file import SnapshotFile

StorageAnswer: TypeAlias = (
    Executed
    | Durable
    | Applied
    | Queried
    | Rewound
    | Diverged
    | Rebuilt
    | SnapshotCopied
    | SnapshotAbandoned
    | SnapshotSealed
    | LogDropped
    | ChunkSaved
    | Installed
    | InstallFailed
    | Send
)

_RECORDS_MAX = 10_000


class ReplicaStorage:
    """Everything durable of one replica."""

    def __init__(
        self,
        config: ReplicaConfig,
        counters: Counters,
        *,
        files: Files | None = None,
        copies_beside: bool = True,
        surroundings: Surroundings = HOST,
    ) -> None:
        self._config = config
        self._wall_ns = surroundings.wall_ns
        self._counters = counters
        files = LocalFiles(bytes_max=config.limits.disk_bytes_max) if files is None else files
        self.files = files
        self._disk = ReplicaDisk(config, counters, files, surroundings)
        self._making = SnapshotMaking(self._disk.snapshots, counters, beside=copies_beside)
        self._open_group = False
        self._apply_times = ApplyTimes(config.directory) if config.apply_times else None

    def recover(self) -> Recovered:
        """Bring the database to the end of the log; return what the core must know."""
        return self._disk.recover()

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Let `wake` be called, from another thread, when `proceed` has something to do."""
        self._making.wake = wake

    def proceed(self) -> Sequence[StorageAnswer]:
        """Go on with the copy of the database that is on its way. Raises as `perform`."""
        try:
            return self._making.proceed(self._disk.store)
        except OSError as error:
            raise StorageError(explain(error)) from error

    @property
    def is_copying(self) -> bool:
        """Whether a copy of the database was begun that is neither sealed nor abandoned."""
        return self._making.is_under_way

    def wait_for_copy(self) -> None:
        """Wait until `proceed` has something to do, if a copy is on its way."""
        self._making.wait()

    # Effects.

    def save_term(self, effect: SaveTerm) -> None:
        """Make term and vote durable before returning."""
        self._disk.save_term(effect.term, effect.voted_for)

    def perform(self, effect: StorageEffect) -> Sequence[StorageAnswer]:
        """Carry out one effect; return its answers, if it has any.

        Raises `StorageError` when the disk or the database failed; the replica must end then.
        """
        try:
            return self._perform(effect)
        except OSError as error:
            raise StorageError(explain(error)) from error

    def _perform(self, effect: StorageEffect) -> Sequence[StorageAnswer]:
        match effect:
            case Execute():
                return [self._execute(effect)]
            case Append(entries):
                return [self._append(entries)]
            case Commit(position):
                return [self._commit(position)]
            case Apply(entries):
                return self._apply(entries)
            case Query():
                return [self._query(effect)]
            case SendLog():
                return self._read_log(effect)
            case Abandon():
                self._abandon()
                return []
            case Rewind(to):
                return self._rewind(to)
            case Rebuild():
                return self._rebuild()
            case MakeSnapshot():
                return self._making.begin(self._disk.store)
            case SealSnapshot(state):
                return self._making.seal(state)
            case DropLog(index, bytes_kept):
                covered = min(index, self._disk.snapshots.base.index)
                return [LogDropped(self._disk.log.drop(covered, bytes_kept))]
            case SendSnapshot():
                return self._read_snapshot(effect)
            case SaveChunk(chunk):
                self._disk.incoming.save(chunk)
                return [ChunkSaved(*self._disk.incoming.held)]
            case InstallSnapshot(kept):
                return self._install(kept)

    # Entries.

    def _execute(self, effect: Execute) -> Executed:
        if self._disk.diverged:
            return Executed(effect.position, Execution((), (), b""))  # its reign ends when it hears of that
        hit("execute.before")
        wall_ms = self._wall_ns() // 1_000_000
        began = time.thread_time_ns()
        execution = self._disk.store.execute(effect.group, effect.position)
        self._counters.execute_ns += time.thread_time_ns() - began
        self._open_group = bool(execution.members)
        hit("execute.after")
        return Executed(effect.position, replace(execution, wall_ms=wall_ms))

    def _append(self, entries: tuple[LoggedEntry, ...]) -> Durable:
        records = [Record(logged.entry.term, logged.entry.index, logged.encoded) for logged in entries]
        self._disk.log.append(records)
        began = time.perf_counter_ns()
        self._disk.log.sync()
        self._counters.sync_ns += time.perf_counter_ns() - began
        self._counters.logged(entries)
        return Durable(entries[-1].entry.position)

    def _commit(self, position: Position) -> Applied:
        hit("commit.before")
        began = time.thread_time_ns()
        self._disk.store.commit()
        self._counters.execute_ns += time.thread_time_ns() - began
        self._open_group = False
        hit("commit.after")
        return self._applied(position)

    def _apply(self, entries: tuple[LoggedEntry, ...]) -> list[StorageAnswer]:
        if self._disk.diverged:
            return []
        hit("apply.before")
        began = time.thread_time_ns()
        try:
            self._disk.store.apply([logged.entry for logged in entries])
        except (CodecError, DivergedError) as error:
            return self._note_divergence(error)
        self._counters.apply_ns += time.thread_time_ns() - began
        hit("apply.after")
        return [self._applied(entries[-1].entry.position)]

    def _applied(self, position: Position) -> Applied:
        if self._apply_times is not None:
            self._apply_times.note_applied(position)
        return Applied(position)

    # Divergence.

    def _note_divergence(self, error: WorkbenchError) -> list[StorageAnswer]:
        disk = self._disk
        disk.note_divergence(error)
        abandoned = self._making.abandon(disk.store, "the database has diverged")
        return [*abandoned, Diverged(disk.store.applied, disk.diverged)]

    def _rebuild(self) -> list[StorageAnswer]:
        disk = self._disk
        if not disk.diverged or disk.rebuild_diverged():
            return [Rebuilt(Position(*disk.log.last))]
        return [Diverged(disk.store.applied, disk.diverged, finally_=True)]

    def _query(self, effect: Query) -> Queried:
        store = self._disk.store
        answers = tuple((client, read, store.query(read.statement)) for client, read in effect.reads)
        self._counters.reads += len(answers)
        if self._apply_times is not None:
            self._apply_times.note_reads(len(answers))
        return Queried(store.applied, answers)

    def _read_log(self, effect: SendLog) -> list[StorageAnswer]:
        header, log = effect.header, self._disk.log
        first_index = header.previous.index + 1
        if first_index < log.first_index:
            return []
        if log.size_of(first_index) > effect.bytes_max:
            return [Send(effect.to, self._read_piece(effect, first_index))]
        records = log.read(first_index, bytes_max=effect.bytes_max, count_max=_RECORDS_MAX)
        payloads = tuple(record.payload for record in records)
        self._counters.entries_sent_again += len(payloads)
        return [Send(effect.to, header.with_entries(payloads))]

    def _read_piece(self, effect: SendLog, index: int) -> EntryPiece:
        log = self._disk.log
        entry = Position(log.term_at(index) or 0, index)
        data = log.read_part(index, effect.offset, effect.bytes_max)
        size = log.size_of(index)
        if effect.offset + len(data) == size:
            self._counters.entries_sent_again += 1
        return EntryPiece(effect.header, entry, size, effect.offset, data)

    def _abandon(self) -> None:
        if self._open_group:
            self._open_group = False
            self._disk.store.abandon()

    def _rewind(self, to: Position) -> list[StorageAnswer]:
        disk = self._disk
        abandoned = self._making.abandon(disk.store, f"the log was rewound to {to}")
        try:
            disk.rewind(to)
        except (CodecError, DivergedError) as error:
            raise StorageError(f"the database cannot be made anew as of {to}: {error.message}") from error
        if disk.diverged:
            return [*abandoned, Rewound(to), Diverged(disk.store.applied, disk.diverged, finally_=True)]
        return [*abandoned, Rewound(to)]

    # Snapshots.

    def _read_snapshot(self, effect: SendSnapshot) -> list[StorageAnswer]:
        header, snapshot = effect.header, self._disk.snapshots.newest
        if snapshot is None:
            return []
        offset = header.offset if header.snapshot == snapshot.name else 0
        data, checksum = snapshot.piece(offset, effect.bytes_max)
        self._counters.snapshot_bytes_sent += len(data)
        chunk = SnapshotChunk(header.term, header.leader, snapshot.name, snapshot.size, offset, data, checksum)
        return [Send(effect.to, chunk)]

    def _install(self, kept: int) -> list[StorageAnswer]:
        if reason := self._why_not_install():
            self._disk.incoming.discard()
            return [InstallFailed(reason)]
        hit("install.verified")
        disk = self._disk
        abandoned = self._making.abandon(disk.store, "another snapshot was installed")
        self._counters.snapshots_installed += 1
        if disk.holds(position := disk.incoming.position()):
            try:
                disk.adopt(position)
            except (CodecError, DivergedError) as error:
                return [*abandoned, *self._note_divergence(error)]
        else:
            disk.install(kept)
        return [*abandoned, Installed(disk.recovered())]

    def _why_not_install(self) -> str:
        """Why the received snapshot is of no use; empty when it is."""
        incoming, config = self._disk.incoming, self._config
        if not incoming.is_whole:
            return "it is not complete"
        file = incoming.open()
        try:
            snapshot = SnapshotFile(file)
            pages_matter = config.log_format == "wal" and config.layout_check  # rows and statements fit any
            if snapshot.log_format != config.log_format or (pages_matter and snapshot.page_size != config.page_size):
                pages = f", page size {snapshot.page_size}" if snapshot.log_format == "wal" else ""
                return f"it has {snapshot.log_format} log format{pages}; this replica has {config.layout}"
            position = snapshot.position
            if self._disk.diverged and position.index < self._disk.log.first_index - 1:
                return f"it is of {position}, from where the log does not go on"
            if self._disk.holds(position) and not self._adopts(position):
                return f"the log holds entry {position} already"
            snapshot.state()
            snapshot.verify()
        except LogCorruption as error:
            return error.message
        finally:
            file.close()
        return ""

    def _adopts(self, position: Position) -> bool:
        """Whether a snapshot at `position`, which the log holds, is of use besides: for a database that has diverged,
        or to an observer, which makes none of its own."""
        return bool(self._disk.diverged) or (self._config.observer and position > self._disk.snapshots.base)

    # The rest.

    @property
    def is_in_group(self) -> bool:
        """Whether a group was executed that is neither committed nor abandoned yet."""
        return self._open_group

    def digest(self) -> dict[str, str]:
        """Table name -> digest of its rows, as of what is applied."""
        return self._disk.store.digest()

    def close(self) -> None:
        """Leave everything in order on disk."""
        self._abandon()
        self._making.abandon(self._disk.store, "the replica ends")
        self._disk.close()
        if self._apply_times is not None:
            self._apply_times.close()


def explain(error: OSError) -> str:
    """What a failure of the disk means, in one line."""
    if is_disk_full(error):
        return "the disk is full: neither log nor database can grow (free some space and start the replica again)"
    where = f" at {error.filename}" if error.filename else ""
    return f"the disk failed: {error.strerror or error}{where}"
