"""How long things take in virtual time: about what was measured on a machine with mosquitto and a solid-state disk."""

from __future__ import annotations

from random import Random

TRANSIT_MS = (0.1, 0.6)
"""A message through the broker, one way."""
SYNC_MS = (0.3, 1.2)
"""An append to the replication log with its fdatasync."""
WORK_MS = (0.02, 0.1)
"""Any other piece of work of the storage."""
COPY_MS = (2.0, 20.0)
"""Copying a small database for a snapshot, beside everything else."""
WAKE_NS = 20_000
"""From the storage thread to the event loop."""


def drawn_ms(random: Random, bounds: tuple[float, float]) -> float:
    """A duration between its bounds, all equally likely."""
    low, high = bounds
    return low + (high - low) * random.random()


def transit_s(random: Random) -> float:
    """The way of one message, in seconds."""
    return drawn_ms(random, TRANSIT_MS) / 1e3
