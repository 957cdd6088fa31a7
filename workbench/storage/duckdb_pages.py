"""What becomes of a DuckDB replica that is let into a cluster of the WAL format, without the check of its layout.

The pages are SQLite's, and are written where SQLite would look for them. To DuckDB that is no database: every read says
so. This store exists to show that, and does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from workbench.errors import StorageError
from workbench.log_formats.wal import decode_body
from workbench.protocol.values import Entry, Position, Statement, Transaction
from workbench.storage.base import Execution, QueryResult
from workbench.storage.database_copy import CopyRefused
from workbench.storage.duckdb import DATABASE_NAME, create, why_unreadable
from workbench.storage.files import Files
from workbench.storage.sqlite_connection import check_follows

POSITION_NAME = "applied.position"
UNREADABLE = "(database)"
"""Stands for the tables of a database that cannot be read, in its digests."""


class PagesStore:
    """`Store` that writes page images into the file of a DuckDB database."""

    def __init__(self, directory: Path, page_size: int, files: Files) -> None:
        self._page_size = page_size
        self._path = directory / DATABASE_NAME
        self._files = files
        self._place = directory / POSITION_NAME
        if not self._path.exists():
            create(self._path)
        term, _, index = (files.read(self._place) or b"0.0").partition(b".")
        self._applied = Position(int(term), int(index))
        self._file = files.open(self._path)

    @property
    def applied(self) -> Position:
        return self._applied

    def execute(self, group: Sequence[Transaction], position: Position) -> Execution:
        raise StorageError("a replica in DuckDB cannot execute writes: it only follows")

    def commit(self) -> None:
        raise AssertionError("nothing was executed")

    def abandon(self) -> None:
        """Nothing was executed."""

    def begin_copy(self) -> NoReturn:
        raise CopyRefused("a replica in DuckDB makes no snapshots: no other replica could use them")

    def end_copy(self) -> None:
        """There is no copy."""

    def apply(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        check_follows(self._applied, entries, "wal")
        for entry in entries:
            if entry.changes_data:
                body = decode_body(entry.body, self._page_size)
                for page in body.pages:
                    self._file.pwrite(page.image, (page.number - 1) * self._page_size)
                if body.database_pages:
                    self._file.truncate(body.database_pages * self._page_size)
        self._file.sync()
        write_position(self._files, self._place, entries[-1].position)
        self._applied = entries[-1].position

    def rewind(self, to: Position, dropped: Iterable[Entry]) -> bool:
        return False

    def query(self, statement: Statement) -> QueryResult:
        return QueryResult(error=self._why_unreadable())

    def digest(self) -> dict[str, str]:
        return {UNREADABLE: self._why_unreadable()}

    def close(self) -> None:
        self._file.close()

    def _why_unreadable(self) -> str:
        """What DuckDB says about the file."""
        why = why_unreadable(self._path)
        return (
            f"DuckDB cannot read its database, which holds pages of SQLite: {why}" if why else "no entry has come yet"
        )


def write_position(files: Files, path: Path, position: Position) -> None:
    """Replace the position file durably."""
    files.write_atomically(path, f"{position}".encode())
