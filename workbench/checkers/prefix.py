"""Consistent prefix: whether whoever sees a write has also seen what came before it, across keys and partitions.

A session that read the version b of one key, and then reads another key, must find there every version a that came
before b. It did so if the session that wrote b had seen or written a (causal, through others too), or if a was
acknowledged before b was invoked (real time). If the read returns something certainly older than a, the answer
precedes its question: a *causal reversal*. A *long fork* are two sessions that saw two writes in opposite orders: one
saw a, then not yet b, the other b, then not yet a. Which of two versions of a key is older is told by `versions`; the
order within one key is the business of the session guarantees.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from workbench.checkers.verdict import Verdict
from workbench.checkers.versions import Moment, Version, Versions, sees, versions_of, writes
from workbench.history_operations import OPEN, Operation, tell

WITNESSES_MAX: Final = 3

Key: TypeAlias = tuple[str, str]
How: TypeAlias = Literal["causal", "real time"]
Past: TypeAlias = dict[Key, Version]
"""Key -> its newest version that was seen. Never changed once shared: a newer one is a new dictionary."""


@dataclass(frozen=True, slots=True)
class Reversal:
    """`session` read `answer`, then `read` another key, which lacks `question`, though that came before the answer."""

    answer: Operation
    read: Operation
    question: Operation
    how: How


@dataclass(frozen=True, slots=True)
class LongFork:
    """One session read `first`, then `lacks_second`; another one `second`, then `lacks_first`."""

    first: Operation
    lacks_second: Operation
    second: Operation
    lacks_first: Operation


@dataclass(frozen=True, slots=True)
class ConsistentPrefix:
    """What `consistent_prefix` found."""

    reversals: tuple[Reversal, ...]
    forks: tuple[LongFork, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class _Demand:
    """What a session may ask of a key: this version at least, since it read `answer`."""

    version: Version
    answer: Operation
    how: How


@dataclass(frozen=True, slots=True)
class _Sight:
    """A session that had read `low` of one key by `earlier`, and then found at most `high` of another by `later`."""

    low: Moment
    high: Moment
    earlier: Operation
    later: Operation


@dataclass(slots=True)
class _Session:
    past: Past = field(default_factory=dict)
    read: dict[Key, tuple[Version, Operation]] = field(default_factory=dict)
    demands: dict[Key, _Demand] = field(default_factory=dict)


def consistent_prefix(operations: Sequence[Operation]) -> ConsistentPrefix:
    """Judge a history whose written values are unique for each key."""
    versions = versions_of(operations)
    if versions.problem:
        return ConsistentPrefix((), (), Verdict.unknown(versions.problem))
    walk = _Walk(versions)
    walk.go(operations)
    forks = tuple(_forks(walk.sights))
    counts: dict[str, int | float] = {
        "checked": walk.checked,
        "causal_reversals": len(walk.reversals),
        "long_forks": len(forks),
        "unexplained_reads": walk.unexplained,
    }
    return ConsistentPrefix(tuple(walk.reversals), forks, _verdict(walk.reversals, forks, counts))


class _Walk:
    """Goes through the events in order; keeps what each session has seen when an operation of it begins."""

    def __init__(self, versions: Versions) -> None:
        self.versions = versions
        self.sessions: dict[tuple[str, int], _Session] = {}
        self.acknowledged: Past = {}
        self.before_write: dict[int, tuple[Past, Past]] = {}  # number -> causal past, acknowledged before
        self.at_begin: dict[int, tuple[dict[Key, _Demand], dict[Key, tuple[Version, Operation]]]] = {}
        self.reversals: list[Reversal] = []
        self.sights: dict[tuple[Key, Key], list[_Sight]] = {}
        self.checked = self.unexplained = 0

    def go(self, operations: Sequence[Operation]) -> None:
        events = [(one.begin, 0, at) for at, one in enumerate(operations)]
        events += [(one.end, 1, at) for at, one in enumerate(operations) if one.end != OPEN]
        for _, kind, at in sorted(events):
            one = operations[at]
            session = self.sessions.setdefault((one.cell, one.session), _Session())
            if kind == 0:
                self.begin(one, session)
            elif one.outcome == "ok":
                self.end(one, session)

    def begin(self, one: Operation, session: _Session) -> None:
        if writes(one):
            self.before_write[one.number] = session.past, self.acknowledged
        if sees(one):
            self.at_begin[one.number] = session.demands, session.read

    def end(self, one: Operation, session: _Session) -> None:
        key = (one.cell, one.key)
        if sees(one):
            seen = self.versions.read(one)
            if seen is None:
                self.unexplained += 1
            else:
                self.saw(one, key, seen, session)
        if writes(one):
            made = self.versions.written(one)
            session.past = _with(session.past, {key: made})
            self.acknowledged = _with(self.acknowledged, {key: made})

    def saw(self, one: Operation, key: Key, seen: Version, session: _Session) -> None:
        demands, read = self.at_begin.pop(one.number)
        demand = demands.get(key)
        others = [other for other in read if other != key and other[0] == one.cell]
        self.checked += bool(demand or others)
        if demand is not None and seen.is_older(demand.version) and demand.version.write is not None:
            self.reversals.append(Reversal(demand.answer, one, demand.version.write, demand.how))
        for other in others:
            version, earlier = read[other]
            self.sights.setdefault((other, key), []).append(_Sight(version.low, seen.high, earlier, one))
        if seen.write is None:
            return
        causal, acknowledged = self.before_write.get(seen.write.number, ({}, {}))
        session.past = _with(_with(session.past, causal), {key: seen})
        if key not in session.read or session.read[key][0].low < seen.low:
            session.read = {**session.read, key: (seen, one)}
        session.demands = _demanding(session.demands, acknowledged, key, one, "real time")
        session.demands = _demanding(session.demands, causal, key, one, "causal")


def _with(past: Past, more: Past) -> Past:
    """The newest of both for each key; `past` itself if nothing is newer."""
    newer = {key: version for key, version in more.items() if key not in past or past[key].low < version.low}
    return {**past, **newer} if newer else past


def _demanding(demands: dict[Key, _Demand], before: Past, key: Key, answer: Operation, how: How) -> dict[Key, _Demand]:
    newer = {
        other: _Demand(version, answer, how)
        for other, version in before.items()
        if other != key
        and other[0] == key[0]
        and (other not in demands or demands[other].version.low < version.low
             or (how == "causal" and demands[other].answer is answer and demands[other].version is version))
    }  # fmt: skip
    return {**demands, **newer} if newer else demands


def _forks(sights: Mapping[tuple[Key, Key], list[_Sight]]) -> list[LongFork]:
    """For each sight of (x, then y) the best opposite one of (y, then x), if there is any that contradicts it."""
    found: list[LongFork] = []
    for (x, y), unordered in sights.items():
        if x > y or (y, x) not in sights:
            continue
        ones = sorted(unordered, key=lambda sight: sight.high)
        highs = [sight.high for sight in ones]
        best: list[_Sight] = []
        for sight in ones:
            best.append(sight if not best or sight.low > best[-1].low else best[-1])
        for other in sights[y, x]:
            below = bisect_left(highs, other.low)
            if below and best[below - 1].low > other.high:
                one = best[below - 1]
                found.append(LongFork(one.earlier, one.later, other.earlier, other.later))
    return found


def _verdict(reversals: Sequence[Reversal], forks: Sequence[LongFork], counts: Mapping[str, int | float]) -> Verdict:
    witness = [_reversal_row(one) for one in reversals[:WITNESSES_MAX]]
    witness += [_fork_row(one) for one in forks[:WITNESSES_MAX]]
    if witness:
        what = f"{len(reversals)} causal reversals, {len(forks)} long forks: {witness[0]['words']}"
        return Verdict("invalid", what, tuple(witness), counts)
    if not counts["checked"]:
        return Verdict("unknown", "no session read one key and then another", (), counts)
    if counts["unexplained_reads"]:
        return Verdict("unknown", f"{counts['unexplained_reads']} reads are explained by no write", (), counts)
    return Verdict("valid", f"none of {counts['checked']} reads lacked what came before another", (), counts)


def _reversal_row(one: Reversal) -> dict[str, Any]:
    why = "its writer had seen that" if one.how == "causal" else "that had been acknowledged before"
    words = f"session {one.read.session}: {tell(one.answer)}, then {tell(one.read)}; it lacks: {tell(one.question)}"
    return {
        "kind": "causal reversal", "words": f"{words}, though {why}", "how": one.how, "session": one.read.session,
        "answer_operation": one.answer.number, "operation": one.read.number, "question_operation": one.question.number,
    }  # fmt: skip


def _fork_row(one: LongFork) -> dict[str, Any]:
    words = f"{tell(one.first)}, then {tell(one.lacks_second)}; but {tell(one.second)}, then {tell(one.lacks_first)}"
    return {
        "kind": "long fork", "words": words,
        "operations": [one.first.number, one.lacks_second.number, one.second.number, one.lacks_first.number],
    }  # fmt: skip
