"""How a process gets its configuration: a JSON file that only its owner can read.

The broker's password may stand in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def save(value: Any, path: Path) -> None:
    """Write a dataclass of plain values where `load` finds it."""
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(value, enc_hook=_encode_path))


def load(path: Path, kind: type[T]) -> T:
    """Read a value of type `kind` back. Raises `msgspec.ValidationError` for another one's file."""
    return msgspec.json.decode(path.read_bytes(), type=kind, dec_hook=_decode_path)


def _encode_path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no place in a configuration file")


def _decode_path(kind: type, value: Any) -> Any:
    return Path(value) if issubclass(kind, Path) else value
