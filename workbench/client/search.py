"""Whom to ask next, within one operation, and for how long.

The wait for an answer begins short and doubles: a dead leader whose successor's news got lost costs little, and an
overloaded one is not asked again and again. Where everybody has said no there is a pause before the next round, in
which nobody is asked; it grows too. All waits end early when a leader makes itself known (see `connection.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Set
from typing import NamedTuple, Protocol

from workbench.client.connection import Answer, ClientConnection

FIRST_WAIT_S = 0.25
_FIRST_PAUSE_S = 0.02


class Next(NamedTuple):
    """Ask `replica`, or nobody if it is empty, and wait for `patience_s`."""

    replica: str
    patience_s: float


class Search(Protocol):
    """One operation's search. After each `next`, one of the other two says how it went."""

    def next(self) -> Next: ...

    def no_answer(self, asked: tuple[str, ...]) -> None:
        """The time was up; `asked` are those who did not answer, none after a pause."""
        ...

    def refused(self, answer: Answer) -> None:
        """A replica said that it does not lead, or is not ready."""
        ...


class _Patience:
    """The growing waits of one operation, none longer than `most_s`."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self.wait_s = min(FIRST_WAIT_S, most_s)
        self._pause_s = min(_FIRST_PAUSE_S, most_s)

    def was_in_vain(self) -> None:
        """Nobody answered: wait longer next time."""
        self.wait_s = min(2 * self.wait_s, self._most_s)

    def pause(self) -> Next:
        now, self._pause_s = self._pause_s, min(2 * self._pause_s, FIRST_WAIT_S, self._most_s)
        return Next("", now)


class LeaderSearch:
    """For writes, and reads that only a leader may answer.

    The known leader is asked first. If it does not answer, or does not lead any more, the others may know better: each
    is asked once, then there is a pause. Who is silent is asked again when another one names it as the leader, since a
    slow leader is more frequent than a dead one, or when nobody else answers either.
    """

    def __init__(self, connection: ClientConnection, rng: random.Random, retry_s: float) -> None:
        self._connection = connection
        self._rng = rng
        self._patience = _Patience(retry_s)
        self._silent: set[str] = set()
        self._refused: set[str] = set()
        """Since the last pause."""
        self._pause_is_due = False
        self._term = connection.term

    def next(self) -> Next:
        replica = "" if self._pause_is_due else self._choose()
        if replica:
            return Next(replica, self._patience.wait_s)
        if not self._refused and not self._pause_is_due:
            self._silent.clear()
        self._refused.clear()
        self._pause_is_due = False
        return self._patience.pause()

    def _choose(self) -> str:
        leader = self._connection.leader
        if leader and leader not in self._silent and leader not in self._refused:
            return leader
        avoid = self._silent | self._refused
        others = [name for name in self._connection.members if name not in avoid]
        return self._rng.choice(others) if others else ""

    def no_answer(self, asked: tuple[str, ...]) -> None:
        self._notice_term()
        if asked:
            self._silent.add(asked[-1])
            self._patience.was_in_vain()

    def refused(self, answer: Answer) -> None:
        self._notice_term()
        self._silent.discard(answer.replica)
        if answer.leader == answer.replica:  # it leads, but cannot answer yet
            self._pause_is_due = True
            return
        self._refused.add(answer.replica)
        if answer.leader == self._connection.leader:
            self._silent.discard(answer.leader)

    def _notice_term(self) -> None:
        """With a new leader everything is different."""
        if self._connection.term != self._term:
            self._term = self._connection.term
            self._silent.clear()
            self._refused.clear()


class ReplicaSearch:
    """For reads that any of several replicas may answer. `choose` is told whom to avoid; empty: nobody is left."""

    def __init__(self, choose: Callable[[Set[str]], str], retry_s: float) -> None:
        self._choose = choose
        self._patience = _Patience(retry_s)
        self._avoid: set[str] = set()

    def next(self) -> Next:
        if replica := self._choose(self._avoid):
            return Next(replica, self._patience.wait_s)
        self._avoid.clear()
        return self._patience.pause()

    def no_answer(self, asked: tuple[str, ...]) -> None:
        if asked:
            self._avoid.update(asked)
            self._patience.was_in_vain()

    def refused(self, answer: Answer) -> None:
        self._avoid.add(answer.replica)
