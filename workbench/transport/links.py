"""Injected faults of links between replicas, decided where a message is received.

Pure logic: the time comes in, the times of delivery go out, nobody waits here. Faults sit at the receiver so that
every broker behaves alike. Messages of one sender are delivered in the order in which they arrived. A list is
answered because a link may deliver a message once, not at all (lost) or twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.errors import ConfigurationError

_DELAY_MS_MAX = 60_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """What happens to messages from one sender. Raises `ConfigurationError`."""

    delay_ms: float = 0.0
    """Added to the way of every message."""
    is_cut: bool = False
    """Nothing arrives."""

    def __post_init__(self) -> None:
        if not 0 <= self.delay_ms <= _DELAY_MS_MAX:
            raise ConfigurationError(
                f"delay_ms is {self.delay_ms} ms", hint=f"it must lie between 0 and {_DELAY_MS_MAX:.0f} ms"
            )


class Links:
    """The links that lead to one replica: `default`, unless `by_sender` says otherwise."""

    def __init__(self, default: Link | None = None, by_sender: Mapping[str, Link] | None = None) -> None:
        self._default = default or Link()
        self._by_sender = dict(by_sender or {})
        self._last_delivery_ns: dict[str, int] = {}

    def link(self, sender: str) -> Link:
        """The link from `sender` as it is now."""
        return self._by_sender.get(sender, self._default)

    def change(self, sender: str, link: Link) -> None:
        """Use `link` for what arrives from `sender` from now on; what was admitted already keeps its time."""
        self._by_sender[sender] = link

    def change_all(self, default: Link, by_sender: Mapping[str, Link]) -> None:
        """Use these links from now on, `default` for senders that are not named."""
        self._default, self._by_sender = default, dict(by_sender)

    def admit(self, sender: str, size_bytes: int, now_ns: int) -> list[int]:
        """When to deliver a message that has just arrived: a time for each delivery, none when it is lost.

        `size_bytes` will matter to links of limited bandwidth. A time not later than `now_ns` means at once.
        """
        assert size_bytes >= 0
        link = self.link(sender)
        if link.is_cut:
            return []
        arrival_ns = now_ns + round(link.delay_ms * 1e6)
        delivery_ns = max(arrival_ns, self._last_delivery_ns.get(sender, arrival_ns))
        self._last_delivery_ns[sender] = delivery_ns
        return [delivery_ns]
