"""Entries that a rewind drops are first written where people can read them: one JSON object a line.

Each line names the position and the client transactions, with the body in base64; nothing acknowledged and lost is
lost in silence.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path

from workbench.protocol.values import LoggedEntry, Position
from workbench.storage.files import Files


def write_rollback(files: Files, directory: Path, to: Position, dropped: Iterable[LoggedEntry]) -> Path:
    """Write the dropped entries durably; return the file, whose name tells the position that was kept."""
    files.make_directory(directory)
    lines = [json.dumps(_describe(logged)) for logged in dropped]
    number = len(list(directory.iterdir())) + 1
    path = directory / f"{number:04d}-after-{to}.jsonl"
    files.write_atomically(path, "".join(line + "\n" for line in lines).encode())
    return path


def _describe(logged: LoggedEntry) -> dict[str, object]:
    entry = logged.entry
    return {
        "term": entry.term,
        "index": entry.index,
        "kind": entry.kind,
        "members": [{"session": member.session, "sequence": member.sequence} for member in entry.members],
        "body_base64": base64.b64encode(entry.body).decode(),
    }
