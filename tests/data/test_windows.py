"""Running sums that are exact whatever their size, and the orders they rest on."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical.data.windows import Past, Sums, Timeline, Window, packed_order


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=3000).flatmap(
        lambda values: st.tuples(
            st.just(values), st.integers(0, len(values)), st.integers(0, len(values))
        )
    )
)
def test_a_sum_is_that_of_exact_integers_rounded_once(case):
    values, *edges = case
    start, end = sorted(edges)
    window = Window(np.array([start]), np.array([end]))
    found = Sums(np.array(values, dtype=np.int64)).within(window)
    assert found[0] == float(sum(values[start:end]))


def test_sums_beyond_a_word_are_as_exact_as_small_ones():
    values = np.full(5000, 2**52 - 1, dtype=np.int64)
    window = Window(np.array([0, 7]), np.array([5000, 8]))
    assert Sums(values).within(window).tolist() == [float(5000 * (2**52 - 1)), float(2**52 - 1)]


def test_packed_order_is_the_stable_order():
    keys = np.random.default_rng(1).integers(0, 50, 1000)
    np.testing.assert_array_equal(packed_order(keys, 10), np.argsort(keys, kind="stable"))


def test_only_seen_events_count_and_only_asking_ones_are_answered():
    time = np.array([0, 1, 2, 3])
    code = np.array([0, 0, 0, 0])
    seen, asks = np.array([True, False, True, True]), np.array([False, False, False, True])
    past = Past(code, Timeline(time), seen, asks)
    assert past.rows.tolist() == [3]
    assert past.window(10).count.tolist() == [2]
    assert past.window(2).count.tolist() == [1]
    assert past.window(10, delay=2).count.tolist() == [1]
