"""Charts of `session_guarantees`: which read policy keeps which promise, and what each costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.charts.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    count_range,
    few_ticks,
    finish,
    mix,
    new_figure,
    no_data,
    number,
    percent,
    quiet_axes,
)
from workbench.results import RunFolder

_GUARANTEES = {
    "read_your_writes": "Own writes missed (read your writes)",
    "monotonic_reads": "Steps back in time (monotonic reads)",
}
_PROMISE_WORDS = {"read_your_writes": "own writes", "monotonic_reads": "never back"}
_ORDER = [(False, False), (False, True), (True, False), (True, True)]
"""(promises read your writes, promises monotonic reads), in the order of the rows."""
_COLOURS = dict(zip(_ORDER, (VERMILION, PURPLE, ORANGE, BLUE), strict=True))
_TITLE = "What sessions see under each read policy"
_NOTHING = "No read was answered, so there is nothing to show."


def draw(run: RunFolder) -> dict[str, Figure]:
    """The figures of one run, by name; the first is the headline."""
    return {"violations": _draw_violations(run), "price": _draw_price(run)}


def alt_texts(run: RunFolder) -> Mapping[str, str]:
    """What each figure shows, for people who do not see it."""
    return {"violations": _violations_alt(run), "price": _price_alt(run)}


def _cells(run: RunFolder) -> pd.DataFrame:
    """The measured policies, those that promise least first."""
    summary = run.summary
    needed = {"read_policy", "reads", "leader_share", "price_ms_mean"}
    needed |= {f"{guarantee}_violation_rate" for guarantee in _GUARANTEES}
    if summary.empty or not needed <= set(summary.columns):
        return pd.DataFrame()
    cells = summary[summary["reads"] > 0].copy()
    cells["rank"] = [_ORDER.index(_promised(row)) for _, row in cells.iterrows()]
    return cells.sort_values("rank", kind="stable")


def _promised(row: pd.Series) -> tuple[bool, bool]:
    return bool(row["promises_read_your_writes"]), bool(row["promises_monotonic_reads"])


def _colour(row: pd.Series) -> str:
    return SKY if str(row["read_policy"]).startswith("bounded") else _COLOURS[_promised(row)]


def _draw_violations(run: RunFolder) -> Figure:
    cells = _cells(run)
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    figure, panels = new_figure(1.75 + 0.4 * len(cells), columns=len(_GUARANTEES), sharey=True)
    for axes, (guarantee, heading) in zip(panels, _GUARANTEES.items(), strict=True):
        for place, (_, row) in enumerate(cells.iterrows()):
            _draw_rate(axes, place, row, guarantee)
        worst = 100 * float(cells[f"{guarantee}_violation_rate_high"].max())
        axes.set_xlim(0, max(worst * 1.45, 1.0))
        axes.xaxis.set_major_locator(few_ticks())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.set_xlabel("of the reads that could, % (line: 95 % interval)")
        axes.set_title(heading)
        quiet_axes(axes)
    _name_rows(panels[0], cells)
    checked = pd.concat([cells[f"{guarantee}_checked"] for guarantee in _GUARANTEES])
    conditions = [
        f"ack policy {cells['ack'].iloc[0]}",
        f"{count_range(checked)} reads behind each figure",
        _delays(run),
    ]
    reading = "Green: the policy promises that this never happens, and it did not. Bars: it makes no such promise."
    return finish(figure, _violations_title(cells), run, [one for one in conditions if one], reading)


def _draw_rate(axes: Axes, place: int, row: pd.Series, guarantee: str) -> None:
    rate, low, high = (100 * float(row[f"{guarantee}_violation_rate{end}"]) for end in ("", "_low", "_high"))
    checked, violations = int(row[f"{guarantee}_checked"]), int(row[f"{guarantee}_violations"])
    promised = bool(row[f"promises_{guarantee}"])
    if promised:
        shade = GREEN if not violations else VERMILION
        axes.axhspan(place - 0.42, place + 0.42, color=mix(shade, "#ffffff", 0.86), linewidth=0, zorder=0)
    if np.isnan(rate):
        _note(axes, 0.0, place, "unknown: nothing was checked")
        return
    if violations:
        axes.barh(place, rate, color=VERMILION if promised else _colour(row), height=0.56, linewidth=0)
        axes.plot([low, high], [place, place], color=INK, linewidth=1.1)
        text = f"{percent(rate / 100)}: {violations:,} of {checked:,}" + (", promised never" if promised else "")
        _note(axes, high, place, text, bold=promised)
    elif promised:
        _note(axes, 0.0, place, f"✓ 0 of {checked:,}", colour=mix(GREEN, "#000000", 0.35), bold=True)
    else:
        _note(axes, 0.0, place, f"0 of {checked:,}, not promised")


def _note(axes: Axes, at: float, place: int, text: str, *, colour: str = INK, bold: bool = False) -> None:
    axes.annotate(
        text,
        (at, place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=colour,
        fontweight="bold" if bold else "normal",
    )


def _name_rows(axes: Axes, cells: pd.DataFrame) -> None:
    axes.set_yticks(range(len(cells)), [_policy_words(name) for name in cells["read_policy"]])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.tick_params(axis="y", labelsize=10, labelcolor=INK, length=0)


def _policy_words(name: str) -> str:
    """A long name in two lines."""
    return name.replace("read_your_writes:", "read_your_writes:\n")


def _delays(run: RunFolder) -> str:
    near, far = (run.parameters.get(name) for name in ("follower_delay_ms", "slow_follower_delay_ms"))
    if near is None or far is None:
        return ""
    return f"followers {number(float(near))} and {number(float(far))} ms behind"


def _violations_title(cells: pd.DataFrame) -> str:
    broken = [
        str(row["read_policy"])
        for _, row in cells.iterrows()
        if any(row[f"promises_{guarantee}"] and row[f"{guarantee}_violations"] > 0 for guarantee in _GUARANTEES)
    ]
    if broken:
        return f"A promise was broken under {' and '.join(broken)}"
    rates = cells.set_index("read_policy")["read_your_writes_violation_rate"]
    promising = bool(cells["promises_read_your_writes"].any())
    kept = "; where it is promised, every one does" if promising else ""
    if not rates.get("any", 0.0) > 0:
        return "No read of a session's own key found an older value" if rates.notna().any() else _TITLE
    return f"From any replica, {percent(rates['any'])} of reads of one's own comment do not find it{kept}"


def _violations_alt(run: RunFolder) -> str:
    cells = _cells(run)
    if cells.empty:
        return _NOTHING
    parts = []
    for _, row in cells.iterrows():
        figures = [
            f"{words} {int(row[f'{guarantee}_violations'])} of {int(row[f'{guarantee}_checked'])}"
            f"{' (promised: none)' if row[f'promises_{guarantee}'] else ''}"
            for guarantee, words in (("read_your_writes", "own writes missed"), ("monotonic_reads", "steps back"))
        ]
        parts.append(f"{row['read_policy']}: {', '.join(figures)}")
    return "Bars of how often each read policy breaks two guarantees of a session. " + "; ".join(parts) + "."


def _draw_price(run: RunFolder) -> Figure:
    cells = _cells(run)
    if cells.empty:
        return no_data(_NOTHING, _TITLE, run)
    figure, (promises, price, share) = new_figure(
        1.75 + 0.4 * len(cells), columns=3, sharey=True, width_ratios=[0.62, 1.6, 1.0]
    )
    _draw_promises(promises, cells)
    _draw_milliseconds(price, cells)
    _draw_shares(share, cells)
    _name_rows(promises, cells)
    conditions = [f"ack policy {cells['ack'].iloc[0]}", f"{count_range(cells['reads'])} reads a policy", _delays(run)]
    reading = "Bars: the mean, from the moment a read is sent. Links to clients have no delay: the leader is next door."
    return finish(figure, _price_title(cells), run, [one for one in conditions if one], reading)


def _draw_promises(axes: Axes, cells: pd.DataFrame) -> None:
    for place, (_, row) in enumerate(cells.iterrows()):
        for column, guarantee in enumerate(_PROMISE_WORDS):
            is_promised = bool(row[f"promises_{guarantee}"])
            colour = mix(GREEN, "#000000", 0.35) if is_promised else "#a9afb9"
            sign = "✓" if is_promised else "–"
            axes.text(column, place, sign, ha="center", va="center", color=colour, fontsize=12, fontweight="bold")
    axes.set_xlim(-0.55, len(_PROMISE_WORDS) - 0.45)
    axes.set_xticks(range(len(_PROMISE_WORDS)), [words.replace(" ", "\n") for words in _PROMISE_WORDS.values()])
    axes.set_title("Promises")
    axes.tick_params(axis="x", length=0)
    quiet_axes(axes)
    axes.grid(visible=False)


def _milliseconds(cells: pd.DataFrame) -> tuple[str, str]:
    """The column that is drawn and what it says: without `any` there is nothing to compare with."""
    if cells["price_ms_mean"].notna().any():
        return "price_ms_mean", "A read takes longer than under any by"
    return "read_latency_from_send_ms_mean", "A read takes"


def _draw_milliseconds(axes: Axes, cells: pd.DataFrame) -> None:
    column, heading = _milliseconds(cells)
    values = cells[column].to_numpy(dtype=float)
    span = max(float(np.nanmax(np.abs(values))), 1e-3)
    for place, (_, row) in enumerate(cells.iterrows()):
        value = float(row[column])
        axes.barh(place, value, color=_colour(row), height=0.56, linewidth=0)
        is_base = column.startswith("price") and row["read_policy"] == "any"
        text = "0: the comparison" if is_base else _signed(value) if column.startswith("price") else number(value)
        _note(axes, max(value, 0.0), place, text)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlim(min(0.0, float(np.nanmin(values))) - span * 0.02, span * 1.3)
    axes.xaxis.set_major_locator(few_ticks())
    axes.set_title(heading)
    axes.set_xlabel("ms")
    quiet_axes(axes)


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '−'}{number(abs(value))}"


def _draw_shares(axes: Axes, cells: pd.DataFrame) -> None:
    for place, (_, row) in enumerate(cells.iterrows()):
        value = 100 * float(row["leader_share"])
        axes.barh(place, value, color=mix(_colour(row), "#ffffff", 0.35), height=0.56, linewidth=0)
        _note(axes, value, place, percent(value / 100))
    axes.set_xlim(0, 128)
    axes.set_xticks([0, 50, 100])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.set_title("The leader answers")
    axes.set_xlabel("of all reads")
    quiet_axes(axes)


def _price_title(cells: pd.DataFrame) -> str:
    prices = cells.set_index("read_policy")["price_ms_mean"].dropna()
    promising = [name for name in prices.index if name != "any"]
    if not promising:
        return "What each read policy costs"
    dearest = str(prices[promising].idxmax())
    words = f"Under {dearest} a read takes {number(max(float(prices[dearest]), 0.0))} ms longer than from any replica"
    shares = cells.set_index("read_policy")["leader_share"]
    return words + ("; reading from the leader costs the leader's time instead" if "leader" in shares else "")


def _price_alt(run: RunFolder) -> str:
    cells = _cells(run)
    if cells.empty:
        return _NOTHING
    parts = []
    for _, row in cells.iterrows():
        promised = [words for guarantee, words in _PROMISE_WORDS.items() if row[f"promises_{guarantee}"]]
        parts.append(
            f"{row['read_policy']} (promises {' and '.join(promised) or 'neither'}): "
            f"{number(row['read_latency_from_send_ms_mean'])} ms a read, {_signed(row['price_ms_mean'])} ms "
            f"against any, {percent(row['leader_share'])} of reads from the leader"
        )
    return "Bars of the mean latency of reads by read policy, beside what it promises. " + "; ".join(parts) + "."
