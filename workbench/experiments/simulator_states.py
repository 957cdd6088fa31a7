"""Which state each replica was in, and when: looked at again and again, kept as spans. The same for either world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.experiments.base import Row

State = tuple[str, int]
"""`leader`, `follower`, `candidate`, `down`, `paused` or `silent` (it does not answer); and the term, 0 if unknown."""


@dataclass(slots=True)
class _Span:
    replica: str
    state: str
    term: int
    from_ms: float
    to_ms: float


class States:
    """What was seen of some replicas. Each is in a state until it is seen in another one, or not at all."""

    def __init__(self) -> None:
        self._spans: list[_Span] = []
        self._current: dict[str, _Span] = {}

    def look(self, states: Mapping[str, State], at_ms: float) -> None:
        """Take the states of all replicas that there are."""
        for replica in self._current.keys() - states.keys():
            self._current.pop(replica).to_ms = at_ms
        for replica, (state, term) in states.items():
            span = self._current.get(replica)
            if span is not None:
                span.to_ms = at_ms
            if span is None or span.state != state or (term and span.term and span.term != term):
                span = self._current[replica] = _Span(replica, state, term, at_ms, at_ms)
                self._spans.append(span)
            span.term = span.term or term

    @property
    def leaders(self) -> list[tuple[str, int]]:
        """Who was seen to lead in which term, in the order of the terms."""
        found = {(one.term, one.replica) for one in self._spans if one.state == "leader"}
        return [(replica, term) for term, replica in sorted(found)]

    def rows(self, cell: str) -> list[Row]:
        """One row a span: `cell`, `replica`, `state`, `term`, `from_ms`, `to_ms`."""
        return [
            {
                "cell": cell,
                "replica": one.replica,
                "state": one.state,
                "term": one.term,
                "from_ms": one.from_ms,
                "to_ms": one.to_ms,
            }
            for one in self._spans
        ]
