"""An entry that is too long for one message, on its way to a follower: piece by piece, each asked for when the one
before it has come.

So at most one piece for each follower lies in the broker, heartbeats pass in between, and a lost piece costs a piece.
What is held stays through a change of leader: whether the next leader has the same entry shows with its first piece.
"""

from __future__ import annotations

from workbench.protocol.messages import AppendEntries, EntryPiece
from workbench.protocol.values import Position


class Pieces:
    """The part of one entry that has come, from its beginning."""

    def __init__(self) -> None:
        self._entry = Position()
        self._size = 0
        self._held = bytearray()

    def held_after(self, after: Position) -> int:
        """How many bytes of the entry that follows `after` are held."""
        return len(self._held) if self._entry.index == after.index + 1 else 0

    def take(self, piece: EntryPiece) -> bool:
        """Whether a piece has brought something."""
        if (piece.entry, piece.size) != (self._entry, self._size):
            if self._entry.index == piece.entry.index and piece.offset:
                self._forget()  # another leader has another entry there
                return True
            self._entry, self._size, self._held = piece.entry, piece.size, bytearray()
        if piece.offset != len(self._held) or not piece.data or piece.offset + len(piece.data) > piece.size:
            return False
        self._held += piece.data
        return True

    def whole(self, header: AppendEntries) -> AppendEntries | None:
        """A message with the entry, if all of it is here; then nothing is held any more."""
        if not self._size or len(self._held) < self._size:
            return None
        message = header.with_entries((bytes(self._held),))
        self._forget()
        return message

    def note(self) -> str:
        """How far it has come, in words; empty when nothing is on its way."""
        if not self._held:
            return ""
        return f"entry {self._entry}: {len(self._held):,} of {self._size:,} bytes"

    def forget_before(self, index: int) -> None:
        """The log has entries up to `index`."""
        if self._size and self._entry.index <= index:
            self._forget()

    def _forget(self) -> None:
        self._entry, self._size, self._held = Position(), 0, bytearray()
