"""What is wrong with the replicas of a cluster: the links between them, their disks and clocks; and telling them so.

Each replica applies its own share. The delay and the cuts of experiments (`delay`, `cut_off`) are told at once, or it
is an error. Faults (`begin`, `cut`) may strike replicas that are down, stopped or out of reach: these are told as soon
as they can be, and a replica that starts again is told all that is wrong with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from workbench.cluster.hosting import Child
from workbench.cluster.replicas import Replicas
from workbench.config import check_range
from workbench.errors import ClusterError
from workbench.faults.shapes import Link
from workbench.protocol.fault_messages import LinkQuality, SetClock, SetDisk, SetLinks
from workbench.protocol.messages import Message

_ANSWER_S = 0.5
_AGAIN_S = 0.02
_LINKS, _DISK, _CLOCK = "links", "disk", "clock"

Make: TypeAlias = Callable[[int, str], Message]
"""(request, reply_to) -> a control message"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wrong:
    """What one fault does to a replica; as it is by default, nothing. Of several the worst counts."""

    delay_ms: float = 0.0
    distribution: str = "constant"
    bytes_per_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    disk_factor: float = 1.0
    disk_is_full: bool = False
    sync_fails: bool = False
    clock_rate: float = 1.0


class LinkFaults:
    """Whatever is wrong now. `replicas`: whose they are."""

    def __init__(self, replicas: Replicas, delay_ms: float) -> None:
        self.replicas = replicas
        self._first_delay_ms = delay_ms
        self._delays_ms: dict[str, float] = {}
        self._cut_off: frozenset[str] = frozenset()
        self._cuts: Counter[Link] = Counter()
        """Link -> how many faults cut it."""
        self._wrong: dict[str, dict[int, Wrong]] = {}
        self._ahead_ms: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._told: dict[str, tuple[Child, dict[str, Message]]] = {}
        """Replica -> its process, and what it has confirmed to know."""
        self._telling: dict[str, asyncio.Task[None]] = {}

    # Of experiments.

    async def delay(self, delay_ms: float, receivers: Sequence[str]) -> None:
        """Messages arrive at `receivers` so much later, while these do not lead."""
        check_range("delay_ms", delay_ms, 0, 60_000, " ms")
        for name in receivers:
            self.replicas.process(name)
            self._delays_ms[name] = delay_ms
        for name in receivers:
            await self._tell(name, _LINKS)

    async def cut_off(self, names: Sequence[str]) -> None:
        """Nothing passes between `names` and the others; nobody else is cut off so."""
        for name in names:
            self.replicas.process(name)
        self._cut_off = frozenset(names)
        for name in self.replicas.names:
            if not self.replicas.why_down(name):
                await self._tell(name, _LINKS)

    async def restore(self, name: str) -> None:
        """A replica has started again and knows of nothing."""
        for kind in self._unknown(name):
            await self._tell(name, kind)

    async def _tell(self, name: str, kind: str) -> None:
        await self.replicas.ask(name, self._make(name, kind))
        self._note_told(name, kind)

    # Faults.

    def begin(self, name: str, wrong: Wrong) -> int:
        """Something goes wrong with a replica, until `end` of the number that is returned."""
        number = next(self._numbers)
        self._wrong.setdefault(name, {})[number] = wrong
        self.keep_told(name)
        return number

    def end(self, name: str, number: int) -> None:
        """What `begin` began is over."""
        self._wrong.get(name, {}).pop(number, None)
        self.keep_told(name)

    def jump(self, name: str, ms: float) -> None:
        """The clock of a replica jumps ahead."""
        self._ahead_ms[name] += round(ms)
        self.keep_told(name)

    def cut(self, links: Iterable[Link]) -> None:
        """Nothing passes over `links` until they are mended as often as they were cut."""
        links = list(links)
        self._cuts.update(links)
        self._keep_receivers_told(links)

    def mend(self, links: Iterable[Link]) -> None:
        """Take one cut off each of the links."""
        links = list(links)
        self._cuts.subtract(links)
        self._cuts = +self._cuts
        self._keep_receivers_told(links)

    def _keep_receivers_told(self, links: Sequence[Link]) -> None:
        for name in {receiver for _, receiver in links}:
            self.keep_told(name)

    def clear(self) -> None:
        """No fault goes on, nor any cut of `cut_off`; clocks stay ahead."""
        self._cuts.clear()
        self._wrong.clear()
        self._cut_off = frozenset()
        for name in self.replicas.names:
            self.keep_told(name)

    # What a replica has to know.

    def _value(self, name: str, kind: str) -> Message:
        """What it has to be told, as a message to nobody."""
        wrong = [*self._wrong.get(name, {}).values()]
        match kind:
            case "links":
                cut = [one for one in self.replicas.names if (one in self._cut_off) is not (name in self._cut_off)]
                cut += [sender for sender, receiver in self._cuts if receiver == name]
                delay_ms = self._delays_ms.get(name, self._first_delay_ms)
                return SetLinks(0, "", delay_ms, tuple(sorted(set(cut))), _worst_links(wrong))
            case "disk":
                factor = max((one.disk_factor for one in wrong), default=1.0)
                is_full, fails = any(one.disk_is_full for one in wrong), any(one.sync_fails for one in wrong)
                return SetDisk(0, "", factor, is_full, fails)
            case _:
                rates = [one.clock_rate for one in wrong if one.clock_rate != 1]
                return SetClock(0, "", float(self._ahead_ms[name]), rates[-1] if rates else 1.0)

    def _make(self, name: str, kind: str) -> Make:
        def make(request: int, reply_to: str) -> Message:
            match self._value(name, kind):
                case SetLinks(_, _, delay_ms, cut, quality):
                    return SetLinks(request, reply_to, delay_ms, cut, quality)
                case SetDisk(_, _, factor, is_full, sync_fails):
                    return SetDisk(request, reply_to, factor, is_full, sync_fails)
                case SetClock(_, _, ahead_ms, rate):
                    return SetClock(request, reply_to, ahead_ms, rate)
            raise AssertionError(f"replicas are told nothing of their {kind}")

        return make

    def _known(self, name: str) -> dict[str, Message]:
        """What its process knows; one that has just started, what stands in its configuration."""
        process, known = self._told.get(name, (None, {}))
        first: dict[str, Message] = {
            _LINKS: SetLinks(0, "", self._first_delay_ms),
            _DISK: SetDisk(0, ""),
            _CLOCK: SetClock(0, ""),
        }
        return first | known if process is self.replicas.process(name) else first

    def _unknown(self, name: str) -> list[str]:
        known = self._known(name)
        return [kind for kind in (_LINKS, _DISK, _CLOCK) if known[kind] != self._value(name, kind)]

    def _note_told(self, name: str, kind: str, value: Message | None = None) -> None:
        known = self._known(name)
        self._told[name] = (
            self.replicas.process(name),
            known | {kind: self._value(name, kind) if value is None else value},
        )

    # Telling.

    def keep_told(self, name: str) -> None:
        """Tell a replica what it does not know yet, as soon as it can be told."""
        running = self._telling.get(name)
        if running is None or running.done():
            self._telling[name] = asyncio.create_task(self._keep_told(name), name=f"tell {name}")

    async def told(self, names: Iterable[str], timeout_s: float) -> bool:
        """Wait until those of `names` that run know what is wrong with them; whether they do."""
        tasks = [task for name in names if (task := self._telling.get(name)) is not None and not task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        return all(task.done() for task in tasks)

    async def _keep_told(self, name: str) -> None:
        replicas = self.replicas
        while name in replicas.names and replicas.process(name).returncode is None:
            kinds = self._unknown(name)
            if not kinds:
                return
            if replicas.process(name).is_paused or not await self._tell_in_time(name, kinds[0]):
                await asyncio.sleep(_AGAIN_S)

    async def _tell_in_time(self, name: str, kind: str) -> bool:
        process, value = self.replicas.process(name), self._value(name, kind)
        with contextlib.suppress(ClusterError):
            answer = await self.replicas.connection.control(name, self._make(name, kind), _ANSWER_S)
            if answer is not None and name in self.replicas.names and process is self.replicas.process(name):
                self._note_told(name, kind, value)
                return True
        return False

    async def stop(self) -> None:
        """Tell nobody anything any more."""
        tasks = [task for task in self._telling.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _worst_links(wrong: Sequence[Wrong]) -> LinkQuality:
    slowest = max(wrong, key=lambda one: one.delay_ms, default=Wrong())
    return LinkQuality(
        delay_ms=slowest.delay_ms,
        distribution=slowest.distribution,
        bytes_per_s=min((one.bytes_per_s for one in wrong if one.bytes_per_s), default=0.0),
        loss=max((one.loss for one in wrong), default=0.0),
        duplication=max((one.duplication for one in wrong), default=0.0),
        reordering=max((one.reordering for one in wrong), default=0.0),
    )
