"""Metrics: pure functions from recorded runs to tidy tables."""

from workbench.metrics.intervals import bootstrap_interval, percentile_interval, proportion_interval
from workbench.metrics.lag import lag, lag_summary
from workbench.metrics.latency import after_warm_up, latencies_ms, latency_summary, rate_summary
from workbench.metrics.rates import rates_over_time

__all__ = [
    "after_warm_up",
    "bootstrap_interval",
    "lag",
    "lag_summary",
    "latencies_ms",
    "latency_summary",
    "percentile_interval",
    "proportion_interval",
    "rate_summary",
    "rates_over_time",
]
