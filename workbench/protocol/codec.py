"""Messages and entries <-> bytes, versioned and checksummed.

A frame is one version byte, the CRC-32 of the rest, and MessagePack. Anything else (another version, a flipped
bit, a truncated frame, a value of the wrong type) raises `CodecError`; nothing is ever decoded halfway.
An entry has no frame of its own: it travels inside a message and lies inside a log record, both of which are
checksummed.
"""

from __future__ import annotations

import zlib

import msgspec

from workbench.errors import CodecError
from workbench.protocol.messages import Message
from workbench.protocol.values import Entry, LoggedEntry

VERSION = 1
_VERSION_BYTE = bytes([VERSION])

_encoder = msgspec.msgpack.Encoder()
_message_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_entry_decoder = msgspec.msgpack.Decoder(Entry)


def encode(message: Message) -> bytes:
    """Turn a message into a frame."""
    content = _encoder.encode(message)
    return _VERSION_BYTE + zlib.crc32(content).to_bytes(4, "big") + content


def decode(frame: bytes) -> Message:
    """Turn a frame into the message it holds. Raises `CodecError`."""
    if len(frame) < 6:
        raise CodecError(f"a frame of {len(frame)} bytes is too short to hold a message")
    if frame[0] != VERSION:
        raise CodecError(f"a frame of protocol version {frame[0]}, expected {VERSION}")
    content = frame[5:]
    if zlib.crc32(content) != int.from_bytes(frame[1:5], "big"):
        raise CodecError("the checksum of a frame does not match its content")
    try:
        return _message_decoder.decode(content)
    except msgspec.MsgspecError as error:
        raise CodecError(f"a frame holds no message: {error}") from None


def encode_entry(entry: Entry) -> LoggedEntry:
    """Encode an entry, once in its life."""
    return LoggedEntry(entry, _encoder.encode(entry))


def decode_entry(encoded: bytes) -> LoggedEntry:
    """Read an entry back. Raises `CodecError`."""
    try:
        return LoggedEntry(_entry_decoder.decode(encoded), encoded)
    except msgspec.MsgspecError as error:
        raise CodecError(f"bytes that are not an entry: {error}") from None
