"""What a cluster tells about its replicas: status and convergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from workbench.config import AckPolicy
from workbench.protocol import messages
from workbench.protocol.roles import Role
from workbench.protocol.values import Position
from workbench.storage.base import LEFT_OUT

DOWN = "down"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaStatus:
    """One replica: as it sees itself, or `role` "down" and the `reason` when it does not answer.

    A leader has a `reason` too when the members that are down leave too few for its ack policy: writes wait. Where
    nobody leads, everybody's `reason` says why. `members` are those that count as this replica knows them, `joining`
    those that its leader is about to make members, `refusal` why it did not do what was asked.

    `last`, `durable`, `applied` and `committed` are indices of entries. `counters` are those of
    `workbench.replica.counters`, cumulative since the process started.
    """

    name: str
    role: str
    term: int = 0
    leader: str = ""
    last: int = 0
    durable: int = 0
    applied: int = 0
    committed: int = 0
    last_position: Position = field(default_factory=Position)
    counters: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()
    refusal: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @classmethod
    def from_message(cls, status: messages.ReplicaStatus) -> ReplicaStatus:
        """The status that a replica sent."""
        return cls(
            name=status.name,
            role=status.role,
            term=status.term,
            leader=status.leader,
            last=status.last.index,
            durable=status.durable,
            applied=status.applied,
            committed=status.committed,
            last_position=status.last,
            counters=status.counters,
            digests=status.digests,
            members=status.members,
            joining=status.joining,
            refusal=status.refusal,
            notes=status.notes,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvergenceReport:
    """Whether all replicas hold the same data: `ok`, or the `reason` why not.

    `digests`: replica -> table -> hex digest over its rows, or "left out: " and the reason. `positions`: replica -> its
    last position.
    """

    ok: bool
    reason: str
    digests: Mapping[str, Mapping[str, str]]
    positions: Mapping[str, Position]


def leading(statuses: Sequence[ReplicaStatus]) -> ReplicaStatus | None:
    """Whoever leads in the newest term."""
    leaders = [status for status in statuses if status.role == Role.LEADER]
    return max(leaders, key=lambda status: status.term, default=None)


def with_reasons(statuses: Sequence[ReplicaStatus], ack: AckPolicy) -> list[ReplicaStatus]:
    """The same statuses; where writes cannot be acknowledged, with the reason."""
    leader = leading(statuses)
    if leader is None:
        why = why_nobody_leads(statuses)
        return [status if status.role == DOWN else replace(status, reason=why) for status in statuses]
    return [replace(one, reason=_why_writes_wait(one, ack, statuses)) if one is leader else one for one in statuses]


def _why_writes_wait(leader: ReplicaStatus, ack: AckPolicy, statuses: Sequence[ReplicaStatus]) -> str:
    down = _down(leader.members, statuses)
    up, members = len(leader.members) - len(down), len(leader.members)
    needed, majority = ack.followers_needed(members), members // 2 + 1
    if not down or (up - 1 >= needed and up >= majority):
        return ""
    are_down = f"{', '.join(down)} {'is' if len(down) == 1 else 'are'} down"
    if up < majority:
        return f"writes wait: {up} of {members} members are up, and a leader needs a majority of {majority}; {are_down}"
    return f"writes wait: {ack} needs {needed} of {members - 1} followers, {are_down}"


def why_nobody_leads(statuses: Sequence[ReplicaStatus]) -> str:
    """Whether an election is possible at all."""
    members = max((status for status in statuses if status.role != DOWN), key=lambda one: one.last, default=None)
    if members is None:
        return "nobody leads: no replica is up"
    down = _down(members.members, statuses)
    up, count = len(members.members) - len(down), len(members.members)
    majority = count // 2 + 1
    if up >= majority:
        return "nobody leads yet: an election is under way"
    votes = f"nobody can lead: an election needs the votes of {majority} of {count} members, and {', '.join(down)} "
    why = "is down" if len(down) == 1 else "are down"
    two = "; of two members, one alone cannot know whether the other one still leads" if count == 2 else ""
    return f"{votes}{why}{two}"


def left_out(digests: Mapping[str, str]) -> dict[str, str]:
    """Table -> why a replica on another engine has nothing of it that could be compared."""
    return {table: text.removeprefix(LEFT_OUT) for table, text in digests.items() if text.startswith(LEFT_OUT)}


def _down(members: Sequence[str], statuses: Sequence[ReplicaStatus]) -> list[str]:
    up = {status.name for status in statuses if status.role != DOWN}
    return [name for name in members if name not in up]


def why_not_settled(statuses: Sequence[ReplicaStatus]) -> str:
    """Why the replicas' databases cannot be compared yet; empty when they can."""
    for status in statuses:
        if status.role == DOWN:
            return f"{status.name} is down: {status.reason}"
    newest = max(status.last_position for status in statuses)
    behind = [
        f"{status.name} has applied {status.applied} of {newest.index} entries"
        for status in statuses
        if status.last_position != newest or status.applied < newest.index
    ]
    return "; ".join(behind)


def why_moved(before: Sequence[ReplicaStatus], after: Sequence[ReplicaStatus]) -> str:
    """Why digests that were taken between these two looks may be of different entries; empty when they cannot be."""
    at = {status.name: status.last_position for status in before}
    moved = [status.name for status in after if at.get(status.name) != status.last_position]
    return f"writes go on: {', '.join(moved)} had new entries while digests were taken" if moved else ""


def compare_digests(statuses: Sequence[ReplicaStatus]) -> ConvergenceReport:
    """Compare the data of replicas that have applied the same entries.

    A table that a replica on another engine leaves out, and says so, is not compared; one that is missing differs.
    """
    reference = next((status for status in statuses if not left_out(status.digests)), statuses[0])
    differences = []
    for status in statuses:
        tables = sorted(
            table
            for table in reference.digests.keys() | status.digests.keys()
            if reference.digests.get(table) != status.digests.get(table) and table not in left_out(status.digests)
        )
        if tables:
            differences.append(f"{status.name} differs from {reference.name} in {', '.join(tables)}")
    return ConvergenceReport(
        ok=not differences,
        reason="; ".join(differences),
        digests={status.name: status.digests for status in statuses},
        positions={status.name: status.last_position for status in statuses},
    )
