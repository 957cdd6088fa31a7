"""A history as an interactive page: one lane a process, one bar an operation, what conflicts marked. Needs no network.

    found = linearizability(history.operations)
    run_timeline(history.operations, found, events).write("timeline.html")

The page holds its script and data, so it can be mailed and opened anywhere; in a notebook it stands in a frame of its
own. Of a run it shows above the processes who led, and who was paused, cut off or down; what was wrong tints the lanes
below. Of a long history it shows the end of the shortest failing prefix, and what conflicts wherever that is.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import pandas as pd

from workbench.charts.spans import Rule, Span, spans_of
from workbench.checkers.linearizability import Failing, Linearizability
from workbench.errors import ConfigurationError
from workbench.history_operations import OPEN, Operation, tell, told

OPERATIONS_MAX: Final = 1_500
"""Operations that a page shows before the end of the failing prefix, or of a history that does not fail."""
_AFTER_MAX: Final = 20

RULES: Final = (
    Rule("leads", frozenset({"leads", "still leads"}), frozenset({"paused", "cut off", "killed"})),
    Rule("paused", frozenset({"paused"}), frozenset({"resumed", "killed"})),
    Rule("cut off", frozenset({"cut off"}), frozenset({"mended", "killed"})),
    Rule("down", frozenset({"killed"}), frozenset({"restarted"})),
    Rule("catches up", frozenset({"restarted"}), frozenset({"caught up"})),
)
"""States of replicas, by the events of a run."""
FAULTS: Final = frozenset({"paused", "cut off", "down"})

_COLOURS: Final = {"read": "var(--read)", "write": "var(--write)", "cas": "var(--cas)"}
_LABEL_MAX: Final = 24
_HEIGHT_PX_MAX: Final = 1_000
_HEAD_PX, _ENTRY_PX, _STATE_PX, _LANE_PX = 470, 37, 22, 34
"""Heights on the page: of all that is always there, of what conflicts, a state and a lane."""
_OUTCOMES: Final = {"ok": "ok", "fail": "failed: it did not happen", "info": "in doubt: it may have happened or not"}


@dataclass(frozen=True, slots=True)
class HistoryTimeline:
    """The page; in a notebook its value shows itself."""

    html: str
    words: str
    """What the page says in one sentence."""
    operations_shown: int
    height_px: int = _HEIGHT_PX_MAX
    """Of the frame in a notebook; a page that is higher scrolls within it."""

    def write(self, path: Path | str) -> Path:
        """Write the page. Raises `ConfigurationError` if that cannot be."""
        target = Path(path)
        try:
            target.write_text(self.html, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"cannot write {target}: {error.strerror}") from error
        return target

    def __repr__(self) -> str:
        return f"HistoryTimeline({self.words})"

    def _repr_html_(self) -> str:
        """The page in a frame; where frames are not shown, its words remain."""
        page = html.escape(self.html, quote=True)
        frame = (
            f'<iframe srcdoc="{page}" title="timeline" style="width:100%;height:{self.height_px}px;border:0"></iframe>'
        )
        return f'<div role="figure" aria-label="{html.escape(self.words, quote=True)}">{frame}</div>'


def run_timeline(
    operations: Sequence[Operation], found: Linearizability, events: pd.DataFrame | None = None
) -> HistoryTimeline:
    """A page about the history of a run: its failing cell, else its first one. `events`: the run's table of them."""
    cell = found.failing.cell if found.failing else next((one.cell for one in operations), "")
    here = [one for one in operations if one.cell == cell]
    end_ms = max((one.completed_ns or one.invoked_ns for one in here), default=0) / 1e6
    return history_timeline(here, found, states_of_run(events, cell, end_ms))


def states_of_run(events: pd.DataFrame | None, cell: str, end_ms: float) -> list[Span]:
    """Who led, and who was away, in one cell, by the run's table of events; nothing without such a table."""
    if events is None or not {"cell", "at_ms", "event", "replica"} <= set(events.columns):
        return []
    return spans_of(events[events["cell"] == cell], RULES, end_ms)


