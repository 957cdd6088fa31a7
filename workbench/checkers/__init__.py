"""Checkers: pure functions from a recorded history to a `Verdict`. They import nothing of the system they judge."""

from workbench.checkers.appends import Appends, appends
from workbench.checkers.convergence import convergence
from workbench.checkers.lost_writes import LostWrites, lost_writes
from workbench.checkers.sessions import SessionGuarantees, session_guarantees
from workbench.checkers.staleness import Staleness, staleness
from workbench.checkers.verdict import Verdict

__all__ = [
    "Appends",
    "LostWrites",
    "SessionGuarantees",
    "Staleness",
    "Verdict",
    "appends",
    "convergence",
    "lost_writes",
    "session_guarantees",
    "staleness",
]
