"""The replication protocol of one replica, as a pure state machine: inputs in, effects out.

No clock, no socket, no disk and no randomness: time comes with every input, and everything that the world must do
is returned as an effect (`effects.py` states in which order). The same code runs in real processes and, step by
step, in tests and the simulator.

A `Replica` keeps the terms and dispatches to the duty of its present role: `Leading` or `Following`.
"""

from __future__ import annotations

from workbench.protocol.effects import Effect, SaveTerm, Send
from workbench.protocol.following import Following
from workbench.protocol.inputs import Applied, Durable, Executed, Input, Queried, Received, Rewound, Tick
from workbench.protocol.leading import Leading
from workbench.protocol.messages import (
    AppendEntries,
    Appoint,
    ClientBatch,
    Fetch,
    Message,
    Mismatch,
    Progress,
)
from workbench.protocol.roles import Role, RoleEvent, next_role
from workbench.protocol.state import ReplicaState


class Replica:
    """One replica. Call `handle` with every input, from one thread, and carry out the effects it returns."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._role = Role.FOLLOWER
        self._duty: Leading | Following = Following(state)

    @property
    def role(self) -> Role:
        """The present role."""
        return self._role

    @property
    def state(self) -> ReplicaState:
        """For reading only."""
        return self._state

    def handle(self, happened: Input) -> list[Effect]:
        """Take one input; return what the world must do about it, in order."""
        match happened:
            case Received(at, messages):
                for message in messages:
                    self._receive(message, at)
            case Tick(at):
                self._duty.on_tick(at)
            case Executed():
                if isinstance(self._duty, Leading):
                    self._duty.on_executed(happened)
            case Durable():
                self._duty.on_durable(happened)
            case Applied():
                self._duty.on_applied(happened)
            case Queried():
                self._state.answer_reads(happened)
            case Rewound(_, position):
                self._state.rewound(position)
        if isinstance(self._duty, Leading):
            self._duty.pump()
        effects, self._state.effects = self._state.effects, []
        return effects

    # Messages.

    def _receive(self, message: Message, at: int) -> None:
        """What makes no sense is counted and dropped: nobody ends a replica by talking to it."""
        match message:
            case ClientBatch():
                self._duty.on_client(message, at)
            case Appoint():
                self._lead(at)
            case AppendEntries(leader=sender) | Mismatch(leader=sender) if sender in self._state.others:
                if self._in_term(message.term, sender):
                    self._on_leader_message(message, at)
            case Progress(replica=sender) | Fetch(replica=sender) if sender in self._state.others:
                if self._in_term(message.term, sender) and isinstance(self._duty, Leading):
                    self._on_follower_message(self._duty, message, at)
            case _:
                self._state.refused_messages += 1

    def _in_term(self, term: int, sender: str) -> bool:
        """Follow a newer term; tell the sender of an older one (law 5). Whether the message is to be heard."""
        state = self._state
        if term < state.term:
            state.ask(Send(sender, Progress(state.term, state.name, 0, 0, 0)))
            return False
        if term > state.term:
            state.term, state.voted_for, state.leader = term, "", ""
            state.ask(SaveTerm(term, ""))
            self._become(RoleEvent.NEWER_TERM, at=0)
        return True

    def _on_leader_message(self, message: AppendEntries | Mismatch, at: int) -> None:
        """A term has one leader (law 1): after the first that is heard of, nobody else is listened to."""
        if isinstance(self._duty, Leading) or self._state.leader not in {"", message.leader}:
            self._state.refused_messages += 1
        elif isinstance(message, AppendEntries):
            self._duty.on_append_entries(message, at)
        else:
            self._duty.on_mismatch(message, at)

    def _on_follower_message(self, leading: Leading, message: Progress | Fetch, at: int) -> None:
        if isinstance(message, Progress):
            leading.on_progress(message, at)
        else:
            leading.on_fetch(message, at)

    # Roles.

    def _lead(self, at: int) -> None:
        """Begin a reign. The term is new, so that nothing of an older reign, even of this replica, is continued."""
        state = self._state
        state.term, state.voted_for = state.term + 1, state.name
        state.ask(SaveTerm(state.term, state.voted_for))
        self._become(RoleEvent.APPOINTED, at)

    def _become(self, event: RoleEvent, at: int) -> None:
        former, self._role = self._duty, next_role(self._role, event)
        match former, self._role:
            case Following(), Role.FOLLOWER:
                former.new_term()
            case Following(), Role.LEADER:
                former.stop()
                self._duty = Leading(self._state, at)
            case Leading(), Role.FOLLOWER:
                former.step_down()
                self._duty = Following(self._state)
            case Leading(), Role.LEADER:
                former.step_down()
                self._duty = Leading(self._state, at)
