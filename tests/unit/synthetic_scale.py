"""An invented run of `scale`, and what it is made of."""

from __future__ import annotations

from pathlib import Path

from tests.unit.synthetic_folder import Row, write
from workbench.experiments.scale_cells import Cell, FailoverSample, Load, Setting, WriteSample, summary_row
from workbench.results import RunFolder


def scale_cell(size: int, voters: int = 0, network: str = "lan", *, world: str = "simulated") -> Cell:
    """A cell as it should be: everything grows with the voters, and what comes to the leader with the size."""
    voters = voters or size
    timeout_ms = max(2_000.0, 0.034 * voters**2)
    setting = Setting(size=size, voters=voters, network=network, fan_out="broker", election_timeout_ms=timeout_ms)
    far_ms = 0.0 if network == "lan" else 80.0
    is_simulated = world == "simulated"
    cell = Cell(setting=setting, world=world, acknowledged=4, lost=0, converged=True)
    cell.load = Load(
        out_per_s=2.0,
        in_per_s=2.0 * (size - 1),
        **(
            {
                "delivered_per_s": 2.0 * (size - 1),
                "leader_busy": 0.016 + 0.0002 * size,
                "broker_busy": 0.00005 * size,
                "out_per_write": 1.0,
                "delivered_per_write": float(size - 1),
            }
            if is_simulated
            else {}
        ),
    )
    cell.writes = [
        WriteSample(
            latency_ms=far_ms + 3.0 + 0.2 * voters + number,
            bound_ms=far_ms + 0.16 if is_simulated else float("nan"),
            stale=size // 3 if far_ms else 0,
            asked=size,
            lag_ms=[2.0, far_ms + 2.0],
        )
        for number in range(3)
    ]
    cell.failovers = [
        FailoverSample(
            kill=number + 1,
            leader=f"replica-{number + 1}",
            successor=f"replica-{number + 2}",
            term_before=number + 1,
            term_after=number + 2,
            silent_ms=100.0,
            candidate_ms=timeout_ms + 20.0,
            elected_ms=timeout_ms + 30.0 + number,
            failover_ms=timeout_ms + 40.0 + number + far_ms,
            candidates=1.0,
            elections=1,
        )
        for number in range(3)
    ]
    return cell


CELLS = [
    *(scale_cell(size) for size in (3, 9, 300)),
    *(scale_cell(size, 5) for size in (9, 300)),
    *(scale_cell(size, 0, "wan-5-regions") for size in (3, 9, 300)),
]


def scale_run(root: Path, *, empty: bool = False) -> RunFolder:
    """Three sizes, in one place and in five regions."""
    cells = [] if empty else [scale_cell(3, world="real"), *CELLS[1:]]
    failovers: list[Row] = [one.row(cell.setting.labels) for cell in cells for one in cell.failovers]
    question = "What happens at a thousand replicas?"
    return write(root, "scale", question, [summary_row(cell) for cell in cells], {"failovers": failovers}, empty=empty)
