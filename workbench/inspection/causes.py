"""Why a statement is unsafe, as the statement format judges it: a thin door to `log_formats/nondeterminism.py`."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from workbench.log_formats.causes import Unsafe
from workbench.log_formats.nondeterminism import analyse


def unsafe_causes(connection: apsw.Connection, sql: str) -> tuple[Unsafe, ...]:
    """The causes of an unsafe statement under the present schema; none for any other."""
    try:
        return analyse(connection, sql)
    except (apsw.Error, UnicodeDecodeError):
        return ()  # such as a table that the statement itself has dropped, or text that is none


def cause_of(unsafe: Sequence[Unsafe], table: str, column: str) -> Unsafe | None:
    """Which of the causes made `column` of `table` differ: one that names the column, else one that names none."""
    if not unsafe:
        return None
    place = f" of {table}.{column}".casefold()
    named = [one for one in unsafe if one.what.casefold().endswith(place)]
    others = [one for one in unsafe if " of " not in one.what]
    return (named or others or list(unsafe))[0]
