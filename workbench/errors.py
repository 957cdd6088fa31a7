"""Every error that the workbench raises on purpose.

One base class, `WorkbenchError`, so that a caller can catch them all. Operations fail in two ways that must never
be confused: a `DefiniteError` says that the operation did not happen; an `IndefiniteError` says that it may have.
Every timeout is indefinite. An error carries a `hint` where the reader can act on it.
"""

from __future__ import annotations


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


class DefiniteError(WorkbenchError):
    """The operation did not happen, and never will unless it is tried again."""


class IndefiniteError(WorkbenchError):
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
