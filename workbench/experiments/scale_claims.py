"""What `scale` claims of its cells, from their samples: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from workbench.checkers import Verdict
from workbench.experiments.base import Row
from workbench.experiments.scale_cells import Cell

MINIMUMS = {"kills": 1, "acknowledged_writes": 3}
_SLACK_MS = 0.5
"""Clocks are read once a turn."""


def judge(cells: Sequence[Cell]) -> dict[str, Verdict]:
    """The claims that can be made of these cells."""
    simulated = [cell for cell in cells if cell.world == "simulated"]
    verdicts = {
        "every_failover_took_effect": _each(cells, _took_effect),
        "no_acknowledged_write_is_lost": _each(cells, _kept),
    }
    if simulated:
        verdicts["no_write_outruns_its_majority"] = _each(simulated, _bounded)
        verdicts["nobody_is_elected_before_the_timeout"] = _each(simulated, _patient)
        brokered = [cell for cell in simulated if cell.setting.fan_out == "broker"]
        if brokered:
            verdicts["one_publication_reaches_everybody"] = _each(brokered, _published_once)
    return verdicts


def _each(cells: Iterable[Cell], judged: Any) -> Verdict:
    verdicts = {cell.setting.labels["cell"]: judged(cell) for cell in cells}
    found = Verdict.all(verdicts)
    if found.status != "valid":
        return found
    counts: dict[str, int | float] = {}
    for verdict in verdicts.values():
        for name, count in verdict.counts.items():
            counts[name] = counts.get(name, 0) + count
    told = ", ".join(f"{count:,.0f} {name.replace('_', ' ')}" for name, count in counts.items())
    return Verdict("valid", f"in each of {len(verdicts)} cells: {told}", (), counts)


def _took_effect(cell: Cell) -> Verdict:
    failed = [one for one in cell.failovers if not one.took_effect]
    if failed or cell.problem:
        return Verdict.invalid(
            cell.problem or "no other leader acknowledged a write",
            [_told(one.row(cell.setting.labels)) for one in failed],
        )
    return Verdict.valid("another leader acknowledged a write in a newer term", kills=len(cell.failovers)).needing(
        "kills", MINIMUMS["kills"]
    )


def _told(row: Row) -> Row:
    return {name: row[name] for name in ("cell", "kill", "leader", "term_before", "term_after", "failover_ms")}


def _kept(cell: Cell) -> Verdict:
    if cell.lost is None:
        return Verdict.unknown(cell.problem or "the replicas do not agree in the end")
    if cell.lost or not cell.converged:
        return Verdict.invalid(f"{cell.lost} acknowledged writes are absent" if cell.lost else "the logs differ")
    return Verdict.valid("none is absent, and the logs agree", acknowledged_writes=cell.acknowledged).needing(
        "acknowledged_writes", MINIMUMS["acknowledged_writes"]
    )


def _bounded(cell: Cell) -> Verdict:
    early = [write for write in cell.writes if write.latency_ms < write.bound_ms]
    if early:
        witness = [
            {"cell": cell.setting.labels["cell"], "latency_ms": one.latency_ms, "bound_ms": one.bound_ms}
            for one in early
        ]
        return Verdict.invalid(f"{len(early)} acknowledgements came before a majority can have answered", witness[:3])
    return Verdict.valid("none came sooner", writes=len(cell.writes)).needing("writes", 1)


def _patient(cell: Cell) -> Verdict:
    """A majority must have heard nothing for an election timeout, and the leader spoke `silent_ms` before its death."""
    timeout_ms = cell.setting.election_timeout_ms
    seen = [one for one in cell.failovers if one.took_effect]
    early = [one for one in seen if one.elected_ms + one.silent_ms < timeout_ms - _SLACK_MS]
    if early:
        return Verdict.invalid(
            "a leader was elected too soon", [_told(one.row(cell.setting.labels)) for one in early[:3]]
        )
    return Verdict.valid("none was", elections=len(seen)).needing("elections", 1)


def _published_once(cell: Cell) -> Verdict:
    """For each write the leader publishes one entry, however many there are to receive it."""
    out, delivered = cell.load.out_per_write, cell.load.delivered_per_write
    reason = f"{out:g} messages left the leader for a write, {delivered:g} were delivered"
    return Verdict.expect(out == 1 and delivered == cell.setting.size - 1, reason, cells=1)


def invariants(cells: Sequence[Cell]) -> dict[str, Any]:
    """What no machine changes; None where it is not known."""
    lost = [cell.lost for cell in cells]
    return {
        "converged": all(cell.converged for cell in cells),
        "kills": sum(len(cell.failovers) for cell in cells),
        "kills_that_took_effect": sum(one.took_effect for cell in cells for one in cell.failovers),
        "largest_cluster": max(cell.setting.size for cell in cells),
        "lost_acknowledged_writes": None if None in lost else sum(count for count in lost if count),
        "replica_processes": max(cell.setting.size for cell in cells),
    }
