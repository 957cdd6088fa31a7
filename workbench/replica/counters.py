"""What a replica counts about itself, cumulative since its process started; read through `cluster.replicas()`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workbench.protocol.values import LoggedEntry


@dataclass(slots=True)
class Counters:
    """Plain sums. `*_ns` are nanoseconds: CPU time of the storage thread, except `sync_ns`, which is wall time."""

    entries: int = 0
    """Entries appended to the own log."""
    members: int = 0
    """Client transactions in them."""
    body_bytes: int = 0
    """Their bodies: what the log format produced."""
    log_bytes: int = 0
    """Their whole encoded size: what travels and is logged."""
    rebuilds: int = 0
    """Times that the database was made anew since an entry did not fit it."""
    syncs: int = 0
    """fdatasync calls on the replication log."""
    sync_ns: int = 0
    execute_ns: int = 0
    apply_ns: int = 0
    reads: int = 0
    entries_sent_again: int = 0
    """Entries read back from the log for followers that fetch."""
    rewinds: int = 0
    rewinds_by_rebuild: int = 0
    """Those of them for which the database had to be made anew."""
    entries_rolled_back: int = 0
    """Entries of the own log that were dropped by rewinds and installations; they stand in `rollback/`."""
    snapshots_made: int = 0
    snapshots_installed: int = 0
    snapshot_bytes_sent: int = 0
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bad_messages: int = 0
    """Messages that could not be decoded; dropped."""
    inbox_max: int = 0
    """Most messages ever waiting at once."""

    def logged(self, entries: tuple[LoggedEntry, ...]) -> None:
        """Entries were appended with one sync."""
        self.syncs += 1
        self.entries += len(entries)
        for entry, encoded in entries:
            self.members += len(entry.members)
            self.body_bytes += len(entry.body)
            self.log_bytes += len(encoded)

    def as_dict(self) -> dict[str, int]:
        """Name -> value."""
        return asdict(self)
