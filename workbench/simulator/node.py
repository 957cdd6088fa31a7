"""One simulated replica, whatever its disk is made of: what the world, the faults and the laws see of it.

`MemoryNode` (`memory_disk.py`) has everything in memory, for speed; `SqlNode` (`sql_node.py`) has the storage of a real
replica, with a real log format, on a disk that forgets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from workbench.protocol.effects import (
    Abandon,
    Append,
    Commit,
    DropLog,
    SealSnapshot,
    Send,
    SendLog,
    SendSnapshot,
    StorageEffect,
)
from workbench.protocol.inputs import Input
from workbench.protocol.replica import Replica
from workbench.protocol.snapshot import Recovered
from workbench.protocol.values import LoggedEntry, Position
from workbench.simulator.laws import START, Laws

ALLOWED_IN_A_GROUP: Final = (Append, Commit, Abandon, SendLog, SendSnapshot, SealSnapshot, DropLog)
"""What may happen while a group is executed, but neither committed nor abandoned."""


@dataclass(kw_only=True)
class Node(ABC):
    """A core, what its disk holds, and what its storage still has to do.

    `log` is the whole history behind the replica's database, for the laws; the disk may have dropped its beginning.
    """

    name: str
    laws: Laws
    core: Replica = field(init=False, repr=False)
    log: list[LoggedEntry] = field(default_factory=list)
    applied: int = 0
    term: tuple[int, str] = (0, "")
    """Term and vote as they are on the disk."""
    damage: str = ""
    """Its database differs from what the log says, which shows when the next entry does not fit: `log` can mend it, or
    only a `snapshot` of somebody else."""
    diverged: bool = False
    """That has shown: nothing is applied any more."""
    jobs: deque[StorageEffect] = field(default_factory=deque)
    answers: deque[Input | Send] = field(default_factory=deque)
    """What storage has done and the core has not heard of."""
    up: bool = True
    disk_failed: bool = False
    """A fault of the disk has ended it."""
    committed: int = 0
    """The core's committed index when the laws looked last."""

    @property
    def last(self) -> Position:
        """Position of the last entry on disk."""
        return self.log[-1].entry.position if self.log else START

    @property
    def applied_position(self) -> Position:
        """Position of the entry that the database is at."""
        return self.log[self.applied - 1].entry.position if self.applied else START

    @property
    @abstractmethod
    def copying(self) -> object | None:
        """The copy for a snapshot that goes on beside everything else, if there is one."""

    @property
    @abstractmethod
    def disk_is_full(self) -> bool:
        """Its log can grow no more: the next entries end its process, and are not there."""

    @abstractmethod
    def fill_disk(self, *, full: bool) -> None:
        """Let the disk be full, or have room again."""

    @abstractmethod
    def fail_sync(self, *, fails: bool) -> None:
        """Let the next sync fail, and end the process: whatever was to be synced may be there or not."""

    @abstractmethod
    def save_term(self, term: int, voted_for: str) -> None:
        """Make term and vote durable. Raises `StorageError`."""

    @abstractmethod
    def perform(self) -> None:
        """Carry out the next storage effect. Raises `StorageError` where a fault of the disk ends the process."""

    @abstractmethod
    def finish_copy(self) -> None:
        """The copy that goes on beside everything else is on disk."""

    @abstractmethod
    def end(self, random: Random, under_way: StorageEffect | None, *, forgets: bool) -> None:
        """The process ends, while storage was at `under_way`, of which any part may be done. With `forgets`, the disk
        loses what was not synced; else the system still has it."""

    @abstractmethod
    def recover(self) -> Recovered:
        """Bring the database to the end of the log; say what a new core must know."""

    @abstractmethod
    def kept_aside(self) -> Iterable[Position]:
        """Positions of the dropped entries that can still be read (`rollback/`)."""

    @abstractmethod
    def digest(self) -> object:
        """What the whole database is, so that those of two replicas can be compared."""

    @abstractmethod
    def close(self) -> None:
        """The world ends."""
