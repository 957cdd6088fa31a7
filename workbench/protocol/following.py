"""What a follower does: take entries that match, fetch those it missed, drop those its leader does not have.

At most one batch is with storage at a time; what arrives meanwhile becomes the next batch and shares its sync.
Live entries that do not fit yet (an earlier one was lost, or is still being fetched) wait in a bounded stash. What its
leader's log does not have any more comes as a snapshot (`receiving.py`).
"""

from __future__ import annotations

from collections import deque

from workbench.errors import CodecError
from workbench.protocol.codec import decode_entry
from workbench.protocol.divergence import Divergence
from workbench.protocol.effects import Append, Apply, DropLog, Leave, Query, Reply, Send
from workbench.protocol.fetching import Fetching
from workbench.protocol.inputs import Applied, Diverged, Durable, Queried
from workbench.protocol.messages import (
    AppendEntries,
    ClientBatch,
    EntryPiece,
    Fetch,
    Mismatch,
    Outcome,
    Progress,
    Read,
    ReadReply,
    WriteReply,
)
from workbench.protocol.pieces import Pieces
from workbench.protocol.reading import Freshness, ReadingDesk
from workbench.protocol.receiving import Receiving
from workbench.protocol.snapshot import Recovered
from workbench.protocol.stash import Stash
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import LoggedEntry, Position


