"""Checkers: pure functions from a recorded history to a `Verdict`. They import nothing of the system they judge."""

from workbench.checkers.appends import Appends, appends
from workbench.checkers.bank import bank_totals
from workbench.checkers.convergence import convergence
from workbench.checkers.double_acknowledgements import double_acknowledgements, no_double_acknowledgement
from workbench.checkers.final_reads import final_reads
from workbench.checkers.known_values import KnownValues, known_values
from workbench.checkers.linearizability import Linearizability, linearizability
from workbench.checkers.lost_writes import LostWrites, lost_writes
from workbench.checkers.observed_order import observed_order
from workbench.checkers.prefix import ConsistentPrefix, consistent_prefix
from workbench.checkers.rolled_back import DroppedEntry, Losses, losses, read_rollbacks, rolled_back_values
from workbench.checkers.sessions import SessionGuarantees, session_guarantees
from workbench.checkers.staleness import Staleness, staleness
from workbench.checkers.staleness_figures import staleness_figures
from workbench.checkers.verdict import Verdict

__all__ = [
    "Appends",
    "ConsistentPrefix",
    "DroppedEntry",
    "KnownValues",
    "Linearizability",
    "Losses",
    "LostWrites",
    "SessionGuarantees",
    "Staleness",
    "Verdict",
    "appends",
    "bank_totals",
    "consistent_prefix",
    "convergence",
    "double_acknowledgements",
    "final_reads",
    "known_values",
    "linearizability",
    "losses",
    "lost_writes",
    "no_double_acknowledgement",
    "observed_order",
    "read_rollbacks",
    "rolled_back_values",
    "session_guarantees",
    "staleness",
    "staleness_figures",
]
