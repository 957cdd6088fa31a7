"""A report: one HTML page that holds everything about one or several runs, and needs nothing but a browser.

Charts are embedded, styles are inside, and there is no script, so the page can be mailed, printed and archived. It
is made from run folders alone, unfinished ones included: what a folder lacks is left out, and its status says so.
"""

from __future__ import annotations

import base64
import math
import shlex
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from workbench.charts.drawing import CHARTED, alt_text, draw_png
from workbench.charts.style import DPI
from workbench.checkers.verdict import Verdict
from workbench.errors import RunError
from workbench.results import RunFolder

TABLE_ROWS_MAX = 60
"""Rows of a further table that the page shows; the run folder has the rest."""
SUMMARY_COLUMNS = {
    "write_latency": (
        "ack", "followers", "follower_delay_ms", "writes", "failed", "indefinite", "latency_ms_p50", "latency_ms_p90",
        "latency_ms_p99", "latency_from_send_ms_p50", "target_rate_per_s", "achieved_rate_per_s",
    ),
    "stale_reads": (
        "ack", "read_policy", "follower_delay_ms", "reads", "reads_at_risk", "writes", "stale_rate_acknowledged",
        "stale_rate", "age_ms_p50", "age_ms_p99", "read_latency_ms_p50", "achieved_rate_per_s",
    ),
    "session_guarantees": (
        "read_policy", "reads", "read_your_writes_checked", "read_your_writes_violations", "monotonic_reads_checked",
        "monotonic_reads_violations", "stale_rate", "read_latency_from_send_ms_p50", "read_latency_from_send_ms_p99",
        "price_ms_mean", "leader_share",
    ),
    "log_formats": (
        "log_format", "writes", "entries", "writes_per_entry", "body_bytes_per_write", "log_bytes_per_write",
        "leader_execute_us_per_write", "follower_apply_us_per_write", "leader_syncs_per_entry", "achieved_rate_per_s",
    ),
    "failover": (
        "kill", "leader", "successor", "term_before", "term_after", "took_effect", "election_ms", "recovery_ms",
        "outage_ms", "failed", "indefinite", "rewinds", "entries_dropped", "took_effect_again",
        "lost_acknowledged_writes",
    ),
    "new_follower": (
        "database_mb", "snapshot_position", "first_entry", "entries_during_join", "snapshot_bytes", "join_ms",
        "start_ms", "snapshot_transfer_ms", "snapshot_install_ms", "catch_up_ms", "writes_per_s_before",
        "writes_per_s_during", "write_latency_ms_p99_before", "write_latency_ms_p99_during", "write_gap_ms_during",
    ),
    "split_brain": (
        "how", "fencing", "old_leader", "new_leader", "took_over", "election_ms", "away_ms", "acknowledged_writes",
        "asked_the_old_leader", "acknowledged_by_the_old_leader", "acknowledged_by_the_new_leader",
        "double_acknowledgements", "old_still_leads", "converged", "lost_acknowledged_writes",
    ),
    "accidental_failover": (
        "congestion", "election_timeout_ms", "pre_vote", "check_quorum", "observed_timeouts", "false_failovers",
        "false_failovers_per_min", "elections", "without_leader_share", "lag_ms_p50", "lag_ms_max", "writes_per_s",
        "writes_per_s_before", "writes_per_s_during", "writes_per_s_after", "indefinite",
    ),
    "scale": (
        "size", "voters", "network", "fan_out", "election_timeout_ms", "failover_ms_p50", "candidate_ms_p50",
        "elected_ms_p50", "candidates_mean", "split_votes", "latency_ms_p50", "latency_bound_ms", "stale_rate",
        "lag_ms_p99", "messages_out_per_s", "messages_delivered_per_s", "messages_in_per_s", "leader_busy_share",
        "broker_busy_share", "messages_out_per_write",
    ),
    "simulator": (
        "cell", "seeds", "messages", "simulated_s", "faults", "faults_planned", "kinds", "violations", "seed", "reason",
        "faults_drawn", "faults_kept", "replays_alike", "leader_changes", "acknowledged_writes", "indefinite",
        "lost_acknowledged_writes",
    ),
    "trade_off": (
        "ack", "read_policy", "write_latency_ms_p50", "write_latency_ms_p99", "read_latency_from_send_ms_mean",
        "leader_share", "stale_rate_acknowledged", "stale_rate", "read_your_writes_violations",
        "monotonic_reads_violations", "lost_writes_per_failover", "lost_window_ms", "election_ms", "outage_ms",
        "on_front",
    ),
    "follower_crash": (
        "ack", "position_on_disk", "position_recovered", "first_entry_fetched", "entries_missed", "entries_fetched",
        "entries_sent_twice", "catch_up_ms", "catch_up_entries_per_s", "writes_per_s_before", "writes_per_s_down",
        "reads_per_s_before", "reads_per_s_down",
    ),
}  # fmt: skip
"""What of a summary fits a page; an experiment that is not listed shows all of it."""
TABLES_SHOWN = {"by_replica", "crossings", "double_acknowledgements", "engines", "kept_faults", "unsafe"}
"""Further tables that a person would read; the others are raw material of charts."""
_UNITS = {"_ms": "ms", "_us": "µs", "_bytes": "bytes", "_s": "s", "_ns": "ns"}
_WORDS = {"valid": "holds", "invalid": "fails", "unknown": "unknown"}
_CHECK_WORDS = {"valid": "clean", "invalid": "found", "unknown": "unknown"}
_OVERALL = {"valid": "all claims hold", "invalid": "a claim fails", "unknown": "not all claims could be judged"}


