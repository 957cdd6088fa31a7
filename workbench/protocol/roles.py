"""The roles of a replica and every way from one to another.

The table is the whole truth: a transition that is not in it is a bug, and raises `AssertionError`.
"""

from __future__ import annotations

import enum


class Role(enum.StrEnum):
    """What a replica is to its partition."""

    FOLLOWER = "follower"
    LEADER = "leader"


class RoleEvent(enum.StrEnum):
    """Why a role changes."""

    APPOINTED = "appointed"
    NEWER_TERM = "saw a newer term"


TRANSITIONS: dict[tuple[Role, RoleEvent], Role] = {
    (Role.FOLLOWER, RoleEvent.APPOINTED): Role.LEADER,
    (Role.FOLLOWER, RoleEvent.NEWER_TERM): Role.FOLLOWER,
    (Role.LEADER, RoleEvent.APPOINTED): Role.LEADER,
    (Role.LEADER, RoleEvent.NEWER_TERM): Role.FOLLOWER,
}


def next_role(role: Role, event: RoleEvent) -> Role:
    """The role that follows."""
    assert (role, event) in TRANSITIONS, f"a {role} cannot have {event}"
    return TRANSITIONS[role, event]
