"""What a snapshot says besides the database, and what a replica's disk says when it starts. Pure values.

A *snapshot* is a database file as of one position, and a `SnapshotState`: all that the core derives from the log up to
there. With both, the log up to that position is not needed any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from workbench.errors import CodecError
from workbench.protocol.ledger import Ledger, LedgerImage
from workbench.protocol.values import Position, Wire


class SnapshotState(Wire, frozen=True):
    """`term_starts`: (term, index of its first entry) of every term up to `position`, oldest first."""

    position: Position
    term_starts: tuple[tuple[int, int], ...]
    ledger: LedgerImage


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SnapshotState)


def encode_state(state: SnapshotState) -> bytes:
    """Bytes of a state."""
    return _encoder.encode(state)


def decode_state(encoded: bytes) -> SnapshotState:
    """Read a state back. Raises `CodecError`."""
    try:
        return _decoder.decode(encoded)
    except msgspec.MsgspecError as error:
        raise CodecError(f"bytes that are not the state of a snapshot: {error}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered:
    """What a replica's disk says when it starts; the database has been brought to the log's end already."""

    term: int = 0
    voted_for: str = ""
    term_starts: Sequence[tuple[int, int]] = ()
    """All of the log's terms, those of entries that only a snapshot covers included."""
    last_index: int = 0
    applied: Position | None = None
    """What the database shows where it could not be brought to the log's end, since it has diverged."""
    diverged: str = ""
    """Why not."""
    first_index: int = 1
    """The first entry that the log still has."""
    base: Position = field(default_factory=Position)
    """Position of the newest sealed snapshot here; `Position()` when there is none, and the log begins with entry 1."""
    log_bytes: int = 0
    """Bytes of the entries behind `base`."""
    ledger: Ledger
    incoming: tuple[str, int] = ("", 0)
    """Name of a snapshot that is only partly received, and how many bytes of it are held."""
