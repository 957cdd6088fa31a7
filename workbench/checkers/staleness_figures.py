"""All that `staleness` tells of one history, as plain values: what `workbench check staleness` prints.

Rates have 95 % intervals (Wilson), which take reads for independent. A figure that would prove nothing is nan.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from workbench.checkers.order import Sources
from workbench.checkers.staleness import FIGURES, Staleness
from workbench.checkers.visibility import non_monotonic, steps_back, visibility
from workbench.metrics.intervals import percentile, proportion_interval

_BY: Final[tuple[Literal["session"], Literal["replica"]]] = ("session", "replica")

VERSIONS_TOLD: Final = (1, 2, 3, 5, 10)
"""k of the shares of reads that returned one of the k newest known versions."""


def staleness_figures(found: Staleness) -> dict[str, Any]:
    """Counts and rates of all cells together; by replica and as a curve over time of each cell."""
    reads = found.reads
    judged = reads[reads["judged"]]
    figures: dict[str, Any] = {
        "reads": len(judged),
        "reads_at_risk": int(judged["at_risk"].sum()),
        "stale_reads": int(judged["stale"].sum()),
        "stale_reads_acknowledged": int(judged["stale_acknowledged"].sum()),
        "rolled_back_reads": int(reads["rolled_back"].sum()),
        "unexplained_reads": int(reads["unexplained"].sum()),
    }
    for name, column in FIGURES.items():
        trials = len(judged) if figures["reads_at_risk"] and not found.problem else 0
        figures[name] = found.rate(name)
        figures[f"{name}_interval"] = list(proportion_interval(int(judged[column].sum()) if trials else 0, trials))
    back = _non_monotonic(found)
    return figures | {
        "non_monotonic_reads": back["by_session"]["non_monotonic_reads"],
        "age_ms": _ages_ms(judged),
        "versions": _versions(judged, bool(figures["reads_at_risk"]) and not found.problem),
        "non_monotonic": back,
        "by_replica": found.by_replica().to_dict(orient="records"),
        "t_visibility": visibility(reads).to_dict(orient="records"),
    }


def _ages_ms(judged: pd.DataFrame) -> dict[str, float]:
    """For how long the values of stale reads had been outdated."""
    ages = np.sort(judged.loc[judged["stale"], "age_ms"].to_numpy())
    return {"p50": percentile(ages, 0.5), "p99": percentile(ages, 0.99), "max": percentile(ages, 1.0)}


def _versions(judged: pd.DataFrame, proves_something: bool) -> dict[str, Any]:
    """How many newer versions were known when a read began: of stale reads, and the shares within the k newest."""
    behind = judged["versions"].to_numpy(dtype=np.int64)
    stale = behind[behind > 0]
    shares = {str(k): float((behind < k).mean()) if proves_something else np.nan for k in VERSIONS_TOLD}
    return {
        "mean": float(stale.mean()) if len(stale) else np.nan,
        "max": int(stale.max(initial=0)),
        "within": shares,
    }


def _non_monotonic(found: Staleness) -> dict[str, Any]:
    """Steps back of sessions, all together, and of each replica."""
    if found.sources is None:
        by_session, by_replica = (non_monotonic(found.operations.iloc[:0], by) for by in _BY)
    else:
        judged = found.reads["judged"].to_numpy(dtype=bool)
        sources = Sources(found.sources.writes, found.sources.group[judged], found.sources.write[judged])
        by_session, by_replica = (steps_back(found.reads[judged], sources, by) for by in _BY)
    reads, back = (int(by_session[name].sum()) for name in ("reads", "non_monotonic_reads"))
    low, high = proportion_interval(back, reads)
    together = {
        "reads": reads, "non_monotonic_reads": back, "non_monotonic_rate": back / reads if reads else np.nan,
        "non_monotonic_rate_low": low, "non_monotonic_rate_high": high,
    }  # fmt: skip
    return {"by_session": together, "by_replica": by_replica.to_dict(orient="records")}
