"""What one replica is told to do, step by step, so that it can be interrupted anywhere: every storage effect is in it.

`make_script` plays a small story of two replicas, and writes down the steps of the first one, with what its disk must
hold after each. `play` carries the steps out on another directory, perhaps until it is killed. `check` holds what is
left there against the laws: the database is exactly the result of the replica's own history, which is the one before or
the one after the interrupted step, or lies between them; terms do not go back; what a step before had made durable is
there; what was dropped can be read in `rollback/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from tests.replica.bench import LIMITS, Bench, config_of
from tests.storage.replicas import Call, transaction
from workbench.config import LogFormatName
from workbench.protocol.codec import decode_entry
from workbench.protocol.effects import Abandon, Execute
from workbench.protocol.messages import SnapshotChunk
from workbench.protocol.values import Entry, LoggedEntry, Position
from workbench.storage.files import Files
from workbench.storage.sqlite import open_store

Step: TypeAlias = tuple[str, Any]
"""Name of one of `_STEPS`, and its argument, as MessagePack can carry it."""


@dataclass(frozen=True)
class Held:
    """What a disk must hold: the positions of its whole history, what its newest snapshot covers included."""

    history: tuple[Position, ...] = ()
    term: int = 0
    base: Position = field(default_factory=Position)


@dataclass
class Script:
    """`held[n]` is what must be there after `n` steps; `entries` has all entries that ever were."""

    log_format: LogFormatName
    steps: list[Step] = field(default_factory=list)
    held: list[Held] = field(default_factory=lambda: [Held()])
    entries: dict[Position, Entry] = field(default_factory=dict)
    digests: dict[tuple[Position, ...], dict[str, str]] = field(default_factory=dict)

    def digest(self, directory: Path, history: tuple[Position, ...]) -> dict[str, str]:
        """What a database with exactly this history says; `directory` is used once for each history."""
        if history not in self.digests:
            store = open_store(directory, self.log_format, LIMITS)
            store.apply([self.entries[position] for position in history])
            self.digests[history] = store.digest()
            store.close()
        return self.digests[history]


# ----------------------------------------------------------------------------------------------- one step


def _take(bench: Bench, entries: list[bytes]) -> None:
    bench.take(*map(decode_entry, entries))


def _abandon(bench: Bench, calls: list[Any]) -> None:
    position = Position(bench.term, bench.last.index + 1)
    group = (transaction(*_calls(calls)),)
    bench.storage.perform(Execute(position, group))
    bench.storage.perform(Abandon())


def _calls(calls: list[Any]) -> list[Call]:
    return [call if isinstance(call, str) else (call[0], tuple(call[1])) for call in calls]


def _install(bench: Bench, kept: int) -> None:
    assert not isinstance(bench.install(kept), str)


_STEPS: dict[str, Callable[[Bench, Any], object]] = {
    "term": lambda bench, term: bench.save_term(term, "a"),
    "write": lambda bench, calls: bench.write(*_calls(calls)),
    "abandon": _abandon,
    "take": _take,
    "log": lambda bench, entries: bench.append_only(*map(decode_entry, entries)),
    "rewind": lambda bench, to: bench.rewind(Position(*to)),
    "snapshot": lambda bench, _: bench.make_snapshot(),
    "copy": lambda bench, _: bench.copy(),
    "drop": lambda bench, index: bench.drop_log(index),
    "chunk": lambda bench, chunk: bench.save_chunk(msgspec.convert(chunk, SnapshotChunk)),
    "install": _install,
    "diverge": lambda bench, _: bench.diverge(),
    "rebuild": lambda bench, _: bench.rebuild(),
    "restart": lambda bench, _: None,
}


def perform(bench: Bench, step: Step) -> Bench:
    """Let `bench` do one step; the replica that goes on, which is another one after a restart."""
    name, argument = step
    if name == "restart":
        return bench.restarted()
    _STEPS[name](bench, argument)
    return bench


def play(script: Script, directory: Path, *, files: Files | None = None, begun: Callable[[int], None]) -> Bench:
    """All steps. `begun` is told the number of each before it is done."""
    bench = Bench(config_of(directory, script.log_format), files=files)
    for number, step in enumerate(script.steps):
        begun(number)
        bench = perform(bench, step)
    return bench


# --------------------------------------------------------------------------------------------- the story


class Recorder:
    """The first replica of the story, whose steps are written down."""

    def __init__(self, directory: Path, log_format: LogFormatName) -> None:
        self.script = Script(log_format)
        self.bench = Bench(config_of(directory, log_format))

    def do(self, name: str, argument: Any = None) -> None:
        """One step, which happens at once."""
        self.script.steps.append((name, argument))
        self.bench = perform(self.bench, (name, argument))
        log, base = self.bench.log, self.bench.storage._disk.snapshots.base
        history = tuple(log.position_at(index) for index in range(1, log.last.index + 1))
        for logged in self.bench.entries(log.first_index):
            self.script.entries[logged.entry.position] = logged.entry
        self.script.held.append(Held(history, self.bench.term if self.script.steps else 0, base))

    def write(self, *calls: Call) -> None:
        """A client transaction."""
        self.do("write", list(calls))

    def take(self, leader: Bench, last_index: int) -> None:
        """Entries of another leader up to `last_index`."""
        missing = leader.entries(self.bench.last.index + 1)
        self.do("take", [logged.encoded for logged in missing if logged.entry.index <= last_index])

    def remember(self, entries: list[LoggedEntry]) -> None:
        """Entries that only a snapshot brings."""
        for logged in entries:
            self.script.entries[logged.entry.position] = logged.entry


def row(number: int) -> Call:
    return ("INSERT INTO t(v) VALUES (?)", (f"{number}" * 200,))


def make_script(directory: Path, log_format: LogFormatName) -> Script:
    """A leader that is deposed, a follower whose leader is deposed, a replica that needs a snapshot: in turns."""
    a = Recorder(directory / "a", log_format)
    b = Bench(config_of(directory / "b", log_format, name="b"))
    b.new_term(1)
    b.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "CREATE TABLE kv (k TEXT PRIMARY KEY, v)")
    for number in range(6):
        b.write(row(number))
    a.do("term", 1)
    a.take(b, 4)
    a.take(b, 8)
    _lead(a, b)
    kept = a.bench.last
    b.follow(a.bench)
    for number in range(30, 36):  # enough for a segment of the log
        a.write(row(number))
    a.do("rewind", [kept.term, kept.index])  # as an old leader
    b.new_term(3)
    for number in range(40, 44):
        b.write(row(number))
    a.do("term", 3)
    a.take(b, b.last.index)
    _follow(a, b)
    _install_from(a, b)
    a.do("restart")
    for number in range(80, 83):
        b.write(row(number))
    a.take(b, b.last.index)
    _mend(a, b)
    a.do("term", 9)
    a.bench.close()
    b.close()
    return a.script


def _lead(a: Recorder, b: Bench) -> None:
    """The first replica leads: writes, gives up a write, makes a snapshot, drops its log."""
    a.do("term", 2)
    a.do("take", [a.bench.entry("").encoded])
    for number in range(10, 14):
        a.write(row(number))
    a.do("abandon", ["CREATE TABLE gone (a)", row(14)])
    a.write(row(15), ("INSERT INTO kv VALUES (?, ?)", ("x", 1)))
    a.do("snapshot")
    a.write("UPDATE kv SET v = 2", row(16))
    a.do("snapshot")
    b.save_term(2)
    b.follow(a.bench)
    a.do("drop", a.bench.last.index)
    a.write("CREATE INDEX kv_by_v ON kv (v)")
    a.do("restart")
    a.write(row(17))


def _follow(a: Recorder, b: Bench) -> None:
    """The first replica follows: entries are dropped that it had applied, and others that it had not."""
    kept = b.last
    b.write("CREATE TABLE late (x)")
    b.write(row(50))
    a.take(b, b.last.index)
    a.do("copy")
    b.rewind(kept)
    a.do("rewind", [kept.term, kept.index])  # only a rebuild helps
    b.new_term(4)
    b.write("DELETE FROM kv")
    a.do("term", 4)
    a.take(b, b.last.index)
    b.take(b.entry(""))
    a.take(b, b.last.index)
    kept = b.last
    b.take(b.entry(""))  # small, so that the log is cut within a segment
    b.take(b.entry(""))
    a.do("log", [logged.encoded for logged in b.entries(kept.index + 1)])
    b.rewind(kept)
    a.do("rewind", [kept.term, kept.index])  # nothing applied is dropped


def _install_from(a: Recorder, b: Bench) -> None:
    """The first replica has gone another way, and gets a snapshot."""
    a.do("term", 5)
    kept = a.bench.last.index
    a.do("take", [a.bench.entry("").encoded])
    a.write(row(70))
    a.write("CREATE TABLE other (x)")
    b.new_term(6)
    for number in range(70, 78):
        b.write(row(number))
    a.remember(b.entries(kept + 1))
    b.drop_log(b.make_snapshot().index)
    a.do("term", 6)
    for chunk in b.pieces(9_000):
        a.do("chunk", msgspec.to_builtins(chunk, builtin_types=(bytes,)))
    a.do("install", kept)


def _mend(a: Recorder, b: Bench) -> None:
    """Entries do not fit the first replica's database: it is made anew, first of its own log, then of a snapshot."""
    a.do("diverge")
    a.do("rebuild")
    b.write(row(90))
    a.take(b, b.last.index)
    b.drop_log(b.make_snapshot().index)
    b.write(row(91))
    a.take(b, b.last.index)
    a.do("diverge")
    for chunk in b.pieces(9_000):
        a.do("chunk", msgspec.to_builtins(chunk, builtin_types=(bytes,)))
    a.do("install", a.bench.last.index)


