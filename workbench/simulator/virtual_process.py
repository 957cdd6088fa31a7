"""A process of a simulated world: what runs in its context, which can be stopped, killed and asked to end.

Tasks, callbacks and timers belong to the process in whose context they were planned. A stopped process does none of
them; when it goes on it finds all that was due at once, in order. A killed one never does any of them again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any

_SIGKILL, _SIGTERM = -9, -15
_LOG_LINES_MAX = 200


class VirtualProcess:
    """Made by a `VirtualHost`; a `Child` of its cluster."""

    def __init__(self, name: str, log_path: Path, died: Callable[[], None]) -> None:
        """`died`: called once when it has ended by itself or was killed."""
        self.name = name
        self.log_path = log_path
        self.on_terminate: Callable[[], None] | None = None
        """What asks it to end in good order; none yet: it ends at once."""
        self._died = died
        self._is_paused = False
        self._held: list[tuple[Callable[..., Any], tuple[Any, ...], Context]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.log_path.parent.mkdir(parents=True, exist_ok=True)

    def begin(self, main: Coroutine[Any, Any, int], context: Context) -> None:
        """Let `main` run, in `context`; its result is the exit status."""
        task = asyncio.get_running_loop().create_task(main, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._on_done, context=copy_context())

    def _on_done(self, task: asyncio.Task[int]) -> None:
        self._end(1 if task.cancelled() or task.exception() is not None else task.result())

    def gate(self, callback: Callable[..., Any], context: Context) -> Callable[..., None]:
        """`callback`, done by this process: later while it is stopped, never when it has ended."""

        def gated(*args: Any) -> None:
            if self._ended.done():
                return
            if self._is_paused:
                self._held.append((callback, args, context))
            else:
                callback(*args)

        return gated

    # As a `Child`.

    @property
    def pid(self) -> int:
        """It has none."""
        return 0

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    @property
    def is_paused(self) -> bool:
        """Between `pause` and `resume`."""
        return self._is_paused

    async def wait(self) -> int:
        """Wait for the end; return the exit status."""
        return await asyncio.shield(self._ended)

    async def terminate(self, grace_s: float = 5.0) -> int:
        """Ask it to end, kill it after `grace_s`, and wait for the end."""
        self.resume()
        if self._ended.done():
            return self._ended.result()
        if self.on_terminate is None:
            self._end(_SIGTERM)
        else:
            self.on_terminate()
        try:
            return await asyncio.wait_for(self.wait(), grace_s)
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it at once."""
        self._end(_SIGKILL)
        return await self.wait()

    def pause(self) -> None:
        """Stop it in its tracks."""
        self._is_paused = not self._ended.done()

    def resume(self) -> None:
        """Let it go on."""
        self._is_paused = False
        held, self._held = self._held, []
        loop = asyncio.get_running_loop()
        for callback, args, context in held:
            loop.call_soon(callback, *args, context=context)

    def last_log_lines(self, count: int = 5) -> list[str]:
        """The last lines of its log."""
        try:
            lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines[-_LOG_LINES_MAX:] if line.strip()][-count:]

    def _end(self, status: int) -> None:
        if self._ended.done():
            return
        self._ended.set_result(status)
        self._is_paused = False
        self._held.clear()
        self._died()


class ProcessLogs(logging.Handler):
    """Writes what a virtual process logs to its own log, with the virtual time."""

    def __init__(self, process: Callable[[], VirtualProcess | None], now_s: Callable[[], float]) -> None:
        super().__init__(logging.INFO)
        self._process = process
        self._now_s = now_s

    def emit(self, record: logging.LogRecord) -> None:
        """Nothing for what nobody's process says."""
        process = self._process()
        if process is not None:
            minutes, seconds = divmod(self._now_s(), 60)
            text = f"00:{int(minutes):02}:{seconds:06.3f} {record.levelname} {record.getMessage()}\n"
            with process.log_path.open("a", encoding="utf-8") as log:
                log.write(text)
