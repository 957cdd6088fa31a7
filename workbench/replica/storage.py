"""One replica's disk: replication log, database and term, and how each storage effect is carried out on them.

Synchronous, used by one thread at a time. The replication log is the truth: after any crash `recover` brings the
database to the end of the log before the replica serves anybody.

Files below the replica's directory: `log/` (segments), `database/` (SQLite), `term` (term and vote), `rollback/`
(entries dropped by rewinds, readable).
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from typing import TypeAlias

from workbench.config import ReplicaConfig
from workbench.errors import DivergedError, LogCorruption, StorageError
from workbench.protocol.codec import decode_entry
from workbench.protocol.effects import (
    Abandon,
    Append,
    Apply,
    Commit,
    Execute,
    Query,
    Rewind,
    SaveTerm,
    Send,
    SendLog,
    StorageEffect,
)
from workbench.protocol.inputs import Applied, Durable, Executed, Queried, Rewound
from workbench.protocol.messages import LoggedEntry, Position
from workbench.protocol.sessions import SessionTable
from workbench.protocol.state import Recovered
from workbench.replica.counters import Counters
from workbench.replica.rollback import write_rollback
from workbench.storage import hard_state
from workbench.storage.base import Store
from workbench.storage.files import LocalFiles, is_disk_full
from workbench.storage.replication_log import Record, ReplicationLog
from workbench.storage.sqlite import open_store

StorageAnswer: TypeAlias = Executed | Durable | Applied | Queried | Rewound | Send

_REPLAY_BYTES = 4 * 1024 * 1024
_RECORDS_MAX = 10_000

_logger = logging.getLogger(__name__)


class ReplicaStorage:
    """Everything durable of one replica."""

    def __init__(self, config: ReplicaConfig, counters: Counters) -> None:
        self._config = config
        self._counters = counters
        self._directory = config.directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self._files = LocalFiles(bytes_max=config.limits.disk_bytes_max)
        self._hard = hard_state.load(self._files, self._directory / "term")
        self._check_identity()
        self._store = self._open_or_empty_store()
        self._log = ReplicationLog.open(
            self._files,
            self._directory / "log",
            identity=config.cluster_id.encode(),
            segment_bytes_max=config.limits.segment_bytes_max,
            known_durable_index=self._store.applied.index,
        )
        if self._hard is None and self._log.last[1]:
            raise LogCorruption(
                f"{self._directory / 'term'} is missing, but the log has entries",
                hint="without its term this replica must not come back: move its directory away and let it join again",
            )
        self._open_group = False

    def _check_identity(self) -> None:
        found, config = self._hard, self._config
        if found is not None and (found.replica, found.cluster_id) != (config.name, config.cluster_id):
            raise StorageError(
                f"{self._directory} belongs to {found.replica} of cluster {found.cluster_id}",
                hint=f"start {config.name} of cluster {config.cluster_id} with a directory of its own",
            )

    def _open_store(self) -> Store:
        config = self._config
        return open_store(self._directory / "database", config.log_format, config.limits, page_size=config.page_size)

    def _open_or_empty_store(self) -> Store:
        """The database, or an empty one in the place of one that cannot be read: the log has everything."""
        try:
            return self._open_store()
        except StorageError as error:
            _logger.warning("%s: rebuilding the database from the log", error)
            shutil.rmtree(self._directory / "database", ignore_errors=True)
            return self._open_store()

    # Recovery.

    def recover(self) -> Recovered:
        """Bring the database to the end of the log; return what the core must know."""
        cut = self._log.recovery
        if cut.cut_bytes:
            _logger.warning(
                "cut %d bytes of the log at byte %d of %s: %s", cut.cut_bytes, cut.offset, cut.path, cut.reason
            )
        applied = self._store.applied
        if applied.index and self._log.term_at(applied.index) != applied.term:
            _logger.warning("the database is at %s, which the log does not hold: rebuilding it", applied)
            self._rebuild()
        else:
            self._replay(applied.index + 1)
        hard = self._hard
        return Recovered(
            term=hard.term if hard else 0,
            voted_for=hard.voted_for if hard else "",
            term_starts=self._log.term_starts,
            last_index=self._log.last[1],
            sessions=self._read_sessions(),
        )

    def _entries(self, first_index: int) -> Iterator[LoggedEntry]:
        for record in self._log.iterate(first_index):
            yield decode_entry(record.payload)

    def _read_sessions(self) -> SessionTable:
        sessions = SessionTable()
        for logged in self._entries(1):
            sessions.record(logged.entry)
            sessions.commit(logged.entry.index - 1)
        return sessions

    def _replay(self, first_index: int) -> None:
        batch, size = [], 0
        for logged in self._entries(first_index):
            batch.append(logged.entry)
            size += len(logged.encoded)
            if size >= _REPLAY_BYTES:
                self._store.apply(batch)
                batch, size = [], 0
        if batch:
            self._store.apply(batch)

    def _rebuild(self) -> None:
        """Make the database anew from the whole log."""
        self._store.close()
        shutil.rmtree(self._directory / "database")
        self._store = self._open_store()
        self._replay(1)

    # Effects.

    def save_term(self, effect: SaveTerm) -> None:
        """Make term and vote durable before returning."""
        config = self._config
        self._hard = hard_state.HardState(
            term=effect.term, voted_for=effect.voted_for, replica=config.name, cluster_id=config.cluster_id
        )
        hard_state.save(self._files, self._directory / "term", self._hard)

    def perform(self, effect: StorageEffect) -> list[StorageAnswer]:
        """Carry out one effect; return its answer, if it has one.

        Raises `StorageError` when the disk or the database failed; the replica must end then.
        """
        try:
            return self._perform(effect)
        except OSError as error:
            raise StorageError(explain(error)) from error

    def _perform(self, effect: StorageEffect) -> list[StorageAnswer]:
        match effect:
            case Execute():
                return [self._execute(effect)]
            case Append(entries):
                return [self._append(entries)]
            case Commit(position):
                return [self._commit(position)]
            case Apply(entries):
                return [self._apply(entries)]
            case Query():
                return [self._query(effect)]
            case SendLog():
                return [self._read_log(effect)]
            case Abandon():
                self._abandon()
            case Rewind(to):
                return [self._rewind(to)]
        return []

    def _execute(self, effect: Execute) -> Executed:
        began = time.thread_time_ns()
        execution = self._store.execute(effect.group, effect.position)
        self._counters.execute_ns += time.thread_time_ns() - began
        self._open_group = bool(execution.members)
        return Executed(time.monotonic_ns(), effect.position, execution)

    def _append(self, entries: tuple[LoggedEntry, ...]) -> Durable:
        records = [Record(logged.entry.term, logged.entry.index, logged.encoded) for logged in entries]
        self._log.append(records)
        began = time.perf_counter_ns()
        self._log.sync()
        self._counters.sync_ns += time.perf_counter_ns() - began
        self._counters.logged(entries)
        return Durable(time.monotonic_ns(), entries[-1].entry.position)

    def _commit(self, position: Position) -> Applied:
        began = time.thread_time_ns()
        self._store.commit()
        self._counters.execute_ns += time.thread_time_ns() - began
        self._open_group = False
        return Applied(time.monotonic_ns(), position)

    def _apply(self, entries: tuple[LoggedEntry, ...]) -> Applied:
        began = time.thread_time_ns()
        try:
            self._store.apply([logged.entry for logged in entries])
        except DivergedError as error:
            raise DivergedError(f"{self._config.name} has diverged: {error.message}", hint=error.hint) from error
        self._counters.apply_ns += time.thread_time_ns() - began
        return Applied(time.monotonic_ns(), entries[-1].entry.position)

    def _query(self, effect: Query) -> Queried:
        answers = tuple((client, read, self._store.query(read.statement)) for client, read in effect.reads)
        self._counters.reads += len(answers)
        return Queried(time.monotonic_ns(), self._store.applied, answers)

    def _read_log(self, effect: SendLog) -> Send:
        header = effect.header
        records = self._log.read(header.previous.index + 1, bytes_max=effect.bytes_max, count_max=_RECORDS_MAX)
        payloads = tuple(record.payload for record in records)
        self._counters.entries_sent_again += len(payloads)
        return Send(effect.to, header.with_entries(payloads))

    def _abandon(self) -> None:
        if self._open_group:
            self._open_group = False
            self._store.abandon()

    def _rewind(self, to: Position) -> Rewound:
        path = write_rollback(self._files, self._directory / "rollback", to, self._entries(to.index + 1))
        _logger.warning("dropped the entries behind %s; they stand in %s", to, path)
        self._log.truncate(to.index)
        if self._store.applied.index > to.index:
            self._rebuild()
        return Rewound(time.monotonic_ns(), to)

    # The rest.

    def digest(self) -> dict[str, str]:
        """Table name -> digest of its rows, as of what is applied."""
        return self._store.digest()

    def close(self) -> None:
        """Leave everything in order on disk."""
        self._abandon()
        self._store.close()
        self._log.close()


def explain(error: OSError) -> str:
    """What a failure of the disk means, in one line."""
    if is_disk_full(error):
        return "the disk is full: the replication log cannot grow (free some space and start the replica again)"
    where = f" at {error.filename}" if error.filename else ""
    return f"the disk failed: {error.strerror or error}{where}"
