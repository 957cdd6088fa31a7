"""Two runs side by side: ratios and differences of their figures, each with a 95 % interval, cell by cell.

Operations of one run are not independent: a stall hits neighbours alike, and an interval that ignores it is too narrow.
So a load is cut into blocks of equal time, and blocks are drawn with replacement (block bootstrap) for both runs. A
percentile is taken from the raw latencies of the blocks drawn; it is never an average of percentiles.

The warm-up that a run states is left out; where it states none, the rule of `warm_up` says what is. A cell with too few
operations, or none that both runs have, gives `unknown`, as does an interval that could not be made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from workbench.metrics.comparing_shares import compare_share, shares
from workbench.metrics.intervals import percentile
from workbench.metrics.latency import after_warm_up, rate_summary
from workbench.metrics.warm_up import warm_up_length

BLOCKS: Final = 20
RESAMPLES: Final = 400
OPERATIONS_MIN: Final = 100
FIGURES: Final = {"latency_ms_p50": 0.5, "latency_ms_p99": 0.99}
COLUMNS: Final = (
    "cell", "kind", "figure", "first", "second", "ratio", "ratio_low", "ratio_high", "difference", "difference_low",
    "difference_high", "verdict", "reason",
)  # fmt: skip

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """What is compared: a table of operations, and the warm-up that the run states (None: it does not).

    `dropped`: (cell, key, value) of writes that rewinds dropped, as for `staleness`; `lost_writes`: cell -> how many of
    the acknowledged ones are lost, where the run counted them.
    """

    operations: pd.DataFrame
    warm_up_s: float | None = None
    dropped: Collection[tuple[str, str, int]] = ()
    lost_writes: Mapping[str, int] = field(default_factory=dict)


def compare_runs(first: MeasuredRun, second: MeasuredRun, *, seed: int = 1) -> pd.DataFrame:
    """One row a cell, kind and figure that both have (`COLUMNS`).

    `ratio` is second by first, `difference` second less first. `verdict`: `higher` or `lower` where the interval of the
    ratio excludes 1, of shares that of the difference 0; `no difference` where not; `unknown` with its `reason`.
    Latencies count from the intended start; `achieved_per_s` is of all kinds together.
    """
    cells = sorted(set(first.operations["cell"]) & set(second.operations["cell"]))
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for cell in cells:
        pair = [_settled(run, cell) for run in (first, second)]
        for kind in sorted(set(pair[0]["kind"]) & set(pair[1]["kind"])):
            blocks = [_blocks(table[table["kind"] == kind]) for table in pair]
            for figure, fraction in FIGURES.items():
                rows.append({"cell": cell, "kind": kind, "figure": figure} | _ratio(blocks, fraction, random))
        rows.append({"cell": cell, "kind": "all", "figure": "achieved_per_s"} | _rates(pair, random))
        rows += _shares(cell, (first, second), pair, random)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _shares(
    cell: str, runs: tuple[MeasuredRun, MeasuredRun], pair: list[pd.DataFrame], random: np.random.Generator
) -> list[dict[str, Any]]:
    """Rows of the shares that both have. What was written in the warm-up is judged with the rest, then left out."""
    found = []
    for run, settled in zip(runs, pair, strict=True):
        whole = run.operations[run.operations["cell"] == cell]
        of_run = shares(
            whole, BLOCKS, counted=settled["operation"], lost=run.dropped, lost_writes=run.lost_writes.get(cell)
        )
        found.append({(one.kind, one.figure): one for one in of_run})
    common = [name for name in found[0] if name in found[1]]
    return [
        {"cell": cell, "kind": kind, "figure": figure}
        | compare_share(found[0][kind, figure], found[1][kind, figure], RESAMPLES, random)
        for kind, figure in common
    ]


def _settled(run: MeasuredRun, cell: str) -> pd.DataFrame:
    """The operations of a cell after its warm-up, in the order in which they were due."""
    table = run.operations[run.operations["cell"] == cell].sort_values("intended_ns", kind="stable")
    if run.warm_up_s is not None:
        return after_warm_up(table, run.warm_up_s)
    ok = table[(table["outcome"] == "ok") & table["intended_ns"].notna()]
    cut = warm_up_length((ok["completed_ns"] - ok["intended_ns"]).to_numpy(dtype=float))
    return table if not cut else table[(table["intended_ns"] >= ok["intended_ns"].iloc[cut]).fillna(False)]


def _blocks(table: pd.DataFrame) -> list[Array]:
    """Latencies in ms of the `ok` operations, by the block of time that they were due in."""
    ok = table[(table["outcome"] == "ok") & table["intended_ns"].notna()]
    if ok.empty:
        return []
    due, completed = (ok[name].to_numpy(dtype=np.int64) for name in ("intended_ns", "completed_ns"))
    span = max(int(due.max() - due.min()), 1)
    block = np.minimum((due - due.min()) * BLOCKS // (span + 1), BLOCKS - 1)
    latencies = (completed - due) / 1e6
    return [latencies[block == number] for number in range(BLOCKS)]


def _ratio(blocks: list[list[Array]], fraction: float, random: np.random.Generator) -> dict[str, Any]:
    counts = [sum(map(len, of_run)) for of_run in blocks]
    if min(counts) < OPERATIONS_MIN:
        return _unknown(f"{min(counts)} operations, at least {OPERATIONS_MIN} are needed")
    beyond = min(counts) * (1 - fraction)
    values = [percentile(np.sort(np.concatenate(of_run)), fraction) for of_run in blocks]
    if beyond < 5:
        reason = f"{min(counts)} operations: too few lie beyond this percentile"
        return _unknown(reason) | {"first": values[0], "second": values[1], "ratio": _divide(values[1], values[0])}
    drawn = [[percentile(np.sort(_resampled(of_run, random)), fraction) for of_run in blocks] for _ in range(RESAMPLES)]
    return _judged(values, np.array(drawn))


def _resampled(blocks: list[Array], random: np.random.Generator) -> Array:
    return np.concatenate([blocks[number] for number in random.integers(len(blocks), size=len(blocks))])


def _rates(pair: list[pd.DataFrame], random: np.random.Generator) -> dict[str, Any]:
    """Achieved rates; the interval from the numbers of operations that ended well, block by block."""
    if min(map(len, pair)) < OPERATIONS_MIN:
        return _unknown(f"{min(map(len, pair))} operations, at least {OPERATIONS_MIN} are needed")
    values = [float(rate_summary(table)["achieved_per_s"].iloc[0]) for table in pair]
    counts = [np.array([len(block) for block in _blocks(table)]) for table in pair]
    if not all(len(count) and count.sum() for count in counts):
        return _unknown("no operation ended well")
    # Also a load that is evenly spaced could have had some operations more or fewer: counts are Poisson at least.
    drawn = [
        [
            value * random.poisson(random.choice(count, len(count)).sum()) / count.sum()
            for value, count in zip(values, counts, strict=True)
        ]
        for _ in range(RESAMPLES)
    ]
    return _judged(values, np.array(drawn))


def _judged(values: list[float], drawn: Array) -> dict[str, Any]:
    """The ratio, and the quantiles of those drawn."""
    if not (drawn > 0).all() or not min(values) > 0:
        return _unknown("a figure is zero: there is no ratio") | {"first": values[0], "second": values[1]}
    low, high = (float(bound) for bound in np.quantile(drawn[:, 1] / drawn[:, 0], [0.025, 0.975]))
    less, more = (float(bound) for bound in np.quantile(drawn[:, 1] - drawn[:, 0], [0.025, 0.975]))
    verdict = "higher" if low > 1 else "lower" if high < 1 else "no difference"
    return {
        "first": values[0],
        "second": values[1],
        "ratio": values[1] / values[0],
        "ratio_low": low,
        "ratio_high": high,
        "difference": values[1] - values[0],
        "difference_low": less,
        "difference_high": more,
        "verdict": verdict,
        "reason": "",
    }


def _unknown(reason: str) -> dict[str, Any]:
    nothing = dict.fromkeys(COLUMNS[3:-2], float("nan"))
    return nothing | {"verdict": "unknown", "reason": reason}


def _divide(one: float, other: float) -> float:
    return one / other if other > 0 else float("nan")
