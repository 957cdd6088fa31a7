"""When a replica came how far after its start: for its status, never for a decision.

Times are nanoseconds of the clock that `Replica.handle` is told; 0 stands for "not yet".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench.protocol.values import Position


@dataclass(slots=True)
class Milestones:
    """Since the process started, or since a snapshot was installed."""

    started: Position = field(default_factory=Position)
    """End of its own log when the process had recovered."""
    snapshot: Position | None = None
    """Position of the snapshot that was installed last."""
    first_entry: Position | None = None
    """The first entry that it took from a leader."""
    entries_sent_twice: int = 0
    """Entries that came although its disk had had them when it started, or had installed a snapshot."""
    fetch_begun_ns: int = 0
    """It first asked for entries that it lacks."""
    caught_up_ns: int = 0
    """It had first applied everything that its leader had."""
    snapshot_asked_ns: int = 0
    snapshot_bytes_in: int = 0
    snapshot_received_ns: int = 0
    """The last piece was on disk."""
    snapshot_installed_ns: int = 0
    snapshot_begun_ns: int = 0
    """It began to copy its own database, for the newest of its snapshots."""
    snapshot_sealed_ns: int = 0

    def took(self, position: Position) -> None:
        """An entry of a leader was appended to the log."""
        if self.first_entry is None:
            self.first_entry = position

    def came_again(self, index: int) -> None:
        """An entry came that the log holds already."""
        known = self.snapshot or self.started
        if index <= known.index:
            self.entries_sent_twice += 1

    def installed(self, position: Position, at: int) -> None:
        """A snapshot has taken the place of log and database: a new beginning."""
        self.snapshot, self.snapshot_installed_ns = position, at
        self.first_entry, self.caught_up_ns = None, 0

    def counts(self) -> dict[str, int]:
        """The numbers, by name."""
        names = [name for name in self.__slots__ if name.endswith(("_ns", "_in", "_twice"))]
        return {name: getattr(self, name) for name in names}

    def notes(self) -> dict[str, str]:
        """The positions, by name; what has not happened is missing."""
        positions = {"started": self.started, "snapshot": self.snapshot, "first_entry": self.first_entry}
        return {name: str(position) for name, position in positions.items() if position is not None}
