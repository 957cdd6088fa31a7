"""What the SQLite stores of all log formats do alike: open a connection, and check what they are given.

The connection owns its database: locking_mode EXCLUSIVE (no locking calls, no shared memory), no memory mapping
(page writes of a WAL follower would go unseen), defensive, one database.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from workbench.config import LogFormatName
from workbench.errors import CodecError, ConfigurationError, DivergedError, StorageError
from workbench.failpoints import hit
from workbench.protocol.values import Entry, Position
from workbench.storage.client_policy import one_line
from workbench.storage.database_copy import CopyRefused

DATABASE_NAME = "database.sqlite"

_VALUE_BYTES_MAX = 256 * 1024 * 1024
_STATEMENT_CACHE = 250


def open_connection(path: Path, page_size: int, *, reverse_unordered: bool = False, vfs: str = "") -> apsw.Connection:
    """A connection that owns the database at `path` alone. It has not read the file yet, which may be torn.

    `reverse_unordered`: rows come in the other order wherever SQL leaves it open. `vfs`: name of a registered VFS.
    """
    try:
        connection = apsw.Connection(str(path), vfs=vfs or None, statementcachesize=_STATEMENT_CACHE)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, 0)
        connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, _VALUE_BYTES_MAX)
        for pragma in (f"page_size = {page_size}", "locking_mode = EXCLUSIVE", "mmap_size = 0", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        if reverse_unordered:
            connection.execute("PRAGMA reverse_unordered_selects = ON").fetchall()
    except apsw.Error as error:
        raise StorageError(f"cannot open {path}: {one_line(error)}") from error
    return connection


def check_follows(applied: Position, entries: Sequence[Entry], kind: LogFormatName) -> None:
    """Raise unless `entries` follow `applied` without a gap, in this replica's log format."""
    index, term = applied.index, applied.term
    for entry in entries:
        if entry.index != index + 1 or entry.term < term:
            raise StorageError(f"entry {entry.position} cannot follow entry {Position(term, index)}")
        if entry.changes_data and entry.kind != kind:
            raise DivergedError(f"entry {entry.position} is in the {entry.kind} log format, this replica in {kind}")
        index, term = entry.index, entry.term


def checkpoint(connection: apsw.Connection) -> None:
    """Move all of the `-wal` into the main file. Raises `CopyRefused` when something holds it back.

    A connection that has not read its database yet knows of no `-wal`: its checkpoint does nothing, and says so by -1.
    """
    hit("checkpoint.before")
    try:
        connection.execute("PRAGMA schema_version").fetchall()
        logged, moved = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except (apsw.BusyError, apsw.LockedError) as error:
        raise CopyRefused(f"a checkpoint is held back: {one_line(error)}") from error
    if logged < 0 or logged != moved:
        raise CopyRefused(f"a checkpoint moved {moved} of {logged} frames only")
    hit("checkpoint.after")


def check_page_size(directory: Path, found: int, wanted: int) -> None:
    """Raise `ConfigurationError` unless the database has the configured page size."""
    if found != wanted:
        raise ConfigurationError(
            f"the database in {directory} has pages of {found} bytes, not {wanted}", hint="set page_size to what it has"
        )


def not_applied(entry: Entry, error: BaseException) -> BaseException:
    """The error to raise where `entry` could not be applied."""
    match error:
        case DivergedError():
            return DivergedError(f"entry {entry.position}: {error.message}", hint=error.hint)
        case CodecError():
            return CodecError(f"entry {entry.position}: {error.message}", hint=error.hint)
        case apsw.Error():
            return StorageError(f"cannot apply entry {entry.position}: {one_line(error)}")
        case _:
            return error
