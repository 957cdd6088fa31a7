"""Which replicas are equal, when some of them cannot have everything."""

from __future__ import annotations

from workbench.cluster.status import ReplicaStatus, compare_digests, left_out
from workbench.storage.base import LEFT_OUT


def replica(name: str, **digests: str) -> ReplicaStatus:
    return ReplicaStatus(name=name, role="follower", digests=digests)


def test_equal_replicas() -> None:
    report = compare_digests([replica("a", t="1", u="2"), replica("b", t="1", u="2")])
    assert (report.ok, report.reason) == (True, "")


def test_what_differs_or_is_missing_is_named() -> None:
    report = compare_digests([replica("a", t="1", u="2"), replica("b", t="1", u="3"), replica("c", t="1")])
    assert not report.ok
    assert report.reason == "b differs from a in u; c differs from a in u"


def test_what_is_left_out_with_a_reason_is_not_compared() -> None:
    other = replica("c", t="1", u=f"{LEFT_OUT}it has no rows")
    report = compare_digests([replica("a", t="1", u="2"), replica("b", t="1", u="2"), other])
    assert (report.ok, report.reason) == (True, "")
    assert report.digests["c"] == {"t": "1", "u": "left out: it has no rows"}
    assert left_out(other.digests) == {"u": "it has no rows"}


def test_leaving_something_out_hides_no_other_difference() -> None:
    first = replica("a", t="1", u=f"{LEFT_OUT}it has no rows")
    report = compare_digests([first, replica("b", t="1", u="2"), replica("c", t="9", u="8")])
    assert not report.ok
    assert report.reason == "c differs from b in t, u"
    missing = compare_digests([replica("b", t="1", u="2"), replica("d", u=f"{LEFT_OUT}it has no rows")])
    assert missing.reason == "d differs from b in t"
