"""Shares of two runs side by side: how many reads were stale or stepped back, operations failed, writes were lost.

Neighbours are alike in these, too (one slow follower makes a row of stale reads), so the interval of a difference or a
ratio is bootstrapped over blocks of time. Where a share is near 0 the bootstrap knows too little, having seen nothing;
so the interval is never narrower than that for independent observations: Newcombe's of a difference, Katz's of a ratio.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from workbench.checkers.sessions import session_guarantees
from workbench.checkers.staleness import FIGURES, staleness
from workbench.metrics.intervals import difference_interval, ratio_interval

TRIALS_MIN: Final = 100
_GUARANTEES: Final = {"non_monotonic_rate": "monotonic_reads", "own_writes_missed_rate": "read_your_writes"}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Share:
    """How often something was the case: `hits` of `trials`, of each block of time."""

    kind: str
    figure: str
    hits: Array
    trials: Array

    @property
    def value(self) -> float:
        """nan without trials."""
        return float(self.hits.sum() / self.trials.sum()) if self.trials.sum() else np.nan


def shares(
    operations: pd.DataFrame,
    blocks: int,
    *,
    counted: pd.Series,
    lost: Collection[tuple[str, str, int]] = (),
    lost_writes: int | None = None,
) -> Iterator[Share]:
    """What can be told of one cell; `counted` are the numbers of the operations after its warm-up.

    `lost`: as for `staleness`; `lost_writes`: how many were acknowledged and then dropped, where that is known.
    """
    chosen = operations[operations["operation"].isin(counted)]
    block = _blocks(chosen["intended_ns"].fillna(chosen["invoked_ns"]), blocks)
    block_of = pd.Series(block, index=chosen["operation"].to_numpy())
    yield _share("all", "not_ok_rate", block, (chosen["outcome"] != "ok").to_numpy(dtype=bool), blocks)

    def share(kind: str, figure: str, judged: pd.DataFrame, column: str) -> Share:
        here = judged[judged["operation"].isin(counted)]
        return _share(kind, figure, block_of[here["operation"]].to_numpy(), here[column].to_numpy(dtype=bool), blocks)

    reads = staleness(operations, lost=lost).reads
    reads = reads[reads["judged"]]
    if reads["at_risk"].any():  # otherwise none could have been stale: a share of 0 would prove nothing
        for figure, column in FIGURES.items():
            yield share("read", figure, reads, column)
    checked = session_guarantees(operations, lost=lost).checked
    for figure, guarantee in _GUARANTEES.items():
        yield share("read", figure, checked[checked["guarantee"] == guarantee], "violated")
    if lost_writes is not None:  # which ones is not known, so they are one block
        acknowledged = int(((operations["kind"] == "write") & (operations["outcome"] == "ok")).sum())
        yield Share("write", "lost_rate", np.array([lost_writes]), np.array([acknowledged]))


def _blocks(due: pd.Series, blocks: int) -> Array:
    at: Array = due.to_numpy(dtype=np.int64, na_value=0)
    if not len(at):
        return at
    span = max(int(at.max() - at.min()), 1)
    block: Array = np.minimum((at - at.min()) * blocks // (span + 1), blocks - 1)
    return block


def _share(kind: str, figure: str, block: Array, hit: Array, blocks: int) -> Share:
    return Share(kind, figure, np.bincount(block[hit], minlength=blocks), np.bincount(block, minlength=blocks))


def compare_share(first: Share, second: Share, resamples: int, random: np.random.Generator) -> dict[str, Any]:
    """`first`, `second`, `ratio` and `difference` with their intervals, `verdict` and `reason`."""
    both = (first, second)
    figures: dict[str, Any] = {"first": first.value, "second": second.value}
    trials = [int(share.trials.sum()) for share in both]
    if min(trials) < TRIALS_MIN:
        return figures | {"verdict": "unknown", "reason": f"{min(trials)} operations, at least {TRIALS_MIN} are needed"}
    counts = [(int(share.hits.sum()), int(share.trials.sum())) for share in both]
    drawn = [_drawn(share, resamples, random) for share in both]
    low, high = _wider(difference_interval(*counts), drawn[1] - drawn[0])
    figures |= {"difference": second.value - first.value, "difference_low": low, "difference_high": high}
    if min(hits for hits, _ in counts) > 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = drawn[1] / drawn[0]
        figures["ratio"] = second.value / first.value
        figures["ratio_low"], figures["ratio_high"] = _wider(ratio_interval(*counts), ratios[np.isfinite(ratios)])
    verdict = "higher" if low > 0 else "lower" if high < 0 else "no difference"
    return figures | {"verdict": verdict, "reason": ""}


def _drawn(share: Share, resamples: int, random: np.random.Generator) -> Array:
    """The share in so many resamples of its blocks; those without trials are as the whole."""
    chosen = random.integers(len(share.hits), size=(resamples, len(share.hits)))
    hits, trials = share.hits[chosen].sum(axis=1), share.trials[chosen].sum(axis=1)
    drawn: Array = np.where(trials > 0, hits / np.maximum(trials, 1), share.value)
    return drawn


def _wider(interval: tuple[float, float], drawn: Array) -> tuple[float, float]:
    if not len(drawn):
        return interval
    low, high = np.quantile(drawn, [0.025, 0.975])
    return min(interval[0], float(low)), max(interval[1], float(high))
