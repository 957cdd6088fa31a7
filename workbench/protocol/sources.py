"""What a leader serves to followers that fetch: entries of its log, or pieces of a snapshot where those are gone."""

from __future__ import annotations

from workbench.protocol.compaction import Compaction
from workbench.protocol.effects import Send, SendLog, SendSnapshot
from workbench.protocol.messages import (
    AppendEntries,
    Fetch,
    FetchSnapshot,
    JoinRefused,
    Mismatch,
    SnapshotChunk,
    SnapshotNeeded,
)
from workbench.protocol.progress import Followers
from workbench.protocol.state import ReplicaState


class Sources:
    """The log and the snapshots of one reign, as its followers see them."""

    def __init__(self, state: ReplicaState, compaction: Compaction, followers: Followers) -> None:
        self._state = state
        self._compaction = compaction
        self._followers = followers
        self._askers: dict[str, FetchSnapshot] = {}
        """Who waits for a snapshot that is being made."""

    def on_fetch(self, fetch: Fetch, header: AppendEntries, at: int) -> None:
        """Send a follower what it misses, or the newest position at which the two logs might agree."""
        state, after = self._state, fetch.after
        follower = self._followers.find(fetch, state.log.last.index, at)
        if follower is None:
            state.refused_messages += 1
            return
        joins_now = (follower.joining or follower.observer) and not after.index
        agrees = state.log.holds(after)
        nearest = after if agrees else state.log.newest_up_to(after)
        if joins_now or not state.log.can_read_after(nearest.index):
            state.ask(Send(fetch.replica, SnapshotNeeded(state.term, state.name)))
        elif agrees:
            state.ask(SendLog(fetch.replica, header, state.limits.catch_up_bytes_max, fetch.offset))
        else:
            state.ask(Send(fetch.replica, Mismatch(state.term, state.name, nearest)))

    def on_fetch_snapshot(self, request: FetchSnapshot) -> None:
        """Send a piece; whoever begins waits, if need be, for a snapshot with little log behind it."""
        state = self._state
        follower = self._followers.get(request.replica)
        if follower is None:
            state.refused_messages += 1
        elif request.layout and state.layout and request.layout != state.layout:
            reason = f"{request.replica} has {request.layout}; this cluster has {state.layout}"
            state.ask(Send(request.replica, JoinRefused(state.term, state.name, reason)))
        elif request.covers <= state.base.index and (
            (request.offset and state.base.index)
            or self._compaction.serves(joining=follower.joining or follower.observer)
        ):
            self._send(request)
        else:
            self._wait(request)

    def _wait(self, request: FetchSnapshot) -> None:
        self._askers[request.replica] = request
        self._compaction.want()

    def on_sealed(self) -> None:
        """There is a new snapshot."""
        askers, self._askers = self._askers, {}
        for request in askers.values():
            if request.covers <= self._state.base.index:
                self._send(request)
            else:
                self._wait(request)

    def _send(self, request: FetchSnapshot) -> None:
        state = self._state
        header = SnapshotChunk(state.term, state.name, request.snapshot, 0, request.offset, b"", 0)
        state.ask(SendSnapshot(request.replica, header, state.limits.catch_up_bytes_max))
