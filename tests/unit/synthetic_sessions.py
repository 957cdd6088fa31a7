"""An invented run of `session_guarantees`."""

from __future__ import annotations

from pathlib import Path

from tests.unit.synthetic_folder import Row, write
from workbench.experiments.session_claims import JUDGED, promises
from workbench.metrics import proportion_interval
from workbench.results import RunFolder

_BROKEN = {
    "any": (160, 51),
    "bounded:30ms": (1, 0),
    "sticky": (196, 0),
    "monotonic": (139, 0),
    "read_your_writes": (0, 8),
    "read_your_writes:leader_for_own": (0, 7),
    "read_your_writes:window": (0, 0),
    "causal": (0, 0),
    "leader": (0, 0),
    "linearizable": (0, 0),
}
"""Read policy -> own writes missed, steps back."""
_MEANS_MS = (1.0, 3.1, 1.1, 14.0, 9.8, 1.2, 1.4, 25.0, 0.9, 16.0)
_LEADER_SHARES = (0.33, 0.53, 0.34, 0.33, 0.34, 0.74, 0.41, 0.34, 1.0, 1.0)


def session_guarantees_run(
    root: Path, *, empty: bool = False, without_any: bool = False, broken: tuple[str, int] | None = None
) -> RunFolder:
    """Every promise is kept, and `any` keeps none. `broken`: a policy and how often it missed own writes after all."""
    summary: list[Row] = []
    by_replica: list[Row] = []
    for policy, mean, share in zip(_BROKEN, _MEANS_MS, _LEADER_SHARES, strict=True):
        counts = _BROKEN[policy]
        row: Row = {"cell": f"read_policy={policy}", "ack": "async", "read_policy": policy}
        row |= {"reads": 0 if empty else 2_000, "leader_share": share}
        row |= {f"read_latency_from_send_ms_{name}": mean * by for name, by in (("mean", 1), ("p50", 0.5), ("p99", 5))}
        if broken and policy == broken[0]:
            counts = (broken[1], counts[1])
        for guarantee, violations in zip(JUDGED, counts, strict=True):
            low, high = proportion_interval(violations, 1_250)
            row |= {
                f"promises_{guarantee}": promises(policy, guarantee, 120.0),
                f"{guarantee}_checked": 1_250,
                f"{guarantee}_violations": violations,
                f"{guarantee}_violation_rate": violations / 1_250,
                f"{guarantee}_violation_rate_low": low,
                f"{guarantee}_violation_rate_high": high,
            }
        price = float("nan") if without_any else mean - _MEANS_MS[0]
        row |= {f"price_ms_{name}": price for name in ("mean", "p50", "p99")}
        row["not_ok"] = 0
        if not (without_any and policy == "any"):
            summary.append(row)
        by_replica.append(
            {"read_policy": policy, "replica": "replica-1", "role": "leader", "reads": 700, "share": share}
        )
    tables = {} if empty else {"by_replica": by_replica}
    question = "Why did my own comment vanish?"
    return write(root, "session_guarantees", question, summary, tables, empty=empty)
