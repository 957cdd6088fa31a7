"""How a follower gets a snapshot: piece by piece, each asked for when the one before it has come.

The pieces that are on disk survive a crash and a change of leader; whether they are of any use the next leader says by
sending a piece of the same snapshot, or of another one from its beginning.
"""

from __future__ import annotations

from workbench.protocol.effects import InstallSnapshot, SaveChunk, Send
from workbench.protocol.messages import FetchSnapshot, SnapshotChunk
from workbench.protocol.state import ReplicaState

_PATIENCE = 4
"""A piece is asked for again after so many `fetch_retry_ms`: a leader may first have to make the snapshot."""


class Receiving:
    """A snapshot on its way to this replica. `held`: its name and the bytes of it that are on disk."""

    def __init__(self, state: ReplicaState, held: tuple[str, int]) -> None:
        self._state = state
        self._patience_ns = state.ns(_PATIENCE * state.timing.fetch_retry_ms)
        self._snapshot, self._next = held
        self._size = 0
        self._asked_at = 0
        self._saving = 0
        self._is_wanted = False
        self._mends = False
        """The snapshot is wanted for the database alone: entries are taken meanwhile."""
        self.is_installing = False
        """Log and database are about to be replaced: nothing may be appended meanwhile."""

    @property
    def is_active(self) -> bool:
        """Whether a snapshot is on its way, so that no entries need be fetched."""
        return self._is_wanted and (self.is_installing or not self._mends)

    def begin(self, at: int) -> None:
        """The leader says that only a snapshot helps."""
        self._mends = False
        if not self._is_wanted:
            self._is_wanted = True
            self._ask(at)

    def begin_mending(self, at: int) -> None:
        """The log is in order, but a broken database, or an observer whose log has become long, wants a snapshot."""
        if not self._is_wanted:
            self._is_wanted = self._mends = True
            self._ask(at)

    def end_if_possible(self) -> None:
        """No snapshot is wanted any more, or it is for a new leader to say. What is on disk stays there."""
        self._is_wanted = self.is_installing

    def entries_will_do(self) -> None:
        """The leader has entries for this log: only a broken database still wants a snapshot."""
        if not self._mends:
            self.end_if_possible()

    def on_tick(self, at: int) -> None:
        """Ask again for what did not come."""
        if self._is_wanted and not self._saving and not self.is_installing and at - self._asked_at >= self._patience_ns:
            self._ask(at)

    def on_chunk(self, chunk: SnapshotChunk, at: int) -> None:
        """Keep a piece, and ask for the next."""
        if not self._is_wanted or self.is_installing:
            return
        if chunk.snapshot == self._snapshot and chunk.offset != self._next:
            return  # it was asked for twice
        if chunk.snapshot != self._snapshot and chunk.offset:
            return
        self._snapshot, self._size = chunk.snapshot, chunk.size
        self._next = chunk.offset + len(chunk.data)
        self._saving += 1
        self._state.milestones.snapshot_bytes_in += len(chunk.data)
        self._state.ask(SaveChunk(chunk))
        if self._next < self._size:
            self._ask(at)

    def on_saved(self, snapshot: str, held: int, at: int) -> bool:
        """A piece is on disk, or was refused. Whether it was the last one, so that the snapshot can be installed."""
        self._saving = max(0, self._saving - 1)  # an earlier duty may have asked for it
        if self._saving or not self._is_wanted or self.is_installing:
            return False
        if snapshot != self._snapshot:
            held = 0  # its first piece was refused
        if held != self._next:
            self._next = held
            self._ask(at)
            return False
        return 0 < self._size <= held

    def install(self, at: int) -> None:
        """Let the snapshot take the place of log and database. Storage has been given every entry of the log by now."""
        self.is_installing = True
        self._state.milestones.snapshot_received_ns = at
        self._state.ask(InstallSnapshot(self._state.committed))

    def on_end(self) -> None:
        """The snapshot was installed, or turned out to be of no use."""
        self._snapshot, self._next, self._size = "", 0, 0
        self._is_wanted = self._mends = self.is_installing = False

    def _covers(self) -> int:
        state = self._state
        return state.log.first_index - 1 if state.diverged else state.base.index + 1

    def _ask(self, at: int) -> None:
        state = self._state
        self._asked_at = at
        state.milestones.snapshot_asked_ns = state.milestones.snapshot_asked_ns or at
        if state.leader:
            covers = self._covers() if self._mends else 0
            request = FetchSnapshot(state.term, state.name, self._snapshot, self._next, state.layout, covers)
            state.ask(Send(state.leader, request))
