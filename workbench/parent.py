"""A child process that ends when its parent does, however the parent dies.

The parent holds the write end of the pipe that is this process's standard input, and never writes to it. When the
parent is gone the kernel closes that end, and reading yields end of file. A thread waits for it, not the event loop:
a loop that is stuck in a long statement must not keep an orphan alive. Only the standard library is imported, so
that a replica can use this module without the cluster's code.
"""

from __future__ import annotations

import os
import select
import threading

EXIT_CODE_ORPHANED = 75
"""Exit status of a process that ended because its parent had died."""

_CHECK_PARENT_S = 1.0


def exit_when_parent_dies() -> None:
    """Start watching; call it first thing in a child's `main`. The process ends without any cleaning up.

    A copy of the pipe's write end that leaked into another process hides the end of file; therefore the parent's
    process id is looked at once a second as well.
    """
    threading.Thread(target=_watch, args=(os.getppid(),), name="watch-parent", daemon=True).start()


def _watch(parent_id: int) -> None:
    while os.getppid() == parent_id:
        readable, _, _ = select.select([0], [], [], _CHECK_PARENT_S)
        if readable and not os.read(0, 4096):
            break
    os._exit(EXIT_CODE_ORPHANED)
