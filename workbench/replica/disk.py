"""What a replica has on its disk, and how its parts are brought into agreement: log, database, snapshots, term.

The truth is the newest snapshot and the replication log behind it; the database follows from them. After any crash
`recover` brings it to the end of the log before the replica serves anybody. Rules:

- While a received snapshot is being installed, log and database are worth nothing: both are made from it first.
- The database goes back before the log is cut, durably, so that it never knows entries that the log has lost: a log
  that ends before the database is damaged, and said to be.
- What a rewind or an installation drops is written to `rollback/` before anything is dropped.

Files below the replica's directory: `log/`, `database/`, `snapshots/`, `incoming/`, `term`, `rollback/`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from workbench.config import ReplicaConfig
from workbench.errors import CodecError, DivergedError, LogCorruption, StorageError, WorkbenchError
from workbench.failpoints import hit
from workbench.log_formats.wal_rows import DATABASE_BYTES_MAX, RowReader
from workbench.protocol.codec import decode_entry
from workbench.protocol.ledger import Ledger
from workbench.protocol.snapshot import Recovered
from workbench.protocol.values import Entry, LoggedEntry, Position, Statement
from workbench.replica.counters import Counters
from workbench.replica.rollback import Describer, write_rollback
from workbench.replica.surroundings import HOST, Surroundings
from workbench.storage import hard_state
from workbench.storage.base import Store
from workbench.storage.engines import open_configured_store, restore_configured_database
from workbench.storage.files import Files
from workbench.storage.incoming import Incoming
from workbench.storage.replication_log import ReplicationLog
from workbench.storage.restoring import remove_database
from workbench.storage.snapshots import Snapshots

_REPLAY_BYTES = 4 * 1024 * 1024
_COLUMNS = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid"
_HINT = "move its directory away and let it join again"

_logger = logging.getLogger(__name__)


class ReplicaDisk:
    """Everything durable of one replica. Synchronous, used by one thread at a time."""

    def __init__(
        self, config: ReplicaConfig, counters: Counters, files: Files, surroundings: Surroundings = HOST
    ) -> None:
        self._config = config
        self._counters = counters
        self._files = files
        self._directory = config.directory
        files.make_directory(self._directory)
        self._hard = hard_state.load(files, self._directory / "term")
        self._check_identity()
        self.snapshots = Snapshots(
            files,
            self._directory / "snapshots",
            maker=config.name,
            log_format=config.log_format,
            page_size=config.page_size,
            draw=surroundings.draw,
        )
        self.incoming = Incoming(files, self._directory / "incoming")
        if self.snapshots.is_installing:
            _logger.warning("an interrupted installation of the snapshot at %s is finished", self.snapshots.base)
            self._finish_install()
        self.store = self._open_or_empty_store()
        self.log = self._open_log()
        self.diverged = ""
        """Why an entry did not fit the database, which nothing is applied to until it is made anew."""
        if self._hard is None and self.log.last[1]:
            raise LogCorruption(
                f"{self._directory / 'term'} is missing, but the log has entries",
                hint=f"without its term this replica must not come back: {_HINT}",
            )

    # Opening.

    def _check_identity(self) -> None:
        found, config = self._hard, self._config
        if found is not None and (found.replica, found.cluster_id) != (config.name, config.cluster_id):
            raise StorageError(
                f"{self._directory} belongs to {found.replica} of cluster {found.cluster_id}",
                hint=f"start {config.name} of cluster {config.cluster_id} with a directory of its own",
            )

    def _open_store(self) -> Store:
        return open_configured_store(self._config, self._directory / "database", self._files)

    def _open_or_empty_store(self) -> Store:
        """The database, or an empty one in the place of one that cannot be read: snapshot and log have everything."""
        try:
            return self._open_store()
        except StorageError as error:
            _logger.warning("%s: rebuilding the database", error)
            remove_database(self._files, self._directory / "database")
            return self._open_store()

    def _open_log(self) -> ReplicationLog:
        base = self.snapshots.base
        log = ReplicationLog.open(
            self._files,
            self._directory / "log",
            identity=self._config.cluster_id.encode(),
            segment_bytes_max=self._config.limits.segment_bytes_max,
            known_durable_index=max(self.store.applied.index, base.index),
            covered_index=base.index,
        )
        if base.index >= log.first_index - 1 and log.term_at(base.index) != base.term:
            raise LogCorruption(
                f"the log in {self._directory / 'log'} does not hold entry {base}, of which there is a snapshot",
                path=str(self._directory / "log"),
                hint=_HINT,
            )
        return log

    # Recovery.

    def recover(self) -> Recovered:
        """Bring the database to the end of the log; return what the core must know."""
        cut = self.log.recovery
        if cut.cut_bytes:
            _logger.warning(
                "cut %d bytes of the log at byte %d of %s: %s", cut.cut_bytes, cut.offset, cut.path, cut.reason
            )
        applied = self.store.applied
        try:
            if applied.index >= self.log.first_index - 1 and self.log.term_at(applied.index) == applied.term:
                self._replay(self.log.last[1])
            else:
                _logger.warning("the database is at %s, from where the log does not go on: rebuilding it", applied)
                self._make_anew(self.log.last[1])
        except (CodecError, DivergedError) as error:
            self.note_divergence(error)
            self.rebuild_diverged()
        return self.recovered()

    def recovered(self) -> Recovered:
        """What log and snapshot say, after the database has been brought to the log's end."""
        base, snapshot = self.snapshots.base, self.snapshots.newest
        if snapshot is not None:
            state = snapshot.state()
            ledger, term_starts = Ledger.from_image(state.ledger), list(state.term_starts)
        else:
            ledger, term_starts = Ledger(self._config.members), []
        size = 0
        for logged in self.entries(base.index + 1):
            ledger.record(logged.entry)
            size += len(logged.encoded)
        return Recovered(
            term=self._hard.term if self._hard else 0,
            voted_for=self._hard.voted_for if self._hard else "",
            term_starts=(*term_starts, *(start for start in self.log.term_starts if start[1] > base.index)),
            last_index=self.log.last[1],
            applied=self.store.applied if self.diverged else None,
            diverged=self.diverged,
            first_index=self.log.first_index,
            base=base,
            log_bytes=size,
            ledger=ledger,
            incoming=self.incoming.held,
        )

    def entries(self, first_index: int) -> Iterator[LoggedEntry]:
        """The log from `first_index` to its end."""
        for record in self.log.iterate(first_index):
            yield decode_entry(record.payload)

    def _entries_backwards(self, last_index: int, after: int) -> Iterator[Entry]:
        for index in range(last_index, after, -1):
            (record,) = self.log.read(index, bytes_max=1, count_max=1)
            yield decode_entry(record.payload).entry

    def _replay(self, last_index: int) -> None:
        """Apply what the database lacks, up to `last_index`."""
        batch: list[Entry] = []
        size = 0
        for logged in self.entries(self.store.applied.index + 1):
            if logged.entry.index > last_index:
                break
            batch.append(logged.entry)
            size += len(logged.encoded)
            if size >= _REPLAY_BYTES:
                self.store.apply(batch)
                batch, size = [], 0
        if batch:
            self.store.apply(batch)

    # Divergence.

    def note_divergence(self, error: WorkbenchError) -> None:
        """An entry did not fit the database."""
        self.diverged = error.message
        _logger.warning("%s has diverged: %s", self._config.name, error)

    def rebuild_diverged(self) -> bool:
        """Make the database anew, as of the log's end; False when the disk has nothing to make a better one of."""
        snapshot = self.snapshots.newest
        if snapshot is not None and snapshot.name.startswith(f"{self._config.name}-"):
            self.diverged += " (the own snapshot was made of the same database)"
            return False
        self._counters.rebuilds += 1
        try:
            self._make_anew(self.log.last[1])
        except (CodecError, DivergedError) as error:
            self.note_divergence(error)
            return False
        self.diverged = ""
        return True

    def _make_anew(self, last_index: int) -> None:
        """Make the database anew, as of entry `last_index`, from the newest snapshot and the log."""
        self.store.close()
        directory = self._directory / "database"
        if self.snapshots.newest is not None:
            restore_configured_database(self._config, directory, self._files, self.snapshots.newest)
        else:
            remove_database(self._files, directory)
        hit("rewind.half")
        self.store = self._open_store()
        hit("rebuild.before_replay")
        self._replay(last_index)

    # Changes.

    def save_term(self, term: int, voted_for: str) -> None:
        """Make term and vote durable before returning."""
        config = self._config
        self._hard = hard_state.HardState(
            term=term, voted_for=voted_for, replica=config.name, cluster_id=config.cluster_id
        )
        hit("term.before_save")
        hard_state.save(self._files, self._directory / "term", self._hard)
        hit("term.after_save")

    def rewind(self, to: Position) -> None:
        """Drop every entry behind `to`, which no snapshot covers, and bring the database back by the cheapest way."""
        assert to.index >= self.snapshots.base.index, f"a rewind to {to}, behind the snapshot"
        self._write_rollback(to.index)
        hit("rewind.before_database")
        applied = self.store.applied
        if applied.index > to.index and not self.store.rewind(to, self._entries_backwards(applied.index, to.index)):
            self._counters.rewinds_by_rebuild += 1
            self._make_anew(to.index)
        hit("rewind.before_log")
        self._counters.rewinds += 1
        self.log.truncate(to.index)
        hit("rewind.after")

    def adopt(self, position: Position) -> None:
        """Let the received snapshot, which is whole and fits, be the newest one; the log holds its position. A database
        that has diverged is made anew from both. Raises `DivergedError` when that does not help."""
        self.snapshots.adopt(self.incoming.leave(), position)
        hit("adopt.renamed")
        self.incoming.discard()
        if self.diverged:
            self._counters.rebuilds += 1
            self._make_anew(self.log.last[1])
            self.diverged = ""

    def install(self, kept: int) -> None:
        """Let the received snapshot, which is whole and fits, take the place of log and database."""
        self._write_rollback(max(kept, self.log.first_index - 1))
        hit("install.rollback_written")
        self.store.close()
        self.log.close()
        self.snapshots.begin_install(self.incoming.leave())
        hit("install.committed")
        self._finish_install()
        self.store = self._open_store()
        self.log = self._open_log()
        self.diverged = ""
        hit("install.after")

    def _finish_install(self) -> None:
        snapshot = self.snapshots.newest
        assert snapshot is not None
        base = snapshot.position
        ReplicationLog.reset(
            self._files,
            self._directory / "log",
            identity=self._config.cluster_id.encode(),
            term=base.term,
            index=base.index,
        )
        hit("install.log_reset")
        restore_configured_database(self._config, self._directory / "database", self._files, snapshot)
        hit("install.database_restored")
        self.snapshots.finish_install()
        self.incoming.discard()

    def _write_rollback(self, after: int) -> None:
        """Write the log's entries behind index `after` where people can read them."""
        last_index = self.log.last[1]
        if last_index <= after:
            return
        to = Position(self.log.term_at(after) or 0, after)
        hit("rollback.before_write")
        describer = Describer(self._columns, lambda: self._row_reader(after))
        path = write_rollback(self._files, self._directory / "rollback", to, self.entries(after + 1), describer)
        hit("rollback.after_write")
        self._counters.entries_rolled_back += last_index - after
        _logger.warning("the entries behind %s are dropped; they stand in %s", to, path)

    def _columns(self, table: str) -> tuple[str, ...]:
        """Names of the stored columns of `table`, as far as the database knows it now."""
        found = self.store.query(Statement(_COLUMNS, (table,)))
        return tuple(str(name) for (name,) in found.rows)

    def _row_reader(self, index: int) -> RowReader:
        """The database as of entry `index`, for looking into pages. Raises `CodecError` when it is too large."""
        base, snapshot = self.snapshots.base, self.snapshots.newest
        if index < base.index:
            raise StorageError(f"the log does not reach back to entry {index}")
        image = snapshot.read_database(DATABASE_BYTES_MAX) if snapshot is not None else b""
        reader = RowReader(image, self._config.page_size)
        for logged in self.entries(base.index + 1):
            if logged.entry.index > index:
                break
            if logged.entry.changes_data:
                reader.advance(logged.entry.body)
        return reader

    def holds(self, position: Position) -> bool:
        """Whether `position` is part of this replica's history."""
        base, snapshot = self.snapshots.base, self.snapshots.newest
        if position.index > base.index or snapshot is None:
            return self.log.term_at(position.index) == position.term
        begun = [term for term, first in snapshot.state().term_starts if first <= position.index]
        return bool(begun) and begun[-1] == position.term

    def close(self) -> None:
        """Leave everything in order on disk."""
        self.store.close()
        self.log.close()
        self.snapshots.close()
        self.incoming.close()
