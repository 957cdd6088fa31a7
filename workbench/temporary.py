"""Folders that nobody wants to keep.

A process that is killed cannot remove its folder, so the folder's name tells whose it is, and the next process that
makes one removes those of processes that are gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

_PREFIX = "replication-workbench-"
_MEMORY = Path("/dev/shm")


def make_temporary_directory(*, in_memory: bool = False) -> Path:
    """A new, empty folder that belongs to this process; `in_memory`: where no disk is asked, if the system has that."""
    folder = _MEMORY if in_memory and os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    with contextlib.suppress(OSError):
        _remove_abandoned(folder)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=folder))


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*"):
        match = re.fullmatch(rf"{_PREFIX}(\d+)-\w+", path.name)
        if match and path.is_dir() and not path.is_symlink() and not _is_alive(int(match.group(1))):
            shutil.rmtree(path, ignore_errors=True)  # another user's stays: no right to remove it


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives, but is not ours
        return True
    return True
