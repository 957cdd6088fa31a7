"""A history as an interactive page: one lane a process, one bar an operation, what conflicts marked. Needs no network.

The page holds its script and data, so it can be mailed and opened anywhere; in a notebook it stands in a frame of its
own. Of a long history it shows the end of the shortest failing prefix, and what conflicts wherever that is.
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

from workbench.checkers.linearizability import Failing, Linearizability
from workbench.errors import ConfigurationError
from workbench.history_operations import OPEN, Operation, tell, told

OPERATIONS_MAX: Final = 300
"""Operations that a page shows before the end of the failing prefix, or of a history that does not fail."""
_AFTER_MAX: Final = 20

_COLOURS: Final = {"read": "var(--read)", "write": "var(--write)", "cas": "var(--cas)"}
_LABEL_MAX: Final = 24


@dataclass(frozen=True, slots=True)
class Fault:
    """What was wrong from `begin_ns` to `end_ns` (None: to the end; the same: a moment)."""

    name: str
    begin_ns: int
    end_ns: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryTimeline:
    """The page; in a notebook its value shows itself."""

    html: str
    operations_shown: int

    def write(self, path: Path | str) -> Path:
        """Write the page. Raises `ConfigurationError` if that cannot be."""
        target = Path(path)
        try:
            target.write_text(self.html, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"cannot write {target}: {error.strerror}") from error
        return target

    def _repr_html_(self) -> str:
        page = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" title="history" style="width:100%;height:34rem;border:0"></iframe>'


def history_timeline(
    operations: Sequence[Operation], found: Linearizability | None = None, faults: Iterable[Fault] = ()
) -> HistoryTimeline:
    """A page about a history, or about what `linearizability` found in it."""
    failing = found.failing if found else None
    all_shown = list(failing.operations) if failing else list(operations)
    all_shown.sort(key=lambda one: one.begin)
    shown = _chosen(all_shown, failing)
    conflicting = {one.number for one in failing.conflict.operations} if failing else set()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("workbench.charts"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    marks = list(faults)
    names = [name for name in ("read", "write", "cas") if any(one.f == name for one in shown)]
    page = environment.get_template("history_timeline.html.jinja").render(
        title=_title(failing, found),
        words=found.verdict.reason if found else "",
        note=_note(shown, all_shown, failing),
        legend=[(name, _COLOURS[name]) for name in names],
        conflicting=bool(conflicting),
        faults=bool(marks),
        data=_data(shown, conflicting, failing, marks),
    )
    return HistoryTimeline(page, len(shown))


def faults_of_run(events: pd.DataFrame | None, cell: str) -> list[Fault]:
    """What a run folder's table of events says about one cell, as moments."""
    if events is None or not {"cell", "at_ms", "event", "replica"} <= set(events.columns):
        return []
    rows = events[events["cell"] == cell]
    moments = zip(rows["event"], rows["replica"], rows["at_ms"], strict=True)
    return [Fault(f"{event} {replica}".strip(), int(at * 1e6), int(at * 1e6)) for event, replica, at in moments]


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
    cell = f" of {failing.cell}" if failing.cell else ""
    return f"Key {failing.key!r}{cell} is not linearizable"


def _note(shown: list[Operation], operations: list[Operation], failing: Failing | None) -> str:
    text = f"{len(shown):,} of {len(operations):,} operations are shown."
    if failing is not None and len(shown) < len(operations):
        text += " They are those around the end of the shortest failing prefix, and those in conflict."
    return text + " Bars reach from invocation to completion; events stand in their order, evenly spaced."


def _data(shown: list[Operation], conflicting: set[int], failing: Failing | None, faults: list[Fault]) -> str:
    """The data of the page as JSON in which nothing can end the element that holds it."""
    moments = [(one.begin, one.invoked_ns) for one in shown]
    moments += [(one.end, one.completed_ns or 0) for one in shown if one.end != OPEN]
    moments.sort()
    rank = {place: at for at, (place, _) in enumerate(moments)}
    lanes = sorted({one.process for one in shown})
    start = moments[0][1] if moments else 0
    end = failing.last.end if failing else None
    rows = []
    for one in shown:
        late = end is not None and one.begin > end
        classes = {"info": "doubt", "fail": "fail", "ok": ""}[one.outcome] + (" late" if late else "")
        rows.append(
            {
                "lane": lanes.index(one.process),
                "begin": rank[one.begin],
                "end": None if one.end == OPEN else rank[one.end],
                "label": _label(one),
                "words": tell(one),
                "classes": classes,
                "colour": _COLOURS.get(one.f, "var(--other)"),
                "conflict": one.number in conflicting,
                "details": _details(one, start),
            }
        )
    data: dict[str, Any] = {
        "operations": rows,
        "lanes": [f"process {lane}" for lane in lanes],
        "times": [time for _, time in moments],
        "end": None if end is None else rank[end],
        "faults": [{"name": one.name, "begin_ns": one.begin_ns, "end_ns": one.end_ns} for one in faults],
    }
    return json.dumps(data).replace("<", "\\u003c")


def _label(one: Operation) -> str:
    value = told(one.value) if one.value is not None else "–"
    if one.f == "read":
        text = value if one.outcome == "ok" else "?"
    elif one.f == "cas":
        text = f"≠ {told(one.expected)}" if one.matched is False else f"{told(one.expected)} → {value}"
    else:
        text = value
    return text if len(text) <= _LABEL_MAX else text[: _LABEL_MAX - 1] + "…"


def _details(one: Operation, start: int) -> list[str]:
    """What a person may want to know of an operation; times in ms since the first that is shown."""
    until = "never" if one.completed_ns is None else f"{(one.completed_ns - start) / 1e6:,.3f} ms"
    words = {"ok": "ok", "fail": "failed: it did not happen", "info": "in doubt: it may have happened, or still may"}
    shown = [
        f"invoked {(one.invoked_ns - start) / 1e6:,.3f} ms",
        f"completed {until}",
        words[one.outcome],
        f"session {one.session}",
    ]
    shown += [f"replica {one.replica}"] if one.replica else []
    shown += [f"position {one.term}.{one.index}"] if one.index else []
    shown += [one.error] if one.error else []
    return shown
