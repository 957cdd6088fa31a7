"""The prediction of `stale_reads`: made from the first half of each cell, held against the reads of its second half.

The model stands in `workbench.metrics.prediction_leader`. When which entry was applied, the replicas write down
themselves (`ClusterConfig.apply_times`); no read is made for it, and what reads returned is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.checkers import Staleness
from workbench.experiments.base import Row
from workbench.experiments.cells import MeasuredLoad, records
from workbench.metrics.prediction_leader import (
    APPLY_COLUMNS,
    READ_COLUMNS,
    Comparison,
    LeaderModel,
    compare_with_reads,
    fit_leader,
    halves,
    read_ways,
)
from workbench.replica.apply_times import read_apply_times

if TYPE_CHECKING:
    from workbench.cluster.cluster import Cluster

CURVE_POINTS = 80


@dataclass(frozen=True, slots=True)
class CellPrediction:
    """One cell's model, and what became of it."""

    model: LeaderModel
    comparison: Comparison

    def columns(self) -> Row:
        """Columns of the summary; rates are shares, of the reads of the second half."""
        found = self.comparison
        return {
            "predicted_stale_rate": found.predicted,
            "second_half_stale_rate": found.measured,
            "second_half_stale_rate_low": found.low,
            "second_half_stale_rate_high": found.high,
            "second_half_reads": found.reads,
            "prediction_error": found.error,
            "prediction_curve_error": found.curve_error,
            "apply_lag_ms_p50": self.model.lag_ms(0.5),
            "apply_lag_ms_p99": self.model.lag_ms(0.99),
        }

    def bins(self) -> list[Row]:
        """Measured and predicted rates by the age of the last write."""
        return records(self.comparison.bins)

    def curve(self) -> list[Row]:
        """The model's curve, as far as the bins reach."""
        bins = self.comparison.bins
        if bins.empty:
            return []
        ages = np.linspace(0, float(bins["age_ms_to"].max()), CURVE_POINTS)
        rates = self.model.p_stale_anywhere(self.comparison.shares, ages)
        return [
            {"age_ms": float(age), "predicted_stale_rate": float(rate)} for age, rate in zip(ages, rates, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class NotedTimes:
    """What the replicas wrote down during one load, on its clock: rows of `APPLY_COLUMNS` and of `READ_COLUMNS`."""

    applied: pd.DataFrame
    answered: pd.DataFrame


def noted_times(cluster: Cluster, load: MeasuredLoad) -> NotedTimes:
    """Read the files of the replicas, from the beginning of the load on."""
    applied, answered = [], []
    for name in cluster.names:
        applies, reads = read_apply_times(cluster.directory / "replicas" / name)
        applied += [(name, one.term, one.index, one.time_ns - load.start_ns) for one in applies]
        answered += [(name, one.reads, one.time_ns - load.start_ns) for one in reads]
    frames = (pd.DataFrame(applied, columns=list(APPLY_COLUMNS)), pd.DataFrame(answered, columns=list(READ_COLUMNS)))
    return NotedTimes(*(frame[frame.iloc[:, -1] >= 0] for frame in frames))


def predict_cell(load: MeasuredLoad, noted: NotedTimes, staleness: Staleness) -> CellPrediction:
    """Fit to the first half of the measured operations, compare with the judged reads of the second."""
    first, second = halves(load.measured)
    ways = read_ways(load.operations, noted.answered)
    model = fit_leader(first, noted.applied, ways, leader=load.leader)
    reads = staleness.reads[staleness.reads["judged"] & staleness.reads["operation"].isin(set(second["operation"]))]
    return CellPrediction(model, compare_with_reads(model, reads))
