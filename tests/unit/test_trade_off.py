"""What `trade_off` claims of given figures, which policies it calls beaten, how weights rank them, and its charts."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.unit.synthetic_trade_off import ACKS, READ_POLICIES, policy_row, trade_off_run
from workbench.charts.drawing import alt_text, draw
from workbench.charts.labels import Label, place_labels
from workbench.charts.style import new_figure, style
from workbench.charts.tables import finding, shown_table
from workbench.charts.trade_off_ranking import EQUAL_WEIGHTS, reason
from workbench.checkers import Losses, Verdict
from workbench.client.load import LoadConfig
from workbench.client.policies import policy_of
from workbench.errors import ConfigurationError
from workbench.experiments.trade_off import EXPERIMENT, delays_ms, timing_of
from workbench.experiments.trade_off_claims import AckFacts, ReadFacts, judge
from workbench.metrics.weighing import WEIGHED, dominated_by, weigh

ROWS = [policy_row(ack, policy) for ack, policy in itertools.product(ACKS, READ_POLICIES)]
FRESH = Verdict.valid("none of 200 reads was stale", reads_at_risk=200)
STALE = Verdict.invalid("3 of 200 reads were stale", reads_at_risk=200)


def losses(lost: int, accounted: int | None = None) -> Losses:
    accounted = lost if accounted is None else accounted
    flags = {"dropped": [place < accounted for place in range(lost)], "lost": [True] * lost}
    writes = pd.DataFrame({**flags, "took_effect_again": [False] * lost})
    counts: dict[str, int | float] = {
        "acknowledged_writes": 300,
        "lost_acknowledged_writes": lost,
        "accounted_writes": accounted,
    }
    return Losses(writes.astype(bool), counts)


def facts(ack: str, **changes: Any) -> AckFacts:
    latency, lost, _ = ACKS[ack]
    given: dict[str, Any] = {
        "ack": ack,
        "survives": ack in {"quorum", "sync"},
        "writes": 300,
        "write_latency_ms_p50": latency,
        "failovers": ({"kill": 1, "took_effect": True},),
        "failovers_asked": 1,
        "losses": losses(int(lost)),
    }
    return AckFacts(**given | changes)


def statuses(
    acks: list[AckFacts] | None = None, reads: list[ReadFacts] | None = None, *, slowest_ms: float = 72.0
) -> dict[str, str]:
    acks = [facts(ack) for ack in ACKS] if acks is None else acks
    reads = [read("sync", "any"), read("async", "leader"), read("async", "any", STALE)] if reads is None else reads
    return {name: verdict.status for name, verdict in judge(acks, reads, slowest_ms=slowest_ms).items()}


def read(ack: str, policy: str, fresh: Verdict = FRESH) -> ReadFacts:
    return ReadFacts(ack=ack, read_policy=policy, fresh=fresh)


# Claims.


def test_all_claims_hold_where_everything_is_as_expected() -> None:
    assert statuses() == dict.fromkeys(EXPERIMENT.claims, "valid")


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        (facts("async", write_latency_ms_p50=40.0), "async_writes_are_faster"),
        (facts("quorum", failovers=({"kill": 1, "took_effect": False},)), "every_failover_took_effect"),
        (facts("quorum", losses=losses(2)), "a_majority_loses_nothing"),
        (facts("async", losses=losses(5, accounted=4)), "lost_writes_are_accounted_for"),
    ],
)
def test_each_claim_about_writes_can_be_seen_broken(changed: AckFacts, broken: str) -> None:
    found = statuses([changed if changed.ack == ack else facts(ack) for ack in ACKS])
    assert found[broken] == "invalid"


@pytest.mark.parametrize(
    ("stale", "broken"),
    [
        (read("sync", "sticky", STALE), "sync_applied_reads_are_fresh"),
        (read("quorum", "linearizable", STALE), "leader_reads_are_fresh"),
    ],
)
def test_each_claim_about_reads_can_be_seen_broken(stale: ReadFacts, broken: str) -> None:
    assert statuses(reads=[read("sync", "any"), read("async", "leader"), stale])[broken] == "invalid"


@pytest.mark.parametrize(
    ("changed", "unknown"),
    [
        (facts("sync", writes=10), "async_writes_are_faster"),
        (facts("sync", problem="two writes have the same key and value"), "a_majority_loses_nothing"),
        (facts("async", losses=losses(0)), "lost_writes_are_accounted_for"),
    ],
)
def test_too_little_proves_nothing(changed: AckFacts, unknown: str) -> None:
    assert statuses([changed if changed.ack == ack else facts(ack) for ack in ACKS])[unknown] == "unknown"


def test_too_few_reads_prove_nothing() -> None:
    few = Verdict.valid("none of 20 reads was stale", reads_at_risk=20)
    assert statuses(reads=[read("sync", "leader", few)])["leader_reads_are_fresh"] == "unknown"


def test_no_claim_about_what_was_not_measured() -> None:
    found = statuses([facts("quorum")], [read("quorum", "any", STALE)])
    assert set(found) == {"every_failover_took_effect", "a_majority_loses_nothing"}
    assert "async_writes_are_faster" not in statuses(slowest_ms=0.0)


def test_a_policy_that_happened_to_lose_nothing_spoils_no_account() -> None:
    assert statuses([facts("async"), facts("semi_sync:1")])["lost_writes_are_accounted_for"] == "valid"


# Parameters.


def test_followers_are_further_and_further_away() -> None:
    assert delays_ms(EXPERIMENT.resolve("quick")) == pytest.approx([8.0, 24.0, 72.0])
    none = EXPERIMENT.resolve("quick", {"follower_delay_ms": 0, "slow_follower_delay_ms": 20})
    assert delays_ms(none) == [0.0, 10.0, 20.0]


def test_a_cut_that_replaces_the_leader_before_the_kill_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cut_off_ms is 400"):
        timing_of(EXPERIMENT.resolve("quick", {"cut_off_ms": 400}))


def test_sessions_of_one_load_have_their_policies_in_turn() -> None:
    load = LoadConfig(read_policy="any,leader,bounded:30ms")
    assert [policy_of(load.read_policy, session) for session in range(4)] == ["any", "leader", "bounded:30ms", "any"]
    with pytest.raises(ConfigurationError, match="unknown read policy 'nobody'"):
        LoadConfig(read_policy="any,nobody")


# Which one is beaten.


def test_the_front_is_what_nothing_beats_noticeably() -> None:
    beaten = dominated_by(ROWS)
    front = {(row["ack"], row["read_policy"]) for row, place in zip(ROWS, beaten, strict=True) if place is None}
    assert front == {(ack, policy) for ack in ("async", "semi_sync:1", "quorum") for policy in READ_POLICIES[3:]}
    assert all(beaten[place] is None for place in beaten if place is not None), "beaten by one of the front"


def test_noise_beats_nobody() -> None:
    first = policy_row("quorum", "any")
    noisy = first | {"write_latency_ms_p50": 26.9, "stale_rate_acknowledged": 0.19, "stale_rate_acknowledged_low": 0.14}
    assert dominated_by([first, noisy]) == [None, None]


def test_having_lost_nothing_is_less_than_promising_it() -> None:
    lucky = policy_row("quorum", "leader", may_lose_writes=True)
    assert dominated_by([policy_row("quorum", "leader"), lucky]) == [None, 0]


def test_what_is_unknown_neither_beats_nor_is_beaten_by_it() -> None:
    unknown = policy_row("async", "leader", lost_writes_per_failover=math.nan, may_lose_writes=False)
    assert dominated_by([policy_row("quorum", "leader"), unknown])[0] == 1
    assert dominated_by([unknown, policy_row("async", "leader", may_lose_writes=False)]) == [None, None]


# Weights.


def best(**weights: float) -> tuple[str, str]:
    named = {respect.column: weights.get(respect.words.replace(" ", "_"), 0.0) for respect in WEIGHED}
    row = weigh(ROWS, named)[0].row
    return row["ack"], row["read_policy"]


def test_each_weight_decides() -> None:
    assert best(slow_writes=1) == ("async", "any")
    assert best(slow_writes=1, stale_reads=1) == ("async", "leader")
    assert best(slow_writes=1, stale_reads=1, lost_writes=1) == ("semi_sync:1", "leader")
    everything = {"stale_reads": 1.0, "lost_writes": 1.0, "reads_answered_by_the_leader": 1.0}
    assert best(slow_writes=0.5, **everything) == ("sync", "any")


def test_points_do_not_depend_on_who_else_is_there() -> None:
    alone = weigh(ROWS[:1], EQUAL_WEIGHTS)[0]
    (together,) = [one for one in weigh(ROWS, EQUAL_WEIGHTS) if one.row is ROWS[0]]
    assert alone.points == together.points
    assert alone.total == pytest.approx(0.15 + 0.132 + 32 + 24 + 2.7)


def test_unknown_figures_come_last_unless_they_weigh_nothing() -> None:
    unknown = policy_row("async", "any", lost_writes_per_failover=math.nan)
    ranked = weigh([unknown, *ROWS], EQUAL_WEIGHTS)
    assert ranked[-1].row is unknown
    assert weigh([unknown, *ROWS], {"write_latency_ms_p50": 1.0})[0].row is unknown


def test_the_reason_names_the_best_and_what_sets_the_next_apart() -> None:
    weights = {
        "write_latency_ms_p50": 1,
        "stale_rate_acknowledged": 1,
        "leader_share": 1,
        "lost_writes_per_failover": 1,
    }
    told = reason(weigh(ROWS, weights))
    assert told.startswith("sync · any costs least: 10.2 points (7.5 for slow writes + 2.7 for reads answered by the")
    assert "about the same: sync · sticky, sync · read_your_writes" in told
    assert "async" not in told
    assert "Nothing that weighs anything" in reason(weigh(ROWS, {}))
    assert reason(weigh([], EQUAL_WEIGHTS)).startswith("Nothing can be ranked")


# Charts.


def test_the_titles_state_the_findings(tmp_path: Path) -> None:
    run = trade_off_run(tmp_path)
    assert finding(run) == (
        "async: writes take 1.5 ms, a failover loses 24, 32 % of the reads from any replica are stale; sync: writes "
        "take 75 ms, a failover loses none, none of the reads from any replica are stale"
    )
    assert "24 lost" in alt_text(run, "map")
    assert "none lost, no promise" in alt_text(run, "map")


@pytest.mark.parametrize("acks", [tuple(ACKS), ("quorum",), ("async", "semi_sync:1")])
def test_no_label_of_the_map_hides_another(tmp_path: Path, acks: tuple[str, ...]) -> None:
    figure = draw(trade_off_run(tmp_path, acks=acks))["map"]
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(acks) * (1 + len(READ_POLICIES))
    overlapping = [
        (axes.texts[one].get_text(), axes.texts[other].get_text())
        for one, other in itertools.combinations(range(len(boxes)), 2)
        if boxes[one].overlaps(boxes[other])
    ]
    assert overlapping == []


def test_many_labels_of_one_place_stand_apart() -> None:
    with style():
        _, (axes,) = new_figure(4.0)
        middle = (float(axes.bbox.x0 + axes.bbox.width / 2), float(axes.bbox.y0 + axes.bbox.height / 2))
        labels = [Label(text=f"policy {place}", at=middle, radius_px=5, colour="#000000") for place in range(9)]
        boxes = place_labels(axes, labels)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_the_table_has_a_row_a_policy(tmp_path: Path) -> None:
    rows = shown_table(trade_off_run(tmp_path, acks=("quorum",))).rows
    assert [row[:2] for row in rows] == [("quorum", policy) for policy in READ_POLICIES]


def test_an_unknown_figure_is_drawn_as_such(tmp_path: Path) -> None:
    run = trade_off_run(tmp_path, lost_writes_per_failover=math.nan, stale_rate_acknowledged=math.nan)
    assert set(draw(run)) == {"map", "reads", "ranking"}
    assert "losses unknown" in alt_text(run, "map")
    assert "unknown" in alt_text(run, "ranking")
