"""Who counts: the members, as the log has them.

A change of membership is an entry that lists the new members, and counts from the moment it is appended, committed or
not (Ongaro, "Consensus: Bridging Theory and Practice", section 4.1); a rewind that drops the entry undoes it.
"""

from __future__ import annotations

import msgspec

from workbench.errors import CodecError
from workbench.protocol.values import MEMBERS_KIND, Entry

_decoder = msgspec.msgpack.Decoder(tuple[str, ...])

Change = tuple[int, tuple[str, ...]]
"""Index of the entry, and the members from it on."""


def members_entry(term: int, index: int, members: tuple[str, ...]) -> Entry:
    """The entry that makes `members` the members."""
    return Entry(term, index, MEMBERS_KIND, (), msgspec.msgpack.encode(members))


class Membership:
    """The members at every index from a cluster's beginning, or from a snapshot, on: changes are few, and all kept."""

    def __init__(self, members: tuple[str, ...], at: int = 0) -> None:
        self._changes: list[Change] = [(at, members)]
        self.current = members
        """The members now."""
        self.changed_at = at
        """Index of the entry that made them so; 0 for the first members of a cluster."""

    def _look(self) -> None:
        self.changed_at, self.current = self._changes[-1]

    def change_at(self, index: int) -> Change:
        """The change that made the members what they were as of the entry at `index`, which no snapshot covers."""
        return next(change for change in reversed(self._changes) if change[0] <= index)

    def record(self, entry: Entry) -> None:
        """Take note of an entry that was appended to the log. Raises `CodecError` for members that are none."""
        if entry.kind == MEMBERS_KIND:
            try:
                self._changes.append((entry.index, _decoder.decode(entry.body)))
            except msgspec.MsgspecError as error:
                raise CodecError(f"an entry without members: {error}") from None
            self._look()

    def truncate(self, after: int) -> None:
        """Entries behind index `after` were dropped."""
        while len(self._changes) > 1 and self._changes[-1][0] > after:
            self._changes.pop()
        self._look()
