"""Which client transactions took effect already, so that a retry takes none and gets its first reply again.

The table is a function of the log: every entry lists its members with their replies. For each session it keeps
the newest transaction that is committed and the later ones (not more than a few: where nothing gets committed, as
under async with the followers down, the table must not grow with the log): a rewind can drop only those, and what lies
below must then be known again. Older sequences of a session are never retried, since a session has one write open at
a time; a late copy of one is known by its number, and not run again.

Sessions expire by an entry that names a *horizon*, a committed index: whoever wrote last at or before it is forgotten.
So that nobody takes a forgotten session for a new one, every write says when its session was *born*: a committed index
that the client had heard of before it first wrote. A session that is unknown here and was born before the horizon may
have been forgotten; one born later cannot have been.
"""

from __future__ import annotations

import msgspec

from workbench.errors import CodecError
from workbench.protocol.values import EXPIRY_KIND, Entry, Position, StatementResult, Wire

_REMEMBERED_MAX = 8
_decode_horizon = msgspec.msgpack.Decoder(int).decode


class Remembered(Wire, frozen=True):
    """A client transaction that took effect: where, and with which reply."""

    sequence: int
    position: Position
    member: int
    results: tuple[StatementResult, ...]


class SessionImage(Wire, frozen=True):
    """One session: its remembered transactions, oldest first, and the highest sequence that is forgotten."""

    session: int
    remembered: tuple[Remembered, ...]
    forgotten: int


class SessionsImage(Wire, frozen=True):
    """A table as it travels with a snapshot."""

    horizon: int = 0
    sessions: tuple[SessionImage, ...] = ()


def expiry_entry(term: int, index: int, horizon: int) -> Entry:
    """The entry by which everybody forgets the sessions that wrote last at or before index `horizon`."""
    return Entry(term, index, EXPIRY_KIND, (), msgspec.msgpack.encode(horizon))


class SessionTable:
    """Session -> its remembered transactions, oldest first."""

    def __init__(self) -> None:
        self._sessions: dict[int, list[Remembered]] = {}
        self._forgotten: dict[int, int] = {}
        self._committed = 0
        self._horizons: list[tuple[int, int]] = [(0, 0)]
        """(index of the entry, horizon): the last committed one, then those that a rewind may drop."""

    def __len__(self) -> int:
        return len(self._sessions)

    @classmethod
    def from_image(cls, image: SessionsImage) -> SessionTable:
        """The table that a snapshot carries."""
        table = cls()
        table._horizons = [(0, image.horizon)]
        for one in image.sessions:
            table._sessions[one.session] = list(one.remembered)
            if one.forgotten:
                table._forgotten[one.session] = one.forgotten
        return table

    def image_at(self, index: int) -> SessionsImage:
        """The table as of `index`; see `Ledger.image_at`."""
        known = (horizon for at, horizon in reversed(self._horizons) if at <= index)
        horizon = next(known, self._horizons[0][1])  # what a later, committed entry has expired is gone already
        sessions = []
        for session, remembered in self._sessions.items():
            kept = tuple(one for one in remembered if one.position.index <= index)
            if kept and kept[-1].position.index > horizon:
                sessions.append(SessionImage(session, kept, self.forgotten(session)))
        return SessionsImage(horizon, tuple(sessions))

    # Questions.

    def newest(self, session: int) -> Remembered | None:
        """The session's last transaction that took effect, if it is known."""
        remembered = self._sessions.get(session)
        if not remembered or remembered[-1].position.index <= self._horizons[-1][1]:
            return None
        return remembered[-1]

    def forgotten(self, session: int) -> int:
        """The highest sequence of which it is known only that it took effect once; 0 if there is none.

        A rewind does not bring it down, though it may drop that write: better not to know than to run it twice.
        """
        return self._forgotten.get(session, 0)

    def may_have_expired(self, born: int) -> bool:
        """Whether a session that is unknown, and was born at `born`, may have been known."""
        return born < self._horizons[-1][1]

    def horizon_for(self, idle_since: int, count_max: int) -> int:
        """The horizon of the next expiry entry, or 0 if none is due.

        It is due for sessions that wrote last at or before `idle_since`; and for the older half when there are more
        than `count_max`, since the table is bounded. Only committed entries count.
        """
        newest = sorted(remembered[-1].position.index for remembered in self._sessions.values())
        horizon = idle_since
        if len(newest) > count_max:
            horizon = max(horizon, newest[len(newest) // 2])
        horizon = min(horizon, self._committed)
        current = self._horizons[-1][1]
        return horizon if any(current < index <= horizon for index in newest) else 0

    # Changes.

    def record(self, entry: Entry) -> None:
        """Take note of an entry that was appended to the log. Raises `CodecError` for an expiry without a horizon."""
        if entry.kind == EXPIRY_KIND:
            try:
                self._horizons.append((entry.index, _decode_horizon(entry.body)))
            except msgspec.MsgspecError as error:
                raise CodecError(f"an expiry without a horizon: {error}") from None
        position = entry.position
        for place, member in enumerate(entry.members):
            remembered = self._sessions.setdefault(member.session, [])
            while len(remembered) > 1 and (
                remembered[1].position.index <= self._committed or len(remembered) >= _REMEMBERED_MAX
            ):
                self._forgotten[member.session] = remembered.pop(0).sequence
            remembered.append(Remembered(member.sequence, position, place, member.results))

    def commit(self, index: int) -> None:
        """Entries up to `index` can be dropped no more."""
        self._committed = max(self._committed, index)
        expired = False
        while len(self._horizons) > 1 and self._horizons[1][0] <= self._committed:
            self._horizons.pop(0)
            expired = True
        if expired:
            self._forget(self._horizons[0][1])

    def truncate(self, after: int) -> None:
        """Forget what entries behind index `after` did: they were dropped from the log."""
        self._committed = min(self._committed, after)
        while len(self._horizons) > 1 and self._horizons[-1][0] > after:
            self._horizons.pop()
        for session in list(self._sessions):
            kept = [one for one in self._sessions[session] if one.position.index <= after]
            if kept:
                self._sessions[session] = kept
            else:
                del self._sessions[session]

    def _forget(self, horizon: int) -> None:
        for session in list(self._sessions):
            if self._sessions[session][-1].position.index <= horizon:
                del self._sessions[session]
                self._forgotten.pop(session, None)
