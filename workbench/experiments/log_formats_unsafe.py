"""The matrix of `log_formats`: every cause of unsafety under every log format and policy, on one real cluster a column.

All scenarios run in each cluster; then everything is applied, and the digests of each scenario's tables say whether the
replicas are equal. What a format promises does not count. The expectations stand in `log_formats_scenarios.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.checkers.verdict import Verdict
from workbench.config import Timing
from workbench.errors import StatementError
from workbench.experiments.base import Context, Row
from workbench.experiments.cells import CONVERGENCE_TIMEOUT_S, started_cluster
from workbench.experiments.log_formats_scenarios import EXPECTATIONS, SCENARIOS, Column, Expected, Outcome, Scenario
from workbench.inspection.locating import locate

if TYPE_CHECKING:
    from workbench.client.session import Session
    from workbench.cluster.cluster import Cluster, ConvergenceReport

CLOCK_DELAY_MS = 1_200.0
"""More than the resolution of CURRENT_TIMESTAMP: whatever the moment, the follower's clock shows another second."""
_LATE = "time"
"""The scenario whose statement followers hear of so late."""
_AFTER_RESTART = "session_state"
_PATIENCE_S = 30.0
_EXAMPLE_LENGTH_MAX = 40


async def measure_column(
    context: Context, column: Column, *, followers: int, repeats: int
) -> tuple[list[Row], list[Row]]:
    """One row a cause; and the rows of the located divergence, where statements travel as they are."""
    async with started_cluster(
        context,
        f"unsafe-{column.name}",
        followers=followers,
        log_format=column.log_format,
        unsafe=column.policy,
        reverse_unordered=True,
        timing=Timing.for_delay(CLOCK_DELAY_MS),
    ) as cluster:
        session = await cluster.session(read_policy="leader", timeout_s=_PATIENCE_S)
        refusals = await _run_scenarios(cluster, session, repeats)
        report = await cluster.converged(timeout_s=CONVERGENCE_TIMEOUT_S)
        rows = [
            await _cell(session, report, column, scenario, refusals.get(scenario.cause, "")) for scenario in SCENARIOS
        ]
        located = await _locate(cluster, report) if column.name == COLUMN_LOCATED else []
    return rows, located


COLUMN_LOCATED = "statement/allow"
"""The column whose divergence is traced back to entries of the log."""


async def _run_scenarios(cluster: Cluster, session: Session, repeats: int) -> dict[str, str]:
    """Cause -> why its statement was refused, for those that were."""
    scenarios = {scenario.cause: scenario for scenario in SCENARIOS}
    refusals: dict[str, str] = {}

    async def write(cause: str) -> None:
        scenario = scenarios[cause]
        count = repeats if scenario.repeats else 1
        try:
            await session.transaction([(scenario.statement, ())] * count)
        except StatementError as error:
            refusals[cause] = str(error)

    for scenario in SCENARIOS:
        for sql in scenario.setup:
            await session.write(sql)
    for cause in scenarios:
        if cause not in {_LATE, _AFTER_RESTART}:
            await write(cause)
    await _restart_last_follower(cluster)
    await write(_AFTER_RESTART)
    await cluster.set_link_delay(CLOCK_DELAY_MS)
    await write(_LATE)
    await cluster.set_link_delay(0)
    return refusals


async def _restart_last_follower(cluster: Cluster) -> None:
    leader = await cluster.wait_for_leader(_PATIENCE_S)
    name = [name for name in cluster.names if name != leader][-1]
    await cluster.kill(name)
    await cluster.restart(name)


async def _cell(session: Session, report: ConvergenceReport, column: Column, scenario: Scenario, refusal: str) -> Row:
    digests = [tuple(tables.get(table, "") for table in scenario.tables) for tables in report.digests.values()]
    outcome = judge_digests(digests, refused=bool(refusal))
    values = {name: await _look(session, scenario.look, name) for name in report.digests}
    expected = EXPECTATIONS[scenario.cause][column.name]
    return {
        "cause": scenario.cause,
        "words": scenario.words,
        "column": column.name,
        "log_format": column.log_format,
        "policy": column.policy if column.log_format == "statement" else "",
        "expected": expected.outcome,
        "why": expected.why,
        "outcome": outcome,
        "verdict": verdict_of(outcome, expected, report.reason, refusal, scenario.cause).status,
        "statement": scenario.statement,
        "table": scenario.tables[-1],
        "example": example(values),
        "refusal": refusal,
        "different_states": len(set(digests)),
    }


def judge_digests(digests: Sequence[tuple[str, ...]], *, refused: bool = False) -> Outcome:
    """What the digests of a scenario's tables say, one tuple a replica. Too few, or missing ones, prove nothing."""
    if len(digests) < 2 or not all(all(of_replica) for of_replica in digests):
        return "unknown"
    if len(set(digests)) > 1:
        return "diverged"
    return "refused" if refused else "converged"


def verdict_of(outcome: str, expected: Expected, reason: str = "", refusal: str = "", cause: str = "") -> Verdict:
    """Whether a cell is as predicted. A statement must be refused for its `cause`, and say so."""
    if outcome == "unknown":
        return Verdict.unknown(reason or "the replicas could not be compared")
    if outcome == expected.outcome == "refused" and cause and f"cause {cause}" not in refusal:
        return Verdict.invalid(f"refused without naming {cause}: {refusal}")
    if outcome == expected.outcome:
        return Verdict.valid(outcome)
    return Verdict.invalid(f"{outcome}, expected was {expected.outcome}: {expected.why}")


async def _look(session: Session, query: str, replica: str) -> str:
    rows = (await session.read(query, replica=replica)).rows
    return str(rows[0][0]) if rows else "no row"


def example(values: Mapping[str, str]) -> str:
    """What a reader sees of equal or different replicas."""
    shown = {name: text[:_EXAMPLE_LENGTH_MAX] for name, text in values.items()}
    if len(set(shown.values())) == 1:
        return f"every replica: {next(iter(shown.values()))}"
    return ", ".join(f"{name}: {value}" for name, value in shown.items())


async def _locate(cluster: Cluster, report: ConvergenceReport) -> list[dict[str, Any]]:
    """Which values differ, and since which entry."""
    if report.ok or not report.digests:
        return []
    found = await locate(cluster, report)
    return [row | {"entries": found.entries} for row in found.rows()]
