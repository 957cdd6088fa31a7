"""`workbench check`: judge a history, of a run or of a system of one's own, with one of the checkers.

The exit code is the verdict's: 0 valid, 1 invalid, 3 unknown; 2 for a history that is not sound, whose line is named.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.commands.arguments import Parser, add_json, nearest, whole_number
from workbench.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from workbench.checkers.verdict import Verdict
    from workbench.history_tables import History

CHECKS = ("linearizability", "sessions", "staleness", "prefix", "lost-writes", "convergence", "bank")
_MODELS = ("register", "cas_register")
_OPTIONS = {
    "model": ("linearizability",), "initial": ("linearizability",), "html": ("linearizability",),
    "seconds": ("linearizability",), "states": ("linearizability",), "rolled_back": ("staleness", "sessions"),
    "total": ("bank",), "accounts": ("bank",), "negative": ("bank",),
}  # fmt: skip
"""Option -> the checks that have it."""
_DEFAULTS = {"seconds": 60, "states": 2_000_000, "negative": False}
_POINTS = 5
_LONG_BYTES = 20_000_000
"""A file that takes seconds to read."""


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("check", metavar="CHECK", help=", ".join(CHECKS))
    parser.add_argument(
        "history", type=Path, metavar="HISTORY", help="JSON Lines (docs/histories.md), Parquet, or a run folder"
    )
    order = parser.add_argument_group("of linearizability")
    order.add_argument("--model", metavar="M", help="register or cas_register (default: cas_register)")
    order.add_argument("--initial", metavar="JSON", help="what each key held before (default: null)")
    order.add_argument("--html", type=Path, metavar="OUT", help="write the timeline as a page")
    order.add_argument("--seconds", type=whole_number(1, 10**6), metavar="N", help="search no longer (default: 60)")
    states = whole_number(1, 10**9)
    told = "try no more states, each of which takes up to some hundred bytes (default: 2000000)"
    order.add_argument("--states", type=states, metavar="N", help=told)
    rewinds = parser.add_argument_group("of staleness and sessions")
    told = 'JSON Lines of {"key": ..., "value": ...}: writes that the system dropped later; reads of them count apart'
    rewinds.add_argument("--rolled-back", type=Path, metavar="FILE", help=told)
    bank = parser.add_argument_group("of bank")
    bank.add_argument("--total", type=whole_number(-(2**63), 2**63), metavar="N", help="default: the first read's")
    bank.add_argument("--accounts", type=whole_number(1, 10**9), metavar="N", help="default: the first read's")
    bank.add_argument("--negative", action="store_true", default=None, help="balances may be below zero")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check, and say what was found."""
    _check_options(arguments)
    from workbench.commands.judging import JUDGES

    with _reading(arguments.history) as tell:
        history = _open(arguments, tell)
        verdict, more = JUDGES[arguments.check](history, arguments)
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


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.check not in CHECKS:
        raise ConfigurationError(f"unknown check {arguments.check!r}", hint=nearest(arguments.check, CHECKS, "checks"))
    for option, checks in _OPTIONS.items():
        if getattr(arguments, option) is None:
            setattr(arguments, option, _DEFAULTS.get(option))
        elif arguments.check not in checks:
            name = option.replace("_", "-")
            raise ConfigurationError(
                f"--{name} is an option of {' and '.join(checks)}", hint=f"{arguments.check} has no such option"
            )
    if arguments.model is not None and arguments.model not in _MODELS:
        raise ConfigurationError(f"unknown model {arguments.model!r}", hint=nearest(arguments.model, _MODELS, "models"))


@contextmanager
def _reading(path: Path) -> Iterator[Callable[[float], None] | None]:
    """What is told how far a long file has been read; None for a short one."""
    if not path.is_file() or path.stat().st_size < _LONG_BYTES:
        yield None
        return
    from workbench.commands.terminal import progress

    with progress("check") as tell:
        yield lambda share: tell(0.9 * share, "reading" if share < 1 else "judging")


def _open(arguments: argparse.Namespace, progress: Callable[[float], None] | None) -> History:
    from workbench.history_tables import open_history
    from workbench.history_values import BANK_FUNCTIONS, bank_values

    if arguments.check == "bank":
        return open_history(arguments.history, BANK_FUNCTIONS, bank_values)
    return open_history(arguments.history, progress=progress)


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
    if arguments.check == "staleness":
        _say_staleness(screen, document)
    if verdict.status == "valid":
        screen.print(plain(verdict.reason), soft_wrap=True)
    if "html" in document:
        screen.print(f"a timeline: {plain(shown_path(Path(document['html'])))}", soft_wrap=True)


def _say_staleness(screen: Console, document: Mapping[str, Any]) -> None:
    for line in _staleness_lines(document):
        screen.print(f"  {line}", soft_wrap=True)


def _staleness_lines(document: Mapping[str, Any]) -> Iterator[str]:
    for name, stale in (("stale_rate", "stale_reads"), ("stale_rate_acknowledged", "stale_reads_acknowledged")):
        low, high = document[f"{name}_interval"]
        counts = f"{document[stale]:,} of {document['reads']:,}"
        yield f"{name}: {_percent(document[name])} ({_percent(low)} to {_percent(high)}), {counts} reads"
    if document["stale_reads"]:
        age, versions = document["age_ms"], document["versions"]
        yield f"outdated for: median {age['p50']:.4g} ms, p99 {age['p99']:.4g} ms, most {age['max']:.4g} ms"
        within = ", ".join(f"k = {k}: {_percent(share)}" for k, share in versions["within"].items())
        yield f"behind by {versions['max']} versions at most; one of the k newest: {within}"
    back = document["non_monotonic"]
    sessions = back["by_session"]
    yield f"stepped back within a session: {sessions['non_monotonic_reads']:,} of {sessions['reads']:,} reads"
    replicas = [row for row in back["by_replica"] if row["replica"]]
    if replicas:
        steps, reads = (sum(row[name] for row in replicas) for name in ("non_monotonic_reads", "reads"))
        yield f"stepped back on a replica: {steps:,} of {reads:,} reads"
    for row in _curve(document["t_visibility"]):
        band = f"{_percent(row['fresh_rate_low'])} to {_percent(row['fresh_rate_high'])}"
        fresh = f"{_percent(row['fresh_rate'])} ({band}) of {row['reads']:,} reads"
        yield f"fresh {row['since_write_ms']:.4g} ms after a write: {fresh}"
    if document["rolled_back_reads"]:
        yield f"rolled back: {document['rolled_back_reads']:,} reads returned what was dropped later"


def _curve(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some points of the curve, if there is only one."""
    return rows[:: max(len(rows) // _POINTS, 1)] if len({row["cell"] for row in rows}) == 1 else []


def _percent(share: float) -> str:
    return "unknown" if math.isnan(share) else f"{100 * share:.3g} %"
