"""What the owner of a cluster may want of its replicas: a first election, members added or removed, another leader.

Everything is asked of whoever leads, as often as it takes: the leader may change in between, or may not be able to do
it just now. Every wait ends, at the latest with a `ClusterError` that says what stood in the way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from workbench.cluster.replicas import Replicas
from workbench.cluster.status import ReplicaStatus, leading, why_nobody_leads
from workbench.errors import ClusterError, ConfigurationError
from workbench.protocol.messages import AddMember, Campaign, Inspect, Message, RemoveMember, TransferLeadership
from workbench.transport.topics import topic_name

_POLL_S = 0.02
_CAMPAIGN_AGAIN = 25
"""Polls before the first replica is asked again to stand."""


class Changes:
    """Asks the replicas of one cluster."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._used_names = set(replicas.names)
        self._refusal = ""
        """Why the leader did not do what was asked last."""

    # Who leads.

    async def elect_first(self) -> None:
        """Let the first replica of a new cluster stand at once, and return when there is a leader."""
        polls = 0
        while leading(await self._replicas.inspect_all()) is None:
            if polls % _CAMPAIGN_AGAIN == 0:
                await self._replicas.ask(self._replicas.names[0], Campaign)
            polls += 1
            await asyncio.sleep(_POLL_S)
        self._note_leader(leading(await self._replicas.inspect_all()))

    async def wait_for_leader(self, timeout_s: float, *, unlike: str = "") -> str:
        """The name of whoever leads."""
        async with self._until(timeout_s):
            return (await self._find_leader(unlike=unlike)).name
        raise AssertionError("unreachable")

    async def _find_leader(self, *, unlike: str = "", name: str = "") -> ReplicaStatus:
        while True:
            statuses = await self._replicas.inspect_all()
            leader = leading([status for status in statuses if status.name != unlike])
            if leader is not None and leader.term >= max(status.term for status in statuses):
                self._note_leader(leader)
                if name in {"", leader.name}:
                    return leader
            self._refusal = why_nobody_leads(statuses)
            await asyncio.sleep(_POLL_S)

    def _note_leader(self, leader: ReplicaStatus | None) -> None:
        if leader is not None:
            self._replicas.connection.heard_of_leader(leader.name, leader.term)

    @contextlib.asynccontextmanager
    async def _until(self, timeout_s: float, what: str = "") -> AsyncIterator[None]:
        """Bound a wait; what the leader said last says why it was in vain."""
        self._refusal = ""
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError:
            why = self._refusal or "no answer"
            raise ClusterError(f"{what}: {why}" if what else f"{why} (waited {timeout_s:g} s)") from None

    async def _ask_leader(self, make: Callable[[int, str], Message]) -> ReplicaStatus:
        """Ask whoever leads; its status. Raises `ClusterError` when it refuses."""
        while True:
            leader = await self._find_leader()
            status = await self._try_to_ask(leader.name, make)
            if status is not None:
                if status.refusal:
                    raise ClusterError(status.refusal)
                return status
            await asyncio.sleep(_POLL_S)

    async def _try_to_ask(self, name: str, make: Callable[[int, str], Message]) -> ReplicaStatus | None:
        """Ask one replica once. None when it does not answer: it died, and there will be another leader."""
        try:
            status = await self._replicas.ask(name, make)
        except ClusterError as error:
            self._refusal = str(error)
            return None
        self._refusal = status.refusal
        return status

    # Members.

    async def add(self, name: str, timeout_s: float, changes: dict[str, Any]) -> ReplicaStatus:
        """Start a replica and let it join; its status when it is a member, or an observer that has caught up."""
        name = self._new_name(name)
        self._used_names.add(name)  # at once: somebody else may add one, too
        replicas = self._replicas
        connection = replicas.connection
        try:
            leader = await self._find_leader_within(timeout_s)
        except BaseException:
            self._used_names.discard(name)  # nothing has been started under it
            raise
        try:
            async with self._until(timeout_s, f"{name} could not join within {timeout_s:g} s"):
                members = tuple(member for member in leader.members if member != name)
                await replicas.start(name, **({"members": members} | changes))
                replicas.names = (*replicas.names, name)
                if changes.get("observer"):
                    connection.observers = (*connection.observers, name)
                    await self._catch_up(name, leader.last)
                else:
                    connection.members = (*connection.members, name)
                    await self._join(name)
                return next(one for one in await replicas.inspect_all() if one.name == name)
        except BaseException:
            await self._give_up(name)
            raise
        raise AssertionError("unreachable")

    def _new_name(self, name: str) -> str:
        if not name:
            numbers = (number for number in range(1, 10_000) if f"replica-{number}" not in self._used_names)
            return f"replica-{next(numbers)}"
        topic_name("replica", name)
        if name in self._used_names:
            raise ConfigurationError(
                f"the name {name} was used in this cluster before", hint="each replica gets a name of its own"
            )
        return name

    async def _find_leader_within(self, timeout_s: float) -> ReplicaStatus:
        async with self._until(timeout_s):
            return await self._find_leader()
        raise AssertionError("unreachable")

    async def _join(self, name: str) -> None:
        """Ask until it is a member: a new leader knows nothing of what the old one had begun."""
        while True:
            leader = await self._find_leader()
            if name in leader.members and leader.committed >= leader.last:
                return
            self._check_alive(name)
            if name not in (*leader.members, *leader.joining):
                await self._try_to_ask(leader.name, lambda request, to: AddMember(request, to, name))
            await asyncio.sleep(_POLL_S)

    async def _catch_up(self, name: str, index: int) -> None:
        """Wait until an observer, which finds its leader by itself, has applied the entry at `index`."""
        while True:
            self._check_alive(name)
            status = await self._try_to_ask(name, Inspect)
            if status is not None and status.applied >= index:
                return
            self._refusal = status.notes.get("diverged", "") if status is not None else ""
            await asyncio.sleep(_POLL_S)

    def _check_alive(self, name: str) -> None:
        if (ended := self._replicas.process(name).returncode) is not None:
            raise ClusterError(f"{name} could not join: {self._replicas.why_down(name)} (status {ended})")

    async def _give_up(self, name: str) -> None:
        replicas = self._replicas
        if name in replicas.connection.observers:
            await self._forget(name)
        elif name in replicas.names:
            with contextlib.suppress(ClusterError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._ask_leader(lambda request, to: RemoveMember(request, to, name))
            await self._forget(name)

    async def _forget(self, name: str) -> None:
        connection = self._replicas.connection
        connection.members = tuple(one for one in connection.members if one != name)
        connection.observers = tuple(one for one in connection.observers if one != name)
        await self._replicas.forget(name)

    async def remove(self, name: str, timeout_s: float) -> None:
        """Let a member count no more, and end its process."""
        replicas = self._replicas
        replicas.process(name)
        async with self._until(timeout_s, f"{name} could not be removed"):
            while True:
                leader = await self._find_leader()
                if name not in leader.members and leader.committed >= leader.last:
                    break
                if name in leader.members:
                    status = await self._try_to_ask(leader.name, lambda request, to: RemoveMember(request, to, name))
                    if status is not None and status.refusal and not _may_pass(status.refusal):
                        raise ClusterError(status.refusal)
                await asyncio.sleep(_POLL_S)
        await self._forget(name)

    # Leadership.

    async def transfer(self, to: str, timeout_s: float) -> str:
        """Hand the leadership over."""
        if to:
            self._replicas.process(to)
        async with self._until(timeout_s, f"the leadership could not be handed to {to or 'anybody'}"):
            leader = await self._find_leader()
            to = to or await self._most_up_to_date(leader)
            await self._ask_leader(lambda request, reply_to: TransferLeadership(request, reply_to, to))
            await self._find_leader(name=to)
        return to

    async def _most_up_to_date(self, leader: ReplicaStatus) -> str:
        statuses = await self._replicas.inspect_all()
        others = [one for one in statuses if one.name in leader.members and one.name != leader.name]
        if not others:
            raise ClusterError(f"{leader.name} is the only member: there is nobody to hand the leadership to")
        return max(others, key=lambda one: one.last_position).name


def _may_pass(refusal: str) -> bool:
    """Whether the leader may agree a little later, or somebody else has asked for the same."""
    return any(words in refusal for words in ("committed", "does not lead", "joining", "is no member"))
