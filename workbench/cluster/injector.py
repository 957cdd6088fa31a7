"""Carries out faults in a real cluster, in real time, and says which of them took effect, with the evidence.

    injector = ClusterInjector(cluster, Random(1))
    await injector.run(random_schedule(Random(1), 60_000, 40, "real"))
    await injector.heal()
    injector.took_effect["crash"], injector.reports

Several faults may go on at once, on one replica too. One that finds nothing to strike, or fails because of another, is
noted and counts for nothing. docs/faults.md tells how each kind is carried out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from workbench.cluster import strikes
from workbench.cluster.cluster import Cluster
from workbench.cluster.scene import REVIVE_S, Scene
from workbench.cluster.strikes import Strike
from workbench.errors import ClusterError, ConfigurationError, WorkbenchError
from workbench.faults.schedules import Schedule, check_schedule
from workbench.faults.values import Fault, as_table

_LOOK_S = (0.02, 0.25)
"""Between two looks for evidence: at first, and at most."""
_INSTANT = frozenset({"clock_jump", "join", "removal", "transfer", "disconnect"})
"""Over by themselves."""

Note = Callable[[str, str, str], object]
"""(event, replicas, detail)"""

_STRIKES: dict[str, type[Strike]] = {
    "crash": strikes.CrashStrike,
    "pause": strikes.PauseStrike,
    "cut": strikes.CutStrike,
    "delay": strikes.WrongStrike,
    "bandwidth": strikes.WrongStrike,
    "loss": strikes.WrongStrike,
    "duplication": strikes.WrongStrike,
    "reordering": strikes.WrongStrike,
    "slow_disk": strikes.WrongStrike,
    "disk_full": strikes.FatalStrike,
    "failing_sync": strikes.FatalStrike,
    "clock_jump": strikes.ClockJumpStrike,
    "clock_drift": strikes.WrongStrike,
    "disconnect": strikes.DisconnectStrike,
    "broker_down": strikes.BrokerStrike,
    "join": strikes.ChangeStrike,
    "removal": strikes.ChangeStrike,
    "transfer": strikes.ChangeStrike,
}
"""Kind -> how it is carried out."""


@dataclass(slots=True)
class FaultReport:
    """One fault that found something to strike. Times are nanoseconds of the cluster's clock; 0: not yet."""

    fault: Fault
    replicas: tuple[str, ...]
    began_ns: int
    ended_ns: int = 0
    evidence: str = ""
    """How it is known to have taken effect; empty when it is not."""


