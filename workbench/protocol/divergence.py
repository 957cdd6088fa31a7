"""What a follower does when an entry does not fit its database: it serves nobody, says why, and makes it anew.

First from its own disk: the log and the snapshot before it are the truth, and the database follows from them. Where
that does not help, as when the snapshot was made of the same database, from a snapshot of the leader. Rules:

- The log is not touched, and goes on: what was acknowledged for it stays, and commits may wait for it.
- Whoever has diverged does not stand for election.
- After `REBUILDS_MAX` attempts without an end the replica ends itself: it would go on for ever.
"""

from __future__ import annotations

from typing import Final

from workbench.protocol.effects import Leave, Rebuild
from workbench.protocol.inputs import Diverged
from workbench.protocol.state import ReplicaState

REBUILDS_MAX: Final = 3


class Divergence:
    """What is known of one replica's divergence, through its life as a follower."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self.needs_snapshot = bool(state.diverged)
        """Nothing on the own disk helps."""

    def note(self, diverged: Diverged) -> None:
        """An entry did not fit, or a rebuild has not helped."""
        state = self._state
        state.applied = min(state.applied, diverged.position.index)
        state.diverged = f"{state.name} has diverged: {diverged.reason}"
        state.notes["diverged"] = diverged.reason
        if diverged.finally_:
            self.needs_snapshot = True
            return
        state.counts["divergences"] += 1
        if state.counts["divergences"] > REBUILDS_MAX:
            state.ask(Leave(f"{state.diverged} (it was made anew {REBUILDS_MAX} times, and has diverged again)"))
        else:
            state.ask(Rebuild())

    def end(self) -> None:
        """The database is what it should be again."""
        state = self._state
        if state.diverged:
            state.diverged = ""
            state.notes["diverged_before"] = state.notes.pop("diverged", "")
        self.needs_snapshot = False
