"""A connection that asks the replicas it was given, and believes nobody who says that another one leads.

Like clients of an address that nobody updates after a failover. A cluster has to be safe from them: whoever they ask
says no, once it leads no more.
"""

from __future__ import annotations

from workbench.client.connection import ClientConnection


class InsistentConnection(ClientConnection):
    """Opened with the one replica that is to be asked."""

    def _learn(self, leader: str, term: int, *, is_news: bool = False) -> None:
        """Whatever is heard, it changes nothing."""