@dataclass(slots=True, eq=False)
class _Active:
    strike: Strike
    report: FaultReport
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class ClusterInjector:
    """The faults of one cluster. `note(event, replicas, detail)` is told of each beginning, effect and end."""

    def __init__(self, cluster: Cluster, random: Random, note: Note | None = None) -> None:
        self.took_effect: Counter[str] = Counter()
        """Kind -> how many faults took effect, with evidence."""
        self.reports: list[FaultReport] = []
        """All faults that found something to strike, in the order in which they began."""
        self._cluster = cluster
        self._scene = Scene(cluster, random)
        self._note: Note = note or (lambda _event, _replicas, _detail: None)
        self._active: set[_Active] = set()
        self._to_come: set[asyncio.Task[None]] = set()

    async def run(self, schedule: Schedule) -> None:
        """Carry out a schedule, whose time 0 is now; return when the last fault is over, but for those that last until
        `heal`, or when `heal` is called. Raises `ConfigurationError` for a schedule that does not fit the cluster."""
        check_schedule(schedule, self._cluster.names, self._cluster.host.world)
        began_s = asyncio.get_running_loop().time()
        tasks = {asyncio.create_task(self._carry_out(fault, began_s), name=fault.kind) for fault in schedule}
        self._to_come |= tasks
        try:
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result
        finally:
            self._to_come -= tasks
            for task in tasks:
                task.cancel()

    async def _carry_out(self, fault: Fault, began_s: float) -> None:
        await asyncio.sleep(began_s + fault.at_ms / 1e3 - asyncio.get_running_loop().time())
        active = await self._strike(fault)
        if active is not None and active.task is not None and (fault.for_ms or fault.kind in _INSTANT):
            await asyncio.shield(active.task)

    async def begin(self, fault: Fault) -> bool:
        """Let a fault strike now, whatever its `at_ms`; it ends by itself after its `for_ms`, or with `heal`.

        False where there was nothing to strike. Raises `ConfigurationError` as `run`.
        """
        check_schedule((fault,), self._cluster.names, self._cluster.host.world)
        return await self._strike(fault) is not None

    async def heal(self) -> None:
        """End everything that goes on and let nothing of a schedule begin any more; every replica runs afterwards.

        Raises `ClusterError`, or `BrokerError`, when one cannot be started.
        """
        for task in self._to_come:
            task.cancel()
        for active in self._active:
            active.ending.set()
        tasks = [active.task for active in self._active if active.task is not None]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        scene = self._scene
        await scene.start_broker()
        scene.holds.clear()
        for name in self._cluster.names:
            if (process := scene.process(name)) is not None:
                process.resume()
        scene.links.clear()
        await asyncio.gather(*(scene.revive(name) for name in self._cluster.names))
        if not await scene.links.told(self._cluster.names, REVIVE_S):
            raise ClusterError("not all replicas could be told that nothing is wrong any more")
        for error in results:
            if isinstance(error, Exception) and not isinstance(error, WorkbenchError):
                raise error

    # One fault.

    async def _strike(self, fault: Fault) -> _Active | None:
        if fault.kind not in _STRIKES:
            raise ConfigurationError(
                f"{fault.kind} cannot be carried out on a cluster", hint="`workbench simulate` does it"
            )
        strike = _STRIKES[fault.kind](self._scene, fault)
        report = FaultReport(fault, (), self._cluster.now_ns())
        try:
            struck = await strike.begin()
        except WorkbenchError as error:  # another fault was in its way
            struck, why = False, str(error)
        else:
            why = "there was nothing to strike"
        if not struck:
            self._note(f"{fault.kind} failed", "", why)
            return None
        report.replicas = tuple(strike.names)
        self.reports.append(report)
        self._note(fault.kind, ",".join(strike.names), _describe(fault))
        active = _Active(strike, report)
        self._active.add(active)
        active.task = asyncio.create_task(self._see_through(active), name=f"see {fault.kind} through")
        return active

    async def _see_through(self, active: _Active) -> None:
        """Look for evidence as long as the fault lasts, and end it."""
        strike, report = active.strike, active.report
        fault = strike.fault
        looking = asyncio.create_task(self._look(strike, report), name=f"look at {fault.kind}")
        try:
            if fault.for_ms or fault.kind not in _INSTANT:
                try:
                    async with asyncio.timeout(fault.for_ms / 1e3 if fault.for_ms else None):
                        await active.ending.wait()
                except TimeoutError:
                    pass
            await strike.end()
        except WorkbenchError as error:
            self._note(f"{fault.kind} did not end well", ",".join(strike.names), str(error))  # `heal` tries again
        finally:
            report.replicas = tuple(strike.names)
            report.ended_ns = self._cluster.now_ns()
            self._note(f"{fault.kind} ends", ",".join(strike.names), "")
            await self._set_right(strike)
            await asyncio.wait({looking}, timeout=strike.grace_s)
            self._active.discard(active)
            if not looking.cancel():
                looking.result()

    async def _set_right(self, strike: Strike) -> None:
        try:
            await strike.afterwards()
        except WorkbenchError as error:
            self._note(f"{strike.fault.kind} did not end well", ",".join(strike.names), str(error))

    async def _look(self, strike: Strike, report: FaultReport) -> None:
        pause_s, pause_s_max = _LOOK_S
        while not report.evidence:
            report.evidence = await strike.evidence()
            if not report.evidence:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, pause_s_max)
        self.took_effect[strike.fault.kind] += 1
        self._note(f"{strike.fault.kind} took effect", ",".join(strike.names), report.evidence)


def _describe(fault: Fault) -> str:
    """Its values, as a schedule has them."""
    table = as_table(fault)
    return ", ".join(f"{name}={value}" for name, value in table.items() if name not in {"kind", "at_ms"})
