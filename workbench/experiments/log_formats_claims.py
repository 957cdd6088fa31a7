"""What `log_formats` claims, and how a run is judged.

Bytes are the same on any machine, and so is what becomes of each cell of the two matrices: these are judged. Times are
shown, and judged by nobody. One claim a row of a matrix, with its cells as parts; a row that was not measured is no
claim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from workbench.checkers.verdict import Verdict
from workbench.experiments.base import Row
from workbench.experiments.cells import claim
from workbench.experiments.log_formats_engines import CHANGES
from workbench.experiments.log_formats_scenarios import EXPECTATIONS, SCENARIOS, Expected
from workbench.experiments.log_formats_workloads import BULK

MINIMUMS = {"writes": 50}
NARROW_ROW_BYTES = 8
"""Rows of bulk updates with no more than this beside the key and the counter: of them, many share a page."""
_FEW_BYTES = 16
"""What larger numbers among a statement's parameters may add."""
_ALIKE = 1.5
"""How far two costs a row may lie apart that are called the same."""
_ROWS_ENOUGH = 1_000
_INDEXES = 5

_COST_CLAIMS = {
    "every_format_was_loaded": "Each format carried enough writes for its costs to mean something.",
    "costs_leave_replicas_equal": "After every workload the follower holds the rows of its leader.",
    "statements_cost_the_same_for_any_rows": "One statement ships the same bytes, however many rows it changes.",
    "rows_cost_by_the_row": "The logical log ships bytes in proportion to the rows that changed.",
    "pages_cost_by_the_page": "The write-ahead log ships whole pages: at least one for a single row, and fewer bytes a "
    "row the more rows share a page.",
    "a_statement_beats_rows": "From some number of rows on, a statement ships fewer bytes than the rows it changes.",
    "pages_beat_rows": "From some number of narrow, neighbouring rows on, pages ship fewer bytes than rows.",
    "indexes_cost_pages_only": "Indexes make the write-ahead log ship more pages; the logical log and statements ship "
    "nothing for them.",
    "triggers_cost_rows_and_pages": "What a trigger writes travels as rows and as pages; a statement ships nothing "
    "for it.",
}
_UNSAFE_WORDS = {
    "constants": "Where a statement holds constants only, every format and policy keeps replicas equal.",
    "random": "Random numbers",
    "time": "The time of day",
    "session_state": "Counters of a connection",
    "limit": "LIMIT without a total order",
    "generated_keys": "Keys generated for rows that are read in open order",
    "trigger_keys": "Keys that a trigger generates row by row in open order",
    "conflict_order": "A conflict that the first row wins, in open order",
    "several_matches": "UPDATE FROM with several matching rows",
    "aggregate_order": "Aggregates that depend on the order of reading",
    "random_rowid": "Rowids drawn at random once the largest is taken",
    "engine": "The version of the engine",
    "physical": "The layout of the database file",
}
_ENGINE_CLAIMS = {
    "plan": "A follower that reads rows in another order drifts apart under statement, and under no other format.",
    "page_size": "A follower with another page size takes statements and rows, and is refused where pages travel.",
    "page_size_unchecked": "Let in unchecked, a follower with another page size is corrupted by pages, and by nothing "
    "else.",
    "duckdb": "A follower on DuckDB stays equal under logical; statements in SQLite's dialect fail, and pages are "
    "refused.",
}


def _unsafe_sentence(cause: str) -> str:
    words = _UNSAFE_WORDS[cause]
    if words.endswith("."):
        return words
    allow, pin = (EXPECTATIONS[cause][column].outcome for column in ("statement/allow", "statement/pin"))
    copied = "diverge" if allow == "diverged" else "converge while all run one version"
    if pin == "converged":
        return (
            f"{words}: copied statements {copied}, refuse names the cause; pinned, as rows or as pages they converge."
        )
    return f"{words}: copied statements {copied}, refuse and pin name the cause; rows and pages converge."


