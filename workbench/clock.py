"""The one clock: nanoseconds that never go back, of the host by default.

A simulated world sets a clock of its own for everything that runs in its context: tasks and callbacks take the context
over from whoever made them. Threads of the host's do not, and are none of that world's.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_read: ContextVar[Callable[[], int]] = ContextVar("clock", default=time.monotonic_ns)


def now_ns() -> int:
    """The time of this context's clock."""
    return _read.get()()


@contextlib.contextmanager
def use_clock(read: Callable[[], int]) -> Iterator[None]:
    """Let `read` be the clock of everything that begins within the block."""
    token = _read.set(read)
    try:
        yield
    finally:
        _read.reset(token)
