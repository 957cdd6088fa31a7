"""From when to when a replica was in which state, by the events of a run. Draws nothing, so a page may use it, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd


class Span(NamedTuple):
    """A time in which a lane (a replica) was in a state."""

    lane: str
    state: str
    from_ms: float
    to_ms: float


class Rule(NamedTuple):
    """A lane is in `state` from one of the events `begins` of its own to the next of `ends` of its own."""

    state: str
    begins: frozenset[str]
    ends: frozenset[str]


def spans_of(events: pd.DataFrame, rules: Sequence[Rule], end_ms: float) -> list[Span]:
    """The spans that the rows `at_ms`, `event`, `replica` of one cell tell of; what has not ended lasts to `end_ms`."""
    spans = []
    ordered = events.sort_values("at_ms", kind="stable") if len(events) else events
    for rule in rules:
        since: dict[str, float] = {}
        for row in ordered.itertuples():
            if row.event in rule.ends and row.replica in since:
                spans.append(Span(row.replica, rule.state, since.pop(row.replica), row.at_ms))
            if row.event in rule.begins:
                since.setdefault(row.replica, row.at_ms)
        spans += [Span(replica, rule.state, at_ms, end_ms) for replica, at_ms in since.items()]
    return spans
