"""Changes that a leader makes on purpose: who is a member, and who leads next.

Members change one at a time, by an entry that counts from its append, and only once an entry of the leader's own term
is committed (the bug of 2015: https://groups.google.com/g/raft-dev/c/t4xj6dJTP6E). A replica that is to be added is
followed first, and becomes a member when it has nearly everything.

Leadership is handed over when the next leader has everything: then the old one stops acknowledging and answering for
good, since the election that it asks for does not wait for its lease, however late the request arrives.
"""

from __future__ import annotations

from workbench.protocol.effects import Send
from workbench.protocol.messages import TakeOver
from workbench.protocol.progress import Followers
from workbench.protocol.state import ReplicaState


class MembershipChanges:
    """Additions and removals of one reign. `term_start` is the index of the reign's first entry."""

    def __init__(self, state: ReplicaState, followers: Followers, term_start: int) -> None:
        self._state = state
        self._followers = followers
        self._term_start = term_start
        self.due: tuple[str, ...] | None = None
        """The members that the next entry is to make."""

    def add(self, name: str, at: int) -> str:
        """Begin to add a replica; why not, if so. Asking twice is fine."""
        if name in self._followers.joining:
            return ""
        if name in self._state.members:
            return f"{name} is a member already"
        if name in self._followers.observers:
            return f"{name} is an observer: it never becomes a member"
        if self._followers.joining:
            return f"{self._followers.joining[0]} is joining: members change one at a time"
        if reason := self._busy():
            return reason
        self._followers.add_joining(name, self._state.log.last.index, at)
        return ""

    def remove(self, name: str) -> str:
        """Begin to remove a replica; why not, if so."""
        state = self._state
        if name in self._followers.joining:
            self._followers.drop(name)
            if self.due is not None and name in self.due:
                self.due = None  # it was about to become a member
            return ""
        if name not in state.members:
            return f"{name} is no member: they are {', '.join(state.members)}"
        if len(state.members) == 1:
            return f"{name} is the last member: without it there is no data"
        if name == state.name:
            return f"{name} leads: transfer the leadership first"
        if reason := self._busy():
            return reason
        self.due = tuple(member for member in state.members if member != name)
        return ""

    def on_progress(self, bytes_behind: int, name: str) -> None:
        """A replica that joins becomes a member when it has nearly everything on disk."""
        if bytes_behind <= self._state.limits.catch_up_bytes_max and not self._busy():
            self.due = (*self._state.members, name)

    def _busy(self) -> str:
        state = self._state
        if state.committed < self._term_start:
            return f"{state.name} has just begun to lead: nothing of its term is committed yet"
        if self.due is not None or state.ledger.membership.changed_at > state.committed:
            return "another change of members is not committed yet"
        return ""


class Handover:
    """The leadership on its way to another member."""

    def __init__(self, state: ReplicaState, to: str, at: int) -> None:
        self._state = state
        self.to = to
        self._until = at + state.election_timeout_ns
        self.asked = False
        """From then on nobody may trust this leader any more."""

    def ask(self) -> None:
        """The next leader has everything: let it stand."""
        self.asked = True
        self._state.ask(Send(self.to, TakeOver(self._state.term, self._state.name)))

    def is_over(self, at: int) -> bool:
        """Whether nothing came of it. A leader that has asked steps down then; one that has not goes on."""
        return at >= self._until
