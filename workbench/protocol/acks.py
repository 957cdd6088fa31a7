"""When a write is acknowledged, and when an entry is committed. Pure arithmetic over everybody's progress."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.config import AckPolicy, Level
from workbench.protocol.progress import FollowerProgress


def _kth_largest(values: Iterable[int], k: int) -> int:
    return sorted(values, reverse=True)[k - 1]


def acknowledged_index(policy: AckPolicy, *, durable: int, applied: int, followers: Iterable[FollowerProgress]) -> int:
    """The index up to which `policy` is met, given the leader's own durable and applied index.

    The leader has every acknowledged entry durable, and applied where the policy says `applied`. The caller must
    still see to it that an entry of the leader's own term lies at or below the result (law 4).
    """
    own = min(durable, applied) if policy.level == "applied" else durable
    held = [follower.at(policy.level) for follower in followers]
    needed = policy.followers_needed(len(held) + 1)
    return min(own, _kth_largest(held, needed)) if needed else own


def committed_index(*, durable: int, followers: Iterable[FollowerProgress]) -> int:
    """The index that a majority of the members has on disk. The caller compares its term with the leader's own."""
    held = [durable, *(follower.at("durable") for follower in followers)]
    return _kth_largest(held, len(held) // 2 + 1)


def missing(policy: AckPolicy, index: int, followers: Iterable[FollowerProgress]) -> list[str]:
    """Names of the followers that do not hold the entry at `index` at the policy's level."""
    level: Level = policy.level
    return sorted(follower.name for follower in followers if follower.at(level) < index)
