"""Checkers: pure functions from a recorded history to a `Verdict`. They import nothing of the system they judge."""

from workbench.checkers.convergence import convergence
from workbench.checkers.lost_writes import LostWrites, lost_writes
from workbench.checkers.staleness import Staleness, staleness
from workbench.checkers.verdict import Verdict

__all__ = ["LostWrites", "Staleness", "Verdict", "convergence", "lost_writes", "staleness"]
