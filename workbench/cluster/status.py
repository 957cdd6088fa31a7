"""What a cluster tells about its replicas: status and convergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from workbench.config import AckPolicy
from workbench.protocol import messages
from workbench.protocol.messages import Position
from workbench.protocol.roles import Role

DOWN = "down"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaStatus:
    """One replica: as it sees itself, or `role` "down" and the `reason` when it does not answer.

    A leader has a `reason` too when the members that are down leave too few for its ack policy: writes wait.

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
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvergenceReport:
    """Whether all replicas hold the same data: `ok`, or the `reason` why not.

    `digests`: replica -> table -> hex digest over its rows. `positions`: replica -> its last position.
    """

    ok: bool
    reason: str
    digests: Mapping[str, Mapping[str, str]]
    positions: Mapping[str, Position]


def with_reason(status: ReplicaStatus, ack: AckPolicy, statuses: Sequence[ReplicaStatus]) -> ReplicaStatus:
    """The same status; of a leader whose writes have to wait, with the reason."""
    down = [other.name for other in statuses if other.role == DOWN]
    needed = ack.followers_needed(len(statuses))
    if status.role != Role.LEADER or len(statuses) - 1 - len(down) >= needed:
        return status
    are_down = f"{', '.join(down)} {'is' if len(down) == 1 else 'are'} down"
    return replace(status, reason=f"writes wait: {ack} needs {needed} of {len(statuses) - 1} followers, {are_down}")


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


def compare_digests(statuses: Sequence[ReplicaStatus]) -> ConvergenceReport:
    """Compare the data of replicas that have applied the same entries."""
    reference = statuses[0]
    differences = []
    for status in statuses[1:]:
        tables = sorted(
            table
            for table in reference.digests.keys() | status.digests.keys()
            if reference.digests.get(table) != status.digests.get(table)
        )
        if tables:
            differences.append(f"{status.name} differs from {reference.name} in {', '.join(tables)}")
    return ConvergenceReport(
        ok=not differences,
        reason="; ".join(differences),
        digests={status.name: status.digests for status in statuses},
        positions={status.name: status.last_position for status in statuses},
    )
