"""A run as a small table with units, and as one sentence: what a terminal, a widget or a notebook shows of it.

Each headline experiment has its own choice of columns, in the words of its chart. The summary of any other run is
shown as it is. Numbers are text here, with two or three significant digits; exact ones are in the run folder.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.charts.drawing import draw
from workbench.charts.style import number, percent

if TYPE_CHECKING:
    from workbench.results import RunFolder

_GENERIC_COLUMNS_MAX = 8


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what stands above it, its unit in a line of its own, and which side its values keep to."""

    heading: str
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Shown:
    """A table ready to be shown: every value is text."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_html(self, caption: str = "") -> str:
        """The table as HTML that follows the colours of its page."""
        heads = "".join(
            f'<th scope="col" style="text-align:{_side(column)};vertical-align:bottom">{html.escape(column.heading)}'
            f'<br><span style="font-weight:normal;opacity:.7">{html.escape(column.unit) or "&nbsp;"}</span></th>'
            for column in self.columns
        )
        lines = []
        for row in self.rows:
            cells = (
                f'<td style="text-align:{_side(column)}">{html.escape(cell)}</td>'
                for column, cell in zip(self.columns, row, strict=True)
            )
            lines.append(f"<tr>{''.join(cells)}</tr>")
        title = f"<caption style='text-align:left'>{html.escape(caption)}</caption>" if caption else ""
        return f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _side(column: Column) -> str:
    return "right" if column.numeric else "left"


def finding(run: RunFolder) -> str:
    """What the run found, in one sentence without its full stop. Raises `RunError` for a run without charts."""
    headline = next(iter(draw(run).values()))
    return " ".join(headline.texts[0].get_text().split())  # the title, unwrapped


def shown_table(run: RunFolder) -> Shown:
    """The run's summary, as people read it."""
    layout = _LAYOUTS.get(f"{run.experiment}, {run.info.get('world')}", _LAYOUTS.get(run.experiment))
    rows: list[dict[str, Any]] = run.summary.astype(object).to_dict(orient="records")
    if layout is None or not rows:
        return _as_it_is(run)
    columns = tuple(column for column, _ in layout)
    extra = _EXTRAS.get(run.experiment)
    more = extra(run) if extra else {}
    shown = []
    for row in rows:
        values = row | more.get(str(row.get("cell", "")), {})
        shown.append(tuple(cell(values) for _, cell in layout))
    return Shown(columns, tuple(shown))


def _as_it_is(run: RunFolder) -> Shown:
    frame = run.summary
    names = [str(name) for name in frame.columns if name != "cell"][:_GENERIC_COLUMNS_MAX]
    columns = tuple(Column(name, numeric=frame[name].dtype.kind in "iuf") for name in names)
    rows = frame[names].astype(object).to_dict(orient="records")
    return Shown(columns, tuple(tuple(_text(row[name]) for name in names) for row in rows))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


# What a cell of a column says, from the row's values.

_Cell = Callable[[Mapping[str, Any]], str]


def _word(name: str) -> _Cell:
    return lambda row: str(row.get(name, ""))


def _text_of(name: str) -> _Cell:
    """A text that some rows have."""
    return lambda row: value if isinstance(value := row.get(name), str) else ""


def _figure(name: str) -> _Cell:
    def cell(row: Mapping[str, Any]) -> str:
        value = row.get(name)
        return "–" if value is None else number(float(value))

    return cell


def _share(name: str) -> _Cell:
    return lambda row: percent(float(row.get(name, math.nan)))


def _count(name: str) -> _Cell:
    return lambda row: f"{int(row.get(name) or 0):,}"


def _interval(name: str) -> _Cell:
    """A rate with its 95 % interval; unknown where nothing could be counted."""

    def cell(row: Mapping[str, Any]) -> str:
        rate, low, high = (float(row.get(f"{name}{end}", math.nan)) for end in ("", "_low", "_high"))
        if math.isnan(rate):
            return "unknown"
        return f"{percent(rate)} ({percent(low)} to {percent(high)})".replace(" % to", " to")

    return cell


