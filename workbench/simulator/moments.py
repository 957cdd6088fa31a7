"""When it is dangerous: what aimed faults wait for.

Chance alone rarely strikes in the few milliseconds in which a wrong line matters: between an election and the first
entry of the new term on a second disk, or while a change of members is on one disk only. Who waits here is called just
then, or a little later.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from random import Random

from workbench.faults.draws import choose
from workbench.faults.values import Moment
from workbench.protocol.roles import Role
from workbench.simulator.world import World

_LOOK_NS = 500_000
_LATER_MS = (0.0, 1.0, 5.0, 20.0)
"""Up to so long after the moment: what it has begun is then more or less far on its way."""
_MS = 1_000_000

Act = Callable[[], None]


class Lookout:
    """Looks at a world again and again while anybody waits; it touches nothing."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._waiting: list[tuple[Moment, Act]] = []
        self._seen: dict[Moment, Hashable] = {}
        """Moment -> which one there was when it looked last: each comes once."""
        self._steps = 0
        """Of the world, when it looked last: without another one there is nothing new to be seen."""

    def wait(self, moment: Moment, act: Act) -> None:
        """Call `act` when `moment` comes next."""
        if not self._waiting:
            self._seen = {}
            self._world.events.after(_LOOK_NS, self._look)
        self._seen.setdefault(moment, self._latest(moment))
        self._waiting.append((moment, act))
        self._steps = -1  # what it has seen of this moment may be old

    def stop(self) -> None:
        """Nobody waits any more."""
        self._waiting.clear()

    def _look(self) -> None:
        if self._world.steps != self._steps:
            self._steps = self._world.steps
            self._call_those_who_waited()
        if self._waiting:
            self._world.events.after(_LOOK_NS, self._look)

    def _call_those_who_waited(self) -> None:
        come = {moment for moment in {moment for moment, _ in self._waiting} if self._has_come(moment)}
        if not come:
            return
        due = [act for moment, act in self._waiting if moment in come]
        self._waiting = [one for one in self._waiting if one[0] not in come]
        for act in due:
            self._world.events.after(choose(self._random, _LATER_MS) * self._random.random() * _MS, act)

    def _has_come(self, moment: Moment) -> bool:
        before, self._seen[moment] = self._seen[moment], self._latest(moment)
        return self._seen[moment] not in {None, before}

    def _latest(self, moment: Moment) -> Hashable:
        """What tells one such moment from the next; None while there is nothing of the kind."""
        world = self._world
        if moment == "rewind":
            return tuple(name for name, node in world.nodes.items() if node.up and node.core.state.rewinding) or None
        if moment == "split":
            names = tuple(believers(world))
            return names if len(names) > 1 else None
        leader = world.leader()
        if leader is None:
            return None
        state = leader.core.state
        if moment == "election":
            return state.term
        if moment == "write":
            last = state.log.last
            return last if last.index > state.committed else None
        changed_at = state.ledger.membership.changed_at
        return (state.term, changed_at) if changed_at > state.committed else None


def believers(world: World) -> list[str]:
    """Who takes itself for the leader, in whatever term."""
    return [
        name
        for name, node in world.nodes.items()
        if node.up and name not in world.paused and node.core.role is Role.LEADER
    ]
