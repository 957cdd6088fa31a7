"""The laws of a replica (docs/architecture.md) as far as a bystander can see them, checked while a world runs.

`Laws` remembers every entry that was ever on a disk: an entry is known by its position, follows the same entry in
every log, and leads to the same database. So each check costs no more than the step that it judges.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from workbench.config import LEVELS, AckPolicy
from workbench.protocol.codec import decode_entry
from workbench.protocol.log_view import LogView
from workbench.protocol.messages import (
    AppendEntries,
    Fetch,
    FetchSnapshot,
    Message,
    Mismatch,
    Outcome,
    Progress,
    Read,
    ReadReply,
    RequestVote,
    SnapshotChunk,
    SnapshotNeeded,
    TakeOver,
    Vote,
    WriteReply,
)
from workbench.protocol.values import Entry, LoggedEntry, Position, Transaction

START = Position()
Data = dict[str, object]
Runs = tuple[tuple[int, int], ...]
"""(index of its first entry, term), oldest first: two histories of one cluster with the same runs are the same."""
_OF_A_TERM = (AppendEntries, Progress, Fetch, Mismatch, TakeOver, SnapshotNeeded, FetchSnapshot, SnapshotChunk)
"""What may be sent as soon as its term is durable."""
_NOT_EXECUTED = frozenset({Outcome.REFUSED, Outcome.NOT_LEADER, Outcome.OVERLOADED, Outcome.EXPIRED})
"""What says that a request had no effect, and will have none; an earlier one for the same write may have had it."""


def changes(entry: Entry) -> Data:
    """What an entry assigns, in the log format of a memory disk."""
    return dict(msgspec.msgpack.decode(entry.body)) if entry.changes_data else {}


class LawBroken(AssertionError):
    """Something happened that must not, whatever the network and the disks do. Names the law."""


class Laws:
    """Told of everything that happens; raises `LawBroken`.

    `elected`: leaders are the most up to date of a majority, so that committed entries must survive. `leases`: nobody
    acknowledges or answers as a leader when another one has been elected since. `changes`: what an entry assigns.
    """

    def __init__(
        self,
        members: int,
        ack: AckPolicy,
        *,
        elected: bool = True,
        leases: bool = False,
        downgrades: bool = False,
        changes: Callable[[Entry], Data] = changes,
    ) -> None:
        self._changes = changes
        self.elected = elected
        self.leases = leases
        self._ack = ack
        self._level = ack.level
        self.survives = (
            elected
            and not downgrades
            and ack.level != "received"
            and ack.followers_needed(members) + 1 >= members // 2 + 1
        )
        self.acknowledged = START
        """The newest position that was acknowledged, where acknowledged writes survive."""
        self.newest_committed = START
        """The newest position that anybody knows to be committed, where committed entries survive."""
        self.happened: Counter[str] = Counter()
        """What there was to judge, so that a test can tell whether it judged anything."""
        self._reads: dict[tuple[int, int], tuple[Read, Position]] = {}
        """(session, request) -> the read, and what an answer as a leader must contain: known before it was asked."""
        self._leaders: dict[int, str] = {}
        self._terms: dict[str, tuple[int, str]] = {}
        self._votes: dict[tuple[int, str], str] = {}
        """(term, voter) -> who got the vote."""
        self._entries: dict[Position, tuple[bytes, Position]] = {}
        self._states: dict[Position, Data] = {START: {}}
        self._runs: dict[Position, Runs] = {START: ()}
        """The terms of all entries up to a position."""
        self._effects: defaultdict[tuple[int, int], list[Position]] = defaultdict(list)
        """Where a write took effect, in whatever history."""
        self._held: dict[str, defaultdict[Position, set[str]]] = {level: defaultdict(set) for level in LEVELS}
        self._newest: dict[str, defaultdict[int, dict[str, int]]] = {level: defaultdict(dict) for level in LEVELS}
        """Level -> term -> replica -> index of the newest entry of the term that it ever held so firmly."""
        self._received: dict[str, Position] = {}
        """Replica -> the end of its log, as far as it was looked at."""
        self._committed: dict[int, Position] = {}
        self._committed_in: dict[int, int] = {}
        """Index -> the term in which it was first known to be committed."""
        self._acknowledged_in: Counter[int] = Counter()
        """Term -> index up to which entries were acknowledged in it. A retry of one is acknowledged again, though by
        then more members may have to hold it, or fewer followers had to when the policy was given up."""
        self._first_replies: dict[tuple[int, int], WriteReply] = {}
        self._requests: Counter[tuple[int, int]] = Counter()
        self._not_executed: Counter[tuple[int, int]] = Counter()
        """How often a write was asked for, and how often the answer was that this request had, and will have, no
        effect."""

    # Law 1.

    def saved_term(self, name: str, term: int, voted_for: str) -> None:
        old = self._terms.get(name, (0, ""))
        keeps_vote = term == old[0] and old[1] in {"", voted_for}
        if term <= old[0] and not keeps_vote:
            raise LawBroken("law 1: a term or a vote was taken back")
        self._terms[name] = (term, voted_for)

    def sent(self, name: str, to: str, message: Message) -> None:
        """What a replica says of terms and votes is on its disk by then."""
        on_disk = self._terms.get(name, (0, ""))
        if isinstance(message, _OF_A_TERM):
            if on_disk[0] < message.term:
                raise LawBroken("law 1: the term was not durable when it was sent")
            return
        match message:
            case RequestVote(term=term, pre=False):
                if on_disk[0] <= term and on_disk != (term, name):
                    raise LawBroken("law 1: asked for votes before the own was durable")
            case Vote(term=term, pre=False, granted=False):
                if on_disk[0] < term:
                    raise LawBroken("law 1: a vote was refused in a term that was not durable")
            case Vote(term=term, pre=False):
                if on_disk[0] <= term and on_disk != (term, to):
                    raise LawBroken("law 1: a vote was given before it was durable")
                candidate = self._votes.setdefault((term, name), to)
                if candidate != to:
                    raise LawBroken(f"law 1: {name} voted for {candidate} and {to} in term {term}")

    def leads(self, name: str, term: int, log: LogView) -> None:
        if term not in self._leaders:
            self._leaders[term] = name
            self.happened["leaders"] += 1
            for index, position in self._committed.items():
                is_older = self._committed_in[index] < term  # votes may come when a newer term has a leader already
                if is_older and not log.holds(position):
                    raise LawBroken(f"law 6: {name} was elected without {position}, which is committed")
        if self._leaders[term] != name:
            raise LawBroken("law 1: two leaders in a term")

    # Laws 2 and 3.

    def received(self, name: str, log: LogView) -> None:
        last = log.last
        if self._received.get(name) == last:
            return
        self._received[name] = position = last
        while position.index and name not in self._held["received"][position]:
            self._hold("received", name, position)
            position = log.position_at(position.index - 1)

    def _hold(self, level: str, name: str, position: Position) -> None:
        self._held[level][position].add(name)
        newest = self._newest[level][position.term]
        if position.index > newest.get(name, 0):
            newest[name] = position.index

    def appended(self, name: str, logged: LoggedEntry, previous: Position) -> None:
        position = logged.entry.position
        known = self._entries.setdefault(position, (logged.encoded, previous))
        if known != (logged.encoded, previous):
            raise LawBroken(f"law 2: {position} is not the same in every log")
        if position <= previous:
            raise LawBroken(f"law 2: {position} behind {previous}")
        if position not in self._states:
            self._states[position] = {**self._states[previous], **self._changes(logged.entry)}
            runs = self._runs[previous]
            if not runs or runs[-1][1] != position.term:
                runs = (*runs, (position.index, position.term))
            self._runs[position] = runs
            self._took_effect(logged.entry, runs)
            self.happened[f"{logged.entry.kind or 'empty'} entries"] += 1
        self._hold("durable", name, position)

    def _took_effect(self, entry: Entry, runs: Runs) -> None:
        writes = [(member.session, member.sequence) for member in entry.members]
        for write in writes:
            if any(_leads_to(earlier, runs) for earlier in self._effects[write]):
                raise LawBroken(f"law 7: {write} took effect twice")
            if self._requests[write] <= self._not_executed[write]:
                raise LawBroken(f"law 8: {write} was said to have no effect")
        if len(writes) != len(set(writes)):
            raise LawBroken("law 7: a write took effect twice in one entry")
        for write in writes:
            self._effects[write].append(entry.position)

    def applied(self, name: str, position: Position, data: Mapping[str, Any]) -> None:
        if data != self._states[position]:
            raise LawBroken(f"law 3: the database of {name} is not its log up to {position}")
        while name not in self._held["applied"][position] and position != START:
            self._hold("applied", name, position)
            position = self._entries[position][1]

    def same_databases(self, leader: str, digests: Mapping[str, object]) -> None:
        """Replicas with the same log have the same database, whatever it is made of."""
        for name, digest in digests.items():
            if digest != digests[leader]:
                raise LawBroken(f"law 3: {name} has the log of {leader}, and another database: {digest}")

    def entry(self, position: Position) -> Entry | None:
        """The entry there, if it was ever on a disk."""
        return decode_entry(self._entries[position][0]).entry if position in self._entries else None

    def history(self, position: Position) -> list[LoggedEntry]:
        """The entries of the one log that leads to `position`."""
        found: list[LoggedEntry] = []
        while position != START:
            encoded, previous = self._entries[position]
            found.append(decode_entry(encoded))
            position = previous
        return found[::-1]

    # Laws 4, 7 and 8.

    def asked_writes(self, writes: Iterable[Transaction]) -> None:
        """A request has reached a replica."""
        for write in writes:
            self._requests[write.session, write.sequence] += 1

    def replied(
        self,
        leader: str,
        writes: Iterable[WriteReply],
        term: int,
        log: list[LoggedEntry],
        members: tuple[str, ...] = (),
        *,
        downgraded: bool = False,
    ) -> None:
        """`downgraded`: the policy was given up for now."""
        if not writes:
            return
        begins = bisect_left(log, term, key=lambda logged: logged.entry.term)
        first_of_term = log[begins].entry.position if begins < len(log) and log[begins].entry.term == term else None
        for reply in writes:
            self.happened[f"writes {reply.outcome.name}"] += 1
            if reply.outcome in _NOT_EXECUTED:
                self._not_executed[reply.session, reply.sequence] += 1
            if reply.outcome is not Outcome.OK:
                continue
            if first_of_term is None:
                raise LawBroken("law 4: acknowledged without an entry of the own term on disk")
            due = max(reply.position, first_of_term)
            if len(log) < due.index:
                raise LawBroken("law 4: acknowledged before the leader had it durable")
            if not holds(log, reply.position):
                raise LawBroken(f"law 4: {reply.position} acknowledged, which the leader's log lacks")
            holders = {name for name in self._holders(due) if name != leader}  # members when it was met
            needed = self._ack.followers_needed(len(members))
            if downgraded:
                self._acknowledged_in[term] = len(log)
            enough = len(holders) >= needed or due.index <= self._acknowledged_in[term]
            if not enough:
                raise LawBroken(f"law 4: acknowledged with {len(holders)} of {needed} followers")
            self._acknowledged_in[term] = max(self._acknowledged_in[term], due.index)
            self._check_authority(term)
            if self.survives:
                self.acknowledged = max(self.acknowledged, reply.position)
                first = self._first_replies.setdefault((reply.session, reply.sequence), reply)
                self.happened["retries"] += first is not reply
                if reply != first:
                    raise LawBroken("law 7: a retry got another reply than its first")

    # Law 5.

    def _check_authority(self, term: int) -> None:
        newest = max(self._leaders, default=0)
        if self.leases and term != newest:
            raise LawBroken(f"law 5: the leader of term {term} acts as one after {newest} began")

    def asked(self, reads: Iterable[Read]) -> None:
        known = max(self.acknowledged, self.newest_committed)
        for read in reads:
            self._reads.setdefault((read.session, read.request), (read, known))

    def read(self, name: str, replies: Iterable[ReadReply], term: int, log: list[LoggedEntry]) -> None:
        for reply in replies:
            read, known = self._reads[reply.session, reply.request]
            self.happened[f"reads {_terms_of(read)} {reply.outcome.name}"] += 1
            if reply.outcome is not Outcome.OK:
                continue
            if read.after.index:
                if reply.position.index < read.after.index:
                    raise LawBroken("a read was answered before its position was there")
                if not holds(log, read.after):
                    raise LawBroken("a read was answered from a history without its position")
            if read.from_leader:
                self._check_authority(term)
            as_leader = read.linearizable or (read.from_leader and self.leases)
            if as_leader and reply.position < known:
                raise LawBroken(f"law 5: a read of a leader at {reply.position} missed {known}")
            if read.linearizable and self.elected:
                committed = self._committed.get(reply.position.index)
                if committed != reply.position:
                    raise LawBroken(f"law 5: a linearizable read showed {reply.position}, not committed")

    # Laws 4 and 7, details.

    def _holders(self, due: Position) -> set[str]:
        """Who ever held `due`, or an entry of its term behind it, at the policy's level."""
        newest = self._newest[self._level][due.term]
        return {name for name, index in newest.items() if index >= due.index}

    def took_effect_once(self, log: Iterable[LoggedEntry]) -> None:
        seen: set[tuple[int, int]] = set()
        for logged in log:
            for member in logged.entry.members:
                write = (member.session, member.sequence)
                if write in seen:
                    raise LawBroken(f"law 7: {write} took effect twice")
                seen.add(write)

    # Law 6.

    def committed(
        self, position: Position, term: int, disks: Mapping[str, list[LoggedEntry]], members: tuple[str, ...]
    ) -> None:
        """Somebody takes an entry for committed, in `term`; `disks` are everybody's logs."""
        if not self.elected:
            return
        known = position.index in self._committed
        self._committed_in.setdefault(position.index, term)
        if self._committed.setdefault(position.index, position) != position:
            raise LawBroken("law 6: committed entries differ")
        if not known:
            holders = sum(holds(log, position) for name, log in disks.items() if name in members)
            majority = len(members) // 2 + 1
            if holders < majority:
                raise LawBroken(f"law 6: {position} committed on {holders} disks of {majority}")
        self.newest_committed = max(self.newest_committed, position)

    def dropped(self, name: str, entries: Iterable[Entry]) -> None:
        """Entries of a log were rewound, or a snapshot took their place."""
        for entry in entries:
            self.happened["dropped entries"] += 1
            committed = self._committed.get(entry.index)
            if committed == entry.position:
                raise LawBroken(f"law 6: {name} dropped {entry.position}, which is committed")

    def dropped_are_kept(self, name: str, log: list[LoggedEntry], kept_aside: Iterable[Position]) -> None:
        """What was on a disk once and is no more can still be read."""
        kept = set(kept_aside)
        for position, names in self._held["durable"].items():
            if name in names and position not in kept and not holds(log, position):
                raise LawBroken(f"law 6: {name} dropped {position} without a trace")

    def committed_survived(self, log: list[LoggedEntry]) -> None:
        for position in self._committed.values():
            if not holds(log, position):
                raise LawBroken(f"law 6: {position} was committed and is gone")

    def no_effect_was_honest(self, log: Iterable[LoggedEntry]) -> None:
        """Law 8: of every write in a log, at least one request was not said to have had no effect."""
        for logged in log:
            for member in logged.entry.members:
                write = (member.session, member.sequence)
                if self._requests[write] <= self._not_executed[write]:
                    raise LawBroken(f"law 8: {write} was said to have no effect")


def _leads_to(position: Position, runs: Runs) -> bool:
    """Whether the history with these terms has the entry at `position`."""
    begun = bisect_right(runs, position.index, key=lambda run: run[0])
    return begun > 0 and runs[begun - 1][1] == position.term


def _terms_of(read: Read) -> str:
    """How a read is to be answered, in a word."""
    if read.linearizable:
        return "linearizable"
    if read.from_leader:
        return "from_leader"
    if read.after.index:
        return "after"
    return "bounded" if read.lag_entries_max >= 0 or read.lag_ms_max >= 0 else "any"


def holds(log: list[LoggedEntry], position: Position) -> bool:
    """Whether a log on disk has the entry at `position`."""
    return len(log) >= position.index > 0 and log[position.index - 1].entry.term == position.term
