"""When a replica makes a snapshot of its own database, and drops the log that it covers. In every role alike.

Copying goes on beside everything else. A copy becomes a snapshot only once its position is committed, so that no rewind
ever goes back behind it; a rewind before that makes it worthless.
"""

from __future__ import annotations

from workbench.protocol.effects import DropLog, MakeSnapshot, SealSnapshot
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import Position

_TRY_AGAIN_MS = 500.0


class Compaction:
    """The snapshots that one replica makes."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._wanted = False
        self._busy = False
        self._not_before = 0
        self._copied: Position | None = None
        self._bytes_covered = 0

    def want(self) -> None:
        """A snapshot is needed as soon as it can be had."""
        self._wanted = True

    def serves(self, *, joining: bool) -> bool:
        """Whether there is a snapshot for a follower to begin with.

        A member gets any: what was written since may not be committed before it has it, and only committed entries are
        put into a snapshot. A replica that joins waits for one with little log behind it.
        """
        state = self._state
        return state.base.index > 0 and (not joining or state.log_bytes <= state.limits.catch_up_bytes_max)

    def start_if_due(self, at: int) -> None:
        """Begin a copy when one is wanted or the log has become long. To be called when no group is executing."""
        state = self._state
        if state.observer:
            return  # its database may be one that nobody can copy: it takes its leader's snapshots
        due = self._wanted or state.log_bytes > state.limits.retained_log_bytes_max
        if (
            due
            and not self._busy
            and not state.rewinding
            and not state.diverged
            and state.applied > state.base.index
            and at >= self._not_before
        ):
            self._busy, self._wanted = True, False
            self._bytes_covered = state.log_bytes
            state.milestones.snapshot_begun_ns = at
            state.ask(MakeSnapshot())

    def on_copied(self, position: Position) -> None:
        """A copy is on disk."""
        self._copied = position
        self.seal_if_committed()

    def on_abandoned(self, at: int) -> None:
        """No copy came of it: try again, but not at once."""
        self._copied, self._busy, self._wanted = None, False, True
        self._state.sealing = 0
        self._not_before = at + self._state.ns(_TRY_AGAIN_MS)

    def seal_if_committed(self) -> None:
        """Make a snapshot of the copy, if that is possible by now."""
        state = self._state
        if self._copied is None:
            return
        if not state.log.holds(self._copied):
            self._copied = None  # a rewind was asked for: storage will say that it has abandoned the copy
        elif state.committed >= self._copied.index:
            state.sealing = self._copied.index
            state.ask(SealSnapshot(state.snapshot_state(self._copied)))
            self._copied = None

    def on_sealed(self, position: Position, at: int) -> None:
        """The log up to here is not needed any more, but for followers that are a little behind."""
        state = self._state
        self._busy = False
        state.base = position
        state.milestones.snapshot_sealed_ns = at
        state.log_bytes = max(0, state.log_bytes - self._bytes_covered)
        state.ask(DropLog(position.index, state.limits.retained_log_bytes_max // 2))
