"""The zoo's bugs in what must hold across failovers: who may still act as a leader, which writes took effect, and who
counts. Few schedules bring them to light: seeds draw themes, and aim (`drawing.py`)."""

from __future__ import annotations

from typing import Final

from workbench.simulator.bug import Bug
from workbench.simulator.patching import Patch

FAILOVER_BUGS: Final = (
    Bug(
        "lease_too_long",
        "lease",
        "correctness",
        "A lease lasts longer than others keep from voting.",
        Patch(
            "workbench.protocol.state",
            "return self.election_timeout_ns * 9 // 10",
            "return self.election_timeout_ns * 2",
        ),
        first_seed=94,
    ),
    Bug(
        "observers_count",
        "membership",
        "correctness",
        "Observers count like members.",
        Patch(
            "workbench.protocol.progress",
            "if not (one.joining or one.observer)]",
            "if not one.joining]",
        ),
        first_seed=44,
    ),
    Bug(
        "rewind_keeps_members",
        "membership",
        "correctness",
        "A rewind does not undo a change of members that it drops.",
        Patch(
            "workbench.protocol.ledger",
            "self.membership.truncate(after)",
            "self.membership.truncate(after + 1_000_000)",
        ),
        first_seed=19,
    ),
    Bug(
        "two_changes_at_once",
        "membership",
        "correctness",
        "A change of members does not wait until the one before it is committed.",
        Patch(
            "workbench.protocol.handover",
            "if self.due is not None or state.ledger.membership.changed_at > state.committed:",
            "if self.due is not None:",
        ),
        first_seed=60,
    ),
)
