"""How each kind of fault is carried out in a real cluster, how it ends, and how it shows that it took effect.

A `Strike` is one fault that goes on. Its evidence is something that only the fault explains: an exit status, a counter
that moved in the process that it struck, the state of the process, a change of members.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from workbench.cluster.hosting import Child
from workbench.cluster.links import Wrong
from workbench.cluster.replicas import last_line
from workbench.cluster.scene import CanHalt, Scene
from workbench.errors import WorkbenchError
from workbench.faults.draws import choose, shuffled
from workbench.faults.shapes import Link, cut_links
from workbench.faults.values import (
    Bandwidth,
    ClockDrift,
    ClockJump,
    Cut,
    Delay,
    DiskFull,
    Duplication,
    FailingSync,
    Fault,
    Join,
    Loss,
    Removal,
    Reordering,
    SlowDisk,
)
from workbench.protocol import messages
from workbench.protocol.fault_messages import Disconnect

_TOLD_S = 1.0
"""So long a fault waits at most for its targets to confirm that they know of it; it goes on anyway."""
_LATE_S = 10.0
"""After its end: then those that feel a fault late have felt it."""
_PATIENCE_S = 2.0
"""For somebody to lead."""
_CHANGE_S = 30.0
"""For a change of members or of the leader."""
JOINED_MAX = 3
"""Replicas that faults may add to one cluster."""
_OBSERVERS = 0.3


class Strike:
    """One fault. `names`: whom it strikes."""

    grace_s: ClassVar[float] = 0.3
    """How long after its end evidence may still turn up."""

    def __init__(self, scene: Scene, fault: Fault) -> None:
        self.scene = scene
        self.fault = fault
        self.names: list[str] = []

    async def begin(self) -> bool:
        """Strike; False when there was nothing to strike."""
        raise NotImplementedError

    async def end(self) -> None:
        """Let it be over."""

    async def afterwards(self) -> None:
        """Set right what it still did after its end: whoever was paused hears of a fault, and of its end, late."""

    async def evidence(self) -> str:
        """How it is known to have taken effect, or the empty string as long as it is not."""
        raise NotImplementedError


class Watch:
    """Sees whether a counter of some replicas' processes moves."""

    def __init__(self, scene: Scene, names: Sequence[str], counter: str) -> None:
        self._scene = scene
        self._names = names
        self._counter = counter
        self._before: dict[Child, int] = {}
        self._unread: set[Child] = set()
        asked = {name: scene.ask(name) for name in scene.running(names)} if scene.broker_is_up else {}
        self._asked = {process: future for name, future in asked.items() if (process := scene.process(name))}
        self._unread = {process for name in names if (process := scene.process(name))} - set(self._asked)

    async def moved(self) -> str:
        """By how much, and whose; empty when none has."""
        asked, self._asked = self._asked, {}
        for process, future in asked.items():
            answer = await future
            if answer is None:
                self._unread.add(process)
            else:
                self._before[process] = answer.counters.get(self._counter, 0)
        moved = []
        for name, status in (await self._scene.statuses(self._names)).items():
            current = self._scene.process(name)
            count = status.counters.get(self._counter, 0)
            if current is None:
                continue
            if current in self._unread:  # what it had counted before is not known
                self._unread.discard(current)
                self._before[current] = count
            elif count != (before := self._before.get(current, 0)):
                moved.append(f"{self._counter} of {name} went from {before} to {count}")
        return "; ".join(moved)


class CrashStrike(Strike):
    """SIGKILL."""

    _ended = ""

    async def begin(self) -> bool:
        self.names = [name for name in await self.scene.targets(self.fault) if self.scene.is_up(name)]
        self.scene.holds.update(self.names)
        killed = [process for name in self.names if (process := self.scene.process(name)) is not None]
        await asyncio.gather(*(process.kill() for process in killed))
        self._ended = "; ".join(f"{one.name} ended with status {one.returncode}" for one in killed)
        return bool(self.names)

    async def end(self) -> None:
        self.scene.holds.subtract(self.names)
        await asyncio.gather(*(self.scene.revive(name) for name in self.names))

    async def evidence(self) -> str:
        return self._ended


