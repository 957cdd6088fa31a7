"""What a database did with what it was asked: the values between a store and the core."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.protocol.values import Member, Row


@dataclass(frozen=True, slots=True)
class Refused:
    """A client transaction that had no effect, and why (one line for the user)."""

    session: int
    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class Execution:
    """What a group of client transactions became: the entry's members and body.

    No members means that there is nothing to log.
    """

    members: tuple[Member, ...]
    refused: tuple[Refused, ...]
    body: bytes
    wall_ms: int = 0
    """When it was executed, milliseconds since 1970 by the leader's clock."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Rows of one read, or the `error` that refused it (then there are no rows)."""

    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    error: str = ""
