"""What `session_guarantees` claims of given verdicts, and what its charts say of given figures."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.unit.histories import history, read, write
from tests.unit.synthetic_sessions import session_guarantees_run
from workbench.charts.drawing import alt_text, draw
from workbench.charts.tables import finding, shown_table
from workbench.checkers import Verdict
from workbench.checkers.sessions import Guarantee, session_guarantees
from workbench.client.load import plan_operations
from workbench.errors import ConfigurationError
from workbench.experiments.parameters import PROFILES
from workbench.experiments.session_claims import CLAIMS, MINIMUMS, PolicyVerdicts, judge, promises
from workbench.experiments.session_guarantees import EXPERIMENT, READ_POLICIES, load_of, with_prices

DELAY_MS = 120.0
NAN = float("nan")


def held(checked: int = 1_200) -> Verdict:
    return Verdict.valid(f"none of {checked} reads went back", checked=checked, violations=0)


def broken(checked: int = 1_200) -> Verdict:
    reason = f"9 of {checked} reads went back: session 3 wrote x = 5, then read x = 4"
    return Verdict.invalid(reason, [{"session": 3}], checked=checked, violations=9)


def fresh(at_risk: int = 1_500) -> Verdict:
    return Verdict.valid("none of 1900 reads was stale", reads=1_900, reads_at_risk=at_risk)


def stale(at_risk: int = 1_500) -> Verdict:
    return Verdict.invalid("200 of 1900 reads were stale", reads=1_900, reads_at_risk=at_risk)


def cell(
    policy: str, writes: Verdict, reads: Verdict, *, found: Verdict | None = None, age_ms: float = NAN,
    delay_ms: float = DELAY_MS,
) -> PolicyVerdicts:  # fmt: skip
    guarantees: dict[Guarantee, Verdict] = {"read_your_writes": writes, "monotonic_reads": reads}
    return PolicyVerdicts(
        read_policy=policy, delay_ms=delay_ms, guarantees=guarantees, stale=found or stale(), age_ms_max=age_ms
    )


def as_expected() -> dict[str, PolicyVerdicts]:
    return {
        "any": cell("any", broken(), broken()),
        "sticky": cell("sticky", broken(), held()),
        "monotonic": cell("monotonic", broken(), held()),
        "read_your_writes": cell("read_your_writes", held(), broken()),
        "read_your_writes:leader_for_own": cell("read_your_writes:leader_for_own", held(), broken()),
        "read_your_writes:window": cell("read_your_writes:window", held(), broken()),
        "bounded:30ms": cell("bounded:30ms", broken(), broken(), age_ms=14.0),
        "causal": cell("causal", held(), held()),
        "leader": cell("leader", held(), held(), found=fresh()),
        "linearizable": cell("linearizable", held(), held(), found=fresh()),
    }


def statuses(cells: dict[str, PolicyVerdicts], ack: str = "async") -> dict[str, str]:
    return {name: verdict.status for name, verdict in judge(list(cells.values()), ack).items()}


# Claims.


def test_all_claims_hold_where_everything_is_as_expected() -> None:
    assert set(as_expected()) == set(READ_POLICIES)
    assert statuses(as_expected()) == dict.fromkeys(CLAIMS, "valid")


@pytest.mark.parametrize(
    ("replaced", "claim"),
    [
        (cell("any", held(), broken()), "any_breaks_read_your_writes"),
        (cell("any", broken(), held()), "any_breaks_monotonic_reads"),
        (cell("sticky", held(), held()), "sticky_breaks_read_your_writes"),
        (cell("read_your_writes", broken(), held()), "read_your_writes_holds"),
        (cell("read_your_writes:leader_for_own", broken(), held()), "read_your_writes_holds"),
        (cell("read_your_writes:window", broken(), held()), "read_your_writes_holds"),
        (cell("causal", broken(), held()), "read_your_writes_holds"),
        (cell("causal", held(), broken()), "monotonic_reads_hold"),
        (cell("sticky", broken(), broken()), "monotonic_reads_hold"),
        (cell("monotonic", broken(), broken()), "monotonic_reads_hold"),
        (cell("linearizable", held(), held(), found=stale()), "linearizable_is_never_stale"),
        (cell("bounded:30ms", held(), held(), age_ms=30.1), "bounded_keeps_its_bound"),
    ],
)
def test_each_claim_can_be_seen_broken(replaced: PolicyVerdicts, claim: str) -> None:
    found = statuses(as_expected() | {replaced.read_policy: replaced})
    assert {name for name, status in found.items() if status != "valid"} == {claim}
    assert found[claim] == "invalid"


def test_fewer_than_a_thousand_operations_are_unknown_whatever_they_show() -> None:
    few = MINIMUMS["checked"] - 1
    cells = {
        "any": cell("any", broken(few), broken(few)),
        "causal": cell("causal", held(few), held(few)),
        "linearizable": cell("linearizable", held(few), held(few), found=fresh(few)),
        "bounded:30ms": cell("bounded:30ms", held(few), held(few), found=stale(few), age_ms=3.0),
    }
    assert set(statuses(cells).values()) == {"unknown"}


def test_one_broken_promise_is_proof_however_few_were_checked() -> None:
    assert statuses({"causal": cell("causal", broken(3), held())})["read_your_writes_holds"] == "invalid"


def test_nothing_checked_is_unknown() -> None:
    nothing = Verdict.unknown("no read came after a write of its session and key", checked=0)
    cells = {"any": cell("any", nothing, nothing), "leader": cell("leader", nothing, nothing)}
    assert set(statuses(cells).values()) == {"unknown"}


def test_anomalies_are_expected_only_under_async_with_followers_that_are_behind() -> None:
    anomalies = {"any_breaks_read_your_writes", "any_breaks_monotonic_reads", "sticky_breaks_read_your_writes"}
    cells = as_expected()
    assert anomalies.isdisjoint(statuses(cells, ack="sync"))
    near = {name: cell(name, held(), held(), found=fresh(), delay_ms=0.0) for name in cells}
    assert anomalies.isdisjoint(statuses(near))


def test_a_bound_in_entries_is_not_judged() -> None:
    assert "bounded_keeps_its_bound" not in statuses({"bounded:5": cell("bounded:5", held(), held(), age_ms=500.0)})


def test_a_window_promises_nothing_about_followers_that_are_further_behind() -> None:
    assert promises("read_your_writes:window", "read_your_writes", 120.0)
    assert promises("read_your_writes:window:300ms", "read_your_writes", 120.0)
    assert not promises("read_your_writes:window:200ms", "read_your_writes", 120.0)
    assert not promises("read_your_writes:window", "monotonic_reads", 0.0)


def test_the_checkers_verdicts_are_what_the_claims_are_made_for() -> None:
    """The counts that the claims ask for are those that the checker gives."""
    mine = {"cell": "c", "session": 1}
    operations = history(write("x", 1, 0, 1, 1, **mine), write("x", 2, 2, 3, 2, **mine), read("x", 1, 4, 5, **mine))
    verdict = session_guarantees(operations).verdict("read_your_writes")
    assert (verdict.status, verdict.counts["checked"]) == ("invalid", 1)


def test_a_policy_that_is_none_is_refused_before_the_run() -> None:
    assert EXPERIMENT.resolve("ci", {"read_policy": "any,bounded:7ms"}).read_policy == ("any", "bounded:7ms")
    with pytest.raises(ConfigurationError, match="read_policy: unknown read policy 'casual'"):
        EXPERIMENT.resolve("ci", {"read_policy": "casual"})


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_profile_plans_enough_reads_of_own_writes(profile: str, seed: int) -> None:
    """Reads of a key that its session has written before; how fast the machine is does not matter."""
    parameters = EXPERIMENT.resolve(profile)
    for policy in parameters.read_policy:
        load = load_of(parameters, seed, policy)
        written, checkable = set(), 0
        for operation in plan_operations(load):
            if operation.due_ns >= min(load.warmup_s + load.duration_s, 3.0) * 1e9:
                break
            owner = (operation.number % load.sessions, operation.key)
            if not operation.is_read:
                written.add(owner)
            checkable += operation.is_read and owner in written
        assert checkable > MINIMUMS["checked"] * 1.05, (policy, checkable)


# Figures.


def test_the_price_is_what_reads_take_longer_than_those_of_any() -> None:
    def row(policy: str, mean: float) -> dict[str, object]:
        figures = {"mean": mean, "p50": mean / 2, "p99": 10 * mean}
        return {"read_policy": policy} | {f"read_latency_from_send_ms_{name}": value for name, value in figures.items()}

    first, second = with_prices([row("any", 2.0), row("causal", 9.0)])
    assert (first["price_ms_mean"], second["price_ms_mean"], second["price_ms_p99"]) == (0.0, 7.0, 70.0)
    (alone,) = with_prices([row("causal", 9.0)])
    assert math.isnan(alone["price_ms_mean"])


def test_the_headline_tells_of_the_comment_that_vanished(tmp_path: Path) -> None:
    assert finding(session_guarantees_run(tmp_path)) == (
        "From any replica, 13 % of reads of one's own comment do not find it; where it is promised, every one does"
    )


def test_a_broken_promise_is_the_headline(tmp_path: Path) -> None:
    run = session_guarantees_run(tmp_path, broken=("causal", 3))
    assert finding(run) == "A promise was broken under causal"
    assert "causal: own writes missed 3 of 1250 (promised: none)" in alt_text(run, "violations")


def test_without_any_there_is_a_latency_and_no_price(tmp_path: Path) -> None:
    run = session_guarantees_run(tmp_path, without_any=True)
    axes = draw(run)["price"].axes[1]
    assert axes.get_title(loc="left") == "A read takes"
    assert any("14" in text.get_text() for text in axes.texts)


def test_the_table_tells_rates_with_their_intervals(tmp_path: Path) -> None:
    table = shown_table(session_guarantees_run(tmp_path))
    assert [column.heading for column in table.columns][:3] == ["reads from", "own writes missed", "steps back"]
    assert table.rows[0][1] == "13 % (11 to 15 %)"
    assert table.rows[-1][1] == "0 % (0 to 0.31 %)"
