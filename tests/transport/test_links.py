"""Links: the delay is kept to the nanosecond, and order within a link whatever happens to the delay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ConfigurationError
from workbench.transport.links import Link, Links

MS = 1_000_000


def test_without_a_delay_a_message_is_delivered_at_once():
    assert Links().admit("replica-1", 10, 5) == [5]


def test_the_delay_is_added_to_the_arrival():
    assert Links(Link(delay_ms=2.5)).admit("replica-1", 10, 100) == [100 + 2_500_000]


def test_each_sender_has_its_own_link():
    links = Links(Link(delay_ms=1), {"replica-2": Link(delay_ms=50)})
    assert links.admit("replica-2", 10, 0) == [50 * MS]
    assert links.admit("replica-1", 10, 0) == [1 * MS]
    assert links.link("replica-3") == Link(delay_ms=1)


def test_a_shorter_delay_does_not_overtake_what_is_on_the_way():
    links = Links(Link(delay_ms=100))
    links.admit("replica-1", 10, 0)
    links.change("replica-1", Link(delay_ms=0))
    assert links.admit("replica-1", 10, 1 * MS) == [100 * MS]
    assert links.admit("replica-1", 10, 101 * MS) == [101 * MS]


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1000)), min_size=2, max_size=30))
def test_messages_of_one_sender_stay_in_order(steps: list[tuple[int, float]]):
    links = Links()
    now_ns = 0
    deliveries = []
    for pause_ns, delay_ms in steps:
        now_ns += pause_ns
        links.change("replica-1", Link(delay_ms=delay_ms))
        (delivery_ns,) = links.admit("replica-1", 1, now_ns)
        assert delivery_ns >= now_ns + round(delay_ms * 1e6)
        deliveries.append(delivery_ns)
    assert deliveries == sorted(deliveries)


@pytest.mark.parametrize("delay_ms", [-1, 60_001, float("nan"), float("inf")])
def test_a_delay_out_of_range_is_refused(delay_ms: float):
    with pytest.raises(ConfigurationError, match="delay_ms"):
        Link(delay_ms=delay_ms)
