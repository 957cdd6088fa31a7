"""The replication protocol of one replica, as a pure state machine: inputs in, effects out.

No clock, no socket, no disk and no randomness of its own: the time comes with every input, random numbers from an
injected source, and everything that the world must do is returned as an effect (`effects.py` states in which order).
The same code runs in real processes and, step by step, in tests and the simulator.

A `Replica` keeps terms and roles (`roles.py` has the table) and dispatches to the duty of the present role: `Leading`,
or `Following`, which a candidate goes on doing.
"""

from __future__ import annotations

from workbench.protocol.compaction import Compaction
from workbench.protocol.effects import Answer, Effect, Leave, Send
from workbench.protocol.election import Election
from workbench.protocol.following import Following
from workbench.protocol.inputs import (
    Applied,
    ChunkSaved,
    Diverged,
    Durable,
    Executed,
    Input,
    Installed,
    InstallFailed,
    LogDropped,
    Queried,
    Rebuilt,
    Received,
    Rewound,
    SnapshotAbandoned,
    SnapshotCopied,
    SnapshotSealed,
    Tick,
)
from workbench.protocol.leading import Leading
from workbench.protocol.messages import (
    AddMember,
    AppendEntries,
    Campaign,
    ClientBatch,
    EntryPiece,
    Fetch,
    FetchSnapshot,
    JoinRefused,
    Message,
    Mismatch,
    Progress,
    RemoveMember,
    RequestVote,
    SnapshotChunk,
    SnapshotNeeded,
    TakeOver,
    TransferLeadership,
    Vote,
)
from workbench.protocol.roles import Role, RoleEvent, next_role
from workbench.protocol.state import ReplicaState

_FromLeader = AppendEntries | EntryPiece | Mismatch | SnapshotNeeded | SnapshotChunk | JoinRefused | TakeOver
_FromFollower = Progress | Fetch | FetchSnapshot
_Request = Campaign | AddMember | RemoveMember | TransferLeadership


