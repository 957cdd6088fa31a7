"""Folders for clusters that nobody wants to keep.

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


def make_temporary_directory() -> Path:
    """A new, empty folder that belongs to this process."""
    with contextlib.suppress(OSError):
        _remove_abandoned(Path(tempfile.gettempdir()))
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


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
