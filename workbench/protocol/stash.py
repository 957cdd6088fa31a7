"""Live messages that a follower cannot use yet, since an entry before them was lost or is still being fetched.

At most `bytes_max` of entries are kept; what does not fit is fetched later.
"""

from __future__ import annotations

from workbench.protocol.log_view import LogView
from workbench.protocol.messages import AppendEntries


class Stash:
    """Messages by the index that they continue."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._messages: dict[int, AppendEntries] = {}
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of all entries that are kept."""
        return self._bytes

    def keep(self, message: AppendEntries) -> None:
        """Keep a message for later, if it fits and nothing is known to come there yet."""
        size = message.size_bytes
        if message.previous.index not in self._messages and self._bytes + size <= self._bytes_max:
            self._messages[message.previous.index] = message
            self._bytes += size

    def take_next(self, log: LogView) -> AppendEntries | None:
        """The message that continues `log`; those that it has overtaken are of no use any more."""
        if not self._messages:
            return None
        for index in [index for index in self._messages if index <= log.last.index]:
            message = self._messages.pop(index)
            self._bytes -= message.size_bytes
            if log.holds(message.previous):
                return message
        return None

    def forget_before(self, index: int) -> None:
        """Forget messages that begin with entries up to `index`: a snapshot holds these."""
        for place in [place for place in self._messages if place < index]:
            self._bytes -= self._messages.pop(place).size_bytes

    def clear(self) -> None:
        """Forget everything."""
        self._messages.clear()
        self._bytes = 0
