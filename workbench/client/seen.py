"""What one session has written and read, as far as later reads may depend on it."""

from __future__ import annotations

from workbench.client.tokens import Token
from workbench.protocol.values import Position

_NEVER = float("-inf")


class Seen:
    """Three tokens, each of what a kind of read policy relies on."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        nothing = Token()
        self.written = nothing
        """The session's own writes."""
        self.read = nothing
        """What its reads saw."""
        self.everything = nothing
        """Both, and what others have told it."""
        self.wrote_at = _NEVER
        """When its last write was acknowledged, on the clock of the event loop."""

    def wrote(self, position: Position, at: float) -> None:
        """A write was acknowledged at the time `at`."""
        written = self.written.including(position)
        self.everything = written if self.everything is self.written else self.everything.including(position)
        self.written = written
        self.wrote_at = at

    def has_read(self, position: Position, contained: Token) -> None:
        """A read saw everything up to `position`, and was shown to see all of `contained`."""
        contained = contained.including(position)
        self.written = _newest(self.written) if _all_in(self.written, contained) else self.written
        self.read = _beyond(self.read, position, contained)
        self.everything = _beyond(self.everything, position, contained)

    def observe(self, token: Token) -> None:
        """Another session has seen `token`, and ours heard of it."""
        self.everything = self.everything | token


def _all_in(token: Token, contained: Token) -> bool:
    """Whether whoever has seen `contained` has seen `token`: within a term, the newer position stands for the older."""
    return token | contained == contained


def _newest(token: Token) -> Token:
    """A token whose positions belong to one history: the newest stands for all."""
    return token if len(token.positions) < 2 else Token.of(token.position)


def _beyond(token: Token, position: Position, contained: Token) -> Token:
    """`token` after a read at `position`, which stands for everything that the read was shown to contain."""
    return Token.of(position) if _all_in(token, contained) else token.including(position)
