"""What can be made to go wrong in one replica's process: its links, its disk, its clock, its connection to the broker.

Set by control messages, felt at once, and counted, so that a fault can show that it took effect.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from workbench import clock
from workbench.config import ReplicaConfig
from workbench.protocol.fault_messages import SetClock, SetDisk, SetLinks
from workbench.protocol.messages import Message
from workbench.storage.disk_faults import DiskFaults
from workbench.storage.files import Files, LocalFiles
from workbench.transport.base import CanBeCut, Transport
from workbench.transport.links import Links

_ANSWER_FIRST_S = 0.002
"""Whoever wants a connection cut is told so, over this connection."""


class SkewedClock:
    """A clock that may run fast or slow and jump ahead, and never goes back."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._rate = 1.0
        self._jumped_ms = 0.0
        self._since_ns = read()
        self._shown_ns = self._since_ns

    def now_ns(self) -> int:
        """The time that it shows."""
        return self._shown_ns + round((self._read() - self._since_ns) * self._rate)

    @property
    def rate(self) -> float:
        """How many times as fast as it should it runs."""
        return self._rate

    @property
    def ahead_ns(self) -> int:
        """How far it is ahead of the host's clock; negative when it is behind."""
        return self.now_ns() - self._read()

    def change(self, *, ahead_ms: float, rate: float) -> None:
        """Run at `rate` from now on; jump ahead so that all jumps make `ahead_ms`."""
        jump_ms = max(0.0, ahead_ms - self._jumped_ms)
        self._jumped_ms += jump_ms
        self._shown_ns = self.now_ns() + round(jump_ms * 1e6)
        self._since_ns = self._read()
        self._rate = rate


class Troubles:
    """The injected faults of one replica; nothing is wrong at first but the delay of its configuration."""

    def __init__(self, config: ReplicaConfig) -> None:
        seed = f"{config.seed}/{config.name}/links" if config.seed else None
        self.links: Links[Message] = Links(config.link_delay_ms, random.Random(seed).random)
        self._disk = DiskFaults()
        self._files: LocalFiles | None = None
        self._clock: SkewedClock | None = None
        self.now_ns: Callable[[], int] = clock.now_ns
        """The replica's clock."""
        self._connection: CanBeCut | None = None

    @property
    def clock_rate(self) -> float:
        """How many times as fast as it should the replica's clock runs."""
        return self._clock.rate if self._clock is not None else 1.0

    def strike_disk(self, files: Files) -> None:
        """The files whose faults `SetDisk` sets."""
        self._files = files if isinstance(files, LocalFiles) else None

    def set_links(self, message: SetLinks) -> None:
        """See `SetLinks`."""
        self.links.change(
            clock.now_ns(),
            follower_delay_ms=message.follower_delay_ms,
            cut=message.cut,
            quality=message.quality,
            by_sender=message.by_sender,
        )

    def set_disk(self, message: SetDisk) -> str:
        """See `SetDisk`; why it cannot be done, or the empty string."""
        if self._files is None:
            return "the faults of this disk cannot be set"
        self._disk.change(factor=message.factor, is_full=message.is_full, sync_fails=message.sync_fails)
        self._files.faults = self._disk if self._disk.any else None
        return ""

    def set_clock(self, message: SetClock) -> None:
        """See `SetClock`."""
        if self._clock is None:  # before the first time it would cost something with every input
            self._clock = SkewedClock(clock.now_ns)
            self.now_ns = self._clock.now_ns
        self._clock.change(ahead_ms=message.ahead_ms, rate=message.rate)

    def disconnect(self, transport: Transport, for_ms: float) -> str:
        """See `Disconnect`; why it cannot be done, or the empty string."""
        if not isinstance(transport, CanBeCut):
            return "this connection cannot be cut"
        asyncio.get_running_loop().call_later(_ANSWER_FIRST_S, transport.cut, for_ms / 1e3)
        self._connection = transport
        return ""

    def counters(self) -> dict[str, int]:
        """Name -> value, of those that are not 0."""
        others = {
            "clock_ahead_ms": round(self._clock.ahead_ns / 1e6) if self._clock is not None else 0,
            "connections_made_again": self._connection.reconnects if self._connection is not None else 0,
        }
        return {
            **self.links.counts.as_dict(),
            **self._disk.counts(),
            **{name: value for name, value in others.items() if value},
        }

    def notes(self) -> dict[str, str]:
        """What is wrong now, in words."""
        notes = {}
        if self._clock is not None:
            notes["clock"] = (
                f"{self._clock.ahead_ns / 1e6:.1f} ms ahead, {self._clock.rate:g} times as fast as it should"
            )
        if self._disk.any:
            wrong = [f"{self._disk.factor:g} times as slow"] if self._disk.factor > 1 else []
            wrong += ["full"] * self._disk.is_full + ["its next sync fails"] * self._disk.sync_fails
            notes["disk"] = ", ".join(wrong)
        if waiting := self.links.waiting_bytes:
            notes["links"] = f"{waiting} bytes wait to be delivered"
        return notes
