"""The zoo's bugs in the code of real storage: each leaves out a sync, or what must be done where one has failed. Only
worlds whose disks are real, and forget, can catch them."""

from __future__ import annotations

from typing import Final

from workbench.simulator.bug import Bug
from workbench.simulator.patching import Patch

DISK_BUGS: Final = (
    Bug(
        "log_not_synced",
        "fsync",
        "correctness",
        "Entries count as on the disk when they are in the log's file.",
        Patch("workbench.replica.storage", "        self._disk.log.sync()", "        self._disk.log.last"),
        log_format="logical",
        first_seed=0,
    ),
    Bug(
        "new_segment_not_synced",
        "fsync",
        "correctness",
        "The name of a new segment of the log is not on the disk when entries in it are.",
        Patch("workbench.storage.log_reset", "    files.sync_directory(path.parent)", "    files.list(path.parent)"),
        log_format="logical",
        first_seed=7,
    ),
    Bug(
        "renamed_before_synced",
        "fsync",
        "correctness",
        "A file, such as that of the term and the vote, gets its name before its content is on the disk.",
        Patch(
            "workbench.storage.files",
            "            file.pwrite(data, 0)\n            file.sync()",
            "            file.pwrite(data, 0)\n            file.size",
        ),
        log_format="logical",
        first_seed=1,
    ),
    Bug(
        "name_not_synced",
        "fsync",
        "correctness",
        "A file's new name is not on the disk when it counts.",
        Patch(
            "workbench.storage.files", "        self.sync_directory(target.parent)", "        self.list(target.parent)"
        ),
        log_format="logical",
        first_seed=0,
    ),
    Bug(
        "snapshot_not_synced",
        "fsync",
        "correctness",
        "A snapshot is sealed, and the log dropped, before it is on the disk.",
        Patch("workbench.storage.snapshots", "        self._copy.sync()", "        self._copy.size"),
        log_format="logical",
        first_seed=9,
    ),
    Bug(
        "restored_not_synced",
        "fsync",
        "crash",
        "A database restored from a snapshot is not on the disk when it takes the place of the old one.",
        Patch(
            "workbench.storage.restoring",
            "        snapshot.copy_database(target)\n        target.sync()",
            "        snapshot.copy_database(target)\n        target.size",
        ),
        log_format="wal",
        first_seed=0,
    ),
    Bug(
        "pages_not_synced",
        "fsync",
        "correctness",
        "The position of the WAL format's database is on the disk before its pages are.",
        Patch(
            "workbench.storage.sqlite_wal",
            "            self._file.sync()\n        except StorageError as error:",
            "            self._file.size\n        except StorageError as error:",
        ),
        log_format="wal",
        first_seed=10,
    ),
    Bug(
        "received_not_synced",
        "fsync",
        "correctness",
        "A received snapshot takes the place of everything before it is on the disk.",
        Patch("workbench.storage.incoming", "        self._open().sync()", "        self._open().size"),
        log_format="logical",
        first_seed=40,
    ),
    Bug(
        "old_tail_not_synced",
        "fsync",
        "correctness",
        "After a restart, entries that are in the log's file count as on the disk.",
        Patch(
            "workbench.storage.log_recovery",
            "        file.sync()\n    finally:",
            "        file.size\n    finally:",
        ),
        log_format="logical",
        first_seed=36,
    ),
    Bug(
        "old_tail_not_rewritten",
        "fsync",
        "correctness",
        "After a sync that failed, a second one is believed, though the system has dropped what it could not write.",
        Patch("workbench.storage.log_recovery", "        if start < segment.end:", "        if start > segment.end:"),
        log_format="logical",
        first_seed=5,
    ),
    Bug(
        "failed_append_not_cut",
        "rewind",
        "correctness",
        "What a full disk took of an append stays in the log's file.",
        Patch(
            "workbench.storage.replication_log",
            "            self._file.truncate(segment.end)\n            self.sync()",
            "            self._file.size\n            self.sync()",
        ),
        log_format="logical",
        first_seed=14,
    ),
    Bug(
        "rollback_not_synced",
        "fsync",
        "correctness",
        "Entries are dropped before what is written about them is on the disk.",
        Patch("workbench.replica.rollback", "        file.sync()", "        file.size"),
        log_format="logical",
        first_seed=42,
    ),
)
