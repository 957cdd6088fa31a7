"""Messages that make something go wrong in one replica's process, on purpose; sent by whoever runs the cluster."""

from __future__ import annotations

import msgspec

from workbench.protocol.values import Wire


class LinkQuality(Wire, frozen=True):
    """What a link does to messages, whoever receives them; as it is by default, nothing.

    `delay_ms` is the mean of `distribution` (constant, exponential, pareto); `bytes_per_s` 0 is no bound; `loss`,
    `duplication` and `reordering` are fractions of the messages.
    """

    delay_ms: float = 0.0
    distribution: str = "constant"
    bytes_per_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0


class SetLinks(Wire, frozen=True, tag=17):
    """From now on do this to what other replicas send.

    `follower_delay_ms`: every message waits for so long, unless the receiver leads. `cut`: nothing arrives from these.
    `quality` is for all senders that `by_sender` does not name; they share its bandwidth.
    """

    request: int
    reply_to: str
    follower_delay_ms: float = 0.0
    cut: tuple[str, ...] = ()
    quality: LinkQuality = LinkQuality()
    by_sender: dict[str, LinkQuality] = msgspec.field(default_factory=dict)


class SetDisk(Wire, frozen=True, tag=24):
    """From now on storage takes `factor` times as long; `is_full`: the replication log cannot grow; `sync_fails`: the
    next sync fails, which ends the process."""

    request: int
    reply_to: str
    factor: float = 1.0
    is_full: bool = False
    sync_fails: bool = False


class SetClock(Wire, frozen=True, tag=25):
    """From now on the clock runs `rate` times as fast, and has jumped ahead by `ahead_ms` altogether. It is never set
    back."""

    request: int
    reply_to: str
    ahead_ms: float = 0.0
    rate: float = 1.0


class Disconnect(Wire, frozen=True, tag=26):
    """Cut the connection to the broker, and make it again after `for_ms`."""

    request: int
    reply_to: str
    for_ms: float