CLAIMS: Mapping[str, str] = {
    **_COST_CLAIMS,
    **{f"unsafe_{one.cause}": _unsafe_sentence(one.cause) for one in SCENARIOS},
    **{f"engine_{one.name}": _ENGINE_CLAIMS[one.name] for one in CHANGES},
    "divergence_is_located": "What differs under statement/allow is found: table, key, value, and the entry "
    "that did it.",
}
"""Name -> sentence."""


def judge(
    summary: Sequence[Row] = (),
    costs: Sequence[Row] = (),
    crossings: Sequence[Row] = (),
    unsafe: Sequence[Row] = (),
    engines: Sequence[Row] = (),
    divergence: Sequence[Row] = (),
) -> dict[str, Verdict]:
    """The claims about what was measured."""
    verdicts = {}
    if summary:
        verdicts["every_format_was_loaded"] = claim({row["log_format"]: _loaded(row) for row in summary})
    if costs:
        verdicts |= _judge_costs(costs, crossings)
    for prefix, column, name, rows in (
        ("unsafe", "column", "cause", unsafe),
        ("engine", "log_format", "change", engines),
    ):
        for key, cells in groupby(rows, key=itemgetter(name)):
            verdicts[f"{prefix}_{key}"] = claim({row[column]: _cell(row) for row in cells})
    if any(row["column"] == "statement/allow" for row in unsafe):
        verdicts["divergence_is_located"] = _located(unsafe, divergence)
    return {name: verdicts[name] for name in CLAIMS if name in verdicts}


def _loaded(row: Row) -> Verdict:
    return Verdict.valid(f"{row['writes']:,} writes", writes=row["writes"]).needing("writes", MINIMUMS["writes"])


def _cell(row: Row) -> Verdict:
    """A cell of a matrix. Its row says already whether it is as expected."""
    outcome, expected = row["outcome"], Expected(row["expected"], row["why"])
    if row["verdict"] == "unknown":
        return Verdict.unknown(row.get("detail") or "the replicas could not be compared")
    shown = outcome if outcome == expected.outcome else f"{outcome}, expected was {expected.outcome}: {expected.why}"
    return Verdict(row["verdict"], shown, (), {"cells": 1})


def _located(unsafe: Sequence[Row], divergence: Sequence[Row]) -> Verdict:
    """Every diverged cell of the column must have a value that differs, and the entry that wrote it."""
    diverged = [row for row in unsafe if (row["column"], row["outcome"]) == ("statement/allow", "diverged")]
    if not diverged:
        return Verdict.unknown("nothing diverged")
    found = {row["table"] for row in divergence if row["key"] and row["index"] is not None}
    missing = [row["table"] for row in diverged if row["table"] not in found]
    reason = f"not found: {', '.join(missing)}" if missing else f"{len(diverged)} tables, each with its rows and entry"
    return Verdict.expect(not missing, reason, tables=len(diverged))


# Costs.


def _judge_costs(costs: Sequence[Row], crossings: Sequence[Row]) -> dict[str, Verdict]:
    by_format = {row["log_format"]: row for row in costs}
    bulk = {
        name: {
            row["rows"]: row
            for row in costs
            if row["workload"] == BULK and row["log_format"] == name and row["repeats"]
        }
        for name in by_format
    }
    measured = {(row["workload"], row["log_format"]): row for row in costs}
    verdicts = {
        "costs_leave_replicas_equal": claim(
            {
                f"{row['workload']} of {row['rows']}, {row['log_format']}": Verdict.expect(
                    bool(row["converged"]), "equal"
                )
                for row in costs
            }
        )
    }
    judges = {
        "statements_cost_the_same_for_any_rows": ("statement", _flat),
        "rows_cost_by_the_row": ("logical", _by_the_row),
        "pages_cost_by_the_page": ("wal", _by_the_page),
    }
    for name, (log_format, judged) in judges.items():
        sizes = {rows: float(row["body_bytes"]) for rows, row in bulk.get(log_format, {}).items()}
        if len(sizes) > 1:
            verdicts[name] = judged(sizes, measured)
    verdicts |= _judge_crossings(crossings, bulk)
    return verdicts | _judge_side_effects(measured)


