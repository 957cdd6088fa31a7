"""The entries of a replica's log, in order, each with what it changes: what `workbench log show` prints.

Nothing of the replica is changed, and it may be running. Column names come from the schema statements of the log
(`column_names.py`); the rows in pages from the pages before them (`wal_rows.py`). Both need the log from its beginning,
or from a snapshot on: what lies before that is described without, and `rows_not_described` says why.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from workbench.errors import WorkbenchError
from workbench.inspection.column_names import ColumnNames
from workbench.inspection.replica_files import ReplicaFiles
from workbench.log_formats.describing import Described, iterate
from workbench.log_formats.wal_rows import DATABASE_BYTES_MAX, RowReader
from workbench.protocol.codec import decode_entry
from workbench.protocol.values import Entry, Position
from workbench.storage.client_policy import changes_schema
from workbench.storage.log_reader import LogReader, LogTail, StoredRecord
from workbench.storage.read_only import newest_snapshot

ROWS_SECONDS_MAX: Final = 60.0
"""How long rows are looked for in pages; entries behind that are described by their pages alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedContent:
    """One entry, described. `size` is what its record takes up on disk, `body_bytes` what its log format made."""

    position: Position
    kind: str
    wall_ms: int
    size: int
    body_bytes: int
    transactions: tuple[tuple[int, int], ...]
    """(session, sequence) of each."""
    content: tuple[Described, ...]
    not_described: str = ""
    rows_not_described: str = ""
    body: bytes = field(repr=False)

    @property
    def time(self) -> str:
        """When the leader made it, in UTC; empty where it did not say, or nothing sensible."""
        try:
            made = datetime.fromtimestamp(self.wall_ms / 1000, UTC) if self.wall_ms else None
        except (OverflowError, ValueError, OSError):
            made = None
        return made.isoformat(timespec="milliseconds") if made else ""

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON can carry it."""
        document: dict[str, Any] = {
            "term": self.position.term,
            "index": self.position.index,
            "kind": self.kind,
            "wall_ms": self.wall_ms,
            "time": self.time or None,
            "size_bytes": self.size,
            "body_bytes": self.body_bytes,
            "transactions": [{"session": session, "sequence": sequence} for session, sequence in self.transactions],
            "content": list(self.content),
        }
        if self.not_described:
            document["not_described"] = self.not_described
            document["body_base64"] = base64.b64encode(self.body).decode()
        if self.rows_not_described:
            document["rows_not_described"] = self.rows_not_described
        return document


class LogEntries:
    """The log of one replica. Raises `ConfigurationError` and `LogCorruption` as `LogReader` does."""

    def __init__(self, replica: ReplicaFiles) -> None:
        self.replica = replica
        self._reader = LogReader(replica.log)
        self._columns = ColumnNames()
        self._rows: RowReader | None = None
        self._no_rows = ""
        self._known_from = 1
        """The first entry that rows in pages are known for, and that the schema is followed from."""
        self._named_from = 1
        """The first entry that the names of columns are known for."""
        self._image = b""
        self.snapshot: Position | None = None
        self._read_snapshot()

    @property
    def first_index(self) -> int:
        """Index of the first entry."""
        return self._reader.first_index

    @property
    def tail(self) -> LogTail:
        """What follows the last entry, once the iteration has come there."""
        return self._reader.tail

    @property
    def segments(self) -> int:
        """Segment files."""
        return self._reader.segments

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return self._reader.size

    def last_index(self) -> int:
        """Index of the last whole entry; one less than the first when there is none. Sets `tail`."""
        last = self.first_index - 1
        for record in self._reader.iterate(self._reader.last_start):
            last = record.index
        return last

    def iterate(self, first_index: int = 0) -> Iterator[LoggedContent]:
        """The entries from `first_index` on. Those before it are read, too, where later ones depend on them."""
        started_s = time.monotonic()
        try:
            for record in self._reader.iterate(min(first_index, max(self._known_from, self.first_index))):
                described = self._describe(record, wanted=record.index >= first_index)
                if described is not None:
                    yield described
                if time.monotonic() > started_s + ROWS_SECONDS_MAX and self._rows is not None:
                    self._no_rows = f"finding the rows in pages took more than {ROWS_SECONDS_MAX:g} s"
        finally:
            self._columns.close()
            if self._rows is not None:
                self._rows.close()

    def _read_snapshot(self) -> None:
        snapshot = newest_snapshot(self.replica.directory / "snapshots")
        if snapshot is not None:
            self.snapshot = snapshot.position
        if self.first_index > 1:
            self._start_from(snapshot)
        if snapshot is not None:
            snapshot.close()

    def _start_from(self, snapshot: Any) -> None:
        if snapshot is None or snapshot.position.index < self.first_index - 1:
            self._known_from = self._named_from = 2**63
            self._no_rows = "the log does not reach back to its beginning, nor to a snapshot"
            return
        self._known_from = snapshot.position.index + 1
        try:
            self._image = snapshot.read_database(DATABASE_BYTES_MAX)
            self._columns.start_from(self._image)
            self._named_from = self._last_schema_change(self._known_from) + 1
        except WorkbenchError as error:
            self._known_from = self._named_from = 2**63
            self._no_rows = error.message

    def _last_schema_change(self, before: int) -> int:
        """Index of the last entry before `before` that changes the schema: behind it, the schema is the same."""
        last = self.first_index - 1
        for record in self._reader.iterate():
            if record.index >= before:
                break
            entry = decode_entry(record.payload).entry
            for part in iterate(entry.kind, entry.body):
                if isinstance(sql := part.get("sql"), str) and changes_schema(sql):
                    last = record.index
        return last

    def _describe(self, record: StoredRecord, *, wanted: bool) -> LoggedContent | None:
        is_known = record.index >= self._known_from
        try:
            entry = decode_entry(record.payload).entry
        except WorkbenchError as error:
            if not wanted:
                return None
            position = Position(record.term, record.index)
            unknown = Entry(record.term, record.index, "?", (), record.payload)
            return _made(unknown, position, record, (), error.message, "")
        content: list[Described] = []
        problem, no_rows = "", ""
        try:
            for part in iterate(
                entry.kind, entry.body, self._columns.columns if record.index >= self._named_from else _no_names
            ):
                if is_known and isinstance(sql := part.get("sql"), str):
                    self._columns.execute(sql)
                content.append(part)
        except WorkbenchError as error:
            problem = error.message
        if entry.kind == "wal" and not problem:
            no_rows = self._find_rows(entry, content, is_known=is_known, wanted=wanted)
        if not wanted:
            return None
        return _made(entry, entry.position, record, tuple(content), problem, no_rows)

    def _find_rows(self, entry: Entry, content: list[Described], *, is_known: bool, wanted: bool) -> str:
        """Add the rows in the pages of `entry`; or the reason why they cannot be known."""
        if self._no_rows:
            return self._no_rows
        if not is_known:
            return f"the pages before entry {self._known_from} are known only from its snapshot on"
        try:
            if self._rows is None:
                size = content[0].get("page_size")
                self._rows = RowReader(self._image, size if isinstance(size, int) else 4096)
                self._image = b""
            if wanted:
                content += self._rows.describe(entry.body)
            else:
                self._rows.advance(entry.body)
        except UnicodeDecodeError:
            return "a table that it changes holds text that is not valid UTF-8"
        except Exception as error:  # noqa: BLE001  pages of a database that SQLite cannot open, in whatever way
            self._no_rows = " ".join(str(error).split()) or type(error).__name__
            return self._no_rows
        return ""


def _made(
    entry: Entry, position: Position, record: StoredRecord, content: tuple[Described, ...], problem: str, no_rows: str
) -> LoggedContent:
    return LoggedContent(
        position=position,
        kind=entry.kind,
        wall_ms=entry.wall_ms,
        size=record.size,
        body_bytes=len(entry.body),
        transactions=tuple((member.session, member.sequence) for member in entry.members),
        content=content,
        not_described=problem,
        rows_not_described=no_rows,
        body=entry.body,
    )


def _no_names(_table: str) -> tuple[str, ...]:
    return ()
