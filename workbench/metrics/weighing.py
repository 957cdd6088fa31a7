"""Policies compared in several respects at once: which no other one beats, and which costs least for given weights.

`dominated_by` needs no weights: a policy is *dominated* when another one is noticeably better in one respect, and
noticeably worse in none. What is left is a matter of taste, and `weigh` asks for it as exchange rates: so many points
for each 10 ms that a write takes, so many for each acknowledged write lost, and so on. A policy's points do not depend
on which others are compared with it, as they would if figures were scaled to the best and the worst.

Every respect is such that less is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Respect:
    """One column that policies are compared by. With `has_interval` the columns `..._low` and `..._high` bound it."""

    column: str
    words: str
    """What is bad about it, as a part of a sentence: `slow writes`."""
    unit: float
    """How much of the column has the weight 1."""
    unit_words: str
    has_interval: bool = False
    absolute: float = 0.0
    """Differences up to this are noise."""
    relative: float = 0.0
    """And so are those up to this share of the larger value."""

    def points(self, row: Row, weight: float) -> float:
        """What the policy costs in this respect; nan where its figure is unknown."""
        return weight * _figure(row, self.column) / self.unit if weight else 0.0

    def is_better(self, first: Row, second: Row) -> bool:
        """Whether `first` is noticeably better. What is unknown is neither better nor worse."""
        low, high = _figure(first, self.column), _figure(second, self.column)
        if not high - low > max(self.absolute, self.relative * high):
            return False
        if not self.has_interval:
            return True
        return _figure(first, f"{self.column}_high") < _figure(second, f"{self.column}_low")


WRITE_LATENCY = Respect(
    column="write_latency_ms_p50",
    words="slow writes",
    unit=10.0,
    unit_words="10 ms that a write takes (median)",
    absolute=1.0,
    relative=0.25,
)
READ_LATENCY = Respect(
    column="read_latency_from_send_ms_mean",
    words="slow reads",
    unit=10.0,
    unit_words="10 ms that a read takes (mean)",
    absolute=2.0,
    relative=0.25,
)
STALE_READS = Respect(
    column="stale_rate_acknowledged",
    words="stale reads",
    unit=0.01,
    unit_words="1 % of the reads being stale",
    has_interval=True,
)
LOST_WRITES = Respect(
    column="lost_writes_per_failover",
    words="lost writes",
    unit=1.0,
    unit_words="1 acknowledged write lost at a failover",
    relative=0.5,
)
MAY_LOSE = Respect(column="may_lose_writes", words="no promise to lose none", unit=1.0, unit_words="no promise")
"""Having lost nothing is less than promising it."""
LEADER_LOAD = Respect(
    column="leader_share",
    words="reads answered by the leader",
    unit=0.1,
    unit_words="10 % of the reads answered by the leader",
    absolute=0.3,
)

WEIGHED: Final = (WRITE_LATENCY, READ_LATENCY, STALE_READS, LOST_WRITES, LEADER_LOAD)
"""What a design review would ask about a policy."""
MAPPED: Final = (WRITE_LATENCY, STALE_READS, LOST_WRITES, MAY_LOSE)
"""What can be seen in a chart of two axes and the size of its marks."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """One policy, and what it costs in points, respect by respect."""

    row: Row
    points: Mapping[str, float]
    """Column of the respect -> points."""

    @property
    def total(self) -> float:
        """nan where a figure that counts is unknown."""
        return math.fsum(self.points.values())


def dominated_by(rows: Sequence[Row], respects: Sequence[Respect] = MAPPED) -> list[int | None]:
    """For each row one that dominates it, if possible one that nothing dominates; None: the row is on the front."""
    beaten_by = [[place for place, one in enumerate(rows) if _dominates(one, row, respects)] for row in rows]
    return [min(places, key=lambda place: (len(beaten_by[place]), place), default=None) for places in beaten_by]


def _dominates(first: Row, second: Row, respects: Sequence[Respect]) -> bool:
    better = any(respect.is_better(first, second) for respect in respects)
    return better and not any(respect.is_better(second, first) for respect in respects)


def weigh(
    rows: Sequence[Row], weights: Mapping[str, float], respects: Sequence[Respect] = WEIGHED
) -> tuple[Weighed, ...]:
    """The rows from the cheapest to the dearest; equal ones keep their order, those of unknown cost come last.

    `weights`: column of a respect -> points for each of its units; what is not named counts for nothing.
    """
    weighed = [
        Weighed(row, {one.column: one.points(row, weights.get(one.column, 0.0)) for one in respects}) for row in rows
    ]
    return tuple(sorted(weighed, key=lambda one: (math.isnan(one.total), one.total)))


def _figure(row: Row, column: str) -> float:
    value = row.get(column)
    return math.nan if value is None else float(value)
