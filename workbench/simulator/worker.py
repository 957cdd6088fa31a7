"""What a worker process of `workbench simulate` does before anything else. It imports nothing of what it will simulate,
so that a planted bug comes first."""

from __future__ import annotations

import os
import signal
import threading
import time

from workbench.parent import EXIT_CODE_ORPHANED
from workbench.simulator.patching import Patch, install

_CHECK_PARENT_S = 0.5


def begin(parent_id: int, patch: Patch | None = None) -> None:
    """Ctrl-C is for the process that waits; it lets a seed that has begun come to its end. When that process is gone,
    however it ended, so is this one. With a `patch`, what is simulated here has a bug."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent_id,), name="watch-parent", daemon=True).start()
    if patch is not None:
        install(patch)


def _watch(parent_id: int) -> None:
    while os.getppid() == parent_id:
        time.sleep(_CHECK_PARENT_S)
    os._exit(EXIT_CODE_ORPHANED)
