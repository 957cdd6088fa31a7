"""A simulated replica with the storage of a real one: a real log format, real files, on a disk that forgets.

Every storage effect is carried out by `ReplicaStorage`, and what it answered is held against what it must have done:
`log` and `applied` of the base follow from the effects alone, the database is read after whatever changes it, and what
comes back after a crash is compared with what was on the disk before. A process that ends in the middle of an effect
has done a part of it: its disk does a few operations more, and then no other one.

Each life of the process has a directory of its own, since the files of an earlier one stay open in this process.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Final

from workbench.config import ReplicaConfig
from workbench.errors import StorageError, WorkbenchError
from workbench.faults.draws import below, choose
from workbench.protocol.effects import (
    Append,
    Apply,
    Commit,
    DropLog,
    InstallSnapshot,
    MakeSnapshot,
    Query,
    Rebuild,
    Rewind,
    SaveTerm,
    SealSnapshot,
    StorageEffect,
)
from workbench.protocol.inputs import Diverged, Installed, Queried, SnapshotAbandoned, SnapshotCopied, SnapshotSealed
from workbench.protocol.messages import Read
from workbench.protocol.snapshot import Recovered
from workbench.protocol.values import Entry, LoggedEntry, Position
from workbench.replica.counters import Counters
from workbench.replica.storage import ReplicaStorage, StorageAnswer
from workbench.replica.surroundings import Surroundings
from workbench.simulator.forgetful_files import FaultyFiles, PowerCut
from workbench.simulator.laws import START, LawBroken, holds
from workbench.simulator.node import ALLOWED_IN_A_GROUP, Node
from workbench.simulator.sql_workload import ALL_ROWS, NO_TABLE

_LAST_OPERATIONS: Final = (3, 12, 60)
"""Up to so many things may happen on a disk before the process is gone: an append takes two, an installation dozens."""


@dataclass(kw_only=True)
class SqlNode(Node):
    """`directory`: a folder of its own. `now_ns`: its clock; `random`: what is drawn for names of snapshots."""

    config: ReplicaConfig
    now_ns: Callable[[], int]
    random: Random
    _life: int = 0
    _base: Position = START
    """Of the newest snapshot on the disk."""
    _copy: object | None = None
    _under_way: StorageEffect | None = None
    """What a process that has ended was at."""
    _term_under_way: tuple[int, str] | None = None
    _files: FaultyFiles = field(init=False, repr=False)
    _storage: ReplicaStorage | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._files = self._fresh_files()
        self.directory.mkdir(parents=True)

    @property
    def directory(self) -> Path:
        """Of this life."""
        return self.config.directory / str(self._life)

    def _fresh_files(self) -> FaultyFiles:
        return FaultyFiles(shares_main_file=self.config.log_format == "wal")

    # Faults of the disk.

    @property
    def copying(self) -> object | None:
        """As of the base."""
        return self._copy

    @property
    def disk_is_full(self) -> bool:
        """As of the base."""
        return self._files.is_full

    def fill_disk(self, *, full: bool) -> None:
        """As of the base."""
        self._files.is_full = full

    def fail_sync(self, *, fails: bool) -> None:
        """As of the base."""
        self._files.sync_fails = fails

    def _note_failure(self) -> None:
        """The process ends, by a fault or by its own fault."""
        for has_failed, what in ((self._files.is_full, "disks full"), (self._files.sync_has_failed, "syncs failed")):
            if has_failed:
                self.disk_failed = True
                self.laws.happened[what] += 1

    # A life.

    def recover(self) -> Recovered:
        """As of the base. Raises `LawBroken` when it cannot, or has not what was durable."""
        config = replace(self.config, directory=self.directory)
        surroundings = Surroundings(self.now_ns, lambda count: bytes(below(self.random, 256) for _ in range(count)))
        try:
            self._storage = ReplicaStorage(
                config, Counters(), files=self._files, copies_beside=False, surroundings=surroundings
            )
            recovered = self._storage.recover()
        except WorkbenchError as error:
            reason = str(error).replace(f"{self.config.directory.parent}/", "")
            raise LawBroken(f"law 3: {self.name} does not come back: {reason}") from error
        self._check_term((recovered.term, recovered.voted_for))
        self._check_history(recovered)
        self.up, self.disk_failed, self.committed, self.diverged = True, False, 0, bool(recovered.diverged)
        self._base, self._copy = recovered.base, None
        self._under_way = self._term_under_way = None
        self._applied_is(len(self.log))
        return recovered

    def end(self, random: Random, under_way: StorageEffect | None, *, forgets: bool) -> None:
        """As of the base."""
        self.up = False
        if under_way is not None:
            self._under_way = under_way
            if not self.disk_failed:
                self._do_a_part(random, under_way)
        self.jobs.clear()
        self.answers.clear()
        old = self.directory
        self._life += 1
        self._storage = None
        if forgets:
            self._files.power_loss_into(random, old, self.directory)
            self._files.end()
            is_full, self._files = self._files.is_full, self._fresh_files()
            self._files.is_full = is_full
        else:
            self._files = self._files.kill_into(old, self.directory)
        shutil.rmtree(old)

    def _do_a_part(self, random: Random, effect: StorageEffect) -> None:
        assert self._storage is not None
        self._files.power_after(below(random, choose(random, _LAST_OPERATIONS)))
        with suppress(PowerCut, StorageError):
            self._storage.perform(effect)

    def close(self) -> None:
        """As of the base."""
        self._files.end()
        self._storage = None

    def save_term(self, term: int, voted_for: str) -> None:
        """As of the base."""
        assert self._storage is not None
        try:
            self._storage.save_term(SaveTerm(term, voted_for))
        except StorageError:
            self._note_failure()
            self._term_under_way = (term, voted_for)
            raise
        self._term_is((term, voted_for))

    def _term_is(self, term: tuple[int, str]) -> None:
        self.laws.saved_term(self.name, *term)
        self.term = term

    # What came back.

    def _check_term(self, found: tuple[int, str]) -> None:
        if found == self._term_under_way:
            self._term_is(found)
        elif found != self.term:
            raise LawBroken(f"law 1: {self.name} had {self.term} on its disk, and came back with {found}")

    def _check_history(self, recovered: Recovered) -> None:
        """What is left of the log is what was durable, but for what the process was at when it ended."""
        found = list(_positions(recovered))
        before = [logged.entry.position for logged in self.log]
        match self._under_way:
            case Append(entries):
                new = [logged.entry.position for logged in entries]
                is_possible = found[: len(before)] == before and found[len(before) :] == new[: len(found) - len(before)]
                if is_possible:
                    self._take(entries[: len(found) - len(before)])
            case Rewind(to):
                is_possible = found == before[: len(found)] and len(found) >= to.index
                if is_possible:
                    self._cut(len(found))
            case InstallSnapshot(kept) if found != before:
                is_possible = bool(found) and found[-1] == recovered.base
                if is_possible:
                    self._replace_log(recovered.base, kept)
            case _:
                is_possible = found == before
        if not is_possible:
            at = type(self._under_way).__name__ if self._under_way else "nothing"
            raise LawBroken(
                f"law 3: {self.name} had a log up to {before[-1] if before else START} on its disk, was at {at}, and "
                f"came back with one up to {found[-1] if found else START}"
            )

    def kept_aside(self) -> Iterator[Position]:
        """As of the base."""
        for path in sorted((self.directory / "rollback").glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                yield Position(entry["term"], entry["index"])

    def digest(self) -> object:
        """As of the base."""
        assert self._storage is not None
        return self._storage.digest()

    # Storage effects.

    def perform(self) -> None:
        """As of the base."""
        effect = self.jobs.popleft()
        storage = self._storage
        assert storage is not None
        self._check_contract(effect)
        try:
            answers = storage.perform(effect)
        except StorageError:
            self._note_failure()
            raise
        self._has_done(effect, answers)
        self._heard(answers)

    def finish_copy(self) -> None:
        """As of the base."""
        assert self._storage is not None
        answers: Sequence[StorageAnswer] = ()
        while self._copy is not None and not answers:  # copied, and then measured
            try:
                answers = self._storage.proceed()
            except StorageError:
                self._note_failure()
                raise
            if not answers and not self._storage.is_copying:
                break
        self._heard(answers)

    def _heard(self, answers: Sequence[StorageAnswer]) -> None:
        for answer in answers:
            if isinstance(answer, SnapshotCopied | SnapshotAbandoned):
                self._copy = None
            if isinstance(answer, Diverged):
                raise LawBroken(f"law 3: the database of {self.name} is not its log: {answer.reason}")
        self.answers.extend(answers)

    def _check_contract(self, effect: StorageEffect) -> None:
        assert self._storage is not None
        if self._storage.is_in_group and not isinstance(effect, ALLOWED_IN_A_GROUP):
            raise LawBroken(f"{effect} in an open group")
        match effect:
            case Append(entries) if entries[0].entry.index != len(self.log) + 1:
                raise LawBroken("the log must continue without a gap")
            case Commit(position) if len(self.log) < position.index:
                raise LawBroken("committed before it was durable")
            case Apply(entries) if len(self.log) < entries[-1].entry.index:
                raise LawBroken("applied before it was durable")
            case Apply(entries) if entries[0].entry.index != self.applied + 1:
                raise LawBroken("law 3: entries are applied in order, each once")
            case Rewind(to) if to.index < self._base.index:
                raise LawBroken("law 3: a rewind behind the snapshot")
            case DropLog(index, _) if index > self._base.index:
                raise LawBroken("law 3: what no snapshot covers was dropped")

    def _has_done(self, effect: StorageEffect, answers: Sequence[StorageAnswer]) -> None:
        """Follow what was done, and look whether the database is what it must be."""
        match effect:
            case Append(entries):
                self._take(entries)
            case Commit(position):
                self._applied_is(position.index)
            case Apply(entries):
                self._applied_is(entries[-1].entry.index)
            case Rewind(to):
                self.laws.happened["rewinds"] += 1
                self._cut(to.index)
                self._applied_is(min(self.applied, to.index))
            case Rebuild():
                self._applied_is(len(self.log))
            case MakeSnapshot() if not answers:
                self._copy = object()
            case SealSnapshot(state) if any(isinstance(answer, SnapshotSealed) for answer in answers):
                self._base = state.position
            case InstallSnapshot(kept) if isinstance(answers[-1], Installed):
                self._has_installed(answers[-1].recovered, kept)
            case _:
                pass

    def _has_installed(self, recovered: Recovered, kept: int) -> None:
        self._base = recovered.base
        if holds(self.log, recovered.base):
            self.laws.happened["snapshots of observers"] += 1
            return
        self.laws.happened["installs"] += 1
        self._replace_log(recovered.base, kept)
        self._applied_is(len(self.log))

    # The log and the database.

    def _take(self, entries: Iterable[LoggedEntry]) -> None:
        for logged in entries:
            self.laws.appended(self.name, logged, self.last)
            self.log.append(logged)

    def _cut(self, index: int) -> None:
        self._drop(logged.entry for logged in self.log[index:])
        del self.log[index:]

    def _drop(self, entries: Iterable[Entry]) -> None:
        self.laws.dropped(self.name, entries)

    def _replace_log(self, base: Position, kept: int) -> None:
        """By the history that a snapshot at `base` stands for."""
        history = self.laws.history(base)
        covered = {logged.entry.position for logged in history}
        self._drop(entry for entry, _ in self.log[kept:] if entry.position not in covered)
        self.log = []
        self._take(history)

    def _applied_is(self, index: int) -> None:
        """The database is at entry `index`: read it, and hold it against the log."""
        assert self._storage is not None
        self.applied = index
        (queried,) = self._storage.perform(Query((("", Read(0, 0, ALL_ROWS)),)))
        assert isinstance(queried, Queried)
        if queried.position != self.applied_position:
            raise LawBroken(f"law 3: {self.name} is at {queried.position}, its log says {self.applied_position}")
        ((_, _, result),) = queried.answers
        if result.error and NO_TABLE not in result.error:
            raise LawBroken(f"law 3: the database of {self.name} cannot be read: {result.error}")
        self.laws.applied(self.name, self.applied_position, {str(key): value for key, value in result.rows})


def _positions(recovered: Recovered) -> Iterator[Position]:
    """Of the whole history that a disk has, what its snapshot covers included."""
    starts = recovered.term_starts
    ends = [first for _, first in starts[1:]] + [recovered.last_index + 1]
    for (term, first), end in zip(starts, ends[: len(starts)], strict=True):
        yield from (Position(term, index) for index in range(first, end))
