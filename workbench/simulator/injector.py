"""Carries out faults in a simulated world, and says which of them found something to strike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from workbench.faults.draws import between, choose, shuffled, some
from workbench.faults.shapes import Link, cut_links
from workbench.faults.values import (
    Bandwidth,
    BrokerDown,
    ClockDrift,
    ClockJump,
    Crash,
    Cut,
    Damage,
    Delay,
    Disconnect,
    DiskFull,
    Duplication,
    FailingSync,
    Fault,
    Join,
    Loss,
    Pause,
    PowerLoss,
    Removal,
    Reordering,
    SlowDisk,
    Transfer,
)
from workbench.protocol.inputs import Received
from workbench.protocol.messages import AddMember, RemoveMember, TransferLeadership
from workbench.simulator.moments import Lookout, believers
from workbench.simulator.network import Inbound
from workbench.simulator.world import World

_MS = 1_000_000
_JOINED_MAX = 3

Undo = Callable[[], None]


@dataclass(slots=True)
class Struck:
    """A fault that took effect, and from when to when; `to_ns` is None while it goes on."""

    fault: Fault
    from_ns: int
    to_ns: int | None = None


class Injector:
    """All faults of one world. `took_effect`: kind -> how often."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._joined = 0
        self._undo: dict[int, Undo] = {}
        self._number = 0
        self._is_over = False
        self._lookout = Lookout(world, random)
        self.took_effect: Counter[str] = Counter()
        self.struck: list[Struck] = []

    def plan(self, schedule: Sequence[Fault]) -> None:
        """Let every fault happen when it is due; an aimed one, when its moment comes after that."""
        for fault in schedule:
            begin = partial(self._begin, fault)
            due = partial(self._lookout.wait, fault.moment, begin) if fault.moment else begin
            self._world.events.at(int(fault.at_ms * _MS), due)

    def heal(self) -> None:
        """End everything that goes on, and let nothing begin any more."""
        self._is_over = True
        self._lookout.stop()
        for number in list(self._undo):
            self._end(number)
        world = self._world
        world.network.heal()
        world.disk_factor.clear()
        for name, node in world.nodes.items():
            node.fill_disk(full=False)
            node.fail_sync(fails=False)
            if name in world.paused:
                world.resume(name)
            if not node.up and not world.left[name]:
                world.restart(name)
            if not node.diverged:
                node.damage = ""

    def _begin(self, fault: Fault) -> None:
        if self._is_over:
            return
        undo = self._strike(fault)
        if undo is None:
            return
        self.took_effect[fault.kind] += 1
        self.struck.append(Struck(fault, self._world.events.now))
        self._number += 1
        number = self._number
        self._undo[number] = undo
        if fault.for_ms:
            self._world.events.after(fault.for_ms * _MS, partial(self._end, number))

    def _end(self, number: int) -> None:
        undo = self._undo.pop(number, None)
        if undo is not None:
            self.struck[number - 1].to_ns = self._world.events.now
            undo()

    # What a fault does: how it ends, or None where there was nothing to strike.

    def _strike(self, fault: Fault) -> Undo | None:
        world = self._world
        match fault:
            case Crash() | PowerLoss():
                names = [name for name in self._targets(fault) if world.nodes[name].up]
                return self._on_each(names, partial(world.crash, forgets=isinstance(fault, PowerLoss)), self._restart)
            case Pause():
                names = [name for name in self._targets(fault) if world.nodes[name].up and name not in world.paused]
                return self._on_each(names, world.pause, self._resume)
            case Cut():
                return self._cut(fault)
            case Delay(ms=ms, distribution=distribution):
                return self._change(fault, delay_ms=ms, distribution=distribution)
            case Bandwidth(bytes_per_s=bytes_per_s):
                return self._change(fault, bytes_per_s=bytes_per_s)
            case Duplication(fraction=fraction):
                return self._change(fault, duplication=fraction)
            case Reordering(fraction=fraction):
                return self._change(fault, reordering=fraction)
            case Loss(fraction=fraction):
                return self._change(fault, loss=fraction)
            case BrokerDown():
                return self._broker_down()
            case Disconnect():
                network = world.network
                return self._on_each(self._targets(fault), network.disconnect, network.reconnect)
            case _:
                return self._strike_replicas(fault)

    def _strike_replicas(self, fault: Fault) -> Undo | None:
        world = self._world
        match fault:
            case SlowDisk(factor=factor):
                names = self._targets(fault)
                return self._on_each(
                    names,
                    lambda name: world.disk_factor.__setitem__(name, factor),
                    lambda name: world.disk_factor.pop(name, None),
                )
            case DiskFull():
                names = [name for name in self._targets(fault) if not world.nodes[name].disk_is_full]
                return self._on_each(names, self._fill_disk, self._make_room)
            case FailingSync():
                names = [name for name in self._targets(fault) if world.nodes[name].up]
                return self._on_each(names, self._fail_next_sync, self._mend_syncs)
            case Damage():
                names = [name for name in self._targets(fault) if not world.nodes[name].damage]
                damage = choose(self._random, ("log", "snapshot"))
                return self._on_each(names, partial(self._damage, damage=damage), _nothing)
            case ClockJump(ms=ms):
                for name in (names := self._targets(fault)):
                    world.clocks.jump(name, int(ms * _MS))
                return _nothing_at_all if names else None
            case ClockDrift(rate=rate):
                return self._on_each(
                    self._targets(fault),
                    lambda name: world.clocks.let_drift(name, rate),
                    lambda name: world.clocks.let_drift(name, 1.0),
                )
            case Join() | Removal() | Transfer():
                return self._ask_leader(fault)
        raise AssertionError(f"{fault.kind} is not simulated")

    @staticmethod
    def _on_each(names: Sequence[str], begin: Callable[[str], object], end: Callable[[str], object]) -> Undo | None:
        for name in names:
            begin(name)
        if not names:
            return None

        def undo() -> None:
            for name in names:
                end(name)

        return undo

    def _damage(self, name: str, damage: str) -> None:
        """Only of a minority the own disk does not help: who has diverged does not stand for election; if most had, and
        nobody else had the last entries, the cluster would be lost."""
        world = self._world
        lost = sum(node.damage == "snapshot" for node in world.nodes.values())
        members = len(world.nodes[name].core.state.members)
        world.nodes[name].damage = damage if lost + 1 <= (members - 1) // 2 else "log"

    def _fill_disk(self, name: str) -> None:
        self._world.nodes[name].fill_disk(full=True)

    def _make_room(self, name: str) -> None:
        self._world.nodes[name].fill_disk(full=False)
        self._restart(name)

    def _fail_next_sync(self, name: str) -> None:
        self._world.nodes[name].fail_sync(fails=True)

    def _mend_syncs(self, name: str) -> None:
        self._world.nodes[name].fail_sync(fails=False)
        self._restart(name)

    def _restart(self, name: str) -> None:
        if not self._world.nodes[name].up and not self._world.left[name]:
            self._world.restart(name)

    def _resume(self, name: str) -> None:
        if name in self._world.paused:
            self._world.resume(name)

    def _targets(self, fault: Fault) -> list[str]:
        world = self._world
        names = [name for name in world.names if not world.left[name]]
        leader = world.leader()
        match fault.target:
            case "all":
                return names
            case "leader":
                return [leader.name] if leader is not None else []
            case "one":
                return [choose(self._random, names)]
            case "minority" | "majority":
                count = (len(names) - 1) // 2 if fault.target == "minority" else len(names) // 2 + 1
                return some(self._random, names, max(1, count))
            case name:
                return [name] if name in names else []

    # The network.

    def _change(self, fault: Fault, **values: float | str) -> Undo | None:
        inbound = self._world.network.inbound
        usual = Inbound()

        def begin(name: str) -> None:
            for field, value in values.items():
                setattr(inbound(name), field, value)

        def end(name: str) -> None:
            for field in values:
                setattr(inbound(name), field, getattr(usual, field))

        return self._on_each(self._targets(fault), begin, end)

    def _broker_down(self) -> Undo | None:
        network = self._world.network
        if network.is_down:
            return None
        network.is_down = True

        def undo() -> None:
            network.is_down = False

        return undo

    def _cut(self, fault: Cut) -> Undo | None:
        links = self._links(fault, self._targets(fault))
        if not links:
            return None
        network, events = self._world.network, self._world.events
        network.cut(links)
        state = {"broken": True, "over": False}

        def flap() -> None:
            if state["over"] or self._is_over:
                return
            (network.mend if state["broken"] else network.cut)(links)
            state["broken"] = not state["broken"]
            events.after(fault.flap_ms * _MS, flap)

        def undo() -> None:
            state["over"] = True
            if state["broken"]:
                network.mend(links)

        if fault.flap_ms:
            events.after(fault.flap_ms * _MS, flap)
        return undo

    def _links(self, fault: Cut, targets: Sequence[str]) -> list[Link]:
        names = shuffled(self._random, self._world.names)
        return cut_links(fault.shape, names, targets)

    # Members.

    def _ask_leader(self, fault: Fault) -> Undo | None:
        """Ask whoever takes itself for the leader, as people do; of changes of members sometimes two at once."""
        world = self._world
        names = believers(world)
        if not names:
            return None
        leader = choose(self._random, names)
        others = [name for name in world.nodes[leader].core.state.members if name != leader]
        times = between(self._random, 1, 2)
        match fault:
            case Join() if self._joined < _JOINED_MAX:
                for _ in range(min(times, _JOINED_MAX - self._joined)):
                    self._join(leader)
            case Removal() if len(others) >= 2:
                for name in some(self._random, others, times):
                    world.handle(leader, Received((RemoveMember(0, "", name),)))
            case Transfer() if others:
                world.handle(leader, Received((TransferLeadership(0, "", choose(self._random, others)),)))
            case _:
                return None
        return _nothing_at_all

    def _join(self, leader: str) -> None:
        self._joined += 1
        name = f"replica-{len(self._world.nodes) + 1}"
        observer = self._random.random() < 0.3
        self._world.add_node(name, observer=observer)
        if not observer:
            self._world.handle(leader, Received((AddMember(0, "", name),)))


def _nothing(_name: str) -> None:
    """The fault does not end by itself."""


def _nothing_at_all() -> None:
    """The fault is over as soon as it has begun."""
