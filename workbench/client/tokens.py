"""Tokens: how far a session has seen, as a value, or as text that another session can be given.

What a session has seen is, as a rule, one position: whatever has that position in its history has all before it too.
After a failover that is not so: the entry (1, 10) may have been dropped when the term 2 began, and a session that has
seen (1, 10) and then (2, 12) would never learn of it from the newer position alone. So a token keeps the newest
position of each term, until a read has shown that they belong to one history (`Containment`). Merging takes the newest
of each term; within a term the newer position contains the older one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.errors import ConfigurationError
from workbench.protocol.values import Position

_TEXT = re.compile(r"\d{1,19}\.\d{1,19}(\+\d{1,19}\.\d{1,19})*")
_NUMBER_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Token:
    """The newest position seen in each term, oldest term first. Written `3.17`, or `2.9+3.17`; `0.0` is nothing."""

    positions: tuple[Position, ...] = ()

    @classmethod
    def of(cls, position: Position) -> Token:
        """The token of whoever has seen `position`."""
        return cls((position,)) if position.index else cls()

    @classmethod
    def parse(cls, text: str) -> Token:
        """Read what `str` wrote. Raises `ConfigurationError`."""
        if _TEXT.fullmatch(text) is None:
            raise ConfigurationError(f"not a token: {text[:80]!r}", hint="text such as '3.17', from str(session.token)")
        token = cls()
        for part in text.split("+"):
            term, index = map(int, part.split("."))
            if max(term, index) > _NUMBER_MAX:
                raise ConfigurationError(f"not a token: {part} is beyond 64 bits")
            token = token.including(Position(term, index))
        return token

    @property
    def position(self) -> Position:
        """The newest position; `Position(0, 0)` if nothing was seen."""
        return self.positions[-1] if self.positions else Position()

    def including(self, position: Position) -> Token:
        """The token of whoever has seen this and `position`."""
        if not position.index:
            return self
        if len(self.positions) == 1 and self.positions[0].term == position.term:  # nearly always
            return Token((position,)) if self.positions[0].index < position.index else self
        older = tuple(one for one in self.positions if one.term < position.term)
        newer = self.positions[len(older) :]
        if newer and newer[0].term == position.term:
            return Token((*older, position, *newer[1:])) if newer[0].index < position.index else self
        return Token((*older, position, *newer))

    def __or__(self, other: Token) -> Token:
        """The token of whoever has seen both."""
        merged = self
        for position in other.positions:
            merged = merged.including(position)
        return merged

    def __bool__(self) -> bool:
        return bool(self.positions)

    def __str__(self) -> str:
        return "+".join(map(str, self.positions)) or str(Position())


class Containment:
    """Whether answers to reads contain all positions of a token, though each read can ask for one.

    Ask for `after`, tell what came back, and repeat until `is_shown_by` says yes. One answer is enough for a token of
    one position, and for one of several where the answer comes from beyond the newest. Facts about one term add up,
    since there is one history of a term; facts about histories of different terms say nothing about each other.
    """

    def __init__(self, token: Token) -> None:
        self._needed = token.positions
        self._term = 0
        self._held: set[Position] = set()
        """What the history of `_term` was shown to contain."""

    @property
    def after(self) -> Position:
        """What the next read must ask for: the oldest position in doubt."""
        in_doubt = (position for position in self._needed if position not in self._held)
        return next(in_doubt, self._needed[-1] if self._needed else Position())

    def is_shown_by(self, after: Position, position: Position) -> bool:
        """Whether what was read at `position`, by a read that asked for `after`, contains the whole token."""
        if position.term != self._term:
            self._term = position.term
            self._held.clear()
        self._held.add(after)
        self._held |= {one for one in self._needed if one.term == position.term and one.index <= position.index}
        return all(one in self._held and one.index <= position.index for one in self._needed)
