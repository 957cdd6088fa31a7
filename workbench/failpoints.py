"""Named points at which a replica's process can be made to die, so that what it leaves on disk can be tested.

`arm("log.append.after_write")` makes the first visit of that point kill the process, as SIGKILL does: nothing is
flushed, closed or told. `arm("log.append.after_write:3")` means the third visit. Nothing is armed in ordinary use,
and then a point costs one call. Rules:

- Code names its points by literals; each stands in `POINTS` with what has just happened there.
- A point lies between two steps that must be survived apart, never inside one.
"""

from __future__ import annotations

import difflib
import os
import signal

from workbench.errors import ConfigurationError

POINTS = {
    "term.before_save": "a new term or vote is about to be written",
    "term.after_save": "it is durable",
    "files.before_replace": "a small file's new content is durable under its temporary name",
    "files.after_replace": "it has its name, which is not durable yet",
    "files.after_remove": "a name was removed, which is not durable yet",
    "files.before_directory_sync": "names of a directory are about to be made durable",
    "files.after_directory_sync": "they are durable",
    "execute.before": "a group of clients' transactions is about to be executed",
    "execute.after": "it was executed, and is not logged",
    "log.append.before_write": "entries are about to be written to the replication log",
    "log.append.after_write": "they were written, and not synced",
    "log.sync.after": "they are durable, and not applied",
    "log.segment.after_create": "the log has a new, empty segment",
    "log.truncate.before": "the end of the log is about to be dropped",
    "log.truncate.segment_removed": "one of its segments is gone",
    "log.truncate.after_cut": "the last segment was cut, and not synced",
    "log.drop.before": "the beginning of the log is about to be dropped",
    "log.drop.segment_removed": "one of its segments is gone",
    "log.reset.begun": "it is durably said that the log begins anew",
    "log.reset.emptied": "the old segments are gone",
    "log.reset.created": "the new, empty segment stands there",
    "commit.before": "the executed group is logged, and not visible",
    "commit.after": "it is visible",
    "apply.before": "logged entries are about to be applied",
    "apply.half": "their effects were brought into the database, which does not say so yet",
    "apply.after": "it does",
    "checkpoint.before": "what the database holds is about to be made durable in its main file",
    "checkpoint.after": "it is, and its position file may be older",
    "position.before_save": "the main file is durable up to a position that is about to be written down",
    "copy.begun": "a copy of the database has begun",
    "copy.chunk": "a part of it was written",
    "copy.before_finish": "all parts are there, and nothing is synced",
    "copy.after_finish": "the copy is whole and synced",
    "snapshot.seal.before_sync": "what the core knows was written behind the copy, and not synced",
    "snapshot.seal.before_rename": "the snapshot is durable, and has no name",
    "snapshot.seal.after_rename": "it is sealed, and the one before it still there",
    "snapshot.seal.after": "the one before it is gone",
    "chunk.before_write": "a piece of a snapshot came, and is about to be kept",
    "chunk.after_write": "it was written, and not synced",
    "chunk.before_record": "the pieces are durable, which is about to be written down",
    "chunk.after_record": "it is written down",
    "install.verified": "a received snapshot is whole and fits",
    "install.rollback_written": "what the installation drops stands in `rollback/`",
    "install.committed": "the received snapshot is the replica's, and nothing else has changed",
    "install.log_reset": "the log begins behind it, and the database is the old one",
    "install.database_restored": "the database is that of the snapshot",
    "install.after": "the installation is complete",
    "adopt.renamed": "a received snapshot is the newest one, and the database, which has diverged, not made of it yet",
    "restore.removed": "the old database is gone",
    "restore.before_rename": "the new one is durable under a temporary name",
    "restore.after_rename": "it has its name",
    "rebuild.before_replay": "entries of the log are about to be applied to a new database",
    "rollback.before_write": "dropped entries are about to be written where people can read them",
    "rollback.after_write": "they stand there, durably, and are not dropped yet",
    "rewind.before_database": "the database is about to be brought back",
    "rewind.half": "its changes were undone, or it was taken away, and nothing is committed",
    "rewind.before_log": "it is back, durably, and the log not yet cut",
    "rewind.after": "both are back",
}  # fmt: skip

_armed = ""
_visits_left = 0


def arm(text: str) -> None:
    """Let the process die at a point, `name` or `name:visit`; nothing is armed by the empty string.

    Raises `ConfigurationError` for a name that is not in `POINTS`.
    """
    global _armed, _visits_left
    name, _, visit = text.partition(":")
    if name and name not in POINTS:
        nearest = difflib.get_close_matches(name, POINTS, n=1, cutoff=0.0)
        raise ConfigurationError(f"unknown failpoint {name!r}", hint=f"the nearest is {nearest[0]}")
    if visit and not (visit.isascii() and visit.isdigit() and int(visit)):
        raise ConfigurationError(f"failpoint {text!r}", hint="name, or name:visit with a visit from 1 on")
    _armed, _visits_left = name, int(visit or 1)


def hit(name: str) -> None:
    """The process has come to the point `name`."""
    if _armed:
        _visit(name)


def _visit(name: str) -> None:
    global _visits_left  # noqa: PLW0603  one process has one end
    assert name in POINTS, f"failpoint {name!r} is not listed"
    if name == _armed:
        _visits_left -= 1
        if _visits_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
