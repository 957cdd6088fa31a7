"""Taking a database away, and putting that of a snapshot in its place. No store may be open meanwhile.

The main file goes first and comes last: a folder without it holds no database, whatever else a crash has left there.
"""

from __future__ import annotations

from pathlib import Path

from workbench.failpoints import hit
from workbench.storage.files import Files
from workbench.storage.snapshot_file import SnapshotFile
from workbench.storage.sqlite_connection import DATABASE_NAME
from workbench.storage.wal_files import WalFiles


def remove_database(files: Files, directory: Path) -> None:
    """Remove the database in `directory`, if there is one, durably."""
    names = files.list(directory)
    for name in sorted(names, key=lambda name: name != DATABASE_NAME):
        files.remove(directory / name)
        if name == DATABASE_NAME:
            files.sync_directory(directory)
    if names:
        files.sync_directory(directory)
    hit("restore.removed")


def restore_database(files: Files, directory: Path, snapshot: SnapshotFile) -> None:
    """Make the database in `directory` that of `snapshot`, durably. Raises `LogCorruption` for a damaged one."""
    files.make_directory(directory)
    remove_database(files, directory)
    if snapshot.log_format == "wal":
        WalFiles(directory, snapshot.page_size, files).write_position(snapshot.position)
    temporary = directory / f"{DATABASE_NAME}.new"
    target = files.open(temporary)
    try:
        snapshot.copy_database(target)
        target.sync()
    finally:
        target.close()
    hit("restore.before_rename")
    files.rename(temporary, directory / DATABASE_NAME)
    hit("restore.after_rename")
