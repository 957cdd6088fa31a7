"""Every error that the workbench raises on purpose.

One base class, `WorkbenchError`, so that a caller can catch them all. Operations fail in two ways that must never
be confused: a `DefiniteError` says that the operation did not happen; an `IndefiniteError` says that it may have.
Every timeout is indefinite. An error carries a `hint` where the reader can act on it.
"""

from __future__ import annotations

from typing import Any


class WorkbenchError(Exception):
    """Base of all errors. `str()` is one line: what was wrong; `hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigurationError(WorkbenchError, ValueError):
    """A value given by the user is out of its range or cannot be combined with another."""


class OperationError(WorkbenchError):
    """How an operation of a session failed. Of a write: `identifier` and `sequence` name it in every log, or are 0."""

    identifier = 0
    sequence = 0


class DefiniteError(OperationError):
    """The operation did not happen, and never will unless it is tried again."""


class IndefiniteError(OperationError):
    """The operation may have happened, or may still happen."""


class StatementError(DefiniteError):
    """SQLite or the workbench refused the SQL of an operation."""


class NotLeaderError(DefiniteError):
    """The replica that was asked does not lead; `leader` is the one it believes in, or the empty string."""

    def __init__(self, message: str, *, leader: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.leader = leader


class OverloadedError(DefiniteError):
    """A queue reached its bound; nothing was done with the operation."""


class NotReadyError(DefiniteError):
    """No replica could answer a read on the terms of its policy in time."""


class LostPosition(DefiniteError):
    """What a session has seen was dropped by a rewind: `position` (a `messages.Position`) is in the log no more.

    It stays so for all that the session reads under this policy, until it forgets what it has seen.
    """

    def __init__(self, position: Any) -> None:
        super().__init__(
            f"position {position}, which this session relies on, was dropped by a rewind: what it wrote or saw is gone",
            hint="session.forget() goes on without it",
        )
        self.position = position


class CodecError(WorkbenchError):
    """Bytes that are not a message or entry of this version."""


class LogCorruption(WorkbenchError):
    """A file of a replica holds bytes that cannot be what was written: `offset` of the file at `path`."""

    def __init__(self, message: str, *, path: str = "", offset: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.offset = offset


class StorageError(WorkbenchError):
    """A replica's disk or database failed; the replica ends itself and says why."""


class DivergedError(StorageError):
    """An entry does not fit the replica's database, which therefore cannot equal the leader's."""


class BrokerError(WorkbenchError):
    """The MQTT broker could not be started or reached, or it refused the connection."""


class ClusterError(WorkbenchError):
    """A cluster could not start, or one of its processes ended unexpectedly."""


class RunError(WorkbenchError):
    """A run folder is missing, incomplete or of another schema version."""


class HistoryError(WorkbenchError, ValueError):
    """A history or a table of operations is malformed; the message names the line, column or operation."""
