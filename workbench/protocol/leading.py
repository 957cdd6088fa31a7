"""What a leader does: execute groups of writes, ship them, and acknowledge them when the policy is met.

One group at a time is with storage: executed, then logged, then committed. It is shipped before the leader's own
sync, since the policy waits for both. Reads are answered between groups, when the database shows nothing that is
not logged. Nothing is acknowledged, and no read answered as a leader's, without authority: a lease from a majority.
"""

from __future__ import annotations

from collections import defaultdict

from workbench.protocol.acks import acknowledged_index, committed_index, confirmed_ns, missing
from workbench.protocol.admission import Admission
from workbench.protocol.codec import encode_entry
from workbench.protocol.compaction import Compaction
from workbench.protocol.downgrade import Downgrade
from workbench.protocol.effects import (
    Abandon,
    Append,
    Apply,
    Broadcast,
    Commit,
    Execute,
    Reply,
    Send,
    TellClients,
)
from workbench.protocol.election import Silence
from workbench.protocol.expiry import SessionExpiry
from workbench.protocol.handover import Handover, MembershipChanges
from workbench.protocol.inputs import Applied, Durable, Executed, Queried
from workbench.protocol.leader_reads import LeaderReads
from workbench.protocol.membership import members_entry
from workbench.protocol.messages import (
    AppendEntries,
    ClientBatch,
    Fetch,
    FetchSnapshot,
    LeaderNews,
    Outcome,
    Progress,
    WriteReply,
)
from workbench.protocol.outcomes import Execution
from workbench.protocol.progress import Followers, ShippedWindow
from workbench.protocol.sources import Sources
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import EMPTY_KIND, Entry, LoggedEntry, Position
from workbench.protocol.waiting import AcknowledgementQueue, Replies, Unacknowledged, WriteQueue

_OBSERVER_PATIENCE = 20
"""In election timeouts: an observer that has said nothing for so long is gone."""
_SILENT_HEARTBEATS = 2.5
"""Who has not answered for so many heartbeats may not hear the broadcast: it gets heartbeats of its own."""


