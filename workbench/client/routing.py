"""Which replica a session asks for a read, under its policy."""

from __future__ import annotations

import random
from collections.abc import Set

from workbench.client.connection import ClientConnection
from workbench.client.own import Own
from workbench.client.policies import ReadPolicy, Situation, Terms, parse_policy
from workbench.client.search import LeaderSearch, ReplicaSearch, Search
from workbench.client.seen import Seen
from workbench.protocol.values import Statement


class ReadRouter:
    """Turns each read of one session into terms, and the terms into a search. Raises `ConfigurationError` for an
    unknown policy."""

    def __init__(self, policy: str, connection: ClientConnection, own: Own, rng: random.Random) -> None:
        self.policy: ReadPolicy = parse_policy(policy)
        self._connection = connection
        self._own = own
        self._rng = rng
        self._mine = ""
        """The replica of a sticky session."""

    def terms(self, statement: Statement, seen: Seen, now: float) -> Terms:
        """The terms of a read at the time `now`, on the clock of the event loop."""
        connection = self._connection
        return self.policy.terms(Situation(statement, seen, self._own, connection.members, connection.applied, now))

    def search(self, terms: Terms, retry_s: float) -> Search:
        """The search for a replica that can answer on these terms."""
        if terms.needs_leader:
            return LeaderSearch(self._connection, self._rng, retry_s)
        return ReplicaSearch(lambda avoid: self._choose(terms, avoid), retry_s)

    def _choose(self, terms: Terms, avoid: Set[str]) -> str:
        """One of the terms' replicas; if all are to be avoided the leader, which lacks nothing; then nobody."""
        if terms.sticky:
            return self._choose_sticky(avoid)
        names = [name for name in terms.replicas if name not in avoid]
        awake = [name for name in names if not self._connection.is_silent(name)] or names
        if awake:
            return awake[int(self._rng.random() * len(awake))]
        leader = self._connection.leader
        return "" if leader in avoid else leader

    def _choose_sticky(self, avoid: Set[str]) -> str:
        members = self._connection.members
        if self._mine not in members or self._mine in avoid:
            others = [name for name in members if name not in avoid]
            self._mine = self._rng.choice(others) if others else ""
        return self._mine
