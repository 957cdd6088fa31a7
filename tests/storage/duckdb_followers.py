"""Helpers for the tests of DuckDB followers: beside a SQLite leader, from its log or from its snapshot."""

from __future__ import annotations

from pathlib import Path

from tests.storage.replicas import Replicas
from workbench.protocol.ledger import Ledger
from workbench.protocol.snapshot import SnapshotState
from workbench.storage.base import LEFT_OUT, Store
from workbench.storage.duckdb_restore import restore_duckdb
from workbench.storage.duckdb_store import DuckDBStore
from workbench.storage.files import LocalFiles
from workbench.storage.restoring import remove_database
from workbench.storage.snapshot_file import SnapshotFile, measure, write_manifest


class Followers(Replicas):
    """A leader in SQLite, and followers in DuckDB."""

    files = LocalFiles()

    def follow(self, name: str = "duck") -> DuckDBStore:
        """Open a follower, at what its disk holds."""
        self.files.make_directory(self.directory / name)
        store = DuckDBStore(self.directory / name, self.log_format, self.limits)
        self.stores[name] = store
        return store

    def reopen(self, name: str = "duck") -> DuckDBStore:
        """The follower's process ended, and another one came."""
        self.stores[name].close()
        return self.follow(name)

    def snapshot(self, leader: Store, name: str = "a.snapshot") -> SnapshotFile:
        """What a leader would send."""
        copy = leader.begin_copy()
        target = self.files.open(self.directory / name)
        copy.run(target)
        copy.finish(target)
        leader.end_copy()
        state = SnapshotState(
            leader.applied, ((leader.applied.term, 1),), Ledger(("leader",)).image_at(leader.applied.index)
        )
        write_manifest(
            target,
            name,
            measure(target, copy.size),
            state,
            log_format=self.log_format,
            page_size=self.page_size,
        )
        return SnapshotFile(target)

    def restore(self, snapshot: SnapshotFile, name: str = "duck") -> DuckDBStore:
        """Put the snapshot in the place of a follower's database."""
        directory = self.directory / name
        self.files.make_directory(directory)
        remove_database(self.files, directory)
        restore_duckdb(self.files, directory, snapshot, self.log_format, self.limits)
        return self.follow(name)


def differences(leader: Store, follower: Store) -> dict[str, str]:
    """Table -> what the follower has for it, where that is not what the leader has, and not left out either."""
    ours, theirs = leader.digest(), follower.digest()
    return {
        table: theirs.get(table, "absent")
        for table in ours.keys() | theirs.keys()
        if ours.get(table) != theirs.get(table) and not theirs.get(table, "").startswith(LEFT_OUT)
    }


def directory_names(path: Path) -> set[str]:
    """What is in a folder."""
    return {entry.name for entry in path.iterdir()}
