"""A world that tells what happens in it, line by line, for the scenarios of `scenarios/`.

Nothing in it is random and nothing happens by itself: a message lies on its link until somebody delivers or drops it,
and the lower a replica's number, the sooner it loses patience without a leader. Storage does its work at once, unless
its disk is held.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.protocol.world import World
from workbench.protocol.codec import decode, decode_entry
from workbench.protocol.effects import (
    Answer,
    Append,
    Broadcast,
    Effect,
    InstallSnapshot,
    Leave,
    Reply,
    Rewind,
    SaveTerm,
    SealSnapshot,
    Send,
)
from workbench.protocol.election import Stage
from workbench.protocol.inputs import Tick
from workbench.protocol.messages import (
    AppendEntries,
    Fetch,
    FetchSnapshot,
    Message,
    Mismatch,
    Outcome,
    Progress,
    ReadReply,
    RequestVote,
    SnapshotChunk,
    TakeOver,
    Vote,
    WriteReply,
)
from workbench.protocol.replica import Replica
from workbench.protocol.roles import Role
from workbench.protocol.snapshot import Recovered
from workbench.protocol.values import EXPIRY_KIND, MEMBERS_KIND, Entry, LoggedEntry, Position
from workbench.simulator.laws import changes
from workbench.simulator.memory_disk import MemoryNode

TICK_MS = 20


class _NoChance(random.Random):
    """What would be random is always the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        return self._value


