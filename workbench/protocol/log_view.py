"""What the core knows of its own replication log without reading it: the last position and where terms begin.

Memory grows with the number of terms, never with the number of entries. Terms are remembered also of entries that only
a snapshot covers, so that any position can be told from one that was dropped by a rewind.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Sequence

from workbench.protocol.values import Position


class Fate(enum.Enum):
    """What became of a position, as far as one log can tell."""

    HELD = enum.auto()
    LOST = enum.auto()
    """A later term has another entry in its place."""
    UNKNOWN = enum.auto()
    """This log has not come so far, or will have to be rewound itself."""


class LogView:
    """The positions of entries 1..last, compressed into (term, first index of that term).

    `first_index` is the first entry that can still be read; what was before it is in a snapshot.
    """

    def __init__(self, term_starts: Sequence[tuple[int, int]] = (), last_index: int = 0, first_index: int = 1) -> None:
        self._terms = [term for term, _ in term_starts]
        self._firsts = [first for _, first in term_starts]
        self.last = Position()
        """Position of the last entry; `Position(0, 0)` when there is none."""
        self._end_at(last_index)
        self.first_index = first_index

    def _end_at(self, index: int) -> None:
        self.last = Position(self._terms[-1], index) if index else Position()

    @property
    def term_starts(self) -> tuple[tuple[int, int], ...]:
        """(term, index of its first entry), oldest first."""
        return tuple(zip(self._terms, self._firsts, strict=True))

    def term_at(self, index: int) -> int | None:
        """Term of the entry at `index`; 0 before the first entry, None beyond the last."""
        if index > self.last.index:
            return None
        return self._terms[bisect_right(self._firsts, index) - 1] if index > 0 else 0

    def holds(self, position: Position) -> bool:
        """Whether the log has an entry at `position`; it always has `Position(0, 0)`."""
        return self.term_at(position.index) == position.term

    def fate(self, position: Position) -> Fate:
        """Whether `position` is part of this log's history."""
        if self.holds(position):
            return Fate.HELD
        later = bisect_right(self._terms, position.term)
        replaced = later < len(self._terms) and self._firsts[later] <= position.index
        return Fate.LOST if replaced else Fate.UNKNOWN

    def can_read_after(self, index: int) -> bool:
        """Whether all entries behind `index` can still be read."""
        return index >= self.first_index - 1

    def position_at(self, index: int) -> Position:
        """Position of the entry at `index`, which must not lie beyond the last."""
        term = self.term_at(index)
        assert term is not None, f"no entry at {index}, the last is {self.last.index}"
        return Position(term, index)

    def newest_up_to(self, position: Position) -> Position:
        """The last position here of which neither term nor index lies beyond `position`.

        Two logs that ask each other so, in turns, end at the last position that both hold, and never step over it.
        """
        terms = bisect_right(self._terms, position.term)
        last_of_terms = self._firsts[terms] - 1 if terms < len(self._terms) else self.last.index
        return self.position_at(min(position.index, last_of_terms))

    def append(self, position: Position) -> None:
        """Take note of the entry that follows the last."""
        assert position.index == self.last.index + 1, f"{position} does not follow {self.last}"
        if not self._terms or position.term > self._terms[-1]:
            self._terms.append(position.term)
            self._firsts.append(position.index)
        assert position.term == self._terms[-1], f"{position} goes back in time behind {self.last}"
        self.last = position

    def truncate(self, after: int) -> None:
        """Forget every entry behind index `after`."""
        keep = bisect_right(self._firsts, after)
        del self._terms[keep:], self._firsts[keep:]
        self._end_at(min(self.last.index, after))
