"""When a write is acknowledged, an entry committed, a lease granted. Pure arithmetic over everybody's progress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.config import AckPolicy, Level
from workbench.protocol.progress import FollowerProgress


def _kth_largest(values: Iterable[int], k: int) -> int:
    return sorted(values)[-k]


def acknowledged_index(policy: AckPolicy, *, durable: int, applied: int, followers: Sequence[FollowerProgress]) -> int:
    """The index up to which `policy` is met, given the leader's own durable and applied index.

    The leader has every acknowledged entry durable, and applied where the policy says `applied`. The caller must
    still see to it that an entry of the leader's own term lies at or below the result (law 4). A policy that asks for
    more followers than there are members is met by nothing.
    """
    own = min(durable, applied) if policy.level == "applied" else durable
    needed = policy.followers_needed(len(followers) + 1)
    if needed > len(followers):
        return 0
    return min(own, _kth_largest([follower.at(policy.level) for follower in followers], needed)) if needed else own


def committed_index(*, durable: int, followers: Sequence[FollowerProgress]) -> int:
    """The index that a majority of the members has on disk. The caller compares its term with the leader's own."""
    held = [durable, *[follower.durable for follower in followers]]
    return _kth_largest(held, len(held) // 2 + 1)


def confirmed_ns(at: int, followers: Sequence[FollowerProgress]) -> int:
    """The latest time, by the leader's clock, of which a majority has answered something sent then or later.

    The leader answers itself, at `at`.
    """
    echoes = [at, *[follower.echo_ns for follower in followers]]
    return _kth_largest(echoes, len(echoes) // 2 + 1)


def missing(policy: AckPolicy, index: int, followers: Iterable[FollowerProgress]) -> list[str]:
    """Names of the followers that do not hold the entry at `index` at the policy's level."""
    level: Level = policy.level
    return sorted(follower.name for follower in followers if follower.at(level) < index)