def history_timeline(
    operations: Sequence[Operation], found: Linearizability | None = None, states: Iterable[Span] = ()
) -> HistoryTimeline:
    """A page about a history, or about what `linearizability` found in it. `states`: of replicas, meanwhile."""
    failing = found.failing if found else None
    all_shown = list(failing.operations) if failing else list(operations)
    all_shown.sort(key=lambda one: one.begin)
    shown = _chosen(all_shown, failing)
    conflicting = [one.number for one in failing.conflict.operations] if failing else []
    spans = sorted(states)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("workbench.charts"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    title = _title(failing, found)
    page = environment.get_template("history_timeline.html.jinja").render(
        title=title,
        words=_words(failing, found),
        note=_note(shown, all_shown, failing),
        legend=[(name, colour) for name, colour in _COLOURS.items() if any(one.f == name for one in shown)],
        doubtful=any(one.outcome == "info" for one in shown),
        failed=any(one.outcome == "fail" for one in shown),
        conflicting=bool(conflicting),
        states=sorted({span.state for span in spans}),
        fault_states=FAULTS,
        data=_data(shown, conflicting, failing, spans),
    )
    reason = found.verdict.reason if found else ""
    lanes, replicas = len({one.process for one in shown}), len({span.lane for span in spans})
    height_px = _HEAD_PX + _ENTRY_PX * len(conflicting) + _STATE_PX * replicas + _LANE_PX * lanes
    words = f"{title}: {reason}" if reason else title
    return HistoryTimeline(page, words, len(shown), min(height_px, _HEIGHT_PX_MAX))


def _chosen(operations: list[Operation], failing: Failing | None) -> list[Operation]:
    if failing is None:
        return operations[:OPERATIONS_MAX]
    conflicting = {one.number for one in failing.conflict.operations}
    before = [one for one in operations if one.begin <= failing.last.end]
    after = [one for one in operations if one.begin > failing.last.end][:_AFTER_MAX]
    earlier = [one for one in before[:-OPERATIONS_MAX] if one.number in conflicting]
    return earlier + before[-OPERATIONS_MAX:] + after


def _title(failing: Failing | None, found: Linearizability | None) -> str:
    if failing is None:
        return "A history" if found is None else f"A history, linearizable: {found.verdict.status}"
    return f"Key {failing.key!r} is not linearizable"


def _words(failing: Failing | None, found: Linearizability | None) -> str:
    """Why not, without what the title has said."""
    if failing is None:
        return found.verdict.reason if found else ""
    words = failing.conflict.words
    return f"{words[:1].upper()}{words[1:]}."


def _note(shown: list[Operation], operations: list[Operation], failing: Failing | None) -> str:
    cells = {one.cell for one in shown} - {""}
    sentences = [f"Cell {cells.pop()}"] if len(cells) == 1 else []
    of = "operations" if failing is None else "operations on this key"
    sentences.append(f"{len(shown):,} of {len(operations):,} {of} are shown")
    if failing is not None:
        sentences.append(
            f"The first {failing.prefix:,} are the shortest prefix without an order; what came later is pale"
        )
    if failing is not None and operations and shown[0].begin > operations[0].begin:
        sentences.append("What came long before its end is left out, unless it is in conflict")
    return ". ".join([*sentences, "A bar reaches from an operation's invocation to its completion."])


def _data(shown: list[Operation], conflicting: list[int], failing: Failing | None, spans: list[Span]) -> str:
    """The data of the page as JSON in which nothing can end the element that holds it."""
    moments = [(one.begin, one.invoked_ns) for one in shown]
    moments += [(one.end, one.completed_ns or 0) for one in shown if one.end != OPEN]
    moments.sort()
    rank = {place: at for at, (place, _) in enumerate(moments)}
    lanes = sorted({one.process for one in shown})
    start = 0 if spans else min((time for _, time in moments), default=0)
    end = failing.last.end if failing else None
    with_key = len({one.key for one in shown}) > 1
    rows = []
    for one in shown:
        late = end is not None and one.begin > end
        classes = {"info": "doubt", "fail": "fail", "ok": ""}[one.outcome] + (" late" if late else "")
        rows.append(
            {
                "lane": lanes.index(one.process),
                "begin": rank[one.begin],
                "end": None if one.end == OPEN else rank[one.end],
                "label": _label(one, with_key),
                "place": one.replica,
                "words": tell(one),
                "classes": classes,
                "colour": _COLOURS.get(one.f, "var(--other)"),
                "conflict": one.number in conflicting,
                "where_and_when": ", ".join(filter(None, [one.replica, _when(one, start)])),
                "details": _details(one, start),
            }
        )
    data: dict[str, Any] = {
        "operations": rows,
        "lanes": [f"process {lane}" for lane in lanes],
        "times": [time for _, time in moments],
        "start": start,
        "end": None if end is None else rank[end],
        "conflict": [at for at, one in enumerate(shown) if one.number in conflicting],
        "replicas": sorted({span.lane for span in spans}),
        "states": [
            {
                "replica": span.lane,
                "state": span.state,
                "fault": span.state in FAULTS,
                "begin_ns": round(span.from_ms * 1e6),
                "end_ns": round(span.to_ms * 1e6),
            }
            for span in spans
        ],
    }
    return json.dumps(data).replace("<", "\\u003c")


def _label(one: Operation, with_key: bool) -> str:
    """What stands in the bar."""
    value = "absent" if one.value is None else told(one.value)
    if one.f == "read":
        text = value if one.outcome == "ok" else "?"
    elif one.f == "cas":
        text = f"≠ {told(one.expected)}" if one.matched is False else f"{told(one.expected)} → {value}"
    else:
        text = value
    key = f"{one.key} = " if with_key else ""
    text = f"{key}{text}"
    return text if len(text) <= _LABEL_MAX else text[: _LABEL_MAX - 1] + "…"


def _when(one: Operation, start: int) -> str:
    """From when to when, in ms since the beginning of the axis."""
    until = "open" if one.completed_ns is None else f"{(one.completed_ns - start) / 1e6:,.1f}"
    return f"{(one.invoked_ns - start) / 1e6:,.1f} – {until} ms"


def _details(one: Operation, start: int) -> list[str]:
    """What a person may want to know of an operation."""
    shown = [_when(one, start), _OUTCOMES[one.outcome], f"session {one.session}"]
    shown += [one.replica] if one.replica else []
    shown += [f"term {one.term}, index {one.index}"] if one.index else []
    shown += [one.error] if one.error else []
    return shown
