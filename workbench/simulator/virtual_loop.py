"""An event loop in virtual time: nobody waits, the time jumps to whatever is due next.

Everything that uses asyncio runs on it unchanged, and `workbench.clock` tells its time. What is handed to a thread is
done in line. What runs in a `VirtualProcess`'s context can be stopped, and ended without its noticing, as a process of
the operating system can: its callbacks and timers belong to it, wherever they were planned.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from workbench.clock import use_clock
from workbench.simulator.virtual_process import VirtualProcess

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_BEGINNING_S = 1.0

current_process: ContextVar[VirtualProcess | None] = ContextVar("current_process", default=None)
"""Whose context this is; None: that of whoever runs the world."""


class _Selector(selectors.DefaultSelector):
    """Lets time pass instead of waiting, unless another thread wants something."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = _BEGINNING_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What other threads have sent; nothing else can come from outside."""
        if timeout is None:  # nothing is planned: only a thread can go on
            found: list[tuple[selectors.SelectorKey, int]] = super().select(None)
            return found
        found = super().select(0)
        if not found and timeout > 0:
            self.now_s += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. Belongs to the thread that runs it."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.now_s

    def now_ns(self) -> int:
        """The same in nanoseconds, for `workbench.clock`."""
        return round(self._virtual.now_s * 1e9)

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As every loop does, for the process that plans it."""
        context = copy_context() if context is None else context
        return super().call_soon(_gated(callback, context), *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As every loop does, for the process that plans it."""
        context = copy_context() if context is None else context
        return super().call_at(when, _gated(callback, context), *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Done at once, in line: a thread would take time of the host's."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  whoever awaits it gets it
            future.set_exception(error)
        return future


def _gated(callback: Any, context: Context) -> Any:
    process = context.get(current_process)
    return callback if process is None else process.gate(callback, context)


def _quiet(_loop: asyncio.AbstractEventLoop, _context: Mapping[str, Any]) -> None:
    """What a killed process leaves behind is no news."""


async def run_virtually(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run what `make` returns to its end on a virtual loop in a thread of its own; cancelled when the caller is."""
    loop: VirtualLoop | None = None
    task: asyncio.Task[T] | None = None
    began = threading.Event()

    async def main() -> T:
        nonlocal loop, task
        running = asyncio.get_running_loop()
        assert isinstance(running, VirtualLoop)
        loop, task = running, asyncio.create_task(make())
        began.set()
        return await task

    def run() -> T:
        virtual = VirtualLoop()
        virtual.set_exception_handler(_quiet)
        try:
            with use_clock(virtual.now_ns):
                return virtual.run_until_complete(main())
        finally:
            for left in asyncio.all_tasks(virtual):  # of processes that were killed: they can never end
                left._log_destroy_pending = False  # type: ignore[attr-defined]
            virtual.close()

    running = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.to_thread(began.wait)
        assert loop is not None
        assert task is not None
        loop.call_soon_threadsafe(task.cancel)
        await asyncio.gather(running, return_exceptions=True)
        raise
