"""What a replica knows of members and sessions, against its log: it is a function of the entries alone.

Wrong knowledge does harm only at the next failover or the next retry, which may come after the end of a seed. So it is
looked for where it may go wrong: after a rewind, when a replica begins to lead, and in the end.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from workbench.protocol.ledger import Ledger
from workbench.protocol.membership import members_entry
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import LoggedEntry, Position
from workbench.simulator.laws import LawBroken, Laws


def check_ledger(state: ReplicaState, laws: Laws) -> None:
    """Raise `LawBroken` where a replica knows of a write, or of a change of members, that its log does not have.

    Costs as much as there are sessions. What its log has, but no disk yet, cannot be looked at.
    """
    log, membership = state.log, state.ledger.membership
    for one in state.ledger.sessions.image_at(sys.maxsize).sessions:  # also what is known of entries behind the end
        for write in one.remembered:
            if not log.holds(write.position):
                what = f"{one.session}.{write.sequence} at {write.position}"
                raise LawBroken(f"law 7: {state.name} takes {what} for known, which its log lacks")
    if not membership.changed_at:
        return
    term = log.term_at(membership.changed_at)
    if term is None:
        raise LawBroken(f"law 3: {state.name} counts the members of an entry that its log lacks")
    entry = laws.entry(Position(term, membership.changed_at))
    if entry is not None and entry != members_entry(term, entry.index, membership.current):
        raise LawBroken(f"law 3: {state.name} counts {', '.join(membership.current)}, its log says something else")


def judge_ledger(name: str, ledger: Ledger, log: Sequence[LoggedEntry], first_members: tuple[str, ...]) -> None:
    """Raise `LawBroken` where what a replica knows in the end is not what its log says.

    `log`: from the cluster's first entry on. After rewinds, restarts and snapshots alike, replicas with the same log
    must count the same members, and take the same writes for known.
    """
    expected = Ledger(first_members)
    for logged in log:
        expected.record(logged.entry)
    ours, due = ledger.membership, expected.membership
    if (ours.current, ours.changed_at) != (due.current, due.changed_at):
        raise LawBroken(f"law 3: {name} counts {', '.join(ours.current)}, its log says {', '.join(due.current)}")
    for session in {member.session for logged in log for member in logged.entry.members}:
        known, noted = ledger.sessions.newest(session), expected.sessions.newest(session)
        if known != noted:
            raise LawBroken(f"law 7: {name} knows {known} of session {session}, its log says {noted}")
