"""Leaders killed one after another under load: what was done, step by step, and what came of each kill.

One kill: the leader has acknowledged something; the others hear of it no more; SIGKILL; they elect a leader; clients
get an acknowledgement from it; the killed one is started again, drops what the new leader does not have, and catches up
as a follower. A policy that waits for every member acknowledges nothing while one is down: there the killed one is
started before the first acknowledgement, which then waits for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from workbench.checkers import DroppedEntry, read_rollbacks
from workbench.cluster.cluster import Cluster
from workbench.cluster.status import DOWN
from workbench.errors import ClusterError
from workbench.experiments.disturbed import DisturbedLoad
from workbench.operation_rows import OperationRow

PATIENCE_S = 30.0
"""For an election, an acknowledgement, a return: what takes longer never comes."""
_POLL_S = 0.02


@dataclass(slots=True)
class Kill:
    """One kill. Times are in ms on the axis of the operations; None: it never came to this."""

    number: int
    leader: str = ""
    successor: str = ""
    term_before: int = 0
    term_after: int = 0
    gone: bool = False
    """Whether the process had ended, by SIGKILL."""
    cut_ms: float | None = None
    killed_ms: float | None = None
    elected_ms: float | None = None
    restarted_ms: float | None = None
    caught_up_ms: float | None = None
    rewinds: int = 0
    dropped: list[DroppedEntry] = field(default_factory=list)
    """What these rewinds dropped."""
    problem: str = ""

    @property
    def took_effect(self) -> bool:
        """The process was gone, and the others went on under a newer term."""
        return self.gone and self.term_after > self.term_before > 0


class Killer:
    """Kills the leaders of one cluster: after `pause_s` each is cut off, after `cut_s` more killed, and once there is
    another one, after `down_s`, started again."""

    def __init__(self, cluster: Cluster, load: DisturbedLoad, *, pause_s: float, cut_s: float, down_s: float) -> None:
        self._cluster = cluster
        self._load = load
        self._pause_s = pause_s
        self._cut_s = cut_s
        self._down_s = down_s
        members = len(cluster.names)
        self._needs_all = cluster.config.ack.followers_needed(members) >= members - 1
        self._rollbacks: set[Path] = set()
        self.kills: list[Kill] = []

    async def kill_once(self) -> Kill:
        """One kill, from a leader that acknowledges to all replicas up again. What goes wrong is its `problem`."""
        kill = Kill(len(self.kills) + 1)
        self.kills.append(kill)
        try:
            await self._kill(kill)
            await self._replace(kill)
            await self._return(kill)
        except ClusterError as error:
            kill.problem = str(error)
            self._load.note("gave up", kill.leader, kill.problem)
        return kill

    async def _kill(self, kill: Kill) -> None:
        _, term = await self._leader()
        await self._acknowledges(term)
        await asyncio.sleep(self._pause_s)
        kill.leader, kill.term_before = await self._leader()  # on a busy machine there may be another one by now
        if self._cut_s:
            kill.cut_ms = self._load.note("cut off", kill.leader)
            await self._cluster.cut_off(kill.leader)
            await asyncio.sleep(self._cut_s)
        kill.killed_ms = self._load.note("killed", kill.leader, f"term {kill.term_before}")
        await self._cluster.kill(kill.leader)
        await self._cluster.mend()
        kill.gone = any(one.name == kill.leader and one.role == DOWN for one in await self._cluster.replicas())

    async def _replace(self, kill: Kill) -> None:
        kill.successor, kill.term_after = await self._leader(unlike=kill.leader)
        kill.elected_ms = self._load.note("leads", kill.successor, f"term {kill.term_after}")
        if not self._needs_all:
            await self._acknowledges(kill.term_after)

    async def _return(self, kill: Kill) -> None:
        await asyncio.sleep(self._down_s)
        await self._cluster.restart(kill.leader)
        kill.restarted_ms = self._load.note("restarted", kill.leader)
        await self._catches_up(kill.leader)
        kill.caught_up_ms = self._load.note("caught up", kill.leader)
        await self._acknowledges(kill.term_after)
        new = set(self._cluster.rollbacks()) - self._rollbacks
        self._rollbacks |= new
        kill.rewinds, kill.dropped = len(new), read_rollbacks(sorted(new))

    async def _leader(self, *, unlike: str = "") -> tuple[str, int]:
        """Who leads, and in which term."""
        name = await self._cluster.wait_for_leader(PATIENCE_S, unlike=unlike)
        return name, max(status.term for status in await self._cluster.replicas() if status.name == name)

    async def _acknowledges(self, term: int) -> None:
        """Wait until clients were told of a success in `term` or later."""

        def wanted(row: OperationRow) -> bool:
            return row.term >= term and self._load.is_acknowledged(row)

        await self._load.sees(wanted, timeout_s=PATIENCE_S)

    async def _catches_up(self, name: str) -> None:
        """Wait until `name` follows the present leader, and has applied all that this one has now."""
        goal: tuple[int, int] | None = None
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < deadline:
            statuses = {status.name: status for status in await self._cluster.replicas()}
            leader = max(statuses.values(), key=lambda one: (one.role == "leader", one.term))
            if leader.role == "leader" and (goal is None or leader.term > goal[0]):
                goal = (leader.term, leader.last)
            follower = statuses[name]
            # Before its rewind an old leader may have as many entries: only those of the new term tell.
            if goal is not None and follower.last_position.term >= goal[0] and follower.applied >= goal[1]:
                return
            await asyncio.sleep(_POLL_S)
        raise ClusterError(f"{name} did not catch up within {PATIENCE_S:g} s")
