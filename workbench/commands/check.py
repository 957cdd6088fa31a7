"""`workbench check`: judge a history, of a run or of a system of one's own, with one of the checkers.

The exit code is the verdict's: 0 valid, 1 invalid, 3 unknown; 2 for a history that is not sound, whose line is named.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.commands.arguments import Parser, add_json, nearest, whole_number
from workbench.errors import ConfigurationError

if TYPE_CHECKING:
    from workbench.checkers.verdict import Verdict
    from workbench.history_tables import History

CHECKS = ("linearizability", "sessions", "staleness", "prefix", "lost-writes")
_MODELS = ("register", "cas_register")


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("check", metavar="CHECK", help=", ".join(CHECKS))
    parser.add_argument(
        "history", type=Path, metavar="HISTORY", help="JSON Lines (docs/histories.md), Parquet, or a run folder"
    )
    parser.add_argument(
        "--model", metavar="M", help="of linearizability: register or cas_register (default: cas_register)"
    )
    parser.add_argument(
        "--initial", metavar="JSON", help="of linearizability: what each key held before (default: null)"
    )
    parser.add_argument("--html", type=Path, metavar="OUT", help="of linearizability: write the timeline as a page")
    parser.add_argument(
        "--seconds", type=whole_number(1, 10**6), default=60, metavar="N", help="search no longer (default: 60)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check, and say what was found."""
    if arguments.check not in CHECKS:
        raise ConfigurationError(f"unknown check {arguments.check!r}", hint=nearest(arguments.check, CHECKS, "checks"))
    for option in ("model", "initial", "html"):
        if getattr(arguments, option) is not None and arguments.check != "linearizability":
            raise ConfigurationError(f"--{option} is an option of linearizability", hint=f"not of {arguments.check}")
    if arguments.model is not None and arguments.model not in _MODELS:
        raise ConfigurationError(f"unknown model {arguments.model!r}", hint=nearest(arguments.model, _MODELS, "models"))
    from workbench.history_tables import open_history

    history = open_history(arguments.history)
    run_check = {
        "linearizability": _linearizability, "sessions": _sessions, "staleness": _staleness, "prefix": _prefix,
        "lost-writes": _lost_writes,
    }[arguments.check]  # fmt: skip
    verdict, more = run_check(history, arguments)
    document: dict[str, Any] = {
        "check": arguments.check,
        "verdict": verdict.status,
        "reason": verdict.reason,
        "operations": len(history),
        "witness": [dict(row) for row in verdict.witness],
        "counts": dict(verdict.counts),
    }
    _say(arguments, history, verdict, document | more)
    return verdict.exit_code


def _say(arguments: argparse.Namespace, history: History, verdict: Verdict, document: Mapping[str, Any]) -> None:
    from workbench.commands.terminal import console, plain, print_json, shown_path, verdict_lines

    if arguments.json:
        print_json(document)
        return
    screen = console()
    screen.print(f"{len(history):,} operations of {plain(shown_path(arguments.history))}", soft_wrap=True)
    screen.print(verdict_lines({arguments.check: verdict}))
    for name, part in document.get("guarantees", {}).items():
        counts = f"{part['violations']:,} of {part['checked']:,} violated"
        screen.print(f"  {part['verdict']:<8} {name}: {counts}", soft_wrap=True)
    if verdict.status == "valid":
        screen.print(plain(verdict.reason), soft_wrap=True)
    if "html" in document:
        screen.print(f"a timeline: {plain(shown_path(Path(document['html'])))}", soft_wrap=True)


def _linearizability(history: History, arguments: argparse.Namespace) -> tuple[Verdict, dict[str, Any]]:
    from workbench.checkers.linearizability import linearizability
    from workbench.checkers.models import MODELS

    model = MODELS[arguments.model or "cas_register"](_initial(arguments.initial))
    found = linearizability(history.operations, model, seconds_max=arguments.seconds)
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


def _sessions(history: History, _: argparse.Namespace) -> tuple[Verdict, dict[str, Any]]:
    from workbench.checkers.observed_order import observed_order
    from workbench.checkers.sessions import session_guarantees
    from workbench.checkers.verdict import Verdict

    coded = history.coded
    found = session_guarantees(coded.table, labels=coded.labels())
    verdicts = {name: _decoded(verdict, coded) for name, verdict in found.verdicts().items()}
    unplaced = [name for name in ("monotonic_writes", "writes_follow_reads") if not verdicts[name].counts["checked"]]
    if unplaced:  # no positions: what was seen has to tell
        seen = observed_order(history.operations)
        verdicts |= {name: seen[name] for name in unplaced}
    guarantees = {
        name: {
            "verdict": one.status,
            "reason": one.reason,
            "checked": one.counts["checked"],
            "violations": one.counts["violations"],
            "violation_rate": one.counts["violations"] / one.counts["checked"] if one.counts["checked"] else None,
            "witness": [dict(row) for row in one.witness],
        }
        for name, one in verdicts.items()
    }
    judged = {name: one for name, one in verdicts.items() if one.counts["checked"] or one.status == "invalid"}
    return Verdict.all(judged or verdicts), {"guarantees": guarantees}


def _staleness(history: History, _: argparse.Namespace) -> tuple[Verdict, dict[str, Any]]:
    from workbench.checkers.sessions import session_guarantees
    from workbench.checkers.staleness import staleness

    coded = history.coded
    found = staleness(coded.table)
    verdict = _decoded(found.verdict("stale_rate"), coded)
    monotonic = session_guarantees(coded.table).verdict("monotonic_reads")
    return verdict, {
        "reads": verdict.counts["reads"],
        "stale_reads": verdict.counts["stale_reads"],
        "stale_reads_acknowledged": verdict.counts["stale_reads_acknowledged"],
        "stale_rate": found.rate("stale_rate"),
        "stale_rate_acknowledged": found.rate("stale_rate_acknowledged"),
        "non_monotonic_reads": monotonic.counts["violations"],
    }


def _prefix(history: History, _: argparse.Namespace) -> tuple[Verdict, dict[str, Any]]:
    from workbench.checkers.prefix import consistent_prefix

    found = consistent_prefix(history.operations)
    return found.verdict, {"causal_reversals": len(found.reversals), "long_forks": len(found.forks)}


def _lost_writes(history: History, _: argparse.Namespace) -> tuple[Verdict, dict[str, Any]]:
    from workbench.checkers.known_values import known_values

    found = known_values(history.operations)
    return found.verdict, {name: found.counts[name] for name in ("lost", "stale", "never_read", "recovered", "stable")}


def _decoded(verdict: Verdict, coded: Any) -> Verdict:
    """The verdict with values and numbers of operations as the history has them."""
    from dataclasses import replace

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