# -------------------------------------------------------------------------------------------- judgement


def check(script: Script, bench: Bench, number: int, models: Path) -> None:
    """`bench` has recovered from an end during step `number`; -1: before the first."""
    before, after = script.held[max(0, number)], script.held[number + 1]
    log, recovered = bench.log, bench.recovered
    history = tuple(log.position_at(index) for index in range(1, log.last.index + 1))
    common = 0
    while common < min(len(before.history), len(after.history)) and before.history[common] == after.history[common]:
        common += 1
    assert len(history) >= common, "what was durable, and was not to be dropped, is missing"
    assert history in (before.history[: len(history)], after.history[: len(history)]), "another history"
    assert before.term <= recovered.term <= max(before.term, after.term), "law 1: the term"
    assert recovered.base in (before.base, after.base), "a snapshot is missing"
    assert recovered.first_index <= recovered.base.index + 1, "what no snapshot covers was dropped"
    expected = script.digest(models / f"{len(script.digests)}", history)
    assert bench.digest() == expected, "law 3: the database is not the result of the log"
    lost = {position for position in before.history if position not in history}
    assert lost <= rolled_back(bench.config.directory), "law 6: dropped without a trace"


def rolled_back(directory: Path) -> set[Position]:
    """The positions that `rollback/` tells of."""
    files = sorted((directory / "rollback").glob("*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return {Position(line["term"], line["index"]) for line in lines}


def check_goes_on(bench: Bench) -> None:
    """The replica can lead, be restarted, make a snapshot and be restarted again."""
    bench.new_term(bench.recovered.term + 1)
    bench.write("CREATE TABLE IF NOT EXISTS afterwards (x)", "INSERT INTO afterwards VALUES (1)")
    digest, last = bench.digest(), bench.last
    bench = bench.restarted()
    assert (bench.digest(), bench.last) == (digest, last)
    bench.drop_log(bench.make_snapshot().index)
    bench = bench.restarted()
    assert (bench.digest(), bench.last, bench.recovered.base) == (digest, last, last)
    bench.close()
