"""Names of MQTT topics: who listens where.

All topics of one cluster lie below `replication-workbench/1/<cluster_id>/`; the 1 is the version of the wire protocol.
So clusters and versions can share a broker without hearing each other. Nothing subscribes with wildcards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.errors import ConfigurationError

NAMESPACE = "replication-workbench/1"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def topic_name(kind: str, name: str) -> str:
    """Return `name` when it can be one level of a topic. `kind` names it in the error, a `ConfigurationError`."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{kind} {name!r} cannot be part of a topic",
            hint="1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit",
        )
    return name


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one partition of one cluster. Raises `ConfigurationError` for names that MQTT would misread."""

    cluster_id: str
    partition: str = "p0"

    def __post_init__(self) -> None:
        topic_name("cluster id", self.cluster_id)
        topic_name("partition", self.partition)

    def log_of(self, name: str) -> str:
        """Entries of the replica `name` while it leads, sent once for all others. Each replica has its own such topic,
        so that nobody receives what he sent himself."""
        return f"{NAMESPACE}/{self.cluster_id}/{self.partition}/replica/{topic_name('replica', name)}/log"

    def replica_inbox(self, name: str) -> str:
        """Messages of peers and clients for one replica."""
        return f"{NAMESPACE}/{self.cluster_id}/{self.partition}/replica/{topic_name('replica', name)}/inbox"

    def replica_control(self, name: str) -> str:
        """Messages of the cluster object for one replica (status, faults); injected link faults do not touch them."""
        return f"{NAMESPACE}/{self.cluster_id}/{self.partition}/replica/{topic_name('replica', name)}/control"

    def clients(self) -> str:
        """What all clients of the partition are told. One level only, so no client's name leads here."""
        return f"{NAMESPACE}/{self.cluster_id}/{self.partition}/clients"

    def client_inbox(self, client_id: str) -> str:
        """Replies to one client process, from replicas of every partition."""
        return f"{NAMESPACE}/{self.cluster_id}/client/{topic_name('client id', client_id)}/inbox"
