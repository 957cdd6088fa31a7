"""Taking a database away, and putting that of a snapshot in its place. No store may be open meanwhile.

The main file goes first and comes last: a folder without it holds no database, whatever else a crash has left there.
Rows and statements fit pages of any size, so under their formats a database gets the size that its replica wants.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import apsw

from workbench.errors import StorageError
from workbench.failpoints import hit
from workbench.storage.client_policy import one_line
from workbench.storage.files import Files
from workbench.storage.snapshot_file import SnapshotFile
from workbench.storage.sqlite_connection import DATABASE_NAME
from workbench.storage.wal_files import WalFiles

_MAIN_NAMES: Final = (DATABASE_NAME, "database.duckdb")


def remove_database(files: Files, directory: Path) -> None:
    """Remove the database in `directory`, of whatever engine, if there is one, durably."""
    names = files.list(directory)
    for name in sorted(names, key=lambda name: name not in _MAIN_NAMES):
        if (directory / name).is_dir():
            shutil.rmtree(directory / name)  # what an engine had put there for lack of memory
            continue
        files.remove(directory / name)
        if name in _MAIN_NAMES:
            files.sync_directory(directory)
    if names:
        files.sync_directory(directory)
    hit("restore.removed")


def restore_sqlite(files: Files, directory: Path, snapshot: SnapshotFile, page_size: int) -> None:
    """Make the database in `directory`, which is empty, that of `snapshot`, durably, with pages of `page_size` bytes.

    Those of the WAL format fit as they are, but for a replica without `layout_check`, which wants its own. Raises
    `LogCorruption` for a damaged snapshot.
    """
    if snapshot.log_format == "wal":
        WalFiles(directory, page_size, files).write_position(snapshot.position)
    temporary = directory / f"{DATABASE_NAME}.new"
    target = files.open(temporary)
    try:
        snapshot.copy_database(target)
        target.sync()
    finally:
        target.close()
    if snapshot.page_size != page_size:
        temporary = _converted(files, temporary, page_size)
    hit("restore.before_rename")
    files.rename(temporary, directory / DATABASE_NAME)
    hit("restore.after_rename")


def _converted(files: Files, path: Path, page_size: int) -> Path:
    """A durable copy of the database at `path` with pages of another size, in its place under another name.

    VACUUM INTO leaves every rowid as it is, which VACUUM does not: rows without a key are addressed by it.
    """
    converted = path.with_suffix(".converted")
    try:
        connection = apsw.Connection(str(path))
        try:
            connection.execute(f"PRAGMA page_size = {page_size}").fetchall()
            connection.execute("VACUUM INTO ?", (str(converted),)).fetchall()
        finally:
            connection.close()
    except apsw.Error as error:
        raise StorageError(f"cannot give {path} pages of {page_size} bytes: {one_line(error)}") from error
    target = files.open(converted)
    try:
        target.sync()
    finally:
        target.close()
    for name in files.list(path.parent):
        if name.startswith(path.name):
            files.remove(path.parent / name)
    return converted
