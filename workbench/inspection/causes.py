"""Why a statement is unsafe, as the statement format judges it: a thin door to `log_formats/nondeterminism.py`."""

from __future__ import annotations

import apsw

from workbench.log_formats.nondeterminism import analyse


def unsafe_cause(connection: apsw.Connection, sql: str) -> tuple[str, str]:
    """(cause, reason) of an unsafe statement under the present schema; two empty strings for any other.

    Of several causes the first is named, and all are in the reason.
    """
    try:
        found = analyse(connection, sql)
    except (apsw.Error, UnicodeDecodeError):
        return "", ""  # such as a table that the statement itself has dropped, or text that is none
    if not found:
        return "", ""
    return str(found[0].cause), "; ".join(one.sentence for one in found)
