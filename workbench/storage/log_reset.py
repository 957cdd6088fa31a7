"""Beginning a replication log anew behind a position that a snapshot covers.

The file `reset` in the log's folder holds the header of the new first segment. From the moment it is durable the log is
the new, empty one, whatever segments stand beside it: opening carries the rest out, as often as it is interrupted.
"""

from __future__ import annotations

import re
from pathlib import Path

from workbench.errors import LogCorruption
from workbench.failpoints import hit
from workbench.storage.files import Files
from workbench.storage.log_segment import decode_header

RESET_NAME = "reset"

_SEGMENT_NAME = re.compile(r"\d{20}\.log")


def segment_path(directory: Path, first_index: int) -> Path:
    """Where the segment that begins with `first_index` lives."""
    return directory / f"{first_index:020}.log"


def segment_names(files: Files, directory: Path) -> list[str]:
    """Names of the segments in `directory`, oldest first."""
    return [name for name in files.list(directory) if _SEGMENT_NAME.fullmatch(name)]


def create_segment(files: Files, path: Path, header: bytes) -> None:
    """A new segment file, durable with its name; nothing is left of it when the disk is full."""
    file = files.open_append(path)
    try:
        file.append(header)
        file.sync()
    except OSError:
        files.remove(path)
        raise
    finally:
        file.close()
    files.sync_directory(path.parent)
    hit("log.segment.after_create")


def reset_log(files: Files, directory: Path, header: bytes) -> None:
    """Let the log in `directory`, which nobody has open, be one empty segment of `header`, durably."""
    files.make_directory(directory)
    files.write_atomically(directory / RESET_NAME, header)
    hit("log.reset.begun")
    finish_reset(files, directory)


def finish_reset(files: Files, directory: Path) -> None:
    """Carry out a reset that was begun, if one was. Raises `LogCorruption`, `StorageError`."""
    path = directory / RESET_NAME
    data = files.read(path)
    if data is None:
        return
    header = decode_header(data)
    if header is None:
        raise LogCorruption(
            f"{path}: damaged",
            path=str(path),
            hint="move the replica's directory away, and let it join again from the leader",
        )
    for name in segment_names(files, directory):
        files.remove(directory / name)
    files.sync_directory(directory)
    hit("log.reset.emptied")
    create_segment(files, segment_path(directory, header.first_index), data)
    hit("log.reset.created")
    files.remove(path)
    files.sync_directory(directory)
