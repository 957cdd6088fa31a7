"""Workers of `workbench simulate` end with it, however and whenever it ends."""

from __future__ import annotations

import subprocess
import sys

from tests.browser.process_table import processes, until


def workers_of(parent: int) -> set[int]:
    return {one.pid for one in processes() if one.parent == parent and "spawn_main" in one.command}


def test_a_killed_simulation_leaves_no_worker() -> None:
    command = [sys.executable, "-m", "workbench", "simulate", "--seeds", "0:5000", "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as simulation:
        workers = until(lambda: workers_of(simulation.pid))  # they have hardly begun
        simulation.kill()
    until(lambda: not workers & {one.pid for one in processes()})