def _flat(sizes: Mapping[int, float], _measured: Mapping[tuple[str, str], Row]) -> Verdict:
    low, high = min(sizes.values()), max(sizes.values())
    return Verdict.expect(high - low <= _FEW_BYTES, f"{low:.0f} to {high:.0f} bytes for {_range(sizes)} rows")


def _by_the_row(sizes: Mapping[int, float], _measured: Mapping[tuple[str, str], Row]) -> Verdict:
    many = sorted(rows for rows in sizes if rows >= 10) or sorted(sizes)
    first, last = sizes[many[0]] / many[0], sizes[many[-1]] / many[-1]
    reason = f"{first:.0f} bytes a row for {many[0]:,} rows, {last:.0f} for {many[-1]:,}"
    return Verdict.expect(max(first, last) <= _ALIKE * min(first, last), reason)


def _by_the_page(sizes: Mapping[int, float], measured: Mapping[tuple[str, str], Row]) -> Verdict:
    least, most = min(sizes), max(sizes)
    pages = min(float(row["pages"]) for (_, name), row in measured.items() if name == "wal" and row["repeats"])
    one, many = sizes[least] / least, sizes[most] / most
    reason = f"never less than {pages:g} page; {one:,.0f} bytes a row for {least:,}, {many:,.0f} for {most:,}"
    return Verdict.expect(pages >= 1 and many < one, reason)


def _range(sizes: Mapping[int, float]) -> str:
    return f"{min(sizes):,} to {max(sizes):,}"


def _judge_crossings(crossings: Sequence[Row], bulk: Mapping[str, Mapping[int, Row]]) -> dict[str, Verdict]:
    verdicts = {}
    found = {(row["smaller"], row["larger"]): row for row in crossings}
    most = max((rows for sizes in bulk.values() for rows in sizes), default=0)
    for name, pair in (("a_statement_beats_rows", ("statement", "logical")), ("pages_beat_rows", ("wal", "logical"))):
        if pair not in found or most < _ROWS_ENOUGH:
            continue
        if name == "pages_beat_rows" and found[pair]["row_bytes"] > NARROW_ROW_BYTES:
            continue  # few rows share a page then, and pages may never catch up
        rows = found[pair]["from_rows"]
        reason = f"never up to {most:,} rows" if math.isnan(rows) else f"from {rows:,.0f} rows on"
        verdicts[name] = Verdict.expect(not math.isnan(rows), reason)
    return verdicts


def _judge_side_effects(measured: Mapping[tuple[str, str], Row]) -> dict[str, Verdict]:
    """What a second structure that the same statement changes adds to the bytes of each format."""

    def size(workload: str, log_format: str) -> float:
        return float(measured[workload, log_format]["body_bytes"])

    formats = {log_format for workload, log_format in measured if workload == "indexed_insert"}
    indexed: dict[str, Verdict] = {}
    triggered: dict[str, Verdict] = {}
    for name in sorted(formats):
        plain = size("insert", name)
        for cells, workload, grows in (
            (indexed, "indexed_insert", name == "wal"),
            (triggered, "triggered_insert", name in ("logical", "wal")),
        ):
            other = size(workload, name)
            reason = f"{other:,.0f} bytes, {plain:,.0f} for a plain row"
            at_least = plain * (_INDEXES if cells is indexed else _ALIKE)
            cells[name] = Verdict.expect(other >= at_least if grows else other <= plain * _ALIKE, reason)
    claims = {"indexes_cost_pages_only": indexed, "triggers_cost_rows_and_pages": triggered}
    return {name: claim(cells) for name, cells in claims.items() if cells}
