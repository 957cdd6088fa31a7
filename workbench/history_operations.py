"""Operations of any history: what a process asked of a store, what came back, and when. The most general form.

Values are JSON scalars, keys strings, times integers. `null` is the value of a key that is absent: nothing writes it.
An operation `fail` did not happen; one `info` may have, or may still happen: it stays open to the end, whatever time
its completion has. A `cas` that was executed is `ok`, also when it did not match: then `matched` is False.

The table of operations (`workbench.history`) is narrower: reads and writes of integers, in columns. Why both are there
is told by docs/decisions/0012-two-forms-of-a-history.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

import msgspec

Scalar: TypeAlias = str | int | float | bool | None

OPEN: Final = 2**63 - 1
"""Place of the completion of an operation that never completed."""

FUNCTIONS: Final = ("read", "write", "cas")
"""What histories hold unless a reader is told to take any function."""


class Operation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One operation.

    `value`: read: what it returned (None also if no answer came); write: what it wrote; cas: what it would set, if the
    key held `expected`. `begin` and `end` are the places of its two events in the order of the history, `end` is OPEN
    for an operation in doubt. `matched` is None but for a cas with an answer.
    """

    number: int
    process: int
    f: str
    key: str
    value: Any = None
    expected: Any = None
    matched: bool | None = None
    outcome: Literal["ok", "fail", "info"]
    begin: int = 0
    end: int = OPEN
    invoked_ns: int = 0
    completed_ns: int | None = None
    session: int = 0
    cell: str = ""
    replica: str = ""
    term: int = 0
    index: int = 0
    member: int = 0
    error: str = ""


def token(value: Any) -> Any:
    """A hashable stand-in for a JSON value that keeps `true` and 1 apart, which Python does not."""
    if not isinstance(value, bool | list):
        return value
    if isinstance(value, bool):
        return ("true" if value else "false",)
    return tuple(token(item) for item in value)


def told(value: Any) -> str:
    """A value as a sentence shows it."""
    return "nothing" if value is None else msgspec.json.encode(value).decode()


def tell(operation: Operation) -> str:
    """What an operation did, in words: `process 3 read x = 7 from replica-2 (operation 12)`."""
    key, value = operation.key, told(operation.value)
    if operation.f == "read":
        what = f"read {key} = {value}" if operation.outcome == "ok" else f"asked for {key}"
    elif operation.f == "write":
        what = f"wrote {key} = {value}"
    elif operation.f == "cas":
        what = f"changed {key} from {told(operation.expected)} to {value}"
        if operation.matched is False:
            what = f"found {key} not to be {told(operation.expected)}"
    else:
        what = f"{operation.f} of {key} with {value}"
    place = f" from {operation.replica}" if operation.replica and operation.f == "read" else ""
    doubt = ", which may have happened or not" if operation.outcome == "info" else ""
    return f"process {operation.process} {what}{place} (operation {operation.number}{doubt})"


def by_key(operations: Iterable[Operation]) -> dict[tuple[str, str], list[Operation]]:
    """(cell, key) -> its operations: each key is a store of its own (locality, Herlihy and Wing 1990)."""
    parts: dict[tuple[str, str], list[Operation]] = {}
    for operation in operations:
        parts.setdefault((operation.cell, operation.key), []).append(operation)
    return parts
