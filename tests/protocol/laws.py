"""The laws of a replica (DESIGN.md, section 4) as far as a bystander can see them, checked while a world runs.

`Laws` remembers every entry that was ever on a disk: an entry is known by its position, follows the same entry in
every log, and leads to the same database. So each check costs no more than the step that it judges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from workbench.config import AckPolicy
from workbench.protocol.log_view import LogView
from workbench.protocol.messages import Outcome, Read, ReadReply, WriteReply
from workbench.protocol.values import Entry, LoggedEntry, Position

START = Position()
Data = dict[str, object]


class Laws:
    """Told of everything that happens; raises `AssertionError` naming the law that was broken.

    `elected`: leaders are the most up to date of a majority, so that committed entries must survive. `leases`: nobody
    acknowledges or answers as a leader when another one has been elected since.
    """

    def __init__(self, members: int, ack: AckPolicy, *, elected: bool = True, leases: bool = False) -> None:
        self.elected = elected
        self._leases = leases
        self._ack = ack
        self._level = ack.level
        self._survives = elected and ack.level != "received" and ack.followers_needed(members) + 1 >= members // 2 + 1
        self.acknowledged = START
        """The newest position that was acknowledged, where acknowledged writes survive."""
        self._reads: dict[tuple[int, int], tuple[Read, Position]] = {}
        """(session, request) -> the read, and what had been acknowledged before it was asked."""
        self._leaders: dict[int, str] = {}
        self._terms: dict[str, tuple[int, str]] = {}
        self._entries: dict[Position, tuple[bytes, Position]] = {}
        self._states: dict[Position, Data] = {START: {}}
        self._held: dict[str, defaultdict[Position, set[str]]] = {
            level: defaultdict(set) for level in ("received", "durable", "applied")
        }
        self._committed: dict[int, Position] = {}
        self._first_replies: dict[tuple[int, int], WriteReply] = {}

    # Law 1.

    def saved_term(self, name: str, term: int, voted_for: str) -> None:
        old = self._terms.get(name, (0, ""))
        keeps_vote = term == old[0] and old[1] in {"", voted_for}
        assert term > old[0] or keeps_vote, "law 1: a term or a vote was taken back"
        self._terms[name] = (term, voted_for)

    def sent(self, name: str, term: int) -> None:
        assert self._terms.get(name, (0, ""))[0] >= term, "law 1: the term was not durable when it was sent"

    def leads(self, name: str, term: int) -> None:
        assert self._leaders.setdefault(term, name) == name, "law 1: two leaders in a term"

    # Laws 2 and 3.

    def received(self, name: str, log: LogView) -> None:
        held = self._held["received"]
        index = log.last.index
        while index and name not in held[log.position_at(index)]:
            held[log.position_at(index)].add(name)
            index -= 1

    def appended(self, name: str, logged: LoggedEntry, previous: Position) -> None:
        position = logged.entry.position
        known = self._entries.setdefault(position, (logged.encoded, previous))
        assert known == (logged.encoded, previous), f"law 2: {position} is not the same in every log"
        assert position > previous, f"law 2: {position} behind {previous}"
        if position not in self._states:
            self._states[position] = {**self._states[previous], **changes(logged.entry)}
        self._held["durable"][position].add(name)

    def applied(self, name: str, position: Position, data: Mapping[str, Any]) -> None:
        assert data == self._states[position], f"law 3: the database of {name} is not its log up to {position}"
        while name not in self._held["applied"][position] and position != START:
            self._held["applied"][position].add(name)
            position = self._entries[position][1]

    # Laws 4 and 7.

    def replied(
        self,
        leader: str,
        writes: Iterable[WriteReply],
        term: int,
        log: list[LoggedEntry],
        members: tuple[str, ...] = (),
    ) -> None:
        first_of_term = next((entry.position for entry, _ in log if entry.term == term), None)
        for reply in writes:
            if reply.outcome is not Outcome.OK:
                continue
            assert first_of_term is not None, "law 4: acknowledged without an entry of the own term on disk"
            due = max(reply.position, first_of_term)
            assert len(log) >= due.index, "law 4: acknowledged before the leader had it durable"
            assert holds(log, reply.position), f"law 4: {reply.position} acknowledged, which the leader's log lacks"
            holders = {name for name in self._holders(due) if name != leader}  # members when it was met
            needed = self._ack.followers_needed(len(members))
            assert len(holders) >= needed, f"law 4: acknowledged with {len(holders)} of {needed} followers"
            self._check_authority(term)
            if self._survives:
                self.acknowledged = max(self.acknowledged, reply.position)
                first = self._first_replies.setdefault((reply.session, reply.sequence), reply)
                assert reply == first, "law 7: a retry got another reply than its first"

    # Law 5.

    def _check_authority(self, term: int) -> None:
        newest = max(self._leaders, default=0)
        assert not self._leases or term == newest, f"law 5: the leader of term {term} acts as one after {newest} began"

    def asked(self, reads: Iterable[Read]) -> None:
        for read in reads:
            self._reads.setdefault((read.session, read.request), (read, self.acknowledged))

    def read(self, name: str, replies: Iterable[ReadReply], term: int, log: list[LoggedEntry]) -> None:
        for reply in replies:
            if reply.outcome is not Outcome.OK:
                continue
            read, acknowledged = self._reads[reply.session, reply.request]
            if read.after.index:
                assert reply.position.index >= read.after.index, "a read was answered before its position was there"
                assert holds(log, read.after), "a read was answered from a history without its position"
            if read.from_leader:
                self._check_authority(term)
            if (read.linearizable or (read.from_leader and self._leases)) and self._survives:
                assert reply.position >= acknowledged, f"law 5: a read at {reply.position} missed {acknowledged}"

    # Laws 4 and 7, details.

    def _holders(self, due: Position) -> set[str]:
        """Who ever held `due`, or an entry of its term behind it, at the policy's level."""
        held = self._held[self._level]
        return {
            name
            for position, names in held.items()
            if position.term == due.term and position.index >= due.index
            for name in names
        }

    def took_effect_once(self, log: Iterable[LoggedEntry]) -> None:
        seen: set[tuple[int, int]] = set()
        for logged in log:
            for member in logged.entry.members:
                write = (member.session, member.sequence)
                assert write not in seen, f"law 7: {write} took effect twice"
                seen.add(write)

    # Law 6.

    def committed(self, position: Position, disks: Mapping[str, list[LoggedEntry]], members: tuple[str, ...]) -> None:
        if not self.elected:
            return
        known = position.index in self._committed
        assert self._committed.setdefault(position.index, position) == position, "law 6: committed entries differ"
        holders = sum(holds(log, position) for name, log in disks.items() if name in members)
        majority = len(members) // 2 + 1
        assert known or holders >= majority, f"law 6: {position} committed on {holders} disks of {majority}"

    def committed_survived(self, log: list[LoggedEntry]) -> None:
        for position in self._committed.values():
            assert holds(log, position), f"law 6: {position} was committed and is gone"


def holds(log: list[LoggedEntry], position: Position) -> bool:
    """Whether a log on disk has the entry at `position`."""
    return len(log) >= position.index > 0 and log[position.index - 1].entry.term == position.term


def changes(entry: Entry) -> Data:
    """What an entry assigns, in the tests' log format."""
    return dict(msgspec.msgpack.decode(entry.body)) if entry.changes_data else {}
