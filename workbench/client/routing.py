"""Read policies: which replica a session asks."""

from __future__ import annotations

import random
from typing import Literal, get_args

from workbench.errors import ConfigurationError

ReadPolicy = Literal["leader", "any", "sticky"]

READ_POLICIES: tuple[ReadPolicy, ...] = get_args(ReadPolicy)


class ReadRouter:
    """Chooses a replica for each read of one session.

    `leader`: the leader, and nobody else may answer. `any`: a random replica for each read. `sticky`: one random
    replica for the whole session, another only when that one does not answer. Raises `ConfigurationError` for
    an unknown policy.
    """

    def __init__(self, policy: str, members: tuple[str, ...], rng: random.Random) -> None:
        if policy not in READ_POLICIES:
            raise ConfigurationError(f"unknown read policy {policy!r}", hint="one of " + ", ".join(READ_POLICIES))
        self.policy = policy
        self._members = members
        self._rng = rng
        self._mine = rng.choice(members)

    def choose(self, leader: str) -> str:
        """The replica to ask first."""
        match self.policy:
            case "leader":
                return leader
            case "sticky":
                return self._mine
            case _:
                return self._members[int(self._rng.random() * len(self._members))]

    def gave_no_answer(self, replica: str) -> None:
        """Ask another one next time, where the policy leaves a choice."""
        others = [name for name in self._members if name != replica]
        if others and replica == self._mine:
            self._mine = self._rng.choice(others)