class Replica:
    """One replica. Call `handle` with every input, from one thread, and carry out the effects it returns.

    `incoming`: the part of a snapshot that the disk holds, as in `Recovered`.
    """

    def __init__(self, state: ReplicaState, at: int, incoming: tuple[str, int] = ("", 0)) -> None:
        self.state = self._state = state
        """For reading only."""
        self._now = at
        self.role = Role.FOLLOWER
        """The present role."""
        self._compaction = Compaction(state)
        self._election = Election(state, at)
        self._duty: Leading | Following = Following(state, incoming)

    @property
    def joining(self) -> tuple[str, ...]:
        """Names of the replicas that this leader is making members."""
        return self._duty.joining if isinstance(self._duty, Leading) else ()

    @property
    def is_downgraded(self) -> bool:
        """Whether this is a leader that acknowledges as under `async` for now."""
        return isinstance(self._duty, Leading) and self._duty.is_downgraded

    def handle(self, happened: Input, at: int) -> list[Effect]:
        """Take one input at the time of its handling; return what the world must do about it, in order.

        Time never goes back nor stands still here, whatever the clock does: what is sent in answer to one input is
        known to be older than what the next one brings.
        """
        self._now = at = at if at > self._now else self._now + 1
        if type(happened) is Received:
            for message in happened.messages:
                self._receive(message, at)
        elif type(happened) is Tick:
            self._tick(at)
        else:
            self._on_storage(happened, at)
        self._compaction.seal_if_committed()
        if isinstance(self._duty, Leading):
            if self._duty.is_over:
                self._become(RoleEvent.LOST_QUORUM, at)
            else:
                self._duty.pump(at)
        effects, self._state.effects = self._state.effects, []
        return effects

    def _tick(self, at: int) -> None:
        self._duty.on_tick(at)
        if isinstance(self._duty, Following):
            self._compaction.start_if_due(at)
            if self._election.is_patience_over(at):
                if self._state.is_member:
                    self._stand(at)
                elif self._state.observer:
                    self._state.leader = ""

    def _on_storage(self, happened: Input, at: int) -> None:
        duty = self._duty
        match happened:
            case Durable():
                duty.on_durable(happened, at)
            case Applied():
                duty.on_applied(happened, at)
            case Executed():
                if isinstance(duty, Leading):
                    duty.on_executed(happened, at)
            case Queried():
                duty.on_queried(happened, at)
            case Rewound(position):
                self._state.rewound(position)
            case Diverged():
                self._on_diverged(happened, at)
            case Rebuilt(position) if isinstance(duty, Following):
                duty.on_rebuilt(position, at)
            case SnapshotCopied(position):
                self._compaction.on_copied(position)
            case SnapshotAbandoned():
                self._compaction.on_abandoned(at)
            case SnapshotSealed(position):
                self._compaction.on_sealed(position, at)
                if isinstance(duty, Leading):
                    duty.on_sealed()
            case LogDropped(first_index):
                self._state.log.first_index = first_index
            case ChunkSaved(snapshot, held) if isinstance(duty, Following):
                duty.on_chunk_saved(snapshot, held, at)
            case Installed(recovered) if isinstance(duty, Following):
                duty.on_installed(recovered, at)
            case InstallFailed() if isinstance(duty, Following):
                duty.receiving.on_end()

    def _on_diverged(self, diverged: Diverged, at: int) -> None:
        """What was applied last, be it as a leader that had just been elected, does not fit the database."""
        if self.role is not Role.FOLLOWER:
            self._become(RoleEvent.DIVERGED, at)
        assert isinstance(self._duty, Following)
        self._duty.on_diverged(diverged)

    # Messages.

    def _receive(self, message: Message, at: int) -> None:
        """What makes no sense is counted and dropped: nobody ends a replica by talking to it."""
        match message:
            case AppendEntries():
                self._from_leader(message, message.term, message.leader, at)
            case Progress() | Fetch() | FetchSnapshot() if message.replica != self._state.name:
                if self._in_term(message.term, message.replica, at):
                    self._on_follower_message(message, at)
            case ClientBatch():
                self._duty.on_client(message, at)
            case Mismatch() | SnapshotNeeded() | SnapshotChunk() | JoinRefused() | TakeOver():
                self._from_leader(message, message.term, message.leader, at)
            case EntryPiece(header=header):
                self._from_leader(message, header.term, header.leader, at)
            case RequestVote(candidate=sender) if sender != self._state.name:
                self._on_request_vote(message, at)
            case Vote(voter=sender) if sender != self._state.name:
                self._on_vote(message, at)
            case Campaign() | AddMember() | RemoveMember() | TransferLeadership():
                self._state.ask(Answer(message.request, message.reply_to, self._on_request(message, at)))
            case _:
                self._state.refused_messages += 1

    def _in_term(self, term: int, sender: str, at: int) -> bool:
        """Follow a newer term; tell the sender of an older one (law 5). Whether the message is to be heard."""
        state = self._state
        if not state.protections.fencing and (term < state.term or self.role is Role.LEADER):
            return True
        if term < state.term:
            state.ask(Send(sender, Progress(state.term, state.name, 0, 0, 0)))
            return False
        if term > state.term:
            self._follow_term(term, at)
        return True

    def _follow_term(self, term: int, at: int) -> None:
        self._state.leader = ""
        self._state.save_term(term, "")
        self._become(RoleEvent.NEWER_TERM, at)

    # The leader.

    def _from_leader(self, message: _FromLeader, term: int, sender: str, at: int) -> None:
        """A term has one leader (law 1): after the first that is heard of, nobody else is listened to."""
        state = self._state
        if sender == state.name:
            state.refused_messages += 1
            return
        if not self._in_term(term, sender, at):
            return
        is_stranger = state.protections.fencing and state.leader not in {"", sender}
        if isinstance(self._duty, Leading) or is_stranger:
            state.refused_messages += 1
            return
        self._election.heard_leader(at)
        if self.role is Role.CANDIDATE:
            self._become(RoleEvent.HEARD_LEADER, at)
        if not state.leader:
            state.leader = sender
            self._duty.new_term()
        self._on_leader_message(self._duty, message, at)

    def _on_leader_message(self, following: Following, message: _FromLeader, at: int) -> None:
        match message:
            case AppendEntries():
                following.on_append_entries(message, at)
            case EntryPiece():
                following.on_piece(message, at)
            case Mismatch():
                following.on_mismatch(message, at)
            case SnapshotNeeded():
                following.receiving.begin(at)
            case SnapshotChunk():
                following.receiving.on_chunk(message, at)
            case JoinRefused(reason=reason):
                self._state.ask(Leave(reason))
            case TakeOver():
                if self._state.is_member:
                    self._stand(at, transfer=True)

    # Followers.

    def _on_follower_message(self, message: _FromFollower, at: int) -> None:
        if not isinstance(self._duty, Leading):
            return
        match message:
            case Progress():
                self._duty.on_progress(message, at)
            case Fetch():
                self._duty.on_fetch(message, at)
            case FetchSnapshot():
                self._duty.on_fetch_snapshot(message)

    # Elections.

    def _stand(self, at: int, *, transfer: bool = False, at_once: bool = False) -> None:
        """Stand for election, with the log that is there: not while it is being replaced, nor is it from now on."""
        assert isinstance(self._duty, Following)
        if self._duty.receiving.is_installing or self._state.diverged:
            return
        self._duty.receiving.end_if_possible()
        self.role = next_role(self.role, RoleEvent.STANDS)
        self._election.stand(at, transfer=transfer, at_once=at_once)
        self._win_if_elected(at)

    def _on_request_vote(self, request: RequestVote, at: int) -> None:
        state = self._state
        if self.role is Role.LEADER and not state.protections.fencing:
            return
        if request.term < state.term:
            state.ask(Send(request.candidate, Vote(state.term, state.name, granted=False, pre=request.pre)))
        elif self.role is Role.LEADER and (request.pre or state.protections.check_quorum) and not request.transfer:
            pass  # it would know if a majority followed somebody else
        elif not self._election.ignores(request, at):
            if request.term > state.term and not request.pre:
                self._follow_term(request.term, at)
            self._election.answer(request, at)

    def _on_vote(self, vote: Vote, at: int) -> None:
        if vote.granted or vote.term <= self._state.term:
            self._election.on_vote(vote)
            self._win_if_elected(at)
        else:
            self._in_term(vote.term, vote.voter, at)

    def _win_if_elected(self, at: int) -> None:
        if self.role is Role.CANDIDATE and self._election.is_won:
            self._state.counts["elections_won"] += 1
            self._become(RoleEvent.ELECTED, at)

    # Requests of whoever runs the cluster.

    def _on_request(self, request: _Request, at: int) -> str:
        """Begin to do what is asked; why not, if so."""
        state, duty = self._state, self._duty
        if isinstance(request, Campaign):
            if isinstance(duty, Following) and state.is_member and not state.leader:
                self._stand(at, at_once=True)
            return ""
        if not isinstance(duty, Leading):
            believed = f"; {state.leader} does, as far as it knows" if state.leader else ""
            return f"{state.name} does not lead{believed}"
        match request:
            case AddMember(name=name):
                return duty.add_member(name, at)
            case RemoveMember(name=name):
                return duty.remove_member(name)
            case TransferLeadership(to=to):
                return duty.transfer(to, at)

    # Roles.

    def _become(self, event: RoleEvent, at: int) -> None:
        former, self.role = self._duty, next_role(self.role, event)
        match former:
            case Following() if self.role is Role.LEADER:
                former.step_down()
                self._duty = Leading(self._state, self._compaction, at)
            case Following() if event is RoleEvent.NEWER_TERM:
                former.new_term()
            case Leading():
                former.step_down()
                self._state.leader = ""
                self._duty = Following(self._state)
        self._election.stop()