class TellingWorld(World):
    """`told` has a line for everything that happened since it was last taken."""

    def __init__(self, **options: object) -> None:
        self.told: list[str] = []
        self.held_disks: set[str] = set()
        """Replicas whose storage does nothing until it is told to."""
        self.held_links: set[tuple[str, str]] = set()
        """(from, to; `*`: any): links that deliver only what they are told to."""
        self._is_brief = False
        self._seen: dict[str, tuple[Role, int, str]] = {}
        self._committed_told: dict[str, int] = {}
        super().__init__(**options)  # type: ignore[arg-type]

    def _core(self, name: str, recovered: Recovered) -> Replica:
        """Its patience is 1.1, 1.2, ... election timeouts."""
        self.rng = _NoChance(int(name.removeprefix("replica-")) / 10)
        return super()._core(name, recovered)

    # Telling.

    def take_told(self) -> list[str]:
        """What happened since the last time."""
        told, self.told = self.told, []
        return told

    def tell(self, line: str, *, detail: bool = False) -> None:
        """Note a line; a detail only where everything is told."""
        if not (detail and self._is_brief):
            self.told.append(line)

    @contextmanager
    def in_brief(self) -> Iterator[None]:
        """Leave messages and syncs out, and say at the end how far everybody has committed."""
        self._is_brief = True
        try:
            yield
        finally:
            self._is_brief = False
            self._tell_committed(*(node for node in self.nodes.values() if node.up))

    def _tell_state(self, node: MemoryNode) -> None:
        core = node.core
        state = core.state
        stage = " (PreVote)" if core.role is Role.CANDIDATE and core._election.stage is Stage.PRE_VOTE else ""
        seen = (core.role, state.term, stage)
        before = self._seen.get(node.name, (Role.FOLLOWER, 0, ""))
        if seen != before and (seen[0] is not Role.FOLLOWER or before[0] is not Role.FOLLOWER):
            self.tell(f"{node.name} is {core.role}{stage} in term {state.term}")
        self._seen[node.name] = seen
        if not self._is_brief:
            self._tell_committed(node)

    def _tell_committed(self, *nodes: MemoryNode) -> None:
        names: defaultdict[Position, list[str]] = defaultdict(list)
        for node in nodes:
            state = node.core.state
            if state.committed > self._committed_told.get(node.name, 0):
                names[state.log.position_at(state.committed)].append(node.name)
            self._committed_told[node.name] = state.committed
        for position in sorted(names):
            self.told.append(f"{position} is committed; known to {', '.join(names[position])}")

    def _carry_out(self, node: MemoryNode, effects: list[Effect], *others: object, **options: object) -> None:
        self._tell_state(node)
        for effect in effects:
            self._tell_effect(node.name, effect)
        super()._carry_out(node, effects, *others, **options)  # type: ignore[arg-type]

    def _tell_effect(self, name: str, effect: Effect) -> None:
        match effect:
            case SaveTerm(term, voted_for):
                vote = f", with its vote for {voted_for}" if voted_for else ""
                self.tell(f"{name} has term {term} on disk{vote}", detail=True)
            case Send(to, message):
                self.tell(f"{name} -> {to}: {described(message)}{self._lost(name, to)}", detail=True)
            case Broadcast(message):
                lost = self._lost(name, *(other for other in self.names if other != name))
                self.tell(f"{name} -> all: {described(message)}{lost}", detail=True)
            case Reply(writes=writes, reads=reads):
                for text in [*map(reply_text, writes), *map(reply_text, reads)]:
                    self.tell(f"{name} answers {text}")
            case Answer(request, _, refusal) if request:
                self.tell(f"{name} refuses: {refusal}" if refusal else f"{name} agrees")
            case Leave(reason):
                self.tell(f"{name} ends itself: {reason}")
            case _:
                pass

    def _lost(self, source: str, *targets: str) -> str:
        """What a cut makes of a message."""
        lost = [name for name in targets if {source, name} & self.cut_off or (source, name) in self.cut_links]
        return "" if not lost else " (lost)" if len(lost) == len(targets) else f" (lost to {', '.join(lost)})"

    # Storage.

    def store(self, name: str) -> None:
        node, effect = self.nodes[name], self.nodes[name].jobs[0]
        match effect:
            case Rewind(to):
                self.tell(f"{name} rewinds to {to}, and drops {entries_text(node.log[to.index :])}")
            case _:
                pass
        super().store(name)
        match effect:
            case Append(entries):
                self.tell(f"{name} has on disk: {entries_text(entries)}", detail=True)
            case SealSnapshot() if node.base is not None:
                self.tell(f"{name} has a snapshot at {node.base.state.position}")
            case InstallSnapshot() if node.base is not None:
                self.tell(f"{name} installs a snapshot at {node.base.state.position} in place of its log")
            case _:
                pass

    def work(self) -> None:
        """Let the storage of everybody who is not held do what it has to do."""
        while busy := [name for name in self.names if self._has_work(name)]:
            for name in busy:
                self.store_all(name)
                if (copying := self.nodes[name].copy) is not None:
                    self.nodes[name].finish_copy()
                    self.tell(f"{name} has copied its database at {copying[0]}")

    def _has_work(self, name: str) -> bool:
        node = self.nodes[name]
        works = node.up and name not in self.held_disks | self.paused and name not in self.left
        return works and bool(node.jobs or node.answers or node.copying is not None)

    # Messages and time.

    def on_the_way(self, source: str, target: str) -> list[tuple[str, str, bytes]]:
        """What lies on the links from `source` to `target` (`*`: any) now; not to those who are stopped."""
        return [
            one
            for one in self.network
            if source in {"*", one[0]} and target in {"*", one[1]} and one[1] not in self.paused
        ]

    def hand_over(self, one: tuple[str, str, bytes]) -> None:
        """Deliver one message, and let storage work."""
        source, target, frame = one
        if target in self.left or not self.nodes[target].up:
            self.tell(f"{target} is down and misses {type(decode(frame)).__name__} of {source}", detail=True)
        else:
            self.tell(f"{target} gets {type(decode(frame)).__name__} of {source}", detail=True)
        self.deliver(next(place for place, other in enumerate(self.network) if other is one))
        self.work()

    def come_to_rest(self) -> None:
        """Deliver everything, and whatever that sets on its way, in order; no time passes."""
        while waiting := [one for one in self.on_the_way("*", "*") if not self._is_held(*one[:2])]:
            self.hand_over(waiting[0])

    def _is_held(self, source: str, target: str) -> bool:
        return not self.held_links.isdisjoint({(source, target), ("*", target), (source, "*")})

    def tick(self, name: str) -> None:
        """A tick of one replica; time passes for all."""
        self.now += TICK_MS * 1_000_000
        self.handle(name, Tick())
        self.work()

    def tick_until(self, name: str, reached: Callable[[], bool]) -> bool:
        """Ticks of one replica until something is so; whether it came to that within ten seconds."""
        for _ in range(10_000 // TICK_MS):
            self.tick(name)
            if reached():
                return True
        return False

    def let_pass(self, milliseconds: float, is_enough: Callable[[], bool] = lambda: False) -> bool:
        """Time passes for everybody who is not stopped, and what is sent arrives; whether it was enough."""
        for _ in range(round(milliseconds / 10)):
            self.tick_all(10)
            self.work()
            self.come_to_rest()
            if is_enough():
                return True
        return False

    # Faults.

    def power_off(self, name: str, *, forgets: bool) -> None:
        """The process ends; with `forgets`, the disk loses what was not synced."""
        self.nodes[name].power_off(forgets=forgets)
        self._seen[name] = (Role.FOLLOWER, 0, "")
        self._committed_told[name] = 0

    def restart(self, name: str) -> None:
        super().restart(name)
        state = self.nodes[name].core.state
        self.tell(f"{name} is a follower in term {state.term}, with a log up to {state.log.last}")
        self._seen[name] = (Role.FOLLOWER, state.term, "")
        self._committed_told[name] = state.committed

    # Pictures.

    def table(self) -> list[str]:
        """Every replica in a line."""
        wide = max(map(len, self.names))
        lines = []
        for name, node in self.nodes.items():
            state = node.core.state
            if name in self.left or not node.up:
                role = "down"
            else:
                role = f"{node.core.role}" if state.is_member else "no member"
            first = node.first_index
            kept = f"snapshot({node.base.state.position}) " if node.base and first > 1 else ""
            log = kept + entries_text(node.log[first - 1 :])
            commit = f"committed {state.committed if node.up else '-'}"
            lines.append(f"{name:<{wide}}  {role:<9}  term {node.term[0]}  {commit:<12}  {log.strip() or '(nothing)'}")
        return lines


# Texts.


def entry_text(entry: Entry) -> str:
    """An entry: (term.index), and what it does."""
    if entry.kind == MEMBERS_KIND:
        return f"{entry.position}[members]"
    if entry.kind == EXPIRY_KIND:
        return f"{entry.position}[expiry]"
    assigned = ",".join(f"{key}={value}" for key, value in changes(entry).items())
    return f"{entry.position}[{assigned}]" if assigned else str(entry.position)


def entries_text(entries: Sequence[LoggedEntry]) -> str:
    """Entries in a row; of many, the first and the last."""
    texts = [entry_text(logged.entry) for logged in entries]
    return " ".join(texts if len(texts) <= 8 else [*texts[:2], "..", *texts[-2:]])


def reply_text(reply: WriteReply | ReadReply) -> str:
    """The end of an operation."""
    if isinstance(reply, ReadReply):
        who = f"c{reply.session}/{reply.request}"
        if reply.outcome is Outcome.OK:
            value = str(reply.rows[0][0]) if reply.rows else "nothing"
            return f"{who}: {value}, as of {reply.position}"
    else:
        who = f"c{reply.session}/{reply.sequence}"
        if reply.outcome is Outcome.OK:
            return f"{who}: OK at {reply.position}"
    return f"{who}: {reply.outcome.name}" + (f" ({reply.reason})" if reply.reason else "")


def described(message: Message) -> str:
    """A message between replicas in one line: its name as in docs/protocol.md, and what matters of it."""
    match message:
        case AppendEntries(term, _, previous, last, committed, entries):
            carried = entries_text([decode_entry(encoded) for encoded in entries])
            what = f"after {previous}: {carried}" if entries else f"heartbeat at {previous}"
            return f"AppendEntries term {term}, {what}, last {last}, committed {committed}"
        case Progress(term, _, received, durable, applied):
            return f"Progress term {term}, received {received}, durable {durable}, applied {applied}"
        case Fetch(term, _, after):
            return f"Fetch term {term}, after {after}"
        case Mismatch(term, _, at):
            return f"Mismatch term {term}, try at {at}"
        case RequestVote(term, _, last, pre, transfer):
            kind = " (PreVote)" if pre else " (transfer)" if transfer else ""
            return f"RequestVote term {term}{kind}, log ends at {last}"
        case Vote(term, _, granted, pre):
            return f"Vote term {term}{' (PreVote)' if pre else ''}, {'yes' if granted else 'no'}"
        case FetchSnapshot(term, _, snapshot, offset):
            return f"FetchSnapshot term {term}, {'of ' + snapshot if snapshot else 'any'}, from byte {offset}"
        case SnapshotChunk(term, _, snapshot, size, offset, data):
            return f"SnapshotChunk term {term}, {snapshot}, bytes {offset} to {offset + len(data)} of {size}"
        case TakeOver(term):
            return f"TakeOver term {term}"
        case _:
            return f"{type(message).__name__} term {getattr(message, 'term', '-')}"
