"""What a replica must remember about elections, and whose files these are: term, vote, name, cluster.

Ordering contract (law 1): `save` has returned before a message that carries the term or the vote is sent. The file is
replaced whole, so a power loss leaves the old state or the new one; the checksum is for damage. It is one line of
checksum and one of JSON, for people to read.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import msgspec

from workbench.errors import ConfigurationError, LogCorruption
from workbench.storage.files import Files

_VERSION = 1


class HardState(msgspec.Struct, frozen=True, kw_only=True):
    """`voted_for` is the replica that got this one's vote in `term`, or the empty string."""

    term: int
    voted_for: str = ""
    replica: str
    cluster_id: str
    version: int = _VERSION


def load(files: Files, path: Path) -> HardState | None:
    """The state last saved at `path`; `None` when there is none. Raises `LogCorruption` when the file is damaged,
    `ConfigurationError` when a newer workbench wrote it."""
    data = files.read(path)
    if data is None:
        return None
    checksum, _, body = data.partition(b"\n")
    if checksum != _checksum(body):
        raise LogCorruption(
            f"{path}: damaged, its checksum does not match",
            path=str(path),
            hint="without its vote this replica must not come back: move its directory away and let it join again",
        )
    try:
        state = msgspec.json.decode(body, type=HardState)
    except msgspec.DecodeError as error:
        raise LogCorruption(f"{path}: not the hard state of a replica: {error}", path=str(path)) from error
    if state.version != _VERSION:
        raise ConfigurationError(
            f"{path}: hard state of version {state.version}", hint=f"this workbench reads version {_VERSION}"
        )
    return state


def save(files: Files, path: Path, state: HardState) -> None:
    """Make `state` durable at `path`. Raises `StorageError`, `OSError` when the disk is full (the old state stays)."""
    body = msgspec.json.encode(state) + b"\n"
    files.write_atomically(path, _checksum(body) + b"\n" + body)


def _checksum(body: bytes) -> bytes:
    return b"workbench hard state, crc32 %08x" % crc32(body)
