"""Values of all sorts -> strict JSON, and files that are either whole or not there.

JSON has no NaN and no infinity: both become null. Passwords in URLs are blanked, because results are passed on.
A file is written beside its place, synced, and renamed into it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^:/@\s]*):\S*@", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """`text` with the password of every URL in it replaced by `***`."""
    return _PASSWORD.sub(r"\1:***@", text)


def plain(value: Any) -> Any:
    """`value` as dictionaries, lists, strings, finite numbers, booleans and None.

    Values with a `to_json` method and dataclasses become dictionaries, numpy and pandas scalars Python's own,
    sets sorted lists; whatever is unknown becomes its text.
    """
    if value is None or isinstance(value, bool | int):
        return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(value, str):
        return without_passwords(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "to_json") and not isinstance(value, type):
        return plain(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value, key=str)]
    if isinstance(value, Iterable) and not isinstance(value, bytes | Path):
        return [plain(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if hasattr(value, "item") and not isinstance(value, Path):  # numpy
        return plain(value.item())
    text = str(value)
    return None if text in ("<NA>", "NaT") else without_passwords(text)


def dumps(value: Any) -> str:
    """Strict JSON, indented, with a final newline."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path`, all of it or nothing."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(dumps(value))
    put_in_place(temporary, path)


def put_in_place(temporary: Path, path: Path) -> None:
    """Sync the file `temporary` and rename it to `path`, replacing what was there."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    try:
        directory = os.open(path.parent, os.O_RDONLY)
    except OSError:  # a platform that cannot open directories cannot sync them either
        return
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
