"""Entries that are dropped are first written where people can read them: one JSON object a line.

A line names the position, when the entry was made, and the client transactions in it, and describes its content
(`workbench.log_formats.describing`); that of the WAL format also by rows, where the database is small enough. The body
itself stands there in base64, so that nothing is lost where it could not be described, which is then said. The file is
durable before anything is dropped: nothing acknowledged and lost is lost in silence.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from workbench.log_formats.describing import Columns, Described, describe
from workbench.log_formats.wal_rows import RowReader
from workbench.protocol.values import Entry, LoggedEntry, Position
from workbench.storage.files import Files, OpenFile

_SUFFIX = ".jsonl"
_NAME = re.compile(r"\d+-after-\d+\.\d+\.jsonl")
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""What else some programs take for the end of a line."""
_WRITE_BYTES: Final = 1024 * 1024
ROWS_SECONDS_MAX: Final = 3.0
"""How long a rewind may take to find the rows in pages; what is left then is described by its pages."""


class Describer:
    """Describes dropped entries, in order. `columns` names the columns of a table; `reader` makes the database as it
    was before them, for the WAL format."""

    def __init__(self, columns: Columns, reader: Callable[[], RowReader]) -> None:
        self._columns = columns
        self._make_reader = reader
        self._reader: RowReader | None = None
        self._no_rows = ""
        self._ends_s = 0.0

    def line(self, logged: LoggedEntry) -> str:
        """The line of one entry."""
        entry = logged.entry
        fields: Described = {
            "term": entry.term,
            "index": entry.index,
            "kind": entry.kind,
            "wall_ms": entry.wall_ms,
            "time": _time(entry.wall_ms),
            "transactions": [{"session": member.session, "sequence": member.sequence} for member in entry.members],
        }
        try:
            content = describe(entry.kind, entry.body, self._columns)
            fields["content"] = content
            if entry.kind == "wal":
                self._add_rows(entry, fields, content)
        except Exception as error:  # noqa: BLE001  whatever it is, the body is kept
            fields["not_described"] = _reason(error)
        fields["body_base64"] = base64.b64encode(entry.body).decode()
        return json.dumps(fields, ensure_ascii=False).translate(_LINE_ENDS)

    def close(self) -> None:
        """Release the memory."""
        if self._reader is not None:
            self._reader.close()

    def _add_rows(self, entry: Entry, fields: Described, content: list[Described]) -> None:
        if not self._no_rows:
            try:
                if self._reader is None:
                    self._ends_s = time.monotonic() + ROWS_SECONDS_MAX
                    self._reader = self._make_reader()
                content += self._reader.describe(entry.body)
                if time.monotonic() > self._ends_s:
                    self._no_rows = f"finding the rows took more than {ROWS_SECONDS_MAX:g} s"
                return
            except Exception as error:  # noqa: BLE001  whatever it is, the body is kept
                self._no_rows = _reason(error)
        fields["rows_not_described"] = self._no_rows


def write_rollback(
    files: Files, directory: Path, to: Position, dropped: Iterable[LoggedEntry], describer: Describer
) -> Path:
    """Write the dropped entries durably; return the file, whose name tells the position that was kept."""
    files.make_directory(directory)
    numbers = [int(name.partition("-")[0]) for name in files.list(directory) if _NAME.fullmatch(name)]
    path = directory / f"{max(numbers, default=0) + 1:04d}-after-{to}{_SUFFIX}"
    temporary = path.with_name(path.name + ".tmp")
    file = files.open(temporary)
    try:
        file.truncate(0)
        _write_lines(file, dropped, describer)
        file.sync()
    finally:
        file.close()
        describer.close()
    files.rename(temporary, path)
    return path


def _write_lines(file: OpenFile, dropped: Iterable[LoggedEntry], describer: Describer) -> None:
    lines: list[bytes] = []
    size = 0
    for logged in dropped:
        lines.append(describer.line(logged).encode("utf-8", "backslashreplace") + b"\n")
        size += len(lines[-1])
        if size > _WRITE_BYTES:
            file.append(b"".join(lines))
            lines, size = [], 0
    file.append(b"".join(lines))


def _time(wall_ms: int) -> str | None:
    """In UTC, for people; nothing where the leader did not say, or nothing sensible."""
    try:
        return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds") if wall_ms else None
    except (OverflowError, ValueError, OSError):
        return None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
