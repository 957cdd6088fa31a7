"""What the operating system says about processes, with their parents and command lines; works on Linux and macOS."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 30.0
"""When a test gives up; generous, since only a failing test waits so long."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process that has not ended."""

    pid: int
    parent: int
    group: int
    command: str


def processes() -> list[Process]:
    """All processes but zombies, which have ended."""
    listing = ["ps", "-A", "-ww", "-o", "pid=,ppid=,pgid=,stat=,args="]
    table = subprocess.run(listing, capture_output=True, text=True, errors="replace", check=True).stdout
    rows = [line.split(maxsplit=4) for line in table.splitlines()]
    return [
        Process(int(pid), int(parent), int(group), command[0] if command else "")
        for pid, parent, group, state, *command in rows
        if state[0] != "Z"
    ]


def descendants(pid: int) -> list[Process]:
    """Children of a process, their children, and so on."""
    table = processes()
    found: list[Process] = []
    parents = {pid}
    while parents:
        children = [process for process in table if process.parent in parents]
        found += children
        parents = {child.pid for child in children}
    return found


def naming(text: str) -> list[Process]:
    """Processes whose command line holds `text`, such as a folder that only they know."""
    return [process for process in processes() if text in process.command]


def until(condition: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Wait for something that tells nobody when it happens; return the first true value."""
    give_up_at = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"nothing true within {patience_s:g} s")
        time.sleep(0.05)
    return value


def kill(victims: list[Process]) -> None:
    """End processes at once, by their ids."""
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