class PauseStrike(Strike):
    """SIGSTOP."""

    _stopped = ""

    async def begin(self) -> bool:
        self.names = self.scene.running(await self.scene.targets(self.fault))
        self._processes = [process for name in self.names if (process := self.scene.process(name)) is not None]
        for process in self._processes:
            process.pause()
        return bool(self.names)

    async def end(self) -> None:
        for process in self._processes:
            process.resume()

    async def evidence(self) -> str:
        return "; ".join(f"{one.name} is stopped" for one in self._processes if _is_stopped(one))


def _is_stopped(process: Child) -> bool:
    """What the system says of it; without /proc, whether it was told so."""
    if process.returncode is not None:
        return False
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return process.is_paused


class WrongStrike(Strike):
    """Something is wrong with the targets' links, disks or clocks, and a counter of theirs shows it."""

    def _what(self) -> tuple[Wrong, str]:
        match self.fault:
            case Delay(ms=ms, distribution=distribution):
                return Wrong(delay_ms=ms, distribution=distribution), "link_delayed"
            case Bandwidth(bytes_per_s=bytes_per_s):
                return Wrong(bytes_per_s=bytes_per_s), "link_queue_ms"
            case Duplication(fraction=fraction):
                return Wrong(duplication=fraction), "link_twice"
            case Reordering(fraction=fraction):
                return Wrong(reordering=fraction), "link_overtaken"
            case Loss(fraction=fraction):
                return Wrong(loss=fraction), "link_lost"
            case SlowDisk(factor=factor):
                return Wrong(disk_factor=factor), "disk_slowed"
            case DiskFull():
                return Wrong(disk_is_full=True), "disk_refused"
            case FailingSync():
                return Wrong(sync_fails=True), "disk_failed_syncs"
            case ClockDrift(rate=rate):
                return Wrong(clock_rate=rate), "clock_ahead_ms"
        raise AssertionError(f"{self.fault.kind} is carried out in another way")

    async def begin(self) -> bool:
        self.names = await self.scene.targets(self.fault)
        wrong, counter = self._what()
        self._watch = Watch(self.scene, self.names, counter)
        self._numbers = {name: self.scene.links.begin(name, wrong) for name in self.names}
        await self.scene.links.told(self.names, _TOLD_S)
        return bool(self.names)

    async def end(self) -> None:
        for name, number in self._numbers.items():
            self.scene.links.end(name, number)
        await self.scene.links.told(self.names, _TOLD_S)

    async def evidence(self) -> str:
        return await self._watch.moved()


class FatalStrike(WrongStrike):
    """A disk fault that ends the processes that feel it."""

    async def begin(self) -> bool:
        scene = self.scene
        self.names = await scene.targets(self.fault)
        self._processes = {name: one for name in self.names if (one := scene.process(name)) and scene.is_up(name)}
        if not self._processes:
            return False
        wrong, _ = self._what()
        scene.holds.update(self.names)
        self._numbers = {name: scene.links.begin(name, wrong) for name in self.names}
        await scene.links.told(self.names, _TOLD_S)
        return True

    async def end(self) -> None:
        self.scene.holds.subtract(self.names)
        await super().end()
        await asyncio.gather(*(self.scene.revive(name) for name in self.names))

    async def afterwards(self) -> None:
        await self.scene.links.told(self.names, _LATE_S)
        await asyncio.gather(*(self.scene.revive(name) for name in self.names))

    async def evidence(self) -> str:
        said = []
        words = "disk is full" if isinstance(self.fault, DiskFull) else "injected"
        for name, process in self._processes.items():
            if (process.returncode or 0) > 0 and words in (line := last_line(process)):
                said.append(f"{name} ended with status {process.returncode}: {line}")
                if isinstance(self.fault, FailingSync):  # it has failed
                    self.scene.links.end(name, self._numbers[name])
        return "; ".join(said)


class ClockJumpStrike(Strike):
    """Clocks jump, and stay ahead."""

    async def begin(self) -> bool:
        assert isinstance(self.fault, ClockJump)
        self.names = self.scene.running(await self.scene.targets(self.fault))
        self._watch = Watch(self.scene, self.names, "clock_ahead_ms")
        for name in self.names:
            self.scene.links.jump(name, self.fault.ms)
        await self.scene.links.told(self.names, _TOLD_S)
        return bool(self.names)

    async def evidence(self) -> str:
        return await self._watch.moved()


