"""Child processes that never outlive their parent, however the parent dies.

Each child has a session of its own, so that Ctrl-C in a terminal reaches the parent alone, and a pipe from the parent
as standard input. Python children end at its end of file by `workbench.parent.exit_when_parent_dies`; other programs
run under a small shell script that does it for them (`guarded=True`). A stopped process cannot notice anything, so
while a child is paused another small script waits in its place. Signals go to the child's whole process group.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from workbench.errors import ClusterError

# The program must not inherit the pipe (3<&-), else the guard's readers could not tell whether the parent lives. A
# signal to the group interrupts `wait` in the guard, so it waits until the program is really gone.
_GUARD = """
trap : TERM INT HUP
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
(trap '' TERM; read -r _; kill -KILL "$child") <&3 2>/dev/null &
watcher=$!
exec 3<&-
wait "$child"
status=$?
while kill -0 "$child" 2>/dev/null; do
  wait "$child"
  status=$?
done
kill -KILL "$watcher"
exit "$status"
"""

# A line means that the child goes on or has ended; end of file means that the parent has died.
_PAUSE_GUARD = 'read -r _ || kill -s KILL -- "-$1"'

_LOG_TAIL_BYTES = 8192


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours in a new interpreter, whatever lies in the current directory (-P)."""
    return [sys.executable, "-P", "-m", module, *arguments]


def python_environment() -> dict[str, str]:
    """The environment for `python_command`: ours, and the folder that `workbench` was imported from."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    folder = Path(__file__).resolve().parents[2]
    if folder.name not in ("site-packages", "dist-packages"):  # those it finds by itself
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return environment


class ChildProcess:
    """One child. Make it with `start`; end it with `terminate` or `kill`, or leave an `async with` block."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._popen = popen
        self._pause_guard: subprocess.Popen[bytes] | None = None
        self._ended = asyncio.get_running_loop().create_future()
        threading.Thread(
            target=self._wait_in_thread, args=(asyncio.get_running_loop(),), name=f"wait-{name}", daemon=True
        ).start()

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        log_path: Path,
        env: Mapping[str, str] | None = None,
        *,
        name: str = "",
        guarded: bool = False,
    ) -> ChildProcess:
        """Start `argv`; standard output and error are appended to `log_path`.

        `env` is the whole environment (None: the parent's). `guarded` is for programs that do not watch their
        standard input; their `pid` is that of the guard. Raises `ClusterError` when the program cannot be started.
        """
        command = ["/bin/sh", "-c", _GUARD, "guard", *argv] if guarded else list(argv)
        name = name or Path(argv[0]).name
        try:
            log_path.parent.mkdir(parents=True, exist_ok=True)
            with log_path.open("ab") as log:
                popen = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=env, start_new_session=True
                )
        except OSError as error:
            raise ClusterError(f"{name} could not be started: {error}") from error
        return cls(popen, name, log_path)

    @property
    def pid(self) -> int:
        """Process id, and the id of the process group that signals go to."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal (a guarded program: 128 + signal); None while it runs."""
        result: int | None = self._ended.result() if self._ended.done() else None
        return result

    @property
    def is_paused(self) -> bool:
        """Between `pause` and `resume`."""
        return self._pause_guard is not None

    async def wait(self) -> int:
        """Wait for the end; return the exit status."""
        status: int = await asyncio.shield(self._ended)
        return status

    async def terminate(self, grace_s: float = 5.0) -> int:
        """Ask it to end (SIGTERM), kill it after `grace_s`, and wait for the end. Does nothing when it has ended."""
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.wait(), grace_s)
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it at once (SIGKILL) and wait for the end."""
        self._signal(signal.SIGKILL)
        return await self.wait()

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP) until `resume`."""
        if self.returncode is None and self._pause_guard is None:
            self._pause_guard = subprocess.Popen(
                ["/bin/sh", "-c", _PAUSE_GUARD, "pause-guard", str(self.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause` (SIGCONT)."""
        if self._pause_guard is not None:
            self._signal(signal.SIGCONT)
            self._end_pause_guard()

    def last_log_lines(self, count: int = 5) -> list[str]:
        """The last lines of its log, for error messages; empty lines are left out."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-count:]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.terminate()

    def _signal(self, number: signal.Signals) -> None:
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, number)

    def _end_pause_guard(self) -> None:
        guard, self._pause_guard = self._pause_guard, None
        if guard is not None:
            with contextlib.suppress(BrokenPipeError):
                guard.communicate(b"go on\n")

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        status = self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(self._note_end, status)

    def _note_end(self, status: int) -> None:
        self._end_pause_guard()
        if self._popen.stdin is not None:
            self._popen.stdin.close()  # what a killed guard left behind ends itself at this end of file
        if not self._ended.done():
            self._ended.set_result(status)
