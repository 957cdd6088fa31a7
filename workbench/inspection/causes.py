"""Why a statement is unsafe, as the statement format judges it: a thin door to `log_formats/nondeterminism.py`."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from workbench.log_formats.causes import Unsafe
from workbench.log_formats.full_tables import FullTables, full
from workbench.log_formats.nondeterminism import examine


def examined(connection: apsw.Connection, sql: str) -> tuple[tuple[Unsafe, ...], tuple[Unsafe, ...]]:
    """The causes under the present schema and rows, and those that only the values decide when it runs.

    Raises `apsw.Error`, `UnicodeDecodeError`.
    """
    examination = examine(connection, sql)
    tables = FullTables(connection)
    random_keys = tuple(full(table) for table in examination.generates if tables.is_full(table))
    return (*examination.unsafe, *random_keys), examination.perhaps


def unsafe_causes(connection: apsw.Connection, sql: str) -> tuple[Unsafe, ...]:
    """Why a statement that made rows differ is unsafe; nothing for a safe one."""
    try:
        certain, perhaps = examined(connection, sql)
    except (apsw.Error, UnicodeDecodeError):
        return ()  # such as a table that the statement itself has dropped, or text that is none
    return certain or perhaps


def cause_of(unsafe: Sequence[Unsafe], table: str, column: str) -> Unsafe | None:
    """Which of the causes made `column` of `table` differ: one that names the column, else one that names none."""
    if not unsafe:
        return None
    place = f" of {table}.{column}".casefold()
    named = [one for one in unsafe if one.what.casefold().endswith(place)]
    others = [one for one in unsafe if " of " not in one.what]
    return (named or others or list(unsafe))[0]