class CutStrike(Strike):
    """Links are cut where their messages arrive."""

    async def begin(self) -> bool:
        assert isinstance(self.fault, Cut)
        scene = self.scene
        self.names = await scene.targets(self.fault)
        if not self.names:
            return False
        names = shuffled(scene.random, scene.cluster.names)
        self._links: list[Link] = cut_links(self.fault.shape, names, self.names)
        receivers = sorted({receiver for _, receiver in self._links})
        if self.fault.shape not in {"isolate", "one_way"}:
            self.names = receivers
        self._watch = Watch(scene, receivers, "link_cut")
        self._is_cut = True
        scene.links.cut(self._links)
        self._flapping = asyncio.create_task(self._flap(self.fault.flap_ms / 1e3)) if self.fault.flap_ms else None
        await scene.links.told(receivers, _TOLD_S)
        return bool(self._links)

    async def _flap(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            (self.scene.links.mend if self._is_cut else self.scene.links.cut)(self._links)
            self._is_cut = not self._is_cut

    async def end(self) -> None:
        if self._flapping is not None:
            self._flapping.cancel()
        if self._is_cut:
            self.scene.links.mend(self._links)
        await self.scene.links.told({receiver for _, receiver in self._links}, _TOLD_S)

    async def evidence(self) -> str:
        return await self._watch.moved()


class DisconnectStrike(Strike):
    """The targets close their connections to the broker, and stay away."""

    grace_s = 5.0

    async def begin(self) -> bool:
        scene = self.scene
        self.names = scene.running(await scene.targets(self.fault)) if scene.broker_is_up else []
        self._watch = Watch(scene, self.names, "connections_made_again")
        for name in self.names:
            scene.links.replicas.connection.control(name, self._message, 0.1)
        return bool(self.names)

    def _message(self, request: int, reply_to: str) -> messages.Message:
        return Disconnect(request, reply_to, self.fault.for_ms)

    async def evidence(self) -> str:
        return await self._watch.moved()


class BrokerStrike(Strike):
    """The broker's process ends."""

    _ended = ""

    async def begin(self) -> bool:
        broker = self.scene.cluster.running_broker
        if not self.scene.broker_is_up or not isinstance(broker, CanHalt):
            return False
        self.scene.broker_is_up = False
        status = await broker.halt()
        if status is None:
            self.scene.broker_is_up = True
            return False
        self._ended = f"the broker ended with status {status}"
        return True

    async def end(self) -> None:
        await self.scene.start_broker()

    async def evidence(self) -> str:
        return self._ended


class ChangeStrike(Strike):
    """A change of members or of the leader, which is over when it has come about, or has failed."""

    _done = ""

    async def begin(self) -> bool:
        scene = self.scene
        leader = await scene.leader(_PATIENCE_S)
        if leader is None:
            return False
        others = [name for name in leader.members if name != leader.name and name in scene.cluster.names]
        match self.fault:
            case Join() if len(scene.cluster.names) < len(scene.cluster.config.replica_names) + JOINED_MAX:
                self._change = asyncio.create_task(self._join(), name="join")
            case Removal() if len(others) >= 2:
                self.names = [choose(scene.random, others)]
                self._change = asyncio.create_task(self._remove(self.names[0]), name="removal")
            case Join() | Removal():
                return False
            case _ if others:
                self.names = [choose(scene.random, others)]
                self._change = asyncio.create_task(self._transfer(self.names[0]), name="transfer")
            case _:
                return False
        return True

    async def _join(self) -> None:
        observer = self.scene.random.random() < _OBSERVERS
        status = await self.scene.cluster.add_follower(timeout_s=_CHANGE_S, observer=observer)
        self.names = [status.name]
        self._done = f"{status.name} is " + ("an observer" if observer else "a member")

    async def _remove(self, name: str) -> None:
        await self.scene.cluster.remove_follower(name, timeout_s=_CHANGE_S)
        self._done = f"{name} is no member any more"

    async def _transfer(self, name: str) -> None:
        await self.scene.cluster.transfer_leadership(name, timeout_s=_CHANGE_S)
        self._done = f"{name} leads"

    async def end(self) -> None:
        with contextlib.suppress(WorkbenchError):  # then it did not take effect
            await self._change

    async def evidence(self) -> str:
        return self._done
