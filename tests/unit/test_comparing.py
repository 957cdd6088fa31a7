"""Which replicas are equal, when some of them cannot have everything."""

from __future__ import annotations

from workbench.cluster.cluster import Cluster
from workbench.cluster.status import ReplicaStatus, compare_digests, left_out
from workbench.protocol.values import Position
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


async def test_digests_taken_while_an_entry_came_are_taken_again() -> None:
    """A status is put together after its digest: with a write on its way, the two may be of different entries."""
    looks = iter(
        [
            [at("a", 1), at("b", 1)],
            [at("a", 2, t="old"), at("b", 2, t="new")],
            [at("a", 2), at("b", 2)],
            [at("a", 2, t="new"), at("b", 2, t="new")],
        ]
    )

    class Looked:
        async def inspect_all(self, *, digests: bool = False) -> list[ReplicaStatus]:
            return next(looks)

    cluster = Cluster()
    cluster._started, cluster._is_running = Looked(), True  # type: ignore[assignment]
    report = await cluster.converged()
    assert report.ok, report.reason
    assert next(looks, None) is None


def at(name: str, index: int, **digests: str) -> ReplicaStatus:
    position = Position(1, index)
    return ReplicaStatus(name=name, role="follower", applied=index, last_position=position, digests=digests)
