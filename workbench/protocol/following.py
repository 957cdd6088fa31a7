"""What a follower does: take entries that match, fetch those it missed, drop those its leader does not have.

At most one batch is with storage at a time; what arrives meanwhile becomes the next batch and shares its sync.
Live entries that do not fit yet (an earlier one was lost, or is still being fetched) wait in a bounded stash.
"""

from __future__ import annotations

from collections import deque

from workbench.protocol.codec import decode_entry
from workbench.protocol.effects import Append, Apply, Query, Reply, Rewind, Send
from workbench.protocol.inputs import Applied, Durable, Queried
from workbench.protocol.messages import (
    AppendEntries,
    ClientBatch,
    Fetch,
    LoggedEntry,
    Mismatch,
    Outcome,
    Position,
    Progress,
    ReadReply,
    WriteReply,
)
from workbench.protocol.replies import answer_queries
from workbench.protocol.state import NANOSECONDS_PER_MS, ReplicaState


class Following:
    """The duty of a follower, through the reigns of any number of leaders."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._matched = 0
        """Index up to which the own log is known to equal that of the present term's leader."""
        self._received: deque[LoggedEntry] = deque()
        """Entries of the own log that storage has not been given yet."""
        self._storing: Position | None = None
        """Last position of the batch that storage works on."""
        self._stash: dict[int, AppendEntries] = {}
        self._stash_bytes = 0
        self._leader_last = 0
        self._fetched_at: int | None = None

    # Reigns.

    def new_term(self) -> None:
        """Forget what was known of the old leader. Entries of the own log that storage still lacks are kept."""
        self._matched = 0
        self._leader_last = 0
        self._stash.clear()
        self._stash_bytes = 0
        self._fetched_at = None

    def stop(self) -> None:
        """Give storage all that it still lacks: this replica is about to lead."""
        while self._received:
            self._store_batch()

    # Clients.

    def on_client(self, batch: ClientBatch, at: int) -> None:
        """Refuse what only a leader may do; read the rest."""
        state = self._state
        reason = f"{state.name} is a follower"
        writes = tuple(
            WriteReply(write.session, write.sequence, Outcome.NOT_LEADER, reason=reason) for write in batch.writes
        )
        refused = tuple(
            ReadReply(read.session, read.request, Outcome.NOT_LEADER, reason=reason)
            for read in batch.reads
            if read.from_leader
        )
        if writes or refused:
            state.ask(Reply(batch.client, writes, refused))
        reads = tuple((batch.client, read) for read in batch.reads if not read.from_leader)
        if reads:
            state.ask(Query(reads))

    def on_queried(self, queried: Queried) -> None:
        """Pass answers on."""
        self._state.ask(*answer_queries(queried))

    # The leader.

    def on_append_entries(self, message: AppendEntries, at: int) -> None:
        """Take what fits, stash what may fit later, ask for what is missing."""
        state = self._state
        state.leader = message.leader
        self._leader_last = max(self._leader_last, message.last)
        if not state.log.holds(message.previous):
            self._keep_for_later(message)
            self._fetch(at)
            return
        self._accept(message)
        while (stashed := self._unstash()) is not None:
            self._accept(stashed)
        state.commit(min(message.committed, self._matched))
        self._store()
        if not message.entries or state.ack.level == "received":
            self._report()
        if message.entries:
            self._fetched_at = None
        if self._leader_last > state.log.last.index:
            self._fetch(at)

    def on_mismatch(self, message: Mismatch, at: int) -> None:
        """Go back to a position that the leader may know, and fetch from there."""
        log = self._state.log
        if message.at.index > log.last.index:
            return
        after = message.at if log.holds(message.at) else log.before_term_at(message.at.index)
        self._fetched_at = None
        self._fetch(at, after)

    def on_tick(self, at: int) -> None:
        """Ask again for what a lost message would have brought."""
        if self._leader_last > self._state.log.last.index:
            self._fetch(at)

    def _accept(self, message: AppendEntries) -> None:
        """Take entries behind a position that both logs hold."""
        state = self._state
        for encoded in message.entries:
            logged = decode_entry(encoded)
            position = logged.entry.position
            if state.log.holds(position):
                continue
            if position.index <= state.log.last.index:
                self._rewind(position.index - 1)
            if position.index != state.log.last.index + 1:
                break
            state.take(logged.entry)
            self._received.append(logged)
        self._matched = max(self._matched, min(message.previous.index + len(message.entries), state.log.last.index))

    def _rewind(self, after: int) -> None:
        """Drop the entries behind index `after`: the leader has others, or none, in their place.

        Even committed ones: a leader that was appointed without being the most up to date may lack them.
        """
        state = self._state
        to = state.log.position_at(after)
        while self._received and self._received[-1].entry.index > after:
            self._received.pop()
        state.log.truncate(after)
        state.sessions.truncate(after)
        state.durable = min(state.durable, after)
        state.applied = min(state.applied, after)
        state.committed = min(state.committed, after)
        state.ask(Rewind(to))

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
        self._storing = batch[-1].entry.position
        entries = tuple(batch)
        self._state.ask(Append(entries, urgent=self._state.ack.level != "applied"), Apply(entries))

    def on_durable(self, durable: Durable) -> None:
        """Tell the leader, unless it waits for more than durability."""
        self._state.became_durable(durable.position)
        if self._state.ack.level != "applied":
            self._report()

    def on_applied(self, applied: Applied) -> None:
        """Tell the leader, if it waits for this, and store the next batch."""
        self._state.became_applied(applied.position)
        if applied.position == self._storing:
            self._storing = None
        if self._state.ack.level == "applied":
            self._report()
        self._store()

    def _report(self) -> None:
        state = self._state
        if state.leader:
            matched = self._matched
            report = Progress(state.term, state.name, matched, min(matched, state.durable), min(matched, state.applied))
            state.ask(Send(state.leader, report))

    # Missing entries.

    def _keep_for_later(self, message: AppendEntries) -> None:
        size = sum(map(len, message.entries))
        fits = self._stash_bytes + size <= self._state.limits.unacknowledged_bytes_max
        if message.entries and message.previous.index > self._state.log.last.index and fits:
            if message.previous.index not in self._stash:
                self._stash_bytes += size
            self._stash[message.previous.index] = message

    def _unstash(self) -> AppendEntries | None:
        """The stashed message that continues the log; older ones are of no use any more."""
        last = self._state.log.last
        for index in [index for index in self._stash if index <= last.index]:
            message = self._stash.pop(index)
            self._stash_bytes -= sum(map(len, message.entries))
            if self._state.log.holds(message.previous):
                return message
        return None

    def _fetch(self, at: int, after: Position | None = None) -> None:
        state = self._state
        retry_ns = state.timing.fetch_retry_ms * NANOSECONDS_PER_MS
        if not state.leader or (self._fetched_at is not None and at - self._fetched_at < retry_ns):
            return
        self._fetched_at = at
        state.ask(Send(state.leader, Fetch(state.term, state.name, after or state.log.last)))
