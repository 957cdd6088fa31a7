"""The writes that a leader has not answered yet: first they wait to be executed, then for the ack policy to be met.

Of each session, writes run in the order of their numbers: an old copy that turns up behind a newer write is not queued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from workbench.protocol.messages import WriteReply
from workbench.protocol.values import Transaction


class Waiting(NamedTuple):
    """A client transaction that has not been executed yet."""

    transaction: Transaction
    since: int


class WriteQueue:
    """Writes from their arrival until they have been executed or refused, and who gets the reply."""

    def __init__(self) -> None:
        self._queue: deque[Waiting] = deque()
        self._askers: dict[int, dict[int, str]] = {}
        """Session -> sequence -> the client that asked last, also while the write executes."""

    def __len__(self) -> int:
        """How many wait to be executed."""
        return len(self._queue)

    def is_open(self, write: Transaction) -> bool:
        """Whether this very write waits or executes already."""
        return write.sequence in self._askers.get(write.session, ())

    def is_overtaken(self, write: Transaction) -> bool:
        """Whether a later write of the same session waits or executes."""
        sequences = self._askers.get(write.session)
        return sequences is not None and max(sequences) > write.sequence

    def add(self, client: str, write: Transaction, at: int) -> None:
        """Queue a write; of one that is open already, only the client that gets the reply changes."""
        sequences = self._askers.get(write.session)
        if sequences is None:
            self._askers[write.session] = {write.sequence: client}
            self._queue.append(Waiting(write, at))
            return
        if write.sequence not in sequences:
            self._queue.append(Waiting(write, at))
        sequences[write.sequence] = client

    def take_group(self, count_max: int, bytes_max: int) -> tuple[Transaction, ...]:
        """The next writes to execute: at least one, then as many as the bounds allow. One that runs alone stays so."""
        group = [self._queue.popleft().transaction]
        if group[0].runs_alone:
            return tuple(group)
        size = _size_bytes(group[0])
        while self._queue and len(group) < count_max:
            following = self._queue[0].transaction
            size += _size_bytes(following)
            if size > bytes_max or following.runs_alone:
                break
            group.append(self._queue.popleft().transaction)
        return tuple(group)

    def close(self, session: int, sequence: int) -> str:
        """A write is open no more; the client that gets its reply."""
        sequences = self._askers[session]
        if len(sequences) == 1:
            del self._askers[session]
        return sequences.pop(sequence)

    def expire(self, before: int) -> Iterator[tuple[str, Transaction]]:
        """Close the writes that have waited since `before` or longer."""
        while self._queue and self._queue[0].since <= before:
            write = self._queue.popleft().transaction
            yield self.close(write.session, write.sequence), write

    def everyone(self) -> Iterator[tuple[str, int, int]]:
        """(client, session, sequence) of every open write."""
        for session, sequences in self._askers.items():
            for sequence, client in sequences.items():
                yield client, session, sequence


def _size_bytes(write: Transaction) -> int:
    """Roughly what a write will take in an entry."""
    size = 0
    for statement in write.statements:
        size += len(statement.sql)
        for value in statement.parameters:
            kind = type(value)
            size += len(value) if kind is str or kind is bytes else 8  # type: ignore[arg-type]
    return size


Replies: TypeAlias = dict[tuple[str, int, int], WriteReply]
"""By (client, session, sequence): a client that asks twice gets one reply."""


@dataclass(slots=True)
class Unacknowledged:
    """An entry of this term whose acknowledgement is due, and the replies that hang on it."""

    index: int
    since: int
    replies: Replies = field(default_factory=dict)

    def add(self, client: str, reply: WriteReply) -> None:
        """One more client waits for this entry."""
        self.replies[client, reply.session, reply.sequence] = reply

    def due(self) -> list[tuple[str, WriteReply]]:
        """(client, reply) of everybody who waits."""
        return [(client, reply) for (client, _, _), reply in self.replies.items()]


class AcknowledgementQueue:
    """Entries, oldest first, until the policy is met or the wait is over."""

    def __init__(self) -> None:
        self._entries: deque[Unacknowledged] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def begins_by(self, index: int) -> bool:
        """Whether anything waits for an entry up to `index`."""
        return bool(self._entries) and self._entries[0].index <= index

    @property
    def oldest(self) -> Unacknowledged | None:
        """The first entry that somebody waits for."""
        return next((entry for entry in self._entries if entry.replies), None)

    def add(self, entry: Unacknowledged) -> None:
        """An entry was logged."""
        self._entries.append(entry)

    def wait_for(self, index: int, client: str, reply: WriteReply, at: int) -> None:
        """Hang a reply on the first entry that is not older than `index`."""
        for entry in self._entries:
            if entry.index >= index:
                entry.add(client, reply)
                return
        entry = Unacknowledged(index, at)
        entry.add(client, reply)
        self._entries.append(entry)

    def pop_up_to(self, index: int) -> list[tuple[str, WriteReply]]:
        """Whoever waits for entries up to `index`."""
        due: list[tuple[str, WriteReply]] = []
        while self._entries and self._entries[0].index <= index:
            due += self._entries.popleft().due()
        return due

    def expire(self, before: int) -> Iterator[Unacknowledged]:
        """Forget the entries that have waited since `before` or longer: whoever asks again waits anew."""
        while self._entries and self._entries[0].since <= before:
            yield self._entries.popleft()
