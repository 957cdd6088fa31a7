"""Letting SQLite compile a statement, and not run it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import apsw

from workbench.log_formats.programs import NO_BINDINGS


@dataclass(frozen=True, slots=True)
class Compiled:
    """What is known of a statement that SQLite accepts."""

    reads_only: bool
    parameters: int
    """Values that it leaves open."""


def compile_only(connection: apsw.Connection, sql: str) -> Compiled:
    """Compile the one statement in `sql` under the schema of `connection`. Raises `apsw.Error`."""
    found: list[Compiled] = []
    cursor = connection.cursor()

    def stop(traced: apsw.Cursor, _sql: str, _bindings: object) -> bool:
        found.append(Compiled(traced.is_readonly or bool(traced.is_explain), traced.bindings_count))
        return False

    cursor.exec_trace = stop
    with contextlib.suppress(apsw.ExecTraceAbort):
        cursor.execute(sql, NO_BINDINGS, can_cache=False)
    return found[0] if found else Compiled(reads_only=True, parameters=0)
