"""The leader's view of everybody else: how far each is, what is on the way to it, when it last answered.

A follower with more than `Limits.unacknowledged_bytes_max` on the way is *behind*: the leader stops sending it live
entries, so that they do not pile up in the broker, and waits for it to fetch. While anybody is behind, entries go
to the others one by one instead of through the broadcast topic, which nobody can be left out of.

A replica that is joining is followed in the same way, but counts for nothing until it is a member; an observer never
does. Observers come by themselves, from leader to leader, and are forgotten when they fall silent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator

from workbench.config import Level
from workbench.protocol.messages import Fetch, Progress


class FollowerProgress:
    """One follower as the leader knows it. Indices count only entries that match the leader's log."""

    __slots__ = (
        "applied",
        "behind",
        "durable",
        "echo_ns",
        "heard_at",
        "joining",
        "name",
        "observer",
        "received",
        "streamed_from",
    )

    def __init__(
        self, name: str, streamed_from: int, at: int, *, joining: bool = False, observer: bool = False
    ) -> None:
        self.name = name
        self.streamed_from = streamed_from
        """Last index before the live stream; a new leader takes a follower for up to date until it has heard of it."""
        self.received = 0
        self.durable = 0
        self.applied = 0
        self.behind = False
        self.heard_at = at
        self.echo_ns = 0
        """When that was sent, by the leader's clock, what it has answered last."""
        self.joining = joining
        self.observer = observer

    def update(self, progress: Progress, at: int) -> None:
        """Take what the follower reported; reports may arrive out of order, and progress never goes back."""
        self.received = max(self.received, progress.received)
        self.durable = max(self.durable, progress.durable)
        self.applied = max(self.applied, progress.applied)
        self.echo_ns = max(self.echo_ns, progress.echo_ns)
        self.heard_at = at

    @property
    def unacknowledged_after(self) -> int:
        """Entries behind this index are on the way, as far as the leader knows."""
        return max(self.received, self.streamed_from)

    def at(self, level: Level) -> int:
        """The index up to which the follower holds everything at `level`."""
        match level:
            case "received":
                return self.received
            case "durable":
                return self.durable
            case "applied":
                return self.applied


class Followers:
    """All followers of one leader, by name."""

    def __init__(self, names: Iterable[str], last_index: int, at: int) -> None:
        self._by_name = {name: FollowerProgress(name, last_index, at) for name in names}
        self.members = list(self._by_name.values())
        """Those that count."""

    def __iter__(self) -> Iterator[FollowerProgress]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> FollowerProgress | None:
        """The follower of that name, if it is one."""
        return self._by_name.get(name)

    @property
    def joining(self) -> tuple[str, ...]:
        """Names of those that do not count yet."""
        return tuple(name for name, follower in self._by_name.items() if follower.joining)

    @property
    def observers(self) -> tuple[str, ...]:
        """Names of those that never count."""
        return tuple(name for name, follower in self._by_name.items() if follower.observer)

    def add_joining(self, name: str, last_index: int, at: int) -> None:
        """Follow a replica that is to become a member. It gets nothing by the live stream that it has not fetched."""
        self._by_name[name] = FollowerProgress(name, last_index, at, joining=True)

    def find(self, message: Progress | Fetch, last_index: int, at: int) -> FollowerProgress | None:
        """Whoever sent `message`; an observer that was not known before is followed from now on."""
        found = self._by_name.get(message.replica)
        if found is None and message.observer:
            found = FollowerProgress(message.replica, last_index, at, observer=True)
            self._by_name[message.replica] = found
        if found is not None and found.observer:
            found.heard_at = at
        return found

    def forget_observers(self, silent_since: int) -> None:
        """Follow those no more that have said nothing since then."""
        for name in [one.name for one in self if one.observer and one.heard_at < silent_since]:
            del self._by_name[name]

    def set_members(self, names: Iterable[str], last_index: int, at: int) -> None:
        """The members but the leader are these now."""
        names = tuple(names)
        for name in names:
            follower = self._by_name.setdefault(name, FollowerProgress(name, last_index, at))
            follower.joining = False
        for name in [one.name for one in self.members if one.name not in names]:
            del self._by_name[name]
        self.members = [one for one in self._by_name.values() if not (one.joining or one.observer)]

    def drop(self, name: str) -> None:
        """Follow a replica that was to join no more."""
        assert name in self.joining, f"{name} is a member"
        del self._by_name[name]


class ShippedWindow:
    """Sizes of the newest shipped entries, enough to say how many bytes lie behind an index."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._indices: deque[int] = deque()
        self._totals: deque[int] = deque()
        self._total = 0

    def add(self, index: int, size: int) -> None:
        """An entry of `size` bytes was shipped."""
        self._total += size
        self._indices.append(index)
        self._totals.append(self._total)
        while self._total - self._totals[0] > 2 * self._bytes_max:
            self._indices.popleft()
            self._totals.popleft()

    def bytes_after(self, index: int) -> int:
        """Bytes of the entries behind `index`; at least the bound's double where the window no longer reaches."""
        if not self._indices or index >= self._indices[-1]:
            return 0
        place = bisect_right(self._indices, index)
        if place:
            return self._total - self._totals[place - 1]
        whole = index + 1 == self._indices[0] and self._total <= 2 * self._bytes_max
        return self._total if whole else 2 * self._bytes_max + 1
