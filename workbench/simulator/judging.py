"""What the clients of a world saw, judged as a history once everything has come right.

The laws watch replicas, step by step, with all that a bystander can see. A history knows only what clients asked for,
what they were told and when, and the log that is there in the end; that the two agree is a check of the laws, too.

- **No acknowledged write is lost**, where the ack policy promises that.
- **A read shows one moment of the log**: what it returned is what the log has at the read's position. Reads of what the
  log does not have any more are counted apart, as rolled back; a linearizable read is never one.
- **A session sees its own** where its reads carry a token: no such read is older than what the token says.
- **Linearizable reads and writes have an order** (`workbench.checkers.linearizability`). Where acknowledged writes
  may be lost, all count as in doubt: whether they happened is for the reads to say.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.protocol.values import LoggedEntry, Position
from workbench.simulator.clients import Operation
from workbench.simulator.laws import LawBroken, holds

if TYPE_CHECKING:
    from workbench.history_operations import Operation as Judged

Histories = Mapping[str, Sequence[Operation]]
"""Client -> its operations, in order."""


@dataclass(slots=True)
class _Log:
    """The final log as clients can know it. `places`: (session, sequence) -> where it took effect."""

    entries: list[LoggedEntry]
    places: dict[tuple[int, int], Position]
    indices: dict[str, list[int]]
    """Key -> where it was written."""
    values: dict[str, list[object]]
    """Key -> what was written there."""

    def value_at(self, key: str, index: int) -> object:
        """What a key holds after the entry at `index`."""
        known = bisect_right(self.indices.get(key, []), index)
        return self.values[key][known - 1] if known else None


def judge(histories: Histories, log: list[LoggedEntry], *, survives: bool) -> Counter[str]:
    """Raise `LawBroken` for what no honest cluster could have told its clients; count what there was to judge.

    `log`: the final one, complete. `survives`: acknowledged writes must be in it.
    """
    final = _read(log, histories)
    happened: Counter[str] = Counter()
    for name, operations in histories.items():
        if survives:
            _check_acknowledged(name, operations, final)
        _check_reads(name, operations, final, happened)
        _check_session(name, operations, final)
        happened["operations retried"] += sum(one.retries > 0 for one in operations)
    _check_order(histories, survives=survives)
    return happened


def _read(log: list[LoggedEntry], histories: Histories) -> _Log:
    writes = {
        (one.session, one.sequence): one.values
        for operations in histories.values()
        for one in operations
        if one.kind == "write"
    }
    final = _Log(log, {}, defaultdict(list), defaultdict(list))
    for entry, _ in log:
        for member in entry.members:
            write = (member.session, member.sequence)
            if write not in writes:
                raise LawBroken(f"history: the log has a write that nobody asked for, {write}")
            final.places[write] = entry.position
            for key, value in writes[write].items():
                if final.indices[key][-1:] == [entry.index]:
                    final.values[key][-1] = value
                else:
                    final.indices[key].append(entry.index)
                    final.values[key].append(value)
    return final


def _check_acknowledged(name: str, operations: Iterable[Operation], final: _Log) -> None:
    for one in operations:
        if one.kind == "write" and one.outcome == "ok":
            place = final.places.get((one.session, one.sequence))
            if place != one.position:
                where = f"it is at {place}" if place else "it is gone"
                write = f"{one.session}.{one.sequence}"
                raise LawBroken(f"history: {name} was told that its write {write} is at {one.position}; {where}")


def _check_reads(name: str, operations: Iterable[Operation], final: _Log, happened: Counter[str]) -> None:
    for one in operations:
        if one.kind == "write" or one.outcome != "ok":
            continue
        if one.position.index and not holds(final.entries, one.position):
            if one.how == "linearizable":
                raise LawBroken(f"history: a linearizable read of {name} showed {one.position}, which was rolled back")
            happened["reads rolled back"] += 1
            continue
        happened["reads judged"] += 1
        for key, value in one.values.items():
            expected = final.value_at(key, one.position.index)
            if value != expected:
                raise LawBroken(
                    f"history: {name} read {key} = {value!r} at {one.position}, where the log has {expected!r}"
                )


def _check_session(name: str, operations: Iterable[Operation], final: _Log) -> None:
    """Tokens are of one history: what was rolled back says nothing about it."""
    session = 0
    written = seen = Position()
    for one in operations:
        if one.session != session:
            session, written, seen = one.session, Position(), Position()
        if one.outcome != "ok" or not holds(final.entries, one.position):
            continue
        token = {"after_writes": written, "after_all": seen}.get(one.how)
        if token is not None and one.position < token:
            raise LawBroken(f"history: a read of {name} {one.how} {token} showed {one.position}")
        seen = max(seen, one.position)
        if one.kind == "write":
            written = max(written, one.position)


def _check_order(histories: Histories, *, survives: bool) -> None:
    from workbench.checkers.linearizability import linearizability
    from workbench.checkers.models import register

    found = linearizability(_judged(histories, survives=survives), register())
    if found.verdict.status == "invalid":
        raise LawBroken(f"history: linearizable operations have no order: {found.verdict.reason}")


def _judged(histories: Histories, *, survives: bool) -> list[Judged]:
    """Writes and linearizable reads as the checkers have them; of two events at once, an invocation comes first."""
    from workbench.history_operations import OPEN
    from workbench.history_operations import Operation as Judged

    chosen = [
        (process, one)
        for process, operations in enumerate(histories.values())
        for one in operations
        if one.kind == "write" or (one.how == "linearizable" and one.outcome == "ok")
    ]
    events = [(one.invoked_ns, 0, number) for number, (_, one) in enumerate(chosen)]
    events += [(one.completed_ns, 1, number) for number, (_, one) in enumerate(chosen) if one.completed_ns]
    places: dict[tuple[int, int], int] = {
        (number, what): place for place, (_, what, number) in enumerate(sorted(events))
    }
    judged = []
    for number, (process, one) in enumerate(chosen):
        is_known = one.outcome == "ok" and (survives or one.kind != "write")
        outcome = "fail" if one.outcome == "fail" else "ok" if is_known else "info"
        judged += [
            Judged(
                number=number,
                process=process,
                f=one.kind,
                key=key,
                value=value,
                outcome=outcome,  # type: ignore[arg-type]
                begin=places[number, 0],
                end=places[number, 1] if outcome == "ok" else OPEN,
                invoked_ns=one.invoked_ns,
                completed_ns=one.completed_ns or None,
                session=one.session,
            )
            for key, value in one.values.items()
        ]
    return judged