_LAYOUTS: dict[str, tuple[tuple[Column, _Cell], ...]] = {
    "log_formats": (
        (Column("log format", numeric=False), _word("log_format")),
        (Column("shipped", "bytes/write"), _figure("body_bytes_per_write")),
        (Column("leader", "µs/write"), _figure("leader_execute_us_per_write")),
        (Column("follower", "µs/write"), _figure("follower_apply_us_per_write")),
        (Column("writes"), _count("writes")),
        (Column("unsafe statements", "replicas", numeric=False), _word("unsafe")),
    ),
    "write_latency": (
        (Column("ack policy", numeric=False), _word("ack")),
        (Column("followers"), _count("followers")),
        (Column("delay", "ms"), _figure("follower_delay_ms")),
        (Column("median", "ms"), _figure("latency_ms_p50")),
        (Column("99th perc.", "ms"), _figure("latency_ms_p99")),
        (Column("writes"), _count("writes")),
        (Column("rate", "writes/s"), _figure("achieved_rate_per_s")),
    ),
    "stale_reads": (
        (Column("ack policy", numeric=False), _word("ack")),
        (Column("reads from", numeric=False), _word("read_policy")),
        (Column("delay", "ms"), _figure("follower_delay_ms")),
        (Column("older than acknowledged", "% of reads (95 % interval)"), _interval("stale_rate_acknowledged")),
        (Column("or than a value read", "% of reads (95 % interval)"), _interval("stale_rate")),
        (Column("reads"), _count("reads")),
    ),
    "session_guarantees": (
        (Column("reads from", numeric=False), _word("read_policy")),
        (Column("own writes missed", "% of reads (95 % interval)"), _interval("read_your_writes_violation_rate")),
        (Column("steps back", "% of reads (95 % interval)"), _interval("monotonic_reads_violation_rate")),
        (Column("mean", "ms a read"), _figure("read_latency_from_send_ms_mean")),
        (Column("99th perc.", "ms"), _figure("read_latency_from_send_ms_p99")),
        (Column("price", "ms a read"), _figure("price_ms_mean")),
        (Column("from the leader", "% of reads"), _share("leader_share")),
        (Column("reads"), _count("reads")),
    ),
    "failover": (
        (Column("kill"), _count("kill")),
        (Column("leader", numeric=False), lambda row: f"{row['leader']} → {row['successor'] or 'nobody'}"),
        (Column("first acknowledged", "ms after the kill"), _figure("recovery_ms")),
        (Column("no writes", "ms"), _figure("outage_ms")),
        (Column("failed", "operations"), _count("failed")),
        (Column("in doubt", "operations"), _count("indefinite")),
        (Column("dropped", "entries"), _count("entries_dropped")),
        (Column("retried", "acknowledged writes"), _count("took_effect_again")),
        (Column("lost", "acknowledged writes"), _count("lost_acknowledged_writes")),
    ),
    "new_follower": (
        (Column("database", "MB"), _figure("database_mb")),
        (Column("snapshot", "position"), _word("snapshot_position")),
        (Column("first applied", "position"), _word("first_entry")),
        (Column("joined in", "ms"), _figure("join_ms")),
        (Column("writes before", "1/s"), _figure("writes_per_s_before")),
        (Column("meanwhile", "writes/s"), _figure("writes_per_s_during")),
        (Column("p99 before", "ms"), _figure("write_latency_ms_p99_before")),
        (Column("p99 meanwhile", "ms"), _figure("write_latency_ms_p99_during")),
        (Column("longest gap", "ms"), _figure("write_gap_ms_during")),
    ),
    "split_brain": (
        (Column("old leader", numeric=False), _word("how")),
        (Column("fencing", numeric=False), lambda row: "with" if row["fencing"] else "without"),
        (Column("new leader", "after ms"), _figure("election_ms")),
        (Column("asked the old one", "writes, after its return"), _count("asked_the_old_leader")),
        (Column("it acknowledged", "writes"), _count("acknowledged_by_the_old_leader")),
        (Column("double", "indices"), _count("double_acknowledgements")),
        (Column("lost", "acknowledged writes"), _figure("lost_acknowledged_writes")),
    ),
    "accidental_failover": (
        (Column("congestion", "offered bytes / bandwidth"), _figure("congestion")),
        (Column("timeout", "ms"), _figure("election_timeout_ms")),
        (Column("false failovers"), _count("false_failovers")),
        (Column("a minute"), _figure("false_failovers_per_min")),
        (Column("nobody leads", "% of the time"), _share("without_leader_share")),
        (Column("heard late", "ms, median"), _figure("lag_ms_p50")),
        (Column("writes", "1/s"), _figure("writes_per_s")),
        (Column("in doubt", "operations"), _count("indefinite")),
    ),
    "scale": (
        (Column("replicas"), _count("size")),
        (Column("voters"), _count("voters")),
        (Column("network", numeric=False), _word("network")),
        (Column("no leader", "ms, median"), _figure("failover_ms_p50")),
        (Column("candidates", "a failover"), _figure("candidates_mean")),
        (Column("write", "ms, median"), _figure("latency_ms_p50")),
        (Column("stale", "% of replicas"), _share("stale_rate")),
        (Column("leader sends", "messages/s"), _figure("messages_out_per_s")),
        (Column("and gets", "messages/s"), _figure("messages_in_per_s")),
        (Column("its CPU", "% busy, idle"), _share("leader_busy_share")),
    ),
    "simulator, simulated": (
        (Column("planted bug", numeric=False), _word("cell")),
        (Column("seeds"), _count("seeds")),
        (Column("messages"), _figure("messages")),
        (Column("virtual time", "s"), _figure("simulated_s")),
        (Column("faults", "took effect"), _figure("faults")),
        (Column("broken"), _count("violations")),
        (Column("drawn", "faults"), _figure("faults_drawn")),
        (Column("enough", "faults"), _figure("faults_kept")),
        (Column("what broke", numeric=False), _text_of("reason")),
    ),
    "simulator, real": (
        (Column("ack policy", numeric=False), _word("ack")),
        (Column("under faults", "s"), _figure("under_faults_s")),
        (Column("faults", "planned"), _count("faults_planned")),
        (Column("took effect", "faults"), _count("faults")),
        (Column("kinds"), _count("kinds")),
        (Column("leaders", "changes"), _count("leader_changes")),
        (Column("acknowledged", "writes"), _count("acknowledged_writes")),
        (Column("in doubt", "writes"), _count("indefinite")),
        (Column("lost", "acknowledged writes"), _figure("lost_acknowledged_writes")),
    ),
    "trade_off": (
        (Column("ack policy", numeric=False), _word("ack")),
        (Column("reads from", numeric=False), _word("read_policy")),
        (Column("write", "ms, median"), _figure("write_latency_ms_p50")),
        (Column("99th perc.", "ms"), _figure("write_latency_ms_p99")),
        (Column("read", "ms, mean"), _figure("read_latency_from_send_ms_mean")),
        (Column("from the leader", "% of reads"), _share("leader_share")),
        (Column("stale", "% of reads (95 % interval)"), _interval("stale_rate_acknowledged")),
        (Column("or than a value read", "% of reads"), _share("stale_rate")),
        (Column("own writes missed", "% of reads"), _share("read_your_writes_violation_rate")),
        (Column("steps back", "% of reads"), _share("monotonic_reads_violation_rate")),
        (Column("lost", "writes a failover"), _figure("lost_writes_per_failover")),
        (Column("no leader", "ms"), _figure("election_ms")),
    ),
    "follower_crash": (
        (Column("ack policy", numeric=False), _word("ack")),
        (Column("on disk", "position"), _word("position_on_disk")),
        (Column("first fetched", "position"), _word("first_entry_fetched")),
        (Column("fetched", "entries"), _count("entries_fetched")),
        (Column("sent twice", "entries"), _count("entries_sent_twice")),
        (Column("catching up", "ms"), _figure("catch_up_ms")),
        (Column("writes before", "1/s"), _figure("writes_per_s_before")),
        (Column("while down", "writes/s"), _figure("writes_per_s_down")),
    ),
}


def _outcomes(run: RunFolder) -> dict[str, dict[str, str]]:
    """Cell -> how many kinds of unsafe statements let replicas differ, where they travel as they are."""
    found: dict[str, dict[str, str]] = {}
    if "unsafe" in run.tables:
        cells = run.table("unsafe")
        for name, of_format in cells[(cells["policy"] != "refuse") & (cells["policy"] != "pin")].groupby("log_format"):
            outcomes = list(of_format.loc[of_format["cause"] != "constants", "outcome"])
            bad = outcomes.count("diverged")
            same = "all converge" if set(outcomes) == {"converged"} else "not all known"
            found[f"log_format={name}"] = {"unsafe": f"{bad} of {len(outcomes)} DIVERGE" if bad else same}
    return found


_EXTRAS: dict[str, Callable[[RunFolder], dict[str, dict[str, str]]]] = {"log_formats": _outcomes}
