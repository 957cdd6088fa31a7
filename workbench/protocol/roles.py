"""The roles of a replica and every way from one to another.

The table is the whole truth: a transition that is not in it is a bug, and raises `AssertionError`.
"""

from __future__ import annotations

import enum


class Role(enum.StrEnum):
    """What a replica is to its partition."""

    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"


class RoleEvent(enum.StrEnum):
    """Why a role changes."""

    STANDS = "stands for election"
    ELECTED = "was elected"
    HEARD_LEADER = "heard from a leader"
    NEWER_TERM = "saw a newer term"
    LOST_QUORUM = "heard from no majority"
    DIVERGED = "found that its database differs"


TRANSITIONS: dict[tuple[Role, RoleEvent], Role] = {
    (Role.FOLLOWER, RoleEvent.STANDS): Role.CANDIDATE,
    (Role.FOLLOWER, RoleEvent.NEWER_TERM): Role.FOLLOWER,
    (Role.CANDIDATE, RoleEvent.STANDS): Role.CANDIDATE,
    (Role.CANDIDATE, RoleEvent.ELECTED): Role.LEADER,
    (Role.CANDIDATE, RoleEvent.HEARD_LEADER): Role.FOLLOWER,
    (Role.CANDIDATE, RoleEvent.NEWER_TERM): Role.FOLLOWER,
    (Role.CANDIDATE, RoleEvent.DIVERGED): Role.FOLLOWER,
    (Role.LEADER, RoleEvent.NEWER_TERM): Role.FOLLOWER,
    (Role.LEADER, RoleEvent.LOST_QUORUM): Role.FOLLOWER,
    (Role.LEADER, RoleEvent.DIVERGED): Role.FOLLOWER,
}


def next_role(role: Role, event: RoleEvent) -> Role:
    """The role that follows."""
    assert (role, event) in TRANSITIONS, f"a {role} cannot have {event}"
    return TRANSITIONS[role, event]
