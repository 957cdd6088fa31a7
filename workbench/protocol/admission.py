"""What a leader does with a write that arrives: queue it, or say at once how it ends."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.protocol.messages import Outcome, WriteReply
from workbench.protocol.sessions import Remembered
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import Transaction
from workbench.protocol.waiting import AcknowledgementQueue, WriteQueue


class Admission:
    """The door of one reign, whose first entry is at `term_start`."""

    def __init__(
        self, state: ReplicaState, writes: WriteQueue, unacknowledged: AcknowledgementQueue, term_start: int
    ) -> None:
        self._state = state
        self._writes = writes
        self._unacknowledged = unacknowledged
        self._term_start = term_start

    def admit(self, client: str, writes: Iterable[Transaction], at: int, settled: int) -> tuple[WriteReply, ...]:
        """Queue what is new; the answers to what is known. Entries up to `settled` may be acknowledged again."""
        replies = (self._admit(client, write, at, settled) for write in writes)
        return tuple([reply for reply in replies if reply is not None])

    def _admit(self, client: str, write: Transaction, at: int, settled: int) -> WriteReply | None:
        sessions = self._state.ledger.sessions
        known = sessions.newest(write.session)
        if known is not None and known.sequence >= write.sequence:
            return self._admit_retry(client, write, known, at, settled)
        if self._writes.is_overtaken(write) or write.sequence <= sessions.forgotten(write.session):
            return _gone_on(write)
        if known is None and sessions.may_have_expired(write.born) and not self._writes.is_open(write):
            reason = "the session is not known; it may have expired"
            return WriteReply(write.session, write.sequence, Outcome.EXPIRED, reason=reason)
        waiting, most = len(self._writes), self._state.limits.waiting_transactions_max
        if waiting >= most and not self._writes.is_open(write):
            reason = f"{waiting} transactions are waiting already"
            return WriteReply(write.session, write.sequence, Outcome.OVERLOADED, reason=reason)
        self._writes.add(client, write, at)
        return None

    def _admit_retry(
        self, client: str, write: Transaction, known: Remembered, at: int, settled: int
    ) -> WriteReply | None:
        """A write that took effect before: its first reply, as soon as the policy is met in this term (law 4)."""
        if known.sequence > write.sequence:
            return _gone_on(write)
        reply = WriteReply(write.session, write.sequence, Outcome.OK, known.position, known.member, known.results)
        if known.position.index <= settled:
            return reply
        self._unacknowledged.wait_for(max(known.position.index, self._term_start), client, reply, at)
        return None


def _gone_on(write: Transaction) -> WriteReply:
    """A copy of a write that its session has left behind; how the write ended is not remembered."""
    reason = "the session has gone on to a later write"
    return WriteReply(write.session, write.sequence, Outcome.INDEFINITE, reason=reason)
