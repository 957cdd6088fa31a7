"""Which client transactions took effect already, so that a retry takes none and gets its first reply again.

The table is a function of the log: every entry lists its members with their replies. For each session it keeps
the newest transaction that is committed and the later ones (not more than a few: where nothing gets committed, as
under async with the followers down, the table must not grow with the log): a rewind can drop only those, and what lies
below must then be known again. Older sequences of a session are never retried, since a session has one write open at
a time; a late copy of one is known by its number, and not run again.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.protocol.messages import Entry, Position, StatementResult

_REMEMBERED_MAX = 8


@dataclass(frozen=True, slots=True)
class Remembered:
    """A client transaction that took effect: where, and with which reply."""

    sequence: int
    position: Position
    member: int
    results: tuple[StatementResult, ...]


class SessionTable:
    """Session -> its remembered transactions, oldest first."""

    def __init__(self) -> None:
        self._sessions: dict[int, list[Remembered]] = {}
        self._forgotten: dict[int, int] = {}
        self._committed = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def newest(self, session: int) -> Remembered | None:
        """The session's last transaction that took effect, if there is one."""
        remembered = self._sessions.get(session)
        return remembered[-1] if remembered else None

    def forgotten(self, session: int) -> int:
        """The highest sequence of which it is known only that it took effect once; 0 if there is none.

        A rewind does not bring it down, though it may drop that write: better not to know than to run it twice.
        """
        return self._forgotten.get(session, 0)

    def record(self, entry: Entry) -> None:
        """Take note of an entry that was appended to the log."""
        for place, member in enumerate(entry.members):
            remembered = self._sessions.setdefault(member.session, [])
            while len(remembered) > 1 and (
                remembered[1].position.index <= self._committed or len(remembered) >= _REMEMBERED_MAX
            ):
                self._forgotten[member.session] = remembered.pop(0).sequence
            remembered.append(Remembered(member.sequence, entry.position, place, member.results))

    def commit(self, index: int) -> None:
        """Entries up to `index` can be dropped no more."""
        self._committed = max(self._committed, index)

    def truncate(self, after: int) -> None:
        """Forget what entries behind index `after` did: they were dropped from the log."""
        self._committed = min(self._committed, after)
        for session in list(self._sessions):
            kept = [one for one in self._sessions[session] if one.position.index <= after]
            if kept:
                self._sessions[session] = kept
            else:
                del self._sessions[session]
