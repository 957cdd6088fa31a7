"""What replicas know of members and sessions is what their logs say: small logs, right and wrong knowledge."""

from __future__ import annotations

from random import Random

import pytest

from workbench.config import AckPolicy, Limits, Protections, Timing
from workbench.protocol.codec import encode_entry
from workbench.protocol.ledger import Ledger
from workbench.protocol.membership import members_entry
from workbench.protocol.snapshot import Recovered
from workbench.protocol.state import ReplicaState
from workbench.protocol.values import Entry, LoggedEntry, Member, Transaction
from workbench.simulator.laws import START, LawBroken, Laws
from workbench.simulator.ledgers import check_ledger, judge_ledger

MEMBERS = ("a", "b", "c")


def logged(index: int, *writes: tuple[int, int], term: int = 1) -> LoggedEntry:
    return encode_entry(Entry(term, index, "memory", tuple(Member(*write, ()) for write in writes), b""))


LOG = [logged(1), logged(2, (1, 1)), logged(3, (1, 2))]
WRITE = logged(4, (1, 3))
CHANGE = encode_entry(members_entry(1, 4, ("a", "b")))


def ledger(*entries: LoggedEntry) -> Ledger:
    known = Ledger(MEMBERS)
    for one in entries:
        known.record(one.entry)
    return known


def state(log: list[LoggedEntry], known: Ledger) -> ReplicaState:
    """A replica with this log that knows what `known` says."""
    return ReplicaState.recover(
        name="a",
        log_format="memory",
        layout="",
        ack=AckPolicy.quorum(),
        limits=Limits(),
        timing=Timing(),
        protections=Protections(),
        random=Random(1).random,
        recovered=Recovered(term_starts=[(1, 1)], last_index=len(log), ledger=known),
    )


def laws(*entries: LoggedEntry) -> Laws:
    """Laws that have seen these entries on a disk."""
    known, previous = Laws(3, AckPolicy.quorum(), changes=lambda _: {}), START
    for one in entries:
        known.asked_writes(Transaction(write.session, write.sequence, ()) for write in one.entry.members)
        known.appended("a", one, previous)
        previous = one.entry.position
    return known


def test_knowledge_that_is_in_the_log_is_fine_also_behind_a_commit_and_a_rewind() -> None:
    known = ledger(*LOG, WRITE)
    known.commit(2)
    known.truncate(3)
    judge_ledger("a", known, LOG, MEMBERS)
    check_ledger(state(LOG, known), laws(*LOG))
    check_ledger(state([*LOG, CHANGE], ledger(*LOG, CHANGE)), laws(*LOG, CHANGE))


def test_a_write_that_a_rewind_has_left_is_seen_then_and_in_the_end() -> None:
    known = ledger(*LOG, WRITE)
    with pytest.raises(LawBroken, match=r"law 7: a takes 1.3 at 1.4 for known, which its log lacks"):
        check_ledger(state(LOG, known), laws(*LOG))
    with pytest.raises(LawBroken, match=r"law 7: a knows .* of session 1"):
        judge_ledger("a", known, LOG, MEMBERS)


def test_a_change_of_members_that_a_rewind_has_left_is_seen_then_and_in_the_end() -> None:
    known = ledger(*LOG, CHANGE)
    with pytest.raises(LawBroken, match="law 3: a counts the members of an entry that its log lacks"):
        check_ledger(state(LOG, known), laws(*LOG))
    with pytest.raises(LawBroken, match="law 3: a counts a, b, its log says something else"):
        check_ledger(state([*LOG, WRITE], known), laws(*LOG, WRITE))
    with pytest.raises(LawBroken, match="law 3: a counts a, b, its log says a, b, c"):
        judge_ledger("a", known, LOG, MEMBERS)
