"""What the cells of `accidental_failover` show, as pure functions: a row a failover, a row a cell, and the claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.checkers import Verdict
from workbench.experiments.accidental_failover_watch import Reign
from workbench.experiments.base import Row
from workbench.experiments.cells import claim

MINIMUMS = {"observed_timeouts": 20, "acknowledged_writes": 50}
WINDOWS = ("before", "during", "after")
WINDOW_TIMEOUTS = 2.0
"""How long before and after a failover counts as that, in election timeouts."""
_WINDOW_MS_MIN, _SHORTEST_MS = 500.0, 100.0
STALL_SHARE = 0.4
"""A replica that was stopped by the machine for this share of the timeout may have lost its place to that."""
_NOTHING = float("nan")


class Completions:
    """The operations of one cell by the time of their end."""

    def __init__(self, operations: pd.DataFrame) -> None:
        ended = operations[operations["completed_ns"].notna()]
        self.at_ms = ended["completed_ns"].to_numpy(dtype=float) / 1e6
        self._outcome = ended["outcome"].to_numpy(dtype=object)
        self._is_write = ended["kind"].to_numpy(dtype=object) == "write"
        self._term = ended["term"].to_numpy(dtype=int)

    def count(self, begin_ms: float, end_ms: float, *outcomes: str) -> int:
        """How many writes ended so from `begin_ms` on and before `end_ms`."""
        within = (self.at_ms >= begin_ms) & (self.at_ms < end_ms) & self._is_write
        return int((within & np.isin(self._outcome, outcomes)).sum())

    def first_acknowledged_ms(self, term: int) -> float:
        """When a write was acknowledged at an entry of `term` or later; nan: never."""
        found = self.at_ms[self._is_write & (self._outcome == "ok") & (self._term >= term)]
        return float(found.min()) if len(found) else _NOTHING


def failover_rows(
    reigns: Sequence[Reign], operations: pd.DataFrame, timeout_ms: float, end_ms: float, labels: Row
) -> list[Row]:
    """One row a failover: all reigns but the first one began with one.

    `during`: from when the former leader was last seen to lead until the last look that did not find
    the new one: it answers at once what it has inherited. Windows of neighbours do not
    overlap; one that is too short to say anything has rates of nan.
    """
    done = Completions(operations)
    window_ms = max(WINDOW_TIMEOUTS * timeout_ms, _WINDOW_MS_MIN)
    rows = []
    for place in range(1, len(reigns)):
        old, new = reigns[place - 1], reigns[place]
        begin, end = old.last_ms, max(new.unseen_ms, old.last_ms)
        following = reigns[place].last_ms if place + 1 < len(reigns) else end_ms
        bounds = {
            "before": (max(begin - window_ms, old.seen_ms), begin),
            "during": (begin, end),
            "after": (end, min(end + window_ms, following)),
        }
        rows.append(
            labels
            | {
                "failover": place,
                "old_leader": old.leader,
                "new_leader": new.leader,
                "term": new.term,
                "at_ms": begin,
                "elected_ms": new.seen_ms - begin,
                "recovered_ms": done.first_acknowledged_ms(new.term) - begin,
            }
            | {name: value for window in WINDOWS for name, value in _window(done, window, bounds[window]).items()}
        )
    return rows


def _window(done: Completions, window: str, bounds: tuple[float, float]) -> Row:
    begin, end = bounds
    length_s = max(end - begin, 0.0) / 1e3
    acknowledged, failed = done.count(begin, end, "ok"), done.count(begin, end, "fail", "info")
    is_long = length_s >= _SHORTEST_MS / 1e3
    return {
        f"seconds_{window}": length_s,
        f"writes_per_s_{window}": acknowledged / length_s if is_long else _NOTHING,
        f"failed_{window}": failed,
    }


def mean_rates(rows: Sequence[Row]) -> Row:
    """Acknowledged writes a second before, during and after the failovers of a cell, long ones counting for more."""
    found: Row = {}
    for window in WINDOWS:
        parts = [row for row in rows if np.isfinite(row[f"writes_per_s_{window}"])]
        seconds = sum(row[f"seconds_{window}"] for row in parts)
        writes = sum(row[f"writes_per_s_{window}"] * row[f"seconds_{window}"] for row in parts)
        found[f"writes_per_s_{window}"] = writes / seconds if seconds else _NOTHING
        found[f"failed_{window}"] = sum(row[f"failed_{window}"] for row in rows)
    return found


# Claims. About cells with all protections, unless they are what is compared.


def judge(rows: Sequence[Row], lost: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """The claims, from the rows of the summary; `lost`: cell -> whether an acknowledged write was lost in it.

    Claims about cells that were not measured are not made.
    """
    usual = [row for row in rows if row["pre_vote"] and row["check_quorum"]] or list(rows)
    calm = [row for row in usual if not row["congestion"]]
    most = max((row["congestion"] for row in usual), default=0)
    worst = sorted(
        (row for row in usual if row["congestion"] == most), key=lambda row: float(row["election_timeout_ms"])
    )
    verdicts: dict[str, Verdict] = {}
    if calm:
        verdicts["no_false_failover_without_congestion"] = claim({row["cell"]: _is_calm(row) for row in calm})
    if most >= 1 and len(worst) > 1:
        verdicts["short_timeouts_depose_healthy_leaders"] = _compare(worst[0], worst[-1])
    verdicts["no_acknowledged_write_is_lost"] = claim(dict(lost))
    return verdicts


def _needing(judged: Verdict) -> Verdict:
    for name, minimum in MINIMUMS.items():
        judged = judged.needing(name, minimum)
    return judged


def _counts(row: Row) -> dict[str, float]:
    return {name: row[name] for name in ("false_failovers", *MINIMUMS)}


def _is_calm(row: Row) -> Verdict:
    """A leader that the machine itself has stopped for long was not deposed for nothing."""
    if row["problem"]:
        return Verdict.unknown(row["problem"], **_counts(row))
    if row["false_failovers"] and row["stall_ms"] >= STALL_SHARE * row["election_timeout_ms"]:
        words = f"{row['false_failovers']} failovers, but the machine stopped a process for {row['stall_ms']:.0f} ms"
        return Verdict.unknown(words, **_counts(row))
    words = f"{row['false_failovers']} false failovers in {row['observed_timeouts']:.0f} election timeouts"
    return _needing(Verdict.expect(not row["false_failovers"], words, **_counts(row)))


def _compare(short: Row, long: Row) -> Verdict:
    """More failovers a minute at the shortest timeout than at the longest, under the strongest congestion."""
    words = "; ".join(
        f"{row['false_failovers_per_min']:.1f} a minute at {row['election_timeout_ms']:g} ms" for row in (short, long)
    )
    counts = {name: min(short[name], long[name]) for name in MINIMUMS}
    counts |= {"false_failovers": short["false_failovers"], "false_failovers_at_the_longest": long["false_failovers"]}
    if problem := short["problem"] or long["problem"]:
        return Verdict.unknown(problem, **counts)
    holds = short["false_failovers_per_min"] > long["false_failovers_per_min"]
    judged = Verdict.expect(holds, words, **counts)
    return judged.needing("observed_timeouts", MINIMUMS["observed_timeouts"])


def invariants(rows: Sequence[Row]) -> dict[str, Any]:
    """What must be the same on any machine. A value that could not be found out is None."""
    lost = [row["lost_acknowledged_writes"] for row in rows]
    return {
        "converged": all(row["converged"] for row in rows),
        "crashed_replicas": sum(row["crashed_replicas"] for row in rows),
        "lost_acknowledged_writes": None if None in lost else sum(lost),
        "observed_timeouts_min": int(min((row["observed_timeouts"] for row in rows), default=0)),
    }
