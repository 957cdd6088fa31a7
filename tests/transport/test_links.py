"""Links: what each fault does to messages, in which order they come, and what ends with a fault."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.faults.delays import BODY, TIMES_MAX, draw_delay_ms
from workbench.protocol.fault_messages import LinkQuality
from workbench.transport.links import OVERTAKEN_MS, WAITING_BYTES_MAX, Links

MS = 1_000_000


def links_with(quality: LinkQuality | None = None, *, follower_delay_ms: float = 0.0, seed: int = 1) -> Links[int]:
    links: Links[int] = Links(follower_delay_ms, Random(seed).random)
    if quality is not None:
        links.change(0, follower_delay_ms=follower_delay_ms, quality=quality)
    return links


def arrivals(links: Links[int]) -> list[tuple[float, int]]:
    """(milliseconds, message) of everything that waits, in the order of delivery."""
    found: list[tuple[float, int]] = []
    while (due_ns := links.next_due_ns) is not None:
        found += [(due_ns / MS, message) for message in links.take_due(due_ns)]
    return found


def send(links: Links[int], count: int, *, every_ms: float = 0.0, size: int = 10, sender: str = "replica-1") -> None:
    for number in range(count):
        links.admit(sender, number, size, round(number * every_ms * MS))


def test_without_faults_messages_pass_by() -> None:
    links = links_with()
    states = [links.are_clear]
    links.admit("replica-1", 7, 10, 5)
    states.append(links.are_clear)
    assert links.take_due(5) == [7]
    assert [*states, links.are_clear] == [True, False, True]


# ------------------------------------------------------------------------------------- the delay of experiments


def test_the_delay_of_followers_is_added_to_the_arrival_and_spares_the_leader() -> None:
    links = links_with(follower_delay_ms=2.5)
    assert not links.are_clear
    links.admit("replica-1", 1, 10, 100)
    links.admit("replica-2", 2, 10, 100, leads=True)
    assert links.take_due(100) == [2]
    assert links.next_due_ns == 100 + 2_500_000


def test_a_shorter_delay_does_not_overtake_what_is_on_the_way() -> None:
    links = links_with(follower_delay_ms=100)
    links.admit("replica-1", 1, 10, 0)
    links.change(0, follower_delay_ms=0)
    links.admit("replica-1", 2, 10, 1 * MS)
    assert arrivals(links) == [(100, 1), (100, 2)]
    assert links.are_clear
    links.admit("replica-1", 3, 10, 101 * MS)
    assert arrivals(links) == [(101, 3)]


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1000)), min_size=2, max_size=30))
def test_messages_of_one_sender_stay_in_order_whatever_happens_to_the_delay(steps: list[tuple[int, float]]) -> None:
    links = links_with()
    now_ns = 0
    earliest = []
    for number, (pause_ns, delay_ms) in enumerate(steps):
        now_ns += pause_ns
        links.change(now_ns, follower_delay_ms=delay_ms)
        links.admit("replica-1", number, 1, now_ns)
        earliest.append(now_ns + round(delay_ms * MS))
    found = arrivals(links)
    assert [number for _, number in found] == list(range(len(steps)))
    assert all(round(due_ms * MS) >= one for (due_ms, _), one in zip(found, earliest, strict=True))
    assert links.counts.as_dict() == {}, "that is no fault"


# -------------------------------------------------------------------------------------------------------- delays


def quantiles(values: Sequence[float], *fractions: float) -> list[float]:
    ordered = sorted(values)
    return [ordered[int(fraction * len(ordered))] for fraction in fractions]


def test_delays_are_distributed_as_they_say() -> None:
    random = Random(5).random
    drawn = {
        name: [draw_delay_ms(random, 100, name) for _ in range(20_000)]
        for name in ("constant", "exponential", "pareto")
    }
    assert set(drawn["constant"]) == {100}
    median, p90, p99 = quantiles(drawn["exponential"], 0.5, 0.9, 0.99)
    assert median == pytest.approx(69.3, rel=0.05)  # mean * ln 2
    assert p90 == pytest.approx(230, rel=0.05)
    assert p99 == pytest.approx(460, rel=0.08)
    median, p85, p95, p99 = quantiles(drawn["pareto"], 0.5, 0.85, 0.95, 0.99)
    assert (median, p85) == (100 * BODY, 100 * BODY)
    assert p95 == pytest.approx(100 * BODY / 0.5, rel=0.1)  # half of the tail is longer than twice its least
    assert p99 == pytest.approx(100 * BODY / 0.1, rel=0.2)
    assert max(drawn["pareto"]) <= 100 * TIMES_MAX
    for name in ("exponential", "pareto"):
        assert sum(drawn[name]) / 20_000 == pytest.approx(100, rel=0.1)


def test_a_delay_strikes_the_leader_too_keeps_order_and_is_counted() -> None:
    links = links_with(LinkQuality(delay_ms=50, distribution="pareto"))
    for number in range(100):
        links.admit("replica-1", number, 10, 0, leads=True)
    found = arrivals(links)
    assert [number for _, number in found] == list(range(100))
    assert found[0][0] >= 50 * BODY
    assert links.counts.as_dict() == {"link_delayed": 100}


def test_the_same_seed_gives_the_same_delays() -> None:
    quality = LinkQuality(delay_ms=50, distribution="exponential", loss=0.2, reordering=0.2)
    stories = []
    for seed in (1, 1, 2):
        links = links_with(quality, seed=seed)
        send(links, 50, every_ms=10)
        stories.append(arrivals(links))
    assert stories[0] == stories[1] != stories[2]


def test_the_end_of_a_delay_lets_through_what_it_held_back_in_order() -> None:
    links = links_with(LinkQuality(delay_ms=5_000), follower_delay_ms=20)
    send(links, 5, every_ms=10)
    links.change(45 * MS, follower_delay_ms=20)
    links.admit("replica-1", 5, 10, 46 * MS)
    assert arrivals(links) == [(45, 0), (45, 1), (45, 2), (50, 3), (60, 4), (66, 5)]
    assert links.counts.link_delayed == 5


# ----------------------------------------------------------------------------------------------------- bandwidth


def test_a_heartbeat_waits_behind_a_batch() -> None:
    links = links_with(LinkQuality(bytes_per_s=100_000))
    links.admit("replica-1", 1, 50_000, 0)
    links.admit("replica-1", 2, 100, 10 * MS)
    assert arrivals(links) == [(500, 1), (501, 2)]
    assert links.counts.as_dict() == {"link_queued": 2, "link_queue_ms": 500 + 491}


def test_senders_share_the_bandwidth_of_their_receiver_but_for_those_with_a_link_of_their_own() -> None:
    narrow = LinkQuality(bytes_per_s=1_000)
    links = links_with()
    links.change(0, quality=narrow, by_sender={"replica-3": narrow})
    for number in (1, 2, 3):
        links.admit(f"replica-{number}", number, 100, 0)
    assert arrivals(links) == [(100, 1), (100, 3), (200, 2)]


def test_a_wider_link_lets_its_queue_through_faster() -> None:
    links = links_with(LinkQuality(bytes_per_s=1_000))
    send(links, 3, size=1_000)
    links.change(1_000 * MS, quality=LinkQuality(bytes_per_s=100_000))
    assert links.take_due(1_000 * MS) == [0]
    assert arrivals(links) == [(1_020, 1), (1_030, 2)]


def test_what_waits_is_bounded_and_the_rest_is_dropped_and_counted() -> None:
    links = links_with(LinkQuality(bytes_per_s=1_000))
    links.admit("replica-1", 0, WAITING_BYTES_MAX + 5, 0)
    links.admit("replica-1", 1, 1, 0)
    assert (links.waiting_bytes, links.counts.link_dropped) == (WAITING_BYTES_MAX + 5, 1)
    assert [number for _, number in arrivals(links)] == [0]
    assert links.waiting_bytes == 0
    send(links, 5, size=WAITING_BYTES_MAX // 4)
    assert links.counts.link_dropped == 2


# --------------------------------------------------------------------------------- loss, duplication, reordering


@pytest.mark.parametrize("fraction", [0.05, 0.5, 1.0])
def test_a_fraction_of_the_messages_is_lost(fraction: float) -> None:
    links = links_with(LinkQuality(loss=fraction))
    send(links, 4_000)
    lost = 4_000 - len(arrivals(links))
    assert lost == links.counts.link_lost
    assert lost / 4_000 == pytest.approx(fraction, abs=0.03)


def test_a_fraction_of_the_messages_comes_twice_in_order() -> None:
    links = links_with(LinkQuality(duplication=0.2))
    send(links, 4_000)
    found = [number for _, number in arrivals(links)]
    assert found == sorted(found)
    assert len(found) - 4_000 == links.counts.link_twice
    assert links.counts.link_twice / 4_000 == pytest.approx(0.2, abs=0.03)


def test_a_fraction_of_the_messages_is_overtaken() -> None:
    links = links_with(LinkQuality(reordering=0.2))
    send(links, 2_000, every_ms=1)
    found = arrivals(links)
    numbers = [number for _, number in found]
    assert sorted(numbers) == list(range(2_000))
    late = [due_ms - number for due_ms, number in found]
    assert max(late) <= OVERTAKEN_MS[1]
    assert sum(one > 0 for one in late) / 2_000 == pytest.approx(0.2, abs=0.04)
    overtaken = sum(any(after < number for after in numbers[place:]) for place, number in enumerate(numbers))
    assert overtaken > 0
    assert 300 < links.counts.link_overtaken <= sum(one > 0 for one in late)


def test_a_message_that_nobody_overtook_is_not_counted() -> None:
    links = links_with(LinkQuality(reordering=1.0))
    send(links, 3, every_ms=100)
    assert [number for _, number in arrivals(links)] == [0, 1, 2]
    assert links.counts.link_overtaken == 0


# ---------------------------------------------------------------------------------------------------------- cuts


def test_a_cut_is_one_way_of_one_sender_and_takes_what_is_on_the_way() -> None:
    links = links_with(follower_delay_ms=10)
    links.admit("replica-1", 1, 10, 0)
    links.admit("replica-2", 2, 10, 0)
    links.change(5 * MS, follower_delay_ms=10, cut=("replica-1",))
    links.admit("replica-1", 3, 10, 6 * MS)
    links.admit("replica-1", 4, 10, 6 * MS, leads=True)
    links.admit("replica-2", 5, 10, 6 * MS)
    assert arrivals(links) == [(10, 2), (16, 5)]
    assert links.counts.as_dict() == {"link_cut": 3}
    links.change(20 * MS)
    links.admit("replica-1", 6, 10, 20 * MS)
    assert arrivals(links) == [(20, 6)]
    assert links.waiting_bytes == 0
