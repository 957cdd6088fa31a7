"""Which class captures and applies under a log format and a policy for unsafe statements."""

from __future__ import annotations

import apsw

from workbench.config import LogFormatName, UnsafePolicy
from workbench.log_formats.base import LogFormat, Watch
from workbench.log_formats.guarded import GuardedFormat
from workbench.log_formats.logical import LogicalFormat
from workbench.log_formats.mixed import MixedFormat
from workbench.log_formats.pinning import Clock
from workbench.log_formats.statement import StatementFormat


def new_clock(log_format: LogFormatName, unsafe: UnsafePolicy) -> Clock | None:
    """The clock that the connection must be opened with, if it needs one; the caller unregisters it."""
    watches = log_format == "mixed" or (log_format == "statement" and unsafe != "allow")
    return Clock() if watches else None


def new_format(
    connection: apsw.Connection, log_format: LogFormatName, unsafe: UnsafePolicy, clock: Clock | None
) -> tuple[LogFormat, Watch | None]:
    """The log format, and what stands around each statement if it is watched. `clock` is that of `new_clock`."""
    if clock is None:
        plain = LogicalFormat(connection) if log_format == "logical" else StatementFormat(connection)
        return plain, None
    if log_format == "mixed" or unsafe == "mixed":
        mixed = MixedFormat(connection, clock, log_format)
        return mixed, mixed
    guarded = GuardedFormat(connection, clock, pins=unsafe == "pin")
    return guarded, guarded
