"""How a simulated client behaves. Drawn for each client of a seed: what every client does at once hides what happens
only where some do not (swarm testing: Groce and others, 2012)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from workbench.faults.draws import choose

READS: Final = ("any", "leader", "linearizable", "after_writes", "after_all")
"""How reads are asked for: the last two wait for what the session has written, or has written or read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """Times are milliseconds; fractions of operations or messages."""

    writes: float = 0.7
    """So many of its operations; the rest are reads."""
    reads: tuple[str, ...] = READS
    think_ms: float = 20.0
    """Between an answer and the next operation, on average."""
    retry_ms: float = 300.0
    patience_ms: float = 3_000.0
    """Then an operation ends in doubt."""
    insists: bool = False
    """A write whose leader stepped down is asked for again, to learn whether it took effect."""
    follows_news: bool = True
    """It believes whoever says that somebody leads. If not, it stays with its leader as long as that one answers."""
    stray: float = 0.05
    """Of what only a leader answers, so much is asked of anybody: a client may have old news, and ask a leader that was
    deposed without its noticing."""
    late_copies: float = 0.0
    """Of the writes that it sends; each comes up to seconds later."""
    lost_replies: float = 0.0


USUAL: Final = Habits()


def draw_habits(random: Random, count: int) -> list[Habits]:
    """The habits of all clients of one seed. How busy they are, and what happens to their messages, they share; in some
    seeds they read nearly all of the time, so that a leader that was deposed has nothing uncommitted, and is asked."""
    mostly_reads = random.random() < 0.3
    shared = replace(
        USUAL,
        think_ms=choose(random, (20.0, 40.0, 80.0, 160.0)),
        late_copies=choose(random, (0.0, 0.0, 0.1, 0.3)),
        lost_replies=choose(random, (0.0, 0.0, 0.05, 0.3)),
    )
    habits = [_one_of(shared, random) for _ in range(count)]
    stray = choose(random, (0.05, 0.05, 0.05, 0.4))
    habits = [replace(one, stray=stray) for one in habits]
    return [replace(one, writes=0.04) for one in habits] if mostly_reads else habits


def _one_of(shared: Habits, random: Random) -> Habits:
    return replace(
        shared,
        writes=choose(random, (0.2, 0.7, 0.7, 0.95)),
        reads=choose(random, (READS, READS, ("leader",), ("linearizable",), ("leader", "linearizable"))),
        retry_ms=choose(random, (40.0, 150.0, 300.0)),
        patience_ms=choose(random, (1_500.0, 3_000.0, 6_000.0)),
        insists=random.random() < 0.6,
        follows_news=random.random() < 0.6,
    )
