"""What replicas say of themselves around a disturbance, and what is left when the cluster has come to rest."""

from __future__ import annotations

from workbench.cluster.cluster import Cluster
from workbench.cluster.status import ReplicaStatus
from workbench.experiments.cells import CONVERGENCE_TIMEOUT_S, MeasuredLoad
from workbench.experiments.disturbed import DisturbedLoad
from workbench.workloads.single_rows import WORKLOADS


async def settle(cluster: Cluster, load: DisturbedLoad, *, timeout_s: float = CONVERGENCE_TIMEOUT_S) -> MeasuredLoad:
    """Wait until all replicas have applied everything; what they hold then, for the checkers.

    Counters are those at the end: a replica that was restarted or has joined has none from before.
    """
    report = await cluster.converged(timeout_s=timeout_s)
    session = await cluster.session(read_policy="leader")
    statuses = await cluster.replicas()
    final = {}
    for status in statuses:
        result = await session.read(WORKLOADS[load.config.workload].contents, replica=status.name)
        final[status.name] = {str(key): int(str(value)) for key, value in result.rows}
    return MeasuredLoad(
        cell=load.cell,
        config=load.config,
        operations=load.operations,
        growth={status.name: status.counters for status in statuses if status.counters},
        leader=next((status.name for status in statuses if status.role == "leader"), ""),
        converged=report,
        final=final,
    )


async def status_of(cluster: Cluster, name: str) -> ReplicaStatus:
    """What one replica says of itself."""
    return next(status for status in await cluster.replicas() if status.name == name)


def growth(before: ReplicaStatus, after: ReplicaStatus, counter: str) -> int:
    """How far a counter of a leader moved; of another leader than before, all that it has counted."""
    begun = before.counters.get(counter, 0) if before.name == after.name else 0
    return after.counters.get(counter, 0) - begun
