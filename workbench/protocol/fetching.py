"""When a follower asks for missing entries, and when it asks again.

One fetch is open at a time. If nothing new comes it is repeated, each time after twice the wait; what an answer took
sets the wait for the next one. So a link slower than `Timing.fetch_retry_ms` does not carry the same entries ever more
often, and a lost message costs little on a fast one.
"""

from __future__ import annotations

from workbench.protocol.values import Position

_LONGEST_WAIT = 16
"""In units of the first wait: a follower that was cut off for an hour asks soon after the cut is healed."""


class Fetching:
    """The open fetch of a follower, if there is one, and the patience for it. Times are nanoseconds."""

    def __init__(self, retry_ns: int) -> None:
        self._shortest = retry_ns
        self._wait = retry_ns
        self._after: Position | None = None
        self._asked_at = 0
        self._since = 0

    def is_due(self, at: int) -> bool:
        """Whether to ask, or to ask again."""
        return self._after is None or at - self._asked_at >= self._wait

    def ask(self, after: Position, at: int) -> None:
        """Entries behind `after` were asked for."""
        if self._after is None:
            self._since = at
        else:
            self._set_wait(2 * self._wait)
        self._after, self._asked_at = after, at

    def brought(self, at: int) -> None:
        """Something new has come."""
        if self._after is not None:
            self._after = None
            self._set_wait((at - self._since) * 3 // 2)

    def refused(self, nearest: Position) -> bool:
        """The leader does not hold what was asked for. False if it speaks of an older fetch than the open one."""
        if self._after is None or not nearest < self._after:
            return False
        self._after = None
        return True

    def _set_wait(self, wait: int) -> None:
        self._wait = min(max(wait, self._shortest), _LONGEST_WAIT * self._shortest)
