"""A simulated replica whose disk is in memory, for speed.

`MemoryNode.perform` is the counterpart of `ReplicaStorage.perform`, and stricter: it holds the core to the contract of
`effects.py`. The database is a dictionary; the "log format" is the list of assignments made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from workbench.errors import StorageError
from workbench.faults.draws import below
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
from workbench.protocol.ledger import Ledger
from workbench.protocol.messages import EntryPiece, Read, SnapshotChunk
from workbench.protocol.outcomes import Execution, QueryResult
from workbench.protocol.snapshot import Recovered
from workbench.protocol.values import Entry, LoggedEntry, Position, Transaction
from workbench.simulator.laws import START, LawBroken, changes
from workbench.simulator.memory_format import Snapshot, execute
from workbench.simulator.node import ALLOWED_IN_A_GROUP, Node

CHUNK_BYTES = 8
SNAPSHOT_BYTES = 20
"""What travels of a snapshot: bytes without meaning, enough for a few pieces."""


@dataclass(kw_only=True)
class MemoryNode(Node):
    """A replica whose disk is a few lists and dictionaries. The core gets nothing of `log` before `first_index`."""

    snapshots: dict[str, Snapshot]
    """Those of all replicas, by name: a piece names the snapshot that it is of."""
    first_members: tuple[str, ...]
    first_index: int = 1
    synced: int = 0
    """Entries of the log that survive a power loss."""
    base: Snapshot | None = None
    incoming: tuple[str, int] = ("", 0)
    copy: tuple[Position, dict[str, object]] | None = None
    copied: tuple[Position, dict[str, object]] | None = None
    installed: list[Position] = field(default_factory=list)
    data: dict[str, object] = field(default_factory=dict)
    open_group: dict[str, object] | None = None
    rollback: list[Entry] = field(default_factory=list)
    is_full: bool = False
    sync_fails: bool = False

    @property
    def copying(self) -> object | None:
        """As of the base."""
        return self.copy

    @property
    def disk_is_full(self) -> bool:
        """As of the base."""
        return self.is_full

    def fill_disk(self, *, full: bool) -> None:
        """As of the base."""
        self.is_full = full

    def fail_sync(self, *, fails: bool) -> None:
        """As of the base."""
        self.sync_fails = fails

    def kept_aside(self) -> Iterable[Position]:
        """As of the base."""
        return (entry.position for entry in self.rollback)

    def digest(self) -> object:
        """As of the base."""
        return self.data

    def close(self) -> None:
        """As of the base."""

    def end(self, random: Random, under_way: StorageEffect | None, *, forgets: bool) -> None:
        """The process ends, while storage was at `under_way`: of an append any part may be there."""
        self.power_off(forgets=forgets)
        if isinstance(under_way, Append):
            self.tear(under_way.entries[: below(random, len(under_way.entries) + 1)])

    def power_off(self, *, forgets: bool = True) -> None:
        """The process ends. With `forgets`, the disk loses what was not synced; else the system still has it."""
        self.up = False
        if forgets:
            del self.log[max(self.synced, self.base.state.position.index if self.base else 0) :]
        self.jobs.clear()
        self.answers.clear()
        self.open_group = self.copy = self.copied = None
        self.diverged = False

    def tear(self, entries: Iterable[LoggedEntry]) -> None:
        """A part of an append had reached the disk when the process ended."""
        for logged in entries:
            self.laws.appended(self.name, logged, self.last)
            self.log.append(logged)
        self.synced = len(self.log)

    def recover(self) -> Recovered:
        """Bring the database to the end of the log; say what a new core must know."""
        self._rebuild()
        self.up, self.disk_failed, self.committed = True, False, 0
        return self._recovered()

    def _recovered(self) -> Recovered:
        base = self.base.state if self.base else None
        ledger = Ledger.from_image(base.ledger) if base else Ledger(self.first_members)
        starts = list(base.term_starts) if base else []
        later = self.log[base.position.index if base else 0 :]
        for logged in later:
            ledger.record(logged.entry)
            if not starts or starts[-1][0] != logged.entry.term:
                starts.append((logged.entry.term, logged.entry.index))
        return Recovered(
            term=self.term[0],
            voted_for=self.term[1],
            term_starts=starts,
            last_index=len(self.log),
            first_index=self.first_index,
            base=base.position if base else START,
            log_bytes=sum(len(logged.encoded) for logged in later),
            ledger=ledger,
            incoming=self.incoming,
        )

    def perform(self) -> None:
        """Carry out the next storage effect. Raises `StorageError` where a fault of the disk ends the process."""
        effect = self.jobs.popleft()
        if self.open_group is not None and not isinstance(effect, ALLOWED_IN_A_GROUP):
            raise LawBroken(f"{effect} in an open group")
        match effect:
            case Append():
                self._append(effect.entries)
                self.answers.append(Durable(self.last))
            case Apply():
                self._apply_or_diverge(effect.entries)
            case Execute():
                self.answers.append(Executed(effect.position, self._execute(effect.group)))
            case Commit():
                self._commit(effect.position)
                self.answers.append(Applied(effect.position))
            case Query():
                at = self.applied_position
                found = tuple([(client, read, self._query(read)) for client, read in effect.reads])
                self.answers.append(Queried(at, found))
            case Rebuild() if self.damage == "snapshot":
                self.answers.append(Diverged(self.applied_position, "it still does not fit", finally_=True))
            case Rebuild():
                self._rebuild()
                self.damage, self.diverged = "", False
                self.answers.append(Rebuilt(self.last))
            case Abandon():
                self.open_group = None
            case Rewind(to):
                self._rewind(to)
                self.answers.append(Rewound(to))
                if self.diverged:
                    self.answers.append(Diverged(self.applied_position, "it still does not fit", finally_=True))
            case SendLog(header=header) if header.previous.index < self.first_index - 1:
                pass  # dropped in the meantime: whoever fetches will ask again
            case SendLog():
                self.answers.append(self._read_log(effect))
            case _:
                self._perform_snapshot(effect)

    def _perform_snapshot(self, effect: StorageEffect) -> None:
        match effect:
            case MakeSnapshot():
                assert self.copy is None, "one copy at a time"
                self.copy = (self.log[self.applied - 1].entry.position, self.data)
            case SealSnapshot() if self.copied is None:
                pass  # a rewind has abandoned it in the meantime, and said so
            case SealSnapshot(state):
                assert self.copied is not None
                assert self.copied[0] == state.position
                name = f"{self.name}-{state.position}-{len(self.snapshots)}"
                self.base = Snapshot(name, state, self.copied[1], self.log[: state.position.index])
                self.snapshots[name] = self.base
                self.copied = None
                self.answers.append(SnapshotSealed(state.position))
            case DropLog(index, _):
                assert self.base is not None
                if index > self.base.state.position.index:
                    raise LawBroken("law 3: what no snapshot covers was dropped")
                self.first_index = max(self.first_index, index + 1)
                self.answers.append(LogDropped(self.first_index))
            case SendSnapshot(to, header):
                assert self.base is not None
                offset = header.offset if header.snapshot == self.base.name else 0
                data = bytes(min(CHUNK_BYTES, SNAPSHOT_BYTES - offset))
                chunk = SnapshotChunk(header.term, header.leader, self.base.name, SNAPSHOT_BYTES, offset, data, 0)
                self.answers.append(Send(to, chunk))
            case SaveChunk(chunk):
                name, held = self.incoming
                if chunk.offset == 0 or (chunk.snapshot == name and chunk.offset == held):
                    self.incoming = (chunk.snapshot, chunk.offset + len(chunk.data))
                self.answers.append(ChunkSaved(*self.incoming))
            case InstallSnapshot(kept):
                self.answers.append(self._install(kept))

    def finish_copy(self) -> None:
        """The copy that goes on beside everything else is on disk."""
        assert self.copy is not None
        self.copied, self.copy = self.copy, None
        self.answers.append(SnapshotCopied(self.copied[0]))

    def _abandon_copy(self) -> None:
        if self.copy is not None or self.copied is not None:
            self.copy = self.copied = None
            self.answers.append(SnapshotAbandoned("the log was rewound"))

    def _install(self, kept: int) -> Installed | InstallFailed:
        self._fail_if_due()
        snapshot = self.snapshots[self.incoming[0]]
        assert self.incoming[1] == SNAPSHOT_BYTES
        self.incoming = ("", 0)
        position = snapshot.state.position
        has_it = len(self.log) >= position.index and self.log[position.index - 1].entry.position == position
        is_newer = self.base is None or position > self.base.state.position
        if has_it and (self.diverged or (self.core.state.observer and is_newer)):
            return self._adopt(snapshot)
        if has_it:
            return InstallFailed("the log has it already")
        self._abandon_copy()
        covered = {logged.entry.position for logged in snapshot.covered}
        self._drop(entry for entry, _ in self.log[kept:] if entry.position not in covered)
        self.laws.happened["installs"] += 1
        self.base, self.log, self.first_index = snapshot, list(snapshot.covered), position.index + 1
        self.sync()
        for logged, previous in zip(self.log, [None, *self.log], strict=False):
            self.laws.appended(self.name, logged, previous.entry.position if previous else START)
        self.data, self.applied = snapshot.data, position.index
        self.laws.applied(self.name, position, self.data)
        self.installed.append(position)
        self.damage, self.diverged = "", False
        return Installed(self._recovered())

    def _adopt(self, snapshot: Snapshot) -> Installed:
        """Only the database is broken, or a part of the log no longer needed: the rest of the log stays."""
        self.laws.happened["mended by a snapshot" if self.diverged else "snapshots of observers"] += 1
        if snapshot.state.position.index < self.first_index - 1:
            raise LawBroken("law 3: the log does not go on from there")
        self.base = snapshot
        self.damage, self.diverged = "", False
        self._rebuild()
        return Installed(self._recovered())

    def _execute(self, group: Iterable[Transaction]) -> Execution:
        if self.diverged:
            return Execution((), (), b"")
        execution, data = execute(self.data, group)
        self.open_group = data if execution.members else None
        return execution

    def _append(self, entries: tuple[LoggedEntry, ...]) -> None:
        if self.is_full:
            self.disk_failed = True
            self.laws.happened["disks full"] += 1
            raise StorageError("the disk is full")
        self._fail_if_due()
        for logged in entries:
            if logged.entry.index != len(self.log) + 1:
                raise LawBroken("the log must continue without a gap")
            self.laws.appended(self.name, logged, self.last)
            self.log.append(logged)
        self.sync()

    def _fail_if_due(self) -> None:
        if self.sync_fails:
            self.sync_fails, self.disk_failed = False, True
            self.laws.happened["syncs failed"] += 1
            raise StorageError("a sync failed")

    def sync(self) -> None:
        """What the log has is on the disk."""
        self.synced = len(self.log)

    def save_term(self, term: int, voted_for: str) -> None:
        """Make term and vote durable. Raises `StorageError`."""
        self._fail_if_due()
        self.laws.saved_term(self.name, term, voted_for)
        self.term = (term, voted_for)

    def _commit(self, position: Position) -> None:
        if len(self.log) < position.index:
            raise LawBroken("committed before it was durable")
        assert self.open_group is not None
        self.data, self.open_group = self.open_group, None
        self.applied = position.index
        self.laws.applied(self.name, position, self.data)

    def _apply_or_diverge(self, entries: tuple[LoggedEntry, ...]) -> None:
        if self.diverged:
            return
        if self.damage and any(entry.changes_data for entry, _ in entries):
            self.laws.happened["divergences"] += 1
            self.diverged = True
            self._abandon_copy()
            self.answers.append(Diverged(self.applied_position, "an entry does not fit"))
        else:
            self._apply(entries)
            self.answers.append(Applied(entries[-1].entry.position))

    def _apply(self, entries: Iterable[LoggedEntry]) -> None:
        for entry, _ in entries:
            if len(self.log) < entry.index:
                raise LawBroken("applied before it was durable")
            if entry.index != self.applied + 1:
                raise LawBroken("law 3: entries are applied in order, each once")
            self.data = {**self.data, **changes(entry)}
            self.applied = entry.index
            self.laws.applied(self.name, entry.position, self.data)

    def _rewind(self, to: Position) -> None:
        self._fail_if_due()
        self.laws.happened["rewinds"] += 1
        self._abandon_copy()
        if self.base and to.index < self.base.state.position.index:
            raise LawBroken("law 3: a rewind behind the snapshot")
        if to.index > len(self.log):
            raise LawBroken(f"rewind to {to}, the log ends at {self.last}")
        self._drop(entry for entry, _ in self.log[to.index :])
        del self.log[to.index :]
        self.sync()
        assert self.last == to
        if self.applied > to.index:
            self._rebuild()

    def _drop(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        self.rollback += entries
        self.laws.dropped(self.name, entries)

    def _rebuild(self) -> None:
        self.data, self.applied = (self.base.data, self.base.state.position.index) if self.base else ({}, 0)
        self.laws.applied(self.name, self.applied_position, self.data)
        self._apply(self.log[self.applied :])

    def _query(self, read: Read) -> QueryResult:
        value = self.data.get(str(read.statement.parameters[0]))
        return QueryResult(("value",), ((value,),) if value is not None else ())  # type: ignore[arg-type]

    def _read_log(self, effect: SendLog) -> Send:
        first = self.log[effect.header.previous.index :][:1]
        if first and len(first[0].encoded) > effect.bytes_max:
            self.laws.happened["pieces"] += 1
            (entry, encoded), offset = first[0], effect.offset
            data = encoded[offset : offset + effect.bytes_max]
            return Send(effect.to, EntryPiece(effect.header, entry.position, len(encoded), offset, data))
        payloads: list[bytes] = []
        for logged in self.log[effect.header.previous.index :]:
            if payloads and sum(map(len, payloads)) + len(logged.encoded) > effect.bytes_max:
                break
            payloads.append(logged.encoded)
        return Send(effect.to, effect.header.with_entries(tuple(payloads)))
