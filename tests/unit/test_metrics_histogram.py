"""The histogram against the sorted values that it stands for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.metrics.histogram import LARGEST, RELATIVE_ERROR, SMALLEST, Histogram
from workbench.metrics.intervals import percentile

values = st.lists(st.one_of(st.just(0.0), st.floats(SMALLEST, 1e9), st.floats(-1e3, 0)), min_size=1, max_size=60)


def histogram_of(*parts):
    whole = Histogram()
    for part in parts:
        one = Histogram()
        one.add(np.array(part, dtype=float))
        whole.merge(one)
    return whole


@given(values, values, st.floats(0.001, 1))
def test_percentiles_of_merged_parts_are_those_of_all_values(first, second, fraction):
    found = histogram_of(first, second)
    exact = max(percentile(np.sort(np.array(first + second)), fraction), 0.0)
    assert found.count == len(first) + len(second)
    assert exact * (1 - 1e-9) <= found.percentile(fraction) <= exact * (1 + RELATIVE_ERROR) * (1 + 1e-9)


@settings(max_examples=1000)
@given(values, st.floats(0, 1e9))
def test_counts_are_off_by_the_width_of_a_bucket_at_most(listed, value):
    found = histogram_of(listed).count_at_most(value)
    array = np.maximum(np.array(listed), 0)
    wide = max(value, SMALLEST) * (1 + RELATIVE_ERROR) * (1 + 1e-9) if value else 0
    assert (array <= value).sum() <= found <= (array <= wide).sum()


def test_zero_is_exact():
    found = histogram_of([-1.0, 0.0, SMALLEST, 1.0])
    assert (found.count_at_most(0), found.at_most_zero, found.count_at_most(-1)) == (2, 2, 0)
    assert found.percentile(0.5) == 0


def test_ranks_beyond_the_values_are_unknown():
    found = histogram_of([1.0, 2.0])
    assert [math.isnan(found.value_of_rank(rank)) for rank in (0, 1, 2, 3)] == [True, False, False, True]
    assert math.isnan(Histogram().percentile(0.5))


def test_what_is_too_large_counts_as_the_largest():
    assert histogram_of([1e300, math.inf]).percentile(0.5) >= LARGEST


def test_nan_is_refused():
    with pytest.raises(ValueError, match="nan"):
        Histogram().add(np.array([1.0, np.nan]))
