"""What a leader does: execute groups of writes, ship them, and acknowledge them when the policy is met.

One group at a time is with storage: executed, then logged, then committed. It is shipped before the leader's own
sync, since the policy waits for both. Reads are answered between groups, when the database shows nothing that is
not logged.
"""

from __future__ import annotations

from collections import defaultdict

from workbench.protocol.acks import acknowledged_index, committed_index, missing
from workbench.protocol.codec import encode_entry
from workbench.protocol.effects import Abandon, Append, Apply, Broadcast, Commit, Execute, Query, Reply, Send, SendLog
from workbench.protocol.inputs import Applied, Durable, Executed
from workbench.protocol.messages import (
    AppendEntries,
    ClientBatch,
    Entry,
    Fetch,
    LoggedEntry,
    Mismatch,
    Outcome,
    Position,
    Progress,
    Read,
    ReadReply,
    Transaction,
    WriteReply,
)
from workbench.protocol.outcomes import Execution
from workbench.protocol.progress import FollowerProgress, ShippedWindow
from workbench.protocol.sessions import Remembered
from workbench.protocol.state import NANOSECONDS_PER_MS, ReplicaState
from workbench.protocol.waiting import AcknowledgementQueue, Replies, Unacknowledged, WriteQueue


class Leading:
    """The duty of a leader in one term."""

    def __init__(self, state: ReplicaState, at: int) -> None:
        self._state = state
        last = state.log.last.index
        self._followers = {name: FollowerProgress(name, last) for name in state.others}
        self._window = ShippedWindow(state.limits.unacknowledged_bytes_max)
        self._writes = WriteQueue()
        self._reads: list[tuple[str, Read]] = []
        self._executing: Position | None = None
        self._settling: Position | None = None
        self._unacknowledged = AcknowledgementQueue()
        self._acknowledged = 0
        self._spoke_at = at
        """When something was last sent to every follower."""
        self._term_start = last + 1
        state.leader = state.name
        self._start_term(at)

    def _start_term(self, at: int) -> None:
        """Append the empty entry of the new term: with it, everything before is committed."""
        state = self._state
        empty = encode_entry(Entry(state.term, self._term_start, "", (), b""))
        self._log(empty, at, {})
        state.ask(Apply((empty,)))

    # Clients.

    def on_client(self, batch: ClientBatch, at: int) -> None:
        """Queue what is new; answer what is known."""
        answers = [reply for write in batch.writes if (reply := self._admit(batch.client, write, at)) is not None]
        if answers:
            self._state.ask(Reply(batch.client, tuple(answers)))
        reads, refused = self._state.admit_reads(batch.reads)
        self._reads += [(batch.client, read) for read in reads]
        if refused:
            self._state.ask(Reply(batch.client, reads=refused))

    def _admit(self, client: str, write: Transaction, at: int) -> WriteReply | None:
        """Queue a write, or say at once how it ends."""
        known = self._state.sessions.newest(write.session)
        if known is not None and known.sequence >= write.sequence:
            return self._admit_retry(client, write, known, at)
        if self._writes.is_overtaken(write) or write.sequence <= self._state.sessions.forgotten(write.session):
            return _gone_on(write)
        waiting, most = len(self._writes), self._state.limits.waiting_transactions_max
        if waiting >= most and not self._writes.is_open(write):
            reason = f"{waiting} transactions are waiting already"
            return WriteReply(write.session, write.sequence, Outcome.OVERLOADED, reason=reason)
        self._writes.add(client, write, at)
        return None

    def _admit_retry(self, client: str, write: Transaction, known: Remembered, at: int) -> WriteReply | None:
        """A write that took effect before: its first reply, as soon as the policy is met in this term (law 4)."""
        if known.sequence > write.sequence:
            return _gone_on(write)
        reply = WriteReply(write.session, write.sequence, Outcome.OK, known.position, known.member, known.results)
        if known.position.index <= self._acknowledged:
            return reply
        self._unacknowledged.wait_for(max(known.position.index, self._term_start), client, reply, at)
        return None

    # Groups.

    def pump(self) -> None:
        """Give storage its next work, if it has none: all waiting reads, then a group of waiting writes."""
        if self._executing is not None or self._settling is not None:
            return
        if self._reads:
            self._state.ask(Query(tuple(self._reads)))
            self._reads = []
        if self._writes:
            limits = self._state.limits
            group = self._writes.take_group(limits.group_transactions_max, limits.catch_up_bytes_max)
            self._executing = Position(self._state.term, self._state.log.last.index + 1)
            self._state.ask(Execute(self._executing, group))

    def on_executed(self, executed: Executed) -> None:
        """Log and ship what a group became, unless it was made for an earlier reign and is abandoned already."""
        if executed.position != self._executing:
            return
        self._executing = None
        self._refuse(executed.execution)
        members = executed.execution.members
        if not members:
            return
        position = executed.position
        entry = Entry(position.term, position.index, self._state.log_format, members, executed.execution.body)
        replies: Replies = {}
        for place, member in enumerate(members):
            client = self._writes.close(member.session, member.sequence)
            reply = WriteReply(member.session, member.sequence, Outcome.OK, position, place, member.results)
            replies[client, member.session, member.sequence] = reply
        self._settling = position
        self._log(encode_entry(entry), executed.at, replies)
        self._state.ask(Commit(position))

    def _refuse(self, execution: Execution) -> None:
        for refused in execution.refused:
            client = self._writes.close(refused.session, refused.sequence)
            reply = WriteReply(refused.session, refused.sequence, Outcome.REFUSED, reason=refused.reason)
            self._state.ask(Reply(client, (reply,)))

    def _log(self, logged: LoggedEntry, at: int, replies: Replies) -> None:
        """Ship an entry and append it to the own log."""
        state = self._state
        previous = state.log.last
        state.take(logged.entry)
        self._unacknowledged.add(Unacknowledged(logged.entry.index, at, replies))
        self._window.add(logged.entry.index, len(logged.encoded))
        self._ship(self._header(previous, (logged.encoded,)), at)
        state.ask(Append((logged,), urgent=state.ack.level != "applied"))

    # Followers.

    def _header(self, previous: Position, entries: tuple[bytes, ...] = ()) -> AppendEntries:
        state = self._state
        return AppendEntries(state.term, state.name, previous, state.log.last.index, state.committed, entries)

    def _ship(self, message: AppendEntries, at: int) -> None:
        bytes_max = self._state.limits.unacknowledged_bytes_max
        for follower in self._followers.values():
            bound = bytes_max // 2 if follower.behind else bytes_max
            follower.behind = self._window.bytes_after(follower.unacknowledged_after) > bound
        live = [follower.name for follower in self._followers.values() if not follower.behind]
        if len(live) == len(self._followers):
            self._speak(message, at)
        else:
            self._state.ask(*(Send(name, message) for name in live))

    def _speak(self, message: AppendEntries, at: int) -> None:
        """Say something to every follower, if there is one."""
        self._spoke_at = at
        if self._followers:
            self._state.ask(Broadcast(message))

    def on_progress(self, progress: Progress, at: int) -> None:
        """Count what a follower holds."""
        if progress.received > self._state.log.last.index:
            self._state.refused_messages += 1
            return
        self._followers[progress.replica].update(progress, at)
        self._acknowledge()

    def on_fetch(self, fetch: Fetch, at: int) -> None:
        """Send a follower what it misses, or the newest position at which the two logs might agree."""
        state = self._state
        if state.log.holds(fetch.after):
            state.ask(SendLog(fetch.replica, self._header(fetch.after), state.limits.catch_up_bytes_max))
        else:
            nearest = state.log.newest_up_to(fetch.after)
            state.ask(Send(fetch.replica, Mismatch(state.term, state.name, nearest)))

    def on_tick(self, at: int) -> None:
        """Speak up if nothing was said to everybody for a while; give up on writes that wait too long.

        A follower that is behind hears nothing of the live stream: only this tells it that there is more to fetch.
        """
        if at - self._spoke_at >= self._state.timing.heartbeat_ms * NANOSECONDS_PER_MS:
            self._speak(self._header(self._state.log.last), at)
        self._expire(at - int(self._state.timing.ack_timeout_ms * NANOSECONDS_PER_MS))

    # Storage.

    def on_durable(self, durable: Durable) -> None:
        """The own log counts like a follower's."""
        self._state.became_durable(durable.position)
        self._acknowledge()

    def on_applied(self, applied: Applied) -> None:
        """The group is visible; the next one may begin."""
        self._state.became_applied(applied.position)
        if applied.position == self._settling:
            self._settling = None
        self._acknowledge()

    # Acknowledgements.

    def _acknowledge(self) -> None:
        """Advance the committed index, and reply to whoever waits for what the policy now allows."""
        state = self._state
        followers = self._followers.values()
        committed = committed_index(durable=state.durable, followers=followers)
        if committed >= self._term_start:
            state.commit(committed)
        index = acknowledged_index(state.ack, durable=state.durable, applied=state.applied, followers=followers)
        if index < self._term_start:
            return
        self._acknowledged = max(self._acknowledged, index)
        self._reply(self._unacknowledged.pop_up_to(index))

    def _reply(self, replies: list[tuple[str, WriteReply]]) -> None:
        by_client: defaultdict[str, list[WriteReply]] = defaultdict(list)
        for client, reply in replies:
            by_client[client].append(reply)
        self._state.ask(*(Reply(client, tuple(writes)) for client, writes in by_client.items()))

    def _expire(self, before: int) -> None:
        """Answer writes that have waited since before `before`: indefinite once executed, overloaded if not."""
        expired: list[tuple[str, WriteReply]] = []
        for one in self._unacknowledged.expire(before):
            reason = self._why_unacknowledged(one.index)
            expired += [
                (client, WriteReply(reply.session, reply.sequence, Outcome.INDEFINITE, reason=reason))
                for client, reply in one.due()
            ]
        reason = "the leader's storage has been busy for too long"
        for client, write in self._writes.expire(before):
            expired.append((client, WriteReply(write.session, write.sequence, Outcome.OVERLOADED, reason=reason)))
        self._reply(expired)

    def _why_unacknowledged(self, index: int) -> str:
        state = self._state
        if state.durable < index:
            return f"not acknowledged in time: the disk of {state.name} does not answer"
        names = ", ".join(missing(state.ack, index, self._followers.values()))
        return f"not acknowledged in time: {state.ack} waits for {names}"

    # The end of the reign.

    def step_down(self) -> None:
        """Answer everybody who waits: what was never logged did not happen, what was logged may have."""
        if self._executing is not None:
            self._state.ask(Abandon())
        reason = f"{self._state.name} leads no more"
        replies = [
            (client, WriteReply(reply.session, reply.sequence, Outcome.INDEFINITE, reason=reason))
            for client, reply in self._unacknowledged.pop_up_to(self._state.log.last.index)
        ]
        replies += [
            (client, WriteReply(session, sequence, Outcome.NOT_LEADER, reason=reason))
            for client, session, sequence in self._writes.everyone()
        ]
        self._reply(replies)
        self._state.reading -= len(self._reads)
        for client, read in self._reads:
            refused = ReadReply(read.session, read.request, Outcome.NOT_LEADER, reason=reason)
            self._state.ask(Reply(client, reads=(refused,)))


def _gone_on(write: Transaction) -> WriteReply:
    """A copy of a write that its session has left behind; how the write ended is not remembered."""
    reason = "the session has gone on to a later write"
    return WriteReply(write.session, write.sequence, Outcome.INDEFINITE, reason=reason)
