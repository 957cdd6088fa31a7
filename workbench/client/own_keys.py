"""Keys that belong to a session of a load: it alone writes them, as people write their own comments.

The keys of session 3 are called `s3.0`, `s3.1`, ... Its other reads are of the keys of a few neighbours, so that it
reads each of them often. Sessions have their turns in order: neighbours are spread among them, or else nobody would
ever read a key just after it was written.
"""

from __future__ import annotations

import random

NEIGHBOURS = 3


def draw_own_key(
    rng: random.Random, *, session: int, sessions: int, own_keys: int, own_read_fraction: float, is_read: bool
) -> str:
    """The key of one operation of `session`; a write's is its own."""
    owner = session
    if is_read and rng.random() >= own_read_fraction:
        owner = (session - 1 - int(rng.random() * NEIGHBOURS) * sessions // NEIGHBOURS) % sessions
    return f"s{owner}.{int(rng.random() * own_keys)}"
