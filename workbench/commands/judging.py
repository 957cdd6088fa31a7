"""What each check of `workbench check` does: a history and the options -> its verdict, and more for the JSON.

Checkers that work in columns get a table with numbers in place of values (`history_columns`); what they found is told
with the values again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from workbench.checkers.verdict import Verdict
from workbench.errors import ConfigurationError, HistoryError
from workbench.history_columns import Coded
from workbench.history_operations import token
from workbench.history_tables import History

Found: TypeAlias = tuple[Verdict, dict[str, Any]]
Lost: TypeAlias = set[tuple[str, str, int]]


def judge_linearizability(history: History, arguments: argparse.Namespace) -> Found:
    """An order of each key's operations, by the model asked for."""
    from workbench.checkers.linearizability import linearizability
    from workbench.checkers.models import MODELS

    model = MODELS[arguments.model or "cas_register"](_initial(arguments.initial))
    found = linearizability(
        history.operations, model, states_max=arguments.states, seconds_max=arguments.seconds
    )  # fmt: skip
    if arguments.html is None:
        return found.verdict, {}
    from workbench.charts.history_timeline import run_timeline

    page = run_timeline(history.operations, found, history.faults)
    return found.verdict, {"html": str(page.write(arguments.html))}


def _initial(text: str | None) -> Any:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"--initial {text!r} is not JSON", hint="text needs quotes: '\"a\"'") from error
    if isinstance(value, list | dict):
        raise ConfigurationError(f"--initial {text!r} is no scalar")
    return value


def judge_sessions(history: History, arguments: argparse.Namespace) -> Found:
    """The four guarantees; those of writers by what was seen where no positions are known."""
    from workbench.checkers.observed_order import observed_order
    from workbench.checkers.sessions import session_guarantees
    from workbench.metrics.intervals import proportion_interval

    coded, lost = history.coded, _rolled_back(history, arguments)
    found = session_guarantees(coded.table, labels=coded.labels(), lost=lost)
    verdicts = {name: _decoded(verdict, coded) for name, verdict in found.verdicts().items()}
    judged_by = dict.fromkeys(verdicts, "values") | dict.fromkeys(
        ("monotonic_writes", "writes_follow_reads"), "positions"
    )
    unplaced = [name for name in ("monotonic_writes", "writes_follow_reads") if not verdicts[name].counts["checked"]]
    if unplaced:  # no positions: what was seen has to tell
        seen = observed_order(coded.table, labels=coded.labels(), lost=lost)
        verdicts |= {name: _decoded(seen[name], coded) for name in unplaced}
        judged_by |= dict.fromkeys(unplaced, "values")
    guarantees = {}
    for name, one in verdicts.items():
        checked, violations = int(one.counts["checked"]), int(one.counts["violations"])
        guarantees[name] = {
            "verdict": one.status,
            "reason": one.reason,
            "checked": checked,
            "violations": violations,
            "violation_rate": violations / checked if checked else None,
            "violation_rate_interval": list(proportion_interval(violations, checked)),
            "judged_by": judged_by[name],
            "witness": [dict(row) for row in one.witness],
        }
    judged = {name: one for name, one in verdicts.items() if one.counts["checked"] or one.status == "invalid"}
    return Verdict.all(judged or verdicts), {"guarantees": guarantees}


def judge_staleness(history: History, arguments: argparse.Namespace) -> Found:
    """Both figures, how old stale values were, how soon writes are seen, who stepped back."""
    from workbench.checkers.staleness import staleness
    from workbench.checkers.staleness_figures import staleness_figures

    coded, lost = history.coded, _rolled_back(history, arguments)
    found = staleness(coded.table, lost=lost)
    return _decoded(found.verdict("stale_rate"), coded), staleness_figures(found)


def judge_prefix(history: History, _: argparse.Namespace) -> Found:
    """Causal reversals and long forks."""
    from workbench.checkers.prefix import consistent_prefix

    found = consistent_prefix(history.operations)
    return found.verdict, {"causal_reversals": len(found.reversals), "long_forks": len(found.forks)}


def judge_lost_writes(history: History, _: argparse.Namespace) -> Found:
    """What became of known values."""
    from workbench.checkers.known_values import known_values

    found = known_values(history.operations)
    names = ("known", "lost", "stale", "never_read", "stable", "recovered")
    return found.verdict, {name: found.counts[name] for name in names}


def judge_convergence(history: History, _: argparse.Namespace) -> Found:
    """The last reads of each replica."""
    from workbench.checkers.final_reads import final_reads

    verdict = final_reads(history.operations)
    return verdict, {name: verdict.counts[name] for name in ("replicas", "keys_compared", "keys_differing")}


def judge_bank(history: History, arguments: argparse.Namespace) -> Found:
    """Totals of all accounts, against those stated, else against what the first read showed."""
    from workbench.checkers.bank import bank_totals

    reads = [(one.number, one.value) for one in history.operations if one.f == "read" and one.outcome == "ok"]
    first: Mapping[str, int] = reads[0][1] if reads else {}
    total = sum(first.values()) if arguments.total is None else arguments.total
    accounts = len(first) if arguments.accounts is None else arguments.accounts
    verdict = bank_totals(reads, total, accounts=accounts, negative=arguments.negative)
    names = ("reads", "wrong_reads", "total_lowest", "total_highest")
    return verdict, {"total": total, "accounts": accounts} | {name: verdict.counts[name] for name in names}


JUDGES: Mapping[str, Callable[[History, argparse.Namespace], Found]] = {
    "linearizability": judge_linearizability,
    "sessions": judge_sessions,
    "staleness": judge_staleness,
    "prefix": judge_prefix,
    "lost-writes": judge_lost_writes,
    "convergence": judge_convergence,
    "bank": judge_bank,
}


class _RolledBack(msgspec.Struct, forbid_unknown_fields=True):
    """A line of the file of `--rolled-back`."""

    key: str
    value: str | int | float | bool
    cell: str = ""


def _rolled_back(history: History, arguments: argparse.Namespace) -> Lost:
    """What a rewind dropped: of a run, by its files; else by the file that says so."""
    from workbench.checkers.rolled_back import read_rollbacks, rolled_back_values

    coded = history.coded
    lost = rolled_back_values(coded.table, read_rollbacks(history.rollbacks)) if history.rollbacks else set()
    if arguments.rolled_back is None:
        return lost
    codes = coded.codes()
    for cell, key, value in _read_rolled_back(arguments.rolled_back):
        code = codes.get(token(value), 0 if codes else value)
        if type(code) is int:
            lost.add((cell, key, code))
    return lost


def _read_rolled_back(path: Path) -> list[tuple[str, str, Any]]:
    decode = msgspec.json.Decoder(_RolledBack).decode
    rows: list[tuple[str, str, Any]] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    hint = 'a line is {"key": ..., "value": ...}'
                    raise HistoryError(f"{path}, line {number}: no value of a key: {error}", hint=hint) from error
                rows.append((row.cell, row.key, row.value))
    except OSError as error:
        raise HistoryError(f"cannot read {path}: {error.strerror}") from error
    return rows


def _decoded(verdict: Verdict, coded: Coded) -> Verdict:
    """The verdict with values and numbers of operations as the history has them."""
    witness = []
    for row in verdict.witness:
        shown = dict(row)
        for name, value in row.items():
            if name == "value" or name.endswith("_value"):
                shown[name] = coded.value(value)
            elif name == "operation" or name.endswith("_operation"):
                shown[name] = coded.number(value)
        witness.append(shown)
    return replace(verdict, witness=tuple(witness))