class Following:
    """The duty of a follower, through the reigns of any number of leaders."""

    def __init__(self, state: ReplicaState, incoming: tuple[str, int] = ("", 0)) -> None:
        self._state = state
        self._freshness = Freshness()
        self._desk = ReadingDesk(state, self._freshness)
        self.receiving = Receiving(state, incoming)
        self._divergence = Divergence(state)
        self._echo_ns = 0
        """When that was sent, by the leader's clock, what was heard last."""
        self._matched = 0
        """Index up to which the own log is known to equal that of the present term's leader."""
        self._received: deque[LoggedEntry] = deque()
        """Entries of the own log that storage has not been given yet."""
        self._received_bytes = 0
        self._storing: Position | None = None
        """Last position of the batch that storage works on."""
        self._leader_last = 0
        self._stash = Stash(state.limits.unacknowledged_bytes_max)
        self._pieces = Pieces()
        self._fetching = self._new_fetching()

    def _new_fetching(self) -> Fetching:
        return Fetching(self._state.ns(self._state.timing.fetch_retry_ms))

    # Reigns.

    def new_term(self) -> None:
        """Forget what was known of the old leader. Entries of the own log that storage still lacks are kept."""
        self._matched = 0
        self._leader_last = 0
        self._echo_ns = 0
        self._freshness.forget()
        self._stash.clear()
        self._fetching = self._new_fetching()
        self.receiving.end_if_possible()

    def stop(self) -> None:
        """Give storage all that it still lacks: this replica is about to lead, to rewind, or to begin anew."""
        while self._received:
            self._store_batch()

    def step_down(self) -> None:
        """This replica is about to lead: its clients' reads that wait here are refused."""
        self.stop()
        self._desk.end_all((), Outcome.NOT_READY, f"{self._state.name} has just begun to lead")

    # Clients.

    def on_client(self, batch: ClientBatch, at: int) -> None:
        """Refuse what only a leader may do; read the rest."""
        state = self._state
        reason = f"{state.name} does not lead"
        writes = tuple(
            WriteReply(write.session, write.sequence, Outcome.NOT_LEADER, reason=reason) for write in batch.writes
        )
        refused = tuple(
            ReadReply(read.session, read.request, Outcome.NOT_LEADER, reason=reason)
            for read in batch.reads
            if read.from_leader or read.linearizable
        )
        if writes or refused:
            state.ask(Reply(batch.client, writes, refused))
        reads = [read for read in batch.reads if not (read.from_leader or read.linearizable)]
        self._query(self._desk.admit(batch.client, reads, at))

    def _query(self, reads: list[tuple[str, Read]]) -> None:
        if reads:
            self._state.ask(Query(tuple(reads)))

    def on_queried(self, queried: Queried, at: int) -> None:
        """Answer reads, but for those that an earlier reign of this replica asked as a leader."""
        answers = tuple(one for one in queried.answers if not (one[1].from_leader or one[1].linearizable))
        for client, read, _ in queried.answers:
            if read.from_leader or read.linearizable:
                self._state.reading -= 1
                self._desk.refuse(client, read, Outcome.NOT_LEADER, f"{self._state.name} leads no more")
        if answers:
            self._desk.answer(Queried(queried.position, answers))

    # The leader.

    def on_append_entries(self, message: AppendEntries, at: int) -> None:
        """Take what fits, stash what may fit later, ask for what is missing."""
        state = self._state
        if state.leader != message.leader:
            state.leader = message.leader
            self.new_term()
        self._leader_last = max(self._leader_last, message.last)
        self._echo_ns = max(self._echo_ns, message.sent_ns)
        fits = state.log.holds(message.previous)
        if fits:
            self.receiving.entries_will_do()
        if self.receiving.is_active or not fits:
            if message.entries and message.previous.index > state.log.last.index:
                self._stash.keep(message)
            if not message.entries:
                self._report()
            self._fetch(at)
            return
        self._freshness.heard(message.last, message.sent_ns)
        before = state.log.last
        self._accept(message)
        while (stashed := self._stash.take_next(state.log)) is not None:
            self._accept(stashed)
        state.commit(min(message.committed, self._matched))
        self._store()
        self._note_applied(at)
        if self._divergence.needs_snapshot:
            self.receiving.begin_mending(at)
        if not message.entries or state.ack.level == "received":
            self._report()
        if state.log.last != before:
            self._fetching.brought(at)
        self._fetch_rest(at)

    def on_piece(self, piece: EntryPiece, at: int) -> None:
        """Keep a part of a long entry, and ask for the next; with the last one, take the entry."""
        message = piece.header
        if self._state.log.holds(message.previous) and piece.entry.index == message.previous.index + 1:
            if self._pieces.take(piece):
                self._fetching.brought(at)
            message = self._pieces.whole(message) or message
            self._note_pieces()
        self.on_append_entries(message, at)

    def _note_pieces(self) -> None:
        if note := self._pieces.note():
            self._state.notes["receiving"] = note
        else:
            self._state.notes.pop("receiving", None)

    def on_mismatch(self, message: Mismatch, at: int) -> None:
        """Go back to a position that the leader may know, and fetch from there."""
        if self._fetching.refused(message.at):
            self._fetch(at, self._state.log.newest_up_to(message.at))

    def on_tick(self, at: int) -> None:
        """Ask again for what a lost message would have brought; an observer without a leader looks for one."""
        self.receiving.on_tick(at)
        if self._state.observer and not self._state.leader and self._fetching.is_due(at):
            self._ask_for_entries(self._state.log.last, at, *self._state.members)
        if self._state.observer and self._state.log_bytes > self._state.limits.retained_log_bytes_max:
            self.receiving.begin_mending(at)
        self._fetch_rest(at)
        self._note_applied(at)

    def on_chunk_saved(self, snapshot: str, held: int, at: int) -> None:
        """A piece of a snapshot is on disk. Behind an installation nothing of the old log may be stored any more, and
        what it drops must be on disk to be written out: storage is given all that it lacks first."""
        if self.receiving.on_saved(snapshot, held, at):
            self.stop()
            self.receiving.install(at)

    def on_installed(self, recovered: Recovered, at: int) -> None:
        """A snapshot has taken the place of log and database."""
        self._divergence.end()
        committed = min(self._state.committed, recovered.last_index)
        self._state.install(recovered)
        self._state.commit(committed)
        if recovered.first_index <= recovered.base.index:
            self._state.ask(DropLog(recovered.base.index, self._state.limits.retained_log_bytes_max // 2))
        self._state.milestones.installed(recovered.base, at)
        self._matched = 0  # the present leader may be another than the one that sent it
        self._received.clear()
        self._received_bytes = 0
        self._storing = None
        self._stash.forget_before(recovered.base.index)
        self._pieces.forget_before(recovered.last_index)
        self._note_pieces()
        self.receiving.on_end()
        self._fetching = self._new_fetching()
        self._report()
        self._fetch_rest(at)

    def _note_applied(self, at: int) -> None:
        """Something may have become visible: reads that waited for it can be answered."""
        state = self._state
        self._freshness.applied(min(self._matched, state.applied))
        if not state.milestones.caught_up_ns and state.leader and self._matched and state.applied >= self._leader_last:
            state.milestones.caught_up_ns = at
        if self._desk:
            self._query(self._desk.take_ready(at))

    def _accept(self, message: AppendEntries) -> None:
        """Take entries behind a position that both logs hold."""
        state = self._state
        is_one = len(message.entries) == 1  # it was asked for, maybe piece by piece, when there was room
        full = self._received_bytes + message.size_bytes > state.limits.unacknowledged_bytes_max
        if full and self._received and not (is_one and self._received_bytes < state.limits.catch_up_bytes_max):
            return  # the disk is slower than the leader: fetched when there is room again
        entries = _read_entries(message)
        if entries is None:
            state.refused_messages += 1
            return
        for logged in entries:
            position = logged.entry.position
            if state.log.holds(position):
                state.milestones.came_again(position.index)
                continue
            if position.index <= max(state.base.index, state.sealing):
                self._state.ask(Leave(_lost_committed(state, position)))
                return
            if position.index <= state.log.last.index:
                self._rewind(position.index - 1)
            state.take(logged.entry, len(logged.encoded))
            state.milestones.took(position)
            self._received.append(logged)
            self._received_bytes += len(logged.encoded)
        self._matched = max(self._matched, message.previous.index + len(entries))

    def _rewind(self, after: int) -> None:
        """Drop the entries behind index `after`: the leader has others in their place.

        Even committed ones, where a protection is switched off. Storage is given what it lacks first, so that it can
        write out everything that is dropped.
        """
        self.stop()
        self._state.rewind(self._state.log.position_at(after))

    # Storage.

    def _store(self) -> None:
        if self._storing is None and self._received:
            self._store_batch()

    def _store_batch(self) -> None:
        batch: list[LoggedEntry] = []
        size = 0
        while self._received and size < self._state.limits.catch_up_bytes_max:
            logged = self._received.popleft()
            size += len(logged.encoded)
            batch.append(logged)
        self._received_bytes -= size
        self._storing = batch[-1].entry.position
        entries = tuple(batch)
        self._state.ask(Append(entries, urgent=self._state.ack.level != "applied"), Apply(entries))

    def on_durable(self, durable: Durable, at: int) -> None:
        """Tell the leader, unless it waits for more than durability."""
        self._state.became_durable(durable.position)
        if self._state.diverged and durable.position == self._storing:
            self._storing = None  # it will not be applied now
            self._store()
        if self._state.ack.level != "applied":
            self._report()

    def on_applied(self, applied: Applied, at: int) -> None:
        """Tell the leader, if it waits for this, and store the next batch."""
        self._state.became_applied(applied.position)
        self._note_applied(at)
        if applied.position == self._storing:
            self._storing = None
        if self._state.ack.level == "applied":
            self._report()
        self._store()
        self._fetch_rest(at)

    # Divergence.

    def on_diverged(self, diverged: Diverged) -> None:
        """An entry does not fit the database: serve nobody, and make it anew."""
        self._divergence.note(diverged)
        if self.receiving.is_installing:
            self.receiving.on_end()  # the snapshot has not helped
        self._storing = None
        self._desk.end_all((), Outcome.NOT_READY, self._state.diverged)

    def on_rebuilt(self, position: Position, at: int) -> None:
        """The database is what the log says again."""
        self._divergence.end()
        self._state.became_applied(position)
        self._note_applied(at)
        self._report()
        self._store()
        self._fetch_rest(at)

    def _report(self) -> None:
        state = self._state
        if state.leader:
            matched = self._matched
            durable, applied = min(matched, state.durable), min(matched, state.applied)
            report = Progress(state.term, state.name, matched, durable, applied, self._echo_ns, state.observer)
            state.ask(Send(state.leader, report))

    # Missing entries.

    def _fetch_rest(self, at: int) -> None:
        """Fetch what the leader has more, unless storage has enough to do."""
        state = self._state
        if self._leader_last > state.log.last.index and self._received_bytes < state.limits.catch_up_bytes_max:
            self._fetch(at)

    def _fetch(self, at: int, after: Position | None = None) -> None:
        state = self._state
        after = after or state.log.last
        if state.leader and not self.receiving.is_active and self._fetching.is_due(at):
            state.milestones.fetch_begun_ns = state.milestones.fetch_begun_ns or at
            self._ask_for_entries(after, at, state.leader)

    def _ask_for_entries(self, after: Position, at: int, *names: str) -> None:
        state = self._state
        self._fetching.ask(after, at)
        fetch = Fetch(state.term, state.name, after, self._pieces.held_after(after), state.observer)
        state.ask(*(Send(name, fetch) for name in names))


def _lost_committed(state: ReplicaState, position: Position) -> str:
    """Only where a protection is switched off: no rewind leads back behind a snapshot."""
    return (
        f"{state.leader} has another entry at {position} than the snapshot of {state.name}: committed entries are lost"
        f" (move the directory of {state.name} away, and let it join again)"
    )


def _read_entries(message: AppendEntries) -> list[LoggedEntry] | None:
    """The entries of a message; None if they are none, or do not follow one another as a log's entries do."""
    entries = []
    term, index = message.previous.term, message.previous.index
    for encoded in message.entries:
        try:
            logged = decode_entry(encoded)
        except CodecError:
            return None
        if logged.entry.index != index + 1 or not term <= logged.entry.term <= message.term:
            return None
        term, index = logged.entry.term, logged.entry.index
        entries.append(logged)
    return entries
