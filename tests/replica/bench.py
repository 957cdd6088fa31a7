"""One replica's storage on a bench: told what to do as the core would, without a core, a clock or a network.

`Bench` keeps what the core keeps (the ledger, the positions) and what a model says the database should hold. Entries of
another leader come from a `Bench` of their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.storage.replicas import Call, transaction
from workbench.config import AckPolicy, Limits, LogFormatName, ReplicaConfig, Timing
from workbench.errors import DivergedError
from workbench.protocol.codec import decode_entry, encode_entry
from workbench.protocol.effects import (
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
)
from workbench.protocol.inputs import (
    ChunkSaved,
    Executed,
    Installed,
    InstallFailed,
    LogDropped,
    Queried,
    Rebuilt,
    SnapshotAbandoned,
    SnapshotCopied,
    SnapshotSealed,
)
from workbench.protocol.log_view import LogView
from workbench.protocol.messages import AppendEntries, Read, SnapshotChunk
from workbench.protocol.snapshot import Recovered, SnapshotState
from workbench.protocol.values import Entry, LoggedEntry, Position, Statement
from workbench.replica.counters import Counters
from workbench.replica.storage import ReplicaStorage, StorageAnswer
from workbench.storage.files import Files

LIMITS = Limits(segment_bytes_max=4_000)
MEMBERS = ("a", "b", "c")


def config_of(
    directory: Path, log_format: LogFormatName, *, name: str = "a", limits: Limits = LIMITS, page_size: int = 4096
) -> ReplicaConfig:
    """A replica of the cluster that all benches belong to."""
    return ReplicaConfig(
        name=name,
        members=MEMBERS,
        cluster_id="cluster",
        broker_url="",
        directory=directory,
        log_format=log_format,
        ack=AckPolicy.quorum(),
        link_delay_ms=0,
        page_size=page_size,
        limits=limits,
        timing=Timing(),
    )


class Bench:
    """`term` is what new entries get."""

    def __init__(self, config: ReplicaConfig, *, files: Files | None = None, copies_beside: bool = False) -> None:
        self.config = config
        self.files = files
        self.counters = Counters()
        self.storage = ReplicaStorage(config, self.counters, files=files, copies_beside=copies_beside)
        self.recovered = self.storage.recover()
        self.term = max(1, self.recovered.term)
        self.sequence = 0
        self._take(self.recovered)

    def _take(self, recovered: Recovered) -> None:
        self.log = LogView(recovered.term_starts, recovered.last_index, recovered.first_index)
        self.ledger = recovered.ledger

    @property
    def last(self) -> Position:
        return self.log.last

    # As a leader.

    def new_term(self, term: int) -> None:
        """Begin a reign, with its empty entry."""
        self.save_term(term)
        self.take(self.entry(""))

    def save_term(self, term: int, vote: str = "") -> None:
        self.term = term
        self.storage.save_term(SaveTerm(term, vote))

    def entry(self, kind: str, body: bytes = b"") -> LoggedEntry:
        """The next entry, without data."""
        return encode_entry(Entry(self.term, self.last.index + 1, kind, (), body))

    def write(self, *calls: Call, session: int = 1) -> LoggedEntry:
        """One client transaction: executed, logged, committed."""
        self.sequence += 1
        position = Position(self.term, self.last.index + 1)
        group = (transaction(*calls, session=session, sequence=self.sequence),)
        (executed,) = self.storage.perform(Execute(position, group))
        assert isinstance(executed, Executed)
        execution = executed.execution
        assert not execution.refused, execution.refused
        entry = Entry(
            self.term,
            position.index,
            self.config.log_format,
            execution.members,
            execution.body,
            execution.wall_ms,
        )
        logged = encode_entry(entry)
        self._append([logged])
        self.storage.perform(Commit(position))
        return logged

    # As a follower.

    def take(self, *entries: LoggedEntry) -> None:
        """Log and apply entries that follow."""
        self._append(entries)
        self.storage.perform(Apply(tuple(entries)))

    def append_only(self, *entries: LoggedEntry) -> None:
        """Log entries that follow, which are not applied yet."""
        self._append(entries)

    def follow(self, leader: Bench) -> None:
        """Take all that `leader` has behind the own end."""
        if missing := leader.entries(self.last.index + 1):
            self.take(*missing)

    def rewind(self, to: Position) -> Sequence[StorageAnswer]:
        answers = self.storage.perform(Rewind(to))
        self.log.truncate(to.index)
        self.ledger.truncate(to.index)
        return answers

    def _append(self, entries: Sequence[LoggedEntry]) -> None:
        self.storage.perform(Append(tuple(entries)))
        for logged in entries:
            self.log.append(logged.entry.position)
            self.ledger.record(logged.entry)

    # Snapshots.

    def state(self, position: Position) -> SnapshotState:
        starts = tuple(start for start in self.log.term_starts if start[1] <= position.index)
        return SnapshotState(position, starts, self.ledger.image_at(position.index))

    def copy(self) -> Position | str:
        """Make a copy of the database: its position, or why there is none."""
        answers = [*self.storage.perform(MakeSnapshot())]
        while not answers:
            self.storage.wait_for_copy()
            answers += self.storage.proceed()
        (answer,) = answers
        if isinstance(answer, SnapshotAbandoned):
            return answer.reason
        assert isinstance(answer, SnapshotCopied)
        return answer.position

    def seal(self, position: Position) -> None:
        assert list(self.storage.perform(SealSnapshot(self.state(position)))) == [SnapshotSealed(position)]

    def make_snapshot(self) -> Position:
        position = self.copy()
        assert isinstance(position, Position), position
        self.seal(position)
        return position

    def drop_log(self, index: int, bytes_kept: int = 0) -> int:
        (answer,) = self.storage.perform(DropLog(index, bytes_kept))
        assert isinstance(answer, LogDropped)
        self.log.first_index = answer.first_index
        return answer.first_index

    def piece(self, snapshot: str = "", offset: int = 0, bytes_max: int = 1 << 20) -> SnapshotChunk:
        header = SnapshotChunk(self.term, self.config.name, snapshot, 0, offset, b"", 0)
        (send,) = self.storage.perform(SendSnapshot("b", header, bytes_max))
        assert isinstance(send, Send)
        assert isinstance(send.message, SnapshotChunk)
        return send.message

    def pieces(self, bytes_max: int = 1 << 20) -> list[SnapshotChunk]:
        """The whole snapshot."""
        found = [self.piece(bytes_max=bytes_max)]
        while (end := found[-1].offset + len(found[-1].data)) < found[-1].size:
            found.append(self.piece(found[-1].snapshot, end, bytes_max))
        return found

    def save_chunk(self, chunk: SnapshotChunk) -> ChunkSaved:
        (answer,) = self.storage.perform(SaveChunk(chunk))
        assert isinstance(answer, ChunkSaved)
        return answer

    def install(self, kept: int = 0) -> Recovered | str:
        """What was installed, or why nothing was."""
        *_, answer = self.storage.perform(InstallSnapshot(kept))
        if isinstance(answer, InstallFailed):
            return answer.reason
        assert isinstance(answer, Installed)
        self._take(answer.recovered)
        return answer.recovered

    def receive(self, leader: Bench, kept: int = 0) -> Recovered | str:
        """All pieces of the leader's snapshot, and its installation."""
        for chunk in leader.pieces():
            self.save_chunk(chunk)
        return self.install(kept)

    # Divergence.

    def diverge(self) -> None:
        """As if an entry had not fitted the database."""
        self.storage._disk.note_divergence(DivergedError("it does not fit"))

    def rebuild(self) -> None:
        assert list(self.storage.perform(Rebuild())) == [Rebuilt(self.last)]

    # Questions.

    def entries(self, first_index: int) -> list[LoggedEntry]:
        """The log from `first_index` on."""
        if first_index > self.last.index:
            return []
        header = AppendEntries(self.term, "a", Position(0, first_index - 1), 0, 0)
        (send,) = self.storage.perform(SendLog("b", header, 1 << 30))
        assert isinstance(send, Send)
        assert isinstance(send.message, AppendEntries)
        return [decode_entry(encoded) for encoded in send.message.entries]

    def rows(self, sql: str) -> Sequence[tuple[object, ...]]:
        (queried,) = self.storage.perform(Query((("client", Read(1, 1, Statement(sql))),)))
        assert isinstance(queried, Queried)
        ((_, _, result),) = queried.answers
        assert not result.error, result.error
        return result.rows

    def digest(self) -> dict[str, str]:
        return self.storage.digest()

    def close(self) -> None:
        self.storage.close()

    def killed(self, name: str) -> Bench:
        """What another process would find, had this one just been killed."""
        directory = self.config.directory.with_name(name)
        shutil.copytree(self.config.directory, directory)
        return Bench(replace(self.config, directory=directory))

    def restarted(self) -> Bench:
        """The same replica after an orderly end."""
        self.close()
        return Bench(self.config, files=self.files)
