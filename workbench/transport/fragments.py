"""Long messages as several short ones, below the packet limit of any broker, and back.

A message of more than `fragment_bytes` is sent as *fragments*: one marker byte that no message begins with, then

    stream 8s | number u32 | place u32 | count u32 | a part of the message

A message that happens to begin with the marker is a fragment, too. `stream` is drawn anew for each connection.
Fragments of one message leave in order on one topic, and arrive in order or not at all: whatever does not continue what
came before is thrown away with it, like any other message that got lost.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

MARKER: Final = b"\xf7"
FRAGMENT_BYTES: Final = 256 * 1024
"""Payload of one MQTT message at most; public brokers take between 128 KB and 256 MB."""
_STREAMS_MAX: Final = 64

_HEADER = struct.Struct(">c8sIII")


class Fragmenter:
    """Cuts the messages of one connection."""

    def __init__(self, fragment_bytes: int = FRAGMENT_BYTES) -> None:
        self._room = fragment_bytes - _HEADER.size
        self._fragment_bytes = fragment_bytes
        self._stream = os.urandom(8)
        self._number = 0

    def takes_whole(self, message: bytes) -> bool:
        """Whether `message` can be published as it is."""
        return len(message) <= self._fragment_bytes and message[:1] != MARKER

    def cut(self, message: bytes) -> Iterator[bytes]:
        """What to publish instead of `message`."""
        self._number = (self._number + 1) % 2**32
        count = -(-len(message) // self._room)
        for place in range(count):
            part = message[place * self._room : (place + 1) * self._room]
            yield _HEADER.pack(MARKER, self._stream, self._number, place, count) + part


class _Partial(NamedTuple):
    number: int
    expected: int
    parts: list[bytes]


class Assembler:
    """Puts the messages that arrive on one connection together; holds at most `bytes_max` bytes of unfinished ones."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._partial: dict[tuple[str, bytes], _Partial] = {}
        self.bytes = 0
        """Of unfinished messages."""
        self.dropped = 0
        """Fragments that led to nothing."""

    def take(self, topic: str, payload: bytes) -> bytes | None:
        """The whole message, if this fragment completes one."""
        if len(payload) <= _HEADER.size:
            self.dropped += 1
            return None
        _, stream, number, place, count = _HEADER.unpack_from(payload)
        key = topic, stream
        partial = self._partial.pop(key, None)
        if place == 0:
            self._forget(partial)
            self._make_room(len(payload))
            partial = _Partial(number, count, [])
        elif partial is None or (number, count, place) != (partial.number, partial.expected, len(partial.parts)):
            self._forget(partial)
            self.dropped += 1
            return None
        partial.parts.append(payload[_HEADER.size :])
        self.bytes += len(payload) - _HEADER.size
        if len(partial.parts) < count:
            self._partial[key] = partial  # the newest stands last
            self._make_room(0)
            return None
        self.bytes -= sum(map(len, partial.parts))
        return b"".join(partial.parts)

    def _make_room(self, size: int) -> None:
        while self._partial and (self.bytes + size > self._bytes_max or len(self._partial) > _STREAMS_MAX):
            self._forget(self._partial.pop(next(iter(self._partial))))

    def _forget(self, partial: _Partial | None) -> None:
        if partial is not None:
            self.bytes -= sum(map(len, partial.parts))
            self.dropped += len(partial.parts)