def write_report(runs: Sequence[RunFolder], path: Path | str) -> Path:
    """Write one page about `runs`, in their order, to `path`. Raises `RunError` without runs or if it cannot."""
    if not runs:
        raise RunError("a report needs at least one run")
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report_html(runs), encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write the report {path}: {error.strerror}", hint="choose another place") from error
    return path


def report_html(runs: Sequence[RunFolder]) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("workbench.charts"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    views = [_view(run) for run in runs]
    title = views[0]["question"] if len(views) == 1 else "Replication Workbench: what the runs showed"
    return environment.get_template("report.html.jinja").render(
        title=title,
        lead=_lead({str(run.info.get("world", "real")) for run in runs}),
        runs=views,
        version=str(runs[0].info.get("versions", {}).get("workbench", "")),
    )


def _lead(worlds: set[str]) -> str:
    real = "measured on real replica processes, SQLite databases and an MQTT broker on one machine"
    simulated = "run in virtual time: the same replicas and databases, with a simulated network, disks and clock"
    parts = [words for world, words in (("real", real), ("simulated", simulated)) if world in worlds]
    lead = "; or ".join(parts)
    return f"{lead[:1].upper()}{lead[1:]}."


def _view(run: RunFolder) -> dict[str, Any]:
    """Everything that the template shows of one run, as text."""
    info, complete = run.info, run.status == "complete"
    verdicts = run.verdicts if complete else {}
    overall = run.conclusion.status if complete else "unknown"
    claims: Mapping[str, str] = info.get("claims") or {}
    return {
        "experiment": run.experiment,
        "question": info.get("question") or info.get("title") or run.experiment,
        "started": _started(info),
        "duration": _duration(info),
        "status": run.status,
        "error": info.get("error", ""),
        "overall": overall,
        "overall_words": _overall_words(run) if complete else "no results",
        "charts": _charts(run) if complete else [],
        "claims": [_judged(verdict, _WORDS, claims.get(name, _words(name))) for name, verdict in verdicts.items()],
        "checks": _checks(run) if complete else [],
        "invariants": [(_words(name), _text(value)) for name, value in run.invariants.items()] if complete else [],
        "summary": _summary(run) if complete else None,
        "tables": _tables(run) if complete else [],
        "parameters": [(name, _text(value)) for name, value in run.parameters.items()],
        "environment": _environment(info),
        "command": reproduce_command(run),
    }


def _overall_words(run: RunFolder) -> str:
    broken = {name for name, verdict in run.required_checks.items() if verdict.status == "invalid"}
    return "a check that must hold fails" if broken else _OVERALL[run.conclusion.status]


def _checks(run: RunFolder) -> list[dict[str, Any]]:
    """What the checkers found; what must hold first, and said so."""
    required = run.required_checks
    checks = sorted(run.checks.items(), key=lambda item: item[0] not in required)
    return [
        _judged(verdict, _CHECK_WORDS, _words(name) + (" (must hold)" if name in required else ""))
        for name, verdict in checks
    ]


def reproduce_command(run: RunFolder) -> str:
    """The command line that repeats the run: its profile and seed, and every parameter, so that defaults may change."""
    words = ["workbench", "run", run.experiment]
    if run.info.get("profile"):
        words += ["--profile", str(run.info["profile"])]
    if run.seed is not None:
        words += ["--seed", str(run.seed)]
    if run.info.get("world") == "simulated":
        words += ["--world", "simulated"]
    for name, value in run.parameters.items():
        text = ",".join(map(_plain, value)) if isinstance(value, list | tuple) else _plain(value)
        words += ["--set", f"{name}={text}"]
    return shlex.join(words)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _charts(run: RunFolder) -> list[dict[str, Any]]:
    if run.experiment not in CHARTED:
        return []
    charts = []
    for name, data in draw_png(run).items():
        width, height = struct.unpack(">II", data[16:24])  # the header chunk of a PNG file
        encoded = base64.b64encode(data).decode("ascii")
        size = {"width": round(width * 96 / DPI), "height": round(height * 96 / DPI)}
        charts.append({"data": encoded, "alt": alt_text(run, name), **size})
    return charts


def _judged(verdict: Verdict, words: Mapping[str, str], sentence: str) -> dict[str, str]:
    return {"value": verdict.status, "word": words[verdict.status], "sentence": sentence, "reason": verdict.reason}


def _summary(run: RunFolder) -> dict[str, Any] | None:
    frame = run.summary
    if frame.empty:
        return None
    shown = [name for name in SUMMARY_COLUMNS.get(run.experiment, ()) if name in frame.columns]
    return _table("Summary", frame[shown] if shown else frame)


def _tables(run: RunFolder) -> list[dict[str, Any]]:
    return [_table(_words(name), run.table(name)) for name in run.tables if name in TABLES_SHOWN]


def _table(label: str, frame: pd.DataFrame) -> dict[str, Any]:
    shown = frame.head(TABLE_ROWS_MAX)
    columns = [_column(str(name), pd.api.types.is_numeric_dtype(frame[name])) for name in frame.columns]
    rows = [
        [_cell(value, str(name)) for name, value in zip(shown.columns, row, strict=True)]
        for row in shown.itertuples(index=False)
    ]
    return {"label": label, "columns": columns, "rows": rows, "left_out": len(frame) - len(shown)}


def _column(name: str, numeric: bool) -> dict[str, Any]:
    """`latency_ms_p50` as the words "latency p50" and the unit ms."""
    if "rate" in name.split("_") and not name.endswith("_per_s"):
        return {"words": _words(name), "unit": "", "numeric": numeric}
    for suffix, unit in (("_per_write", "a write"), ("_per_entry", "an entry"), ("_per_s", "a second")):
        if name.endswith(suffix):
            inner = _column(name.removesuffix(suffix), numeric)
            return inner | {"unit": f"{inner['unit']} {unit}".strip()}
    parts = name.split("_")
    for place, part in enumerate(parts):
        if f"_{part}" in _UNITS and place > 0:
            words = " ".join(parts[:place] + parts[place + 1 :])
            return {"words": words, "unit": _UNITS[f"_{part}"], "numeric": numeric}
        if part == "bytes" and place > 0:
            return {"words": " ".join(parts[:place]), "unit": "bytes", "numeric": numeric}
    return {"words": _words(name), "unit": "", "numeric": numeric}


def _cell(value: Any, column: str) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return _text(value)
    number = float(value)
    if math.isnan(number):
        return "–"
    if column.startswith("stale_rate"):
        return f"{100 * number:.2f} %"
    if number.is_integer():
        return f"{number:,.0f}"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def _environment(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine, broker, versions = (info.get(name) or {} for name in ("machine", "broker", "versions"))
    git = info.get("git") or {}
    memory = machine.get("memory_bytes")
    state = f"{git['commit'][:12]}{', changed since' if git.get('dirty') else ''}" if git.get("commit") else ""
    facts = {
        "world": info.get("world"),
        "seed": info.get("seed"),
        "cores": machine.get("cores_usable") or machine.get("cores"),
        "processor": machine.get("processor"),
        "memory": f"{memory / 2**30:.0f} GiB" if memory else "",
        "system": " ".join(str(machine.get(name, "")) for name in ("system", "release")).strip(),
        "broker": f"{broker.get('name', '')} {broker.get('version', '')}".strip(),
        "broker settings": _settings(broker.get("settings")),
        "Python": versions.get("python"),
        "SQLite": versions.get("sqlite"),
        "commit": state,
        "run folder": info.get("run"),
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _settings(settings: object) -> str:
    if isinstance(settings, Mapping):
        return ", ".join(f"{name} {value}" for name, value in settings.items())
    return ", ".join(map(str, settings)) if isinstance(settings, list | tuple) else str(settings or "")


def _started(info: Mapping[str, Any]) -> str:
    return f"{datetime.fromisoformat(info['started_utc']):%Y-%m-%d %H:%M} UTC" if info.get("started_utc") else ""


def _duration(info: Mapping[str, Any]) -> str:
    if not info.get("started_utc") or not info.get("ended_utc"):
        return "not ended"
    started, ended = (datetime.fromisoformat(info[name]) for name in ("started_utc", "ended_utc"))
    return f"{(ended - started).total_seconds():.0f} s"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(_plain, value))
    return _plain(value)
