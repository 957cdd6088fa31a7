"""Values of SQLite as people read them: as SQL writes them, long ones cut, with how much was left out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

from workbench.log_formats.describing import json_value

_VALUE_CHARACTERS_MAX: Final = 80
_BLOB_BYTES_SHOWN: Final = 16


def literal(value: object) -> str:
    """A value as SQLite gave it."""
    return value_text(json_value(value))


def pairs(names: Sequence[str], values: Sequence[object]) -> str:
    """Names and values: `id=1, name='a'`."""
    return ", ".join(f"{name}={literal(value)}" for name, value in zip(names, values, strict=False))


def value_text(value: Any) -> str:
    """A value as `describing.json_value` gave it."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(int(value))
        case int() | float():
            return repr(value)
        case str():
            return "'" + shortened(value.replace("'", "''"), _VALUE_CHARACTERS_MAX) + "'"
        case {"blob": str(encoded)}:
            return _blob(encoded)
        case {"text": str(encoded)}:
            return f"CAST({_blob(encoded)} AS TEXT)"
        case {"real": text}:
            return str(text)
        case _:
            return shortened(str(value), _VALUE_CHARACTERS_MAX)


def shortened(text: str, characters_max: int) -> str:
    """`text`, or its beginning and how much is left out."""
    if len(text) <= characters_max:
        return text
    return f"{text[:characters_max]}... ({len(text) - characters_max:,} more characters)"


def _blob(encoded: str) -> str:
    try:
        data = base64.b64decode(encoded)
    except binascii.Error:
        return "a blob"
    if len(data) <= _BLOB_BYTES_SHOWN:
        return f"x'{data.hex()}'"
    return f"x'{data[:_BLOB_BYTES_SHOWN].hex()}...' ({len(data) - _BLOB_BYTES_SHOWN:,} more bytes)"
