"""Folders in memory, where the system has some: kills and played power losses do not ask for a disk, and tests would
wait for its syncs most of the time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder that is removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="workbench-test-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
