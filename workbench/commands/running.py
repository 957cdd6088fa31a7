"""Running coroutines for commands: Ctrl-C, SIGTERM and a closed terminal cancel them, so that clusters are stopped.

A run that is cancelled marks its folder as interrupted. A second signal does not wait for that; the processes of the
cluster end by themselves when this one is gone.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from workbench.event_loop import run_in_loop

T = TypeVar("T")
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`. Raises `KeyboardInterrupt` after Ctrl-C, `SystemExit` (128 + signal) after SIGTERM."""
    received: list[int] = []

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            received.append(number)
            task.cancel()

        for number in _SIGNALS:
            loop.add_signal_handler(number, stop, number)
        try:
            return await main
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    try:
        return run_in_loop(guarded())
    except asyncio.CancelledError:
        if received:
            raise SystemExit(128 + received[0]) from None
        raise
