"""How the replication log looks on disk: a segment's header, its records, and their checksums. Pure bytes.

    segment  header (64 bytes), then records without gaps
    header   magic 8s | version u16 | identity length u16 | crc32 u32 | first index u64 | previous term u64
             | identity 32s
    record   marker 4s | crc32 u32 | payload length u32 | unsynced u32 | term u64 | index u64 | payload

All integers are little-endian. A record's checksum covers all that follows it, and starts from the segment's header
and the record's own offset: bytes of another log, segment or place never pass for a record, not even when a client
stored a copy of a record in a blob. `unsynced` is how many entries before this one were not durable yet when this
one was written; recovery tells by it what a power loss may have torn from what it cannot have (`log_recovery.py`).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

import msgspec

MAGIC = b"WBREPLOG"
VERSION = 1
MARKER = b"\xf1RE\n"
IDENTITY_BYTES_MAX = 32
_HEADER = struct.Struct("<8sHHIQQ32s")
_START = struct.Struct("<4sI")
_REST = struct.Struct("<IIQQ")
HEADER_BYTES = _HEADER.size
RECORD_BYTES = _START.size + _REST.size
PAYLOAD_BYTES_MAX = _UNSYNCED_MAX = 2**32 - 1


class Record(msgspec.Struct, frozen=True, gc=False):
    """One entry as the log sees it: its position, and bytes that it does not look into."""

    term: int
    index: int
    payload: bytes


class Header(NamedTuple):
    """What a segment's file begins with. `previous_term` is the term of the entry before `first_index`."""

    version: int
    identity: bytes
    first_index: int
    previous_term: int


class Found(msgspec.Struct, frozen=True, gc=False):
    """A valid record met while scanning; `end` is where the next one starts. `durable_index`: all entries up to it
    were durable when this record was written."""

    term: int
    index: int
    durable_index: int
    end: int


def encode_header(identity: bytes, first_index: int, previous_term: int) -> bytes:
    """The header of a new segment; `identity` has 1 to 32 bytes."""
    if not 1 <= len(identity) <= IDENTITY_BYTES_MAX:
        raise ValueError(f"identity of {len(identity)} bytes; it must have 1 to {IDENTITY_BYTES_MAX}")
    fields = (first_index, previous_term, identity)
    checksum = crc32(_HEADER.pack(MAGIC, VERSION, len(identity), 0, *fields))
    return _HEADER.pack(MAGIC, VERSION, len(identity), checksum, *fields)


def decode_header(data: bytes) -> Header | None:
    """The header at the start of `data`; `None` when it is cut short or damaged."""
    if len(data) < HEADER_BYTES:
        return None
    magic, version, length, checksum, first_index, previous_term, identity = _HEADER.unpack_from(data)
    expected = crc32(_HEADER.pack(magic, version, length, 0, first_index, previous_term, identity))
    if magic != MAGIC or checksum != expected:
        return None
    return Header(version, identity[:length], first_index, previous_term)


def segment_seed(header: bytes) -> int:
    """Where the checksums of a segment's records start from."""
    return crc32(header[:HEADER_BYTES])


def encode_records(records: Sequence[Record], *, seed: int, offset: int, durable_index: int) -> tuple[bytes, list[int]]:
    """The bytes of `records` for the place `offset` of a segment, and the offset of each."""
    parts: list[bytes] = []
    offsets: list[int] = []
    for record in records:
        payload = record.payload
        length = len(payload)
        unsynced = min(record.index - 1 - durable_index, _UNSYNCED_MAX)
        rest = _REST.pack(length, unsynced, record.term, record.index)
        checksum = crc32(payload, crc32(rest, seed ^ (offset & 0xFFFFFFFF)))
        parts += (_START.pack(MARKER, checksum), rest, payload)
        offsets.append(offset)
        offset += RECORD_BYTES + length
    return b"".join(parts), offsets


def check_record(data: bytes | memoryview, at: int, *, seed: int, offset: int) -> Found | None:
    """The record at `data[at:]`, which stands at `offset` of its segment; `None` when there is no valid one."""
    if at + RECORD_BYTES > len(data):
        return None
    marker, checksum = _START.unpack_from(data, at)
    if marker != MARKER:
        return None
    length, unsynced, term, index = _REST.unpack_from(data, at + _START.size)
    end = at + RECORD_BYTES + length
    if end > len(data) or crc32(data[at + _START.size : end], seed ^ (offset & 0xFFFFFFFF)) != checksum:
        return None
    return Found(term, index, index - 1 - unsynced, end)


def describe_damage(data: bytes, at: int) -> str:
    """Why there is no valid record at `data[at:]`, in words."""
    if not any(data[at:]):
        return "only zeros follow"
    if len(data) - at < RECORD_BYTES:
        return "a record is cut short"
    if data[at : at + len(MARKER)] != MARKER:
        return "no record starts here"
    (length,) = struct.unpack_from("<I", data, at + _START.size)
    if at + RECORD_BYTES + length > len(data):
        return "a record is cut short"
    return "a record's checksum does not match"


class Scan(NamedTuple):
    """Result of `scan_records`: the whole records from the start of a segment, and where and why they end."""

    offsets: array[int]
    terms: list[tuple[int, int]]
    """(first index, term) of each term that begins in this segment."""
    end: int
    durable_index: int
    """Highest index that a record of this segment proves to have been durable."""
    damage: str
    """Why the bytes behind `end` are no record; empty when there are none."""


def scan_records(data: bytes, *, seed: int, first_index: int, previous_term: int) -> Scan:
    """Check the records of the segment `data` one by one. Raises `ValueError` when a record with a right checksum
    does not continue the one before it, which no crash can bring about."""
    offsets: array[int] = array("Q")
    terms: list[tuple[int, int]] = []
    at, term, durable_index = HEADER_BYTES, previous_term, 0
    view = memoryview(data)
    while at < len(data):
        found = check_record(view, at, seed=seed, offset=at)
        if found is None:
            return Scan(offsets, terms, at, durable_index, describe_damage(data, at))
        expected = first_index + len(offsets)
        if found.index != expected or found.term < term:
            raise ValueError(f"entry {found.term}.{found.index} at offset {at} does not follow {term}.{expected - 1}")
        if found.term > term:
            term = found.term
            terms.append((found.index, term))
        durable_index = max(durable_index, found.durable_index)
        offsets.append(at)
        at = found.end
    return Scan(offsets, terms, at, durable_index, "")


def later_records(data: bytes, start: int, *, seed: int) -> Iterator[Found]:
    """Valid records anywhere behind `start`, where the sequence of records is broken."""
    view = memoryview(data)
    at = data.find(MARKER, start)
    while at >= 0:
        found = check_record(view, at, seed=seed, offset=at)
        if found is not None:
            yield found
        at = data.find(MARKER, at + 1 if found is None else found.end)