class Leading:
    """The duty of a leader in one term."""

    def __init__(self, state: ReplicaState, compaction: Compaction, at: int) -> None:
        self._state = state
        self._compaction = compaction
        last = state.log.last.index
        self._followers = Followers(state.others, last, at)
        self._window = ShippedWindow(state.limits.unacknowledged_bytes_max)
        self._sources = Sources(state, compaction, self._followers)
        self._writes = WriteQueue()
        self._reads = LeaderReads(state)
        self._executing: Position | None = None
        self._settling: Position | None = None
        self._unacknowledged = AcknowledgementQueue()
        self._acknowledged = 0
        self._admission = Admission(state, self._writes, self._unacknowledged, last + 1)
        self._spoke_at = at
        """When something was last sent to every follower."""
        self._silence = Silence(state)
        self._confirmed_ns = 0
        self._handover: Handover | None = None
        self._downgrade = Downgrade(state)
        self._expiry = SessionExpiry(state, at)
        self._term_start = last + 1
        self._changes = MembershipChanges(state, self._followers, self._term_start)
        self.is_over = False
        """No majority has answered for too long, or the one who was to take over did not: this reign must end."""
        state.leader = state.name
        self._append(Entry(state.term, self._term_start, EMPTY_KIND, (), b""), at)
        state.ask(TellClients(LeaderNews(state.term, state.name)))

    @property
    def joining(self) -> tuple[str, ...]:
        """Names of the replicas that are on their way to become members."""
        return self._followers.joining

    @property
    def is_downgraded(self) -> bool:
        """Whether writes are acknowledged as under `async` for now."""
        return self._downgrade.is_open

    def _append(self, entry: Entry, at: int) -> None:
        """Log an entry that changes no data. With the empty entry of a term, everything before it is committed."""
        logged = encode_entry(entry)
        self._log(logged, at, {})
        self._state.ask(Apply((logged,)))

    # Clients.

    def on_client(self, batch: ClientBatch, at: int) -> None:
        """Queue what is new; answer what is known."""
        if batch.writes:
            settled = self._acknowledged if self._has_authority(at) else 0
            answers = self._admission.admit(batch.client, batch.writes, at, settled)
            if answers:
                self._state.ask(Reply(batch.client, answers))
        if batch.reads:
            self._reads.admit(batch.client, batch.reads, at)

    # Groups.

    def pump(self, at: int) -> None:
        """Give storage its next work, if it has none: waiting reads, what is due besides, then a group of writes."""
        if self._reads.need_a_round(self._spoke_at):
            self._speak(self._header(self._state.log.last, at), at)
        if self._executing is not None or self._settling is not None:
            return
        self._reads.ask(at)
        self._compaction.start_if_due(at)
        if self._changes.due is not None:
            self._change_members(self._changes.due, at)
        if self._handover is not None:
            self._hand_over(self._handover)
        elif self._writes:
            limits = self._state.limits
            group = self._writes.take_group(limits.group_transactions_max, limits.catch_up_bytes_max)
            self._executing = Position(self._state.term, self._state.log.last.index + 1)
            self._state.ask(Execute(self._executing, group))

    def on_executed(self, executed: Executed, at: int) -> None:
        """Log and ship what a group became, unless it was made for an earlier reign and is abandoned already."""
        if executed.position != self._executing:
            return
        self._executing = None
        execution = executed.execution
        self._refuse(execution)
        members = execution.members
        if not members:
            return
        position = executed.position
        kind = self._state.log_format
        entry = Entry(position.term, position.index, kind, members, execution.body, execution.wall_ms)
        replies: Replies = {}
        for place, member in enumerate(members):
            client = self._writes.close(member.session, member.sequence)
            reply = WriteReply(member.session, member.sequence, Outcome.OK, position, place, member.results)
            replies[client, member.session, member.sequence] = reply
        self._settling = position
        self._log(encode_entry(entry), at, replies)
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
        state.take(logged.entry, len(logged.encoded))
        self._unacknowledged.add(Unacknowledged(logged.entry.index, at, replies))
        self._window.add(logged.entry.index, len(logged.encoded))
        if len(logged.encoded) <= state.limits.catch_up_bytes_max:
            self._ship(self._header(previous, at, (logged.encoded,)), at)
        else:
            self._speak(self._header(state.log.last, at), at)  # they fetch it, piece by piece
        state.ask(Append((logged,), urgent=state.ack.level != "applied"))

    # Followers.

    def _header(self, previous: Position, at: int, entries: tuple[bytes, ...] = ()) -> AppendEntries:
        state = self._state
        return AppendEntries(state.term, state.name, previous, state.log.last.index, state.committed, entries, at)

    def _ship(self, message: AppendEntries, at: int) -> None:
        bytes_max = self._state.limits.unacknowledged_bytes_max
        live = []
        for follower in self._followers:
            bound = bytes_max // 2 if follower.behind else bytes_max
            follower.behind = self._window.bytes_after(follower.unacknowledged_after) > bound
            if not follower.behind:
                live.append(follower.name)
        if len(live) == len(self._followers):
            self._speak(message, at)
        else:
            self._state.ask(*(Send(name, message) for name in live))

    def _speak(self, message: AppendEntries, at: int) -> None:
        """Say something to every follower, if there is one."""
        self._spoke_at = at
        if len(self._followers):
            self._state.ask(Broadcast(message))

    def on_progress(self, progress: Progress, at: int) -> None:
        """Count what a follower holds."""
        follower = self._followers.find(progress, self._state.log.last.index, at)
        if follower is None or progress.received > self._state.log.last.index:
            self._state.refused_messages += 1
            return
        follower.update(progress, at)
        if follower.joining and follower.durable:
            self._changes.on_progress(self._window.bytes_after(follower.durable), follower.name)
        self._acknowledge(at)

    def on_fetch(self, fetch: Fetch, at: int) -> None:
        """Serve a follower that misses something."""
        self._sources.on_fetch(fetch, self._header(fetch.after, at), at)

    def on_fetch_snapshot(self, request: FetchSnapshot) -> None:
        """Serve a follower that misses what the log does not have any more."""
        self._sources.on_fetch_snapshot(request)

    def on_sealed(self) -> None:
        """There is a new snapshot to serve."""
        self._sources.on_sealed()

    # Time.

    def on_tick(self, at: int) -> None:
        """Speak up if nothing was said for a while; give up on what waits too long; see whether anybody answers."""
        state = self._state
        heartbeat_ns = state.ns(state.timing.heartbeat_ms)
        if at - self._spoke_at >= heartbeat_ns:
            self._speak(self._header(state.log.last, at), at)
            for follower in self._followers:
                if at - follower.heard_at > _SILENT_HEARTBEATS * heartbeat_ns:
                    state.ask(Send(follower.name, self._header(state.log.last, at)))
        self._expire(at - state.ns(state.timing.ack_timeout_ms))
        if self._downgrade.on_tick(at, self._unacknowledged.oldest):
            self._acknowledge(at)
        self._watch_quorum(at)
        self._followers.forget_observers(at - _OBSERVER_PATIENCE * state.election_timeout_ns)
        self._expire_sessions(at)
        if self._handover is not None and self._handover.is_over(at):
            self.is_over = self._handover.asked
            self._handover = None

    def _watch_quorum(self, at: int) -> None:
        """End the reign when no majority has answered for twice the election timeout: others may have one."""
        protections = self._state.protections
        self._silence.tick(at)
        confirmed = confirmed_ns(at, self._followers.members)
        if confirmed > self._confirmed_ns:
            self._confirmed_ns = confirmed
            self._silence.end(at)
        if protections.check_quorum and protections.fencing:
            self.is_over |= self._silence.lasted_ns >= 2 * self._state.election_timeout_ns

    def _expire_sessions(self, at: int) -> None:
        is_busy = self._executing is not None or self._settling is not None
        if not is_busy and (entry := self._expiry.due(at)) is not None:
            self._append(entry, at)

    # Storage.

    def on_durable(self, durable: Durable, at: int) -> None:
        """The own log counts like a follower's."""
        self._state.became_durable(durable.position)
        self._acknowledge(at)

    def on_applied(self, applied: Applied, at: int) -> None:
        """The group is visible; the next one may begin."""
        self._state.became_applied(applied.position)
        if applied.position == self._settling:
            self._settling = None
        self._acknowledge(at)

    def on_queried(self, queried: Queried, at: int) -> None:
        """Answer reads."""
        self._reads.on_queried(queried, leads=self._has_authority(at))
        self._reads.confirm(confirmed_ns(at, self._followers.members))

    # Acknowledgements.

    def _has_authority(self, at: int) -> bool:
        """Whether nobody else can lead now (law 5)."""
        protections = self._state.protections
        if self._handover is not None and self._handover.asked:
            return False
        if not (protections.fencing and protections.check_quorum):
            return True
        confirmed = confirmed_ns(at, self._followers.members)
        return confirmed > 0 and at < confirmed + self._state.lease_ns

    def _acknowledge(self, at: int) -> None:
        """Advance the committed index, and reply to whoever waits for what the policy now allows."""
        state = self._state
        followers = self._followers.members
        committed = committed_index(durable=state.durable, followers=followers)
        if committed >= self._term_start:
            state.commit(committed)
        if self._reads.wait_for_a_majority:
            self._reads.confirm(confirmed_ns(at, followers))
        met = acknowledged_index(state.ack, durable=state.durable, applied=state.applied, followers=followers)
        index = self._downgrade.acknowledged_index(met, at)
        is_new = index > self._acknowledged or self._unacknowledged.begins_by(index)
        if index < self._term_start or not is_new or not self._has_authority(at):
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
        if expired:
            self._reply(expired)
        self._reads.expire(before)

    def _why_unacknowledged(self, index: int) -> str:
        state = self._state
        if state.durable < index:
            return f"not acknowledged in time: the disk of {state.name} does not answer"
        names = missing(state.ack, index, self._followers.members)
        if names:
            return f"not acknowledged in time: {state.ack} waits for {', '.join(names)}"
        return f"not acknowledged in time: {state.name} hears from no majority of {', '.join(state.members)}"

    # Changes on purpose.

    def add_member(self, name: str, at: int) -> str:
        """Begin to add a replica; why not, if so."""
        return self._changes.add(name, at)

    def remove_member(self, name: str) -> str:
        """Begin to remove a replica; why not, if so."""
        return self._changes.remove(name)

    def _change_members(self, members: tuple[str, ...], at: int) -> None:
        self._changes.due = None
        self._append(members_entry(self._state.term, self._state.log.last.index + 1, members), at)
        self._followers.set_members(self._state.others, self._state.log.last.index, at)

    def transfer(self, to: str, at: int) -> str:
        """Begin to hand the leadership over; why not, if so."""
        if to == self._state.name:
            return f"{to} leads already"
        if to not in self._state.members:
            return f"{to} is no member: they are {', '.join(self._state.members)}"
        self._handover = self._handover or Handover(self._state, to, at)
        return "" if self._handover.to == to else f"the leadership is on its way to {self._handover.to}"

    def _hand_over(self, handover: Handover) -> None:
        """Ask the next leader to stand, once it has everything and nobody waits for an acknowledgement."""
        follower = self._followers.get(handover.to)
        has_everything = follower is not None and follower.durable == self._state.log.last.index
        if has_everything and not handover.asked and self._unacknowledged.oldest is None:
            handover.ask()

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
        self._reads.step_down()
        self._downgrade.end()
