"""An invented run of `log_formats`: every cell as predicted, bytes and times in round numbers."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.unit.synthetic_folder import Row, write
from workbench.experiments.log_formats_engines import CHANGES, ENGINE_EXPECTATIONS, FORMATS
from workbench.experiments.log_formats_scenarios import COLUMNS, EXPECTATIONS, SCENARIOS
from workbench.experiments.log_formats_workloads import BULK, BULK_WORDS, WORKLOADS
from workbench.results import RunFolder

SIZES = (1, 10, 100, 1_000, 10_000)
BULK_BYTES = {
    "statement": lambda rows: 61 + (2 if rows > 127 else 0),
    "wal": lambda rows: 11 + 4_096 * max(1, rows // 370),
    "logical": lambda rows: 20 + 32 * rows,
}
ONE_BYTES = {
    "insert": (146, 4_107, 129),
    "update": (153, 4_107, 232),
    "range_delete": (57, 30_968, 11_317),
    "wide_insert": (1_089, 4_722, 1_026),
    "wide_update": (49, 4_107, 343),
    "indexed_insert": (81, 25_227, 78),
    "triggered_insert": (148, 8_208, 265),
}
"""Workload -> bytes as statement, wal, logical."""


def cost_row(workload: str, words: str, log_format: str, rows: int, body_bytes: float) -> Row:
    speed = {"statement": 18.0, "wal": 10.0, "logical": 55.0}[log_format]
    return {
        "workload": workload,
        "words": words,
        "log_format": log_format,
        "rows": rows,
        "repeats": 10,
        "body_bytes": float(body_bytes),
        "pages": body_bytes // 4_096 if log_format == "wal" else float("nan"),
        "plain_us": 13.0 + 0.09 * rows,
        "leader_us": 13.0 + 0.09 * rows + speed,
        "follower_us": speed + {"statement": 0.09, "wal": 0.01, "logical": 0.7}[log_format] * rows,
        "converged": True,
        "refusal": "",
    }


def cost_rows() -> list[Row]:
    rows = [
        cost_row(one.name, one.words, log_format, one.rows, size)
        for one in WORKLOADS
        for log_format, size in zip(BULK_BYTES, ONE_BYTES[one.name], strict=True)
    ]
    return rows + [
        cost_row(BULK, BULK_WORDS, log_format, size, body(size))
        for size, (log_format, body) in itertools.product(SIZES, BULK_BYTES.items())
    ]


def crossing_rows(row_bytes: int = 0) -> list[Row]:
    found = {("statement", "logical"): 2, ("statement", "wal"): 1, ("wal", "logical"): 128}
    return [
        {"smaller": first, "larger": second, "from_rows": float(rows), "row_bytes": row_bytes}
        for (first, second), rows in found.items()
    ]


def unsafe_rows() -> list[Row]:
    return [
        {
            "cause": scenario.cause,
            "words": scenario.words,
            "column": column.name,
            "log_format": column.log_format,
            "policy": column.policy,
            "expected": expected.outcome,
            "why": expected.why,
            "outcome": expected.outcome,
            "verdict": "valid",
            "statement": scenario.statement,
            "table": scenario.tables[-1],
            "example": "replica-1: 7, replica-2: 8",
            "refusal": "",
            "different_states": 2 if expected.outcome == "diverged" else 1,
        }
        for scenario, column in itertools.product(SCENARIOS, COLUMNS)
        for expected in [EXPECTATIONS[scenario.cause][column.name]]
    ]


def engine_rows() -> list[Row]:
    return [
        {
            "change": change.name,
            "words": change.words,
            "log_format": log_format,
            "expected": expected.outcome,
            "why": expected.why,
            "outcome": expected.outcome,
            "verdict": "valid",
            "detail": "same rows",
        }
        for change, log_format in itertools.product(CHANGES, FORMATS)
        for expected in [ENGINE_EXPECTATIONS[change.name][log_format]]
    ]


def divergence_rows() -> list[Row]:
    """One value a table that diverged under statement/allow, each since an entry of its own."""
    diverged = [row for row in unsafe_rows() if (row["column"], row["outcome"]) == ("statement/allow", "diverged")]
    return [
        {
            "table": row["table"],
            "key": "id=1",
            "column": "value",
            "replica-1": "7",
            "replica-2": "8",
            "term": 1,
            "index": 30 + place,
            "statement": row["statement"],
            "cause": row["cause"],
            "reason": "",
            "entries": 46,
        }
        for place, row in enumerate(diverged)
    ]


def summary_rows(writes: int = 12_000) -> list[Row]:
    costs = {"statement": (105.0, 12.1, 6.4), "wal": (4210.0, 16.3, 8.9), "logical": (168.0, 21.7, 14.2)}
    return [
        {
            "cell": f"log_format={name}",
            "log_format": name,
            "writes": writes,
            "entries": writes // 3,
            "writes_per_entry": 3.0,
            "body_bytes_per_write": body,
            "log_bytes_per_write": body + 20,
            "leader_execute_us_per_write": execute,
            "follower_apply_us_per_write": apply,
            "leader_syncs_per_entry": 1.0,
            "follower_syncs_per_entry": 0.8,
            "leader_sync_us_per_sync": 900.0,
        }
        for name, (body, execute, apply) in costs.items()
    ]


def log_formats_run(root: Path, *, empty: bool = False) -> RunFolder:
    """Statement small and diverging, wal large, logical between."""
    tables = {
        "costs": cost_rows(),
        "crossings": crossing_rows(),
        "unsafe": unsafe_rows(),
        "engines": engine_rows(),
        "divergence": divergence_rows(),
    }
    summary = summary_rows(0 if empty else 12_000)
    return write(
        root, "log_formats", "What exactly does the leader send?", summary, {} if empty else tables, empty=empty
    )
