import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from nethical.metrics.intervals import (
    Interval,
    clopper_pearson,
    cluster_sums,
    effective_rows,
    logit_interval,
    mean_interval,
    normal_quantile,
    quantile,
    wilson,
)

LEVELS = st.sampled_from([0.6, 0.9, 0.95, 0.975, 0.995])
COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
VALUES = arrays(np.float64, st.integers(3, 40), elements=st.floats(-5, 5))


def grouped(n, size):
    return np.arange(n) // size


# --- proportions -----------------------------------------------------------------------------


@given(counts=COUNTS, level=LEVELS)
@settings(deadline=None)
def test_wilson_and_clopper_pearson_are_those_of_scipy(counts, level):
    k, n = counts
    for ours, method in [(wilson, "wilson"), (clopper_pearson, "exact")]:
        theirs = stats.binomtest(k, n).proportion_ci(2 * level - 1, method)
        interval = ours(k, n, level=level)
        assert interval.estimate == k / n
        assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), abs=1e-10)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_examples_of_newcombe_1998(k, n, low, high):
    interval = wilson(k, n, level=0.975)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0, 0.1684),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_clopper_pearson_gives_the_examples_of_newcombe_1998(k, n, low, high):
    interval = clopper_pearson(k, n, level=0.975)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_no_trial_says_nothing():
    for interval in (wilson(0, 0, level=0.95), clopper_pearson(0, 0, level=0.95)):
        assert all(map(math.isnan, (interval.estimate, interval.low, interval.high)))


def test_a_bound_at_none_or_all_is_exactly_zero_or_one():
    assert wilson(0, 7, level=0.95).low == 0.0
    assert wilson(7, 7, level=0.95).high == 1.0
    assert clopper_pearson(0, 7, level=0.95).low == 0.0
    assert clopper_pearson(7, 7, level=0.95).high == 1.0


@pytest.mark.parametrize("share", [0.03, 0.3, 0.9])
def test_each_clopper_pearson_bound_holds_with_at_least_its_level(share):
    n, level = 60, 0.95
    k = np.arange(n + 1)
    chance = stats.binom.pmf(k, n, share)
    bounds = [clopper_pearson(int(i), n, level=level) for i in k]
    assert chance[[b.low <= share for b in bounds]].sum() >= level
    assert chance[[b.high >= share for b in bounds]].sum() >= level


def test_few_groups_widen_by_students_quantile():
    assert quantile(0.95) == normal_quantile(0.95) == pytest.approx(stats.norm.ppf(0.95))
    assert quantile(0.95, 5) == pytest.approx(stats.t.ppf(0.95, 4))
    assert quantile(0.95, 1) == quantile(0.95, 2) == pytest.approx(stats.t.ppf(0.95, 1))
    assert wilson(8, 10, level=0.95, groups=4).low < wilson(8, 10, level=0.95).low


# --- clusters --------------------------------------------------------------------------------


@given(values=VALUES, seed=st.integers(0, 9))
def test_cluster_sums_are_the_sums_of_each_group(values, seed):
    groups = np.random.default_rng(seed).integers(0, 5, len(values)) * 1000 - 7
    expected = [
        sum(v for v, g in zip(values, groups, strict=True) if g == k) for k in sorted(set(groups))
    ]
    np.testing.assert_allclose(cluster_sums(values, groups), expected, atol=1e-12)
    assert cluster_sums(values, None) is values


def naive_cluster_error(values, groups):
    """Linearised variance of a mean, by loops: Liang and Zeger with G / (G - 1)."""
    n, mean = len(values), sum(values) / len(values)
    total = 0.0
    names = set(groups.tolist())
    for name in names:
        inside = 0.0
        for value, group in zip(values, groups, strict=True):
            if group == name:
                inside += value - mean
        total += inside**2
    return math.sqrt(total * len(names) / (len(names) - 1)) / n


@given(values=VALUES, size=st.integers(1, 2), level=LEVELS)
@settings(deadline=None)
def test_the_bounds_of_a_mean_are_cluster_robust(values, size, level):
    groups = grouped(len(values), size)
    n_groups = len(set(groups))
    margin = stats.t.ppf(level, n_groups - 1) * naive_cluster_error(values, groups)
    interval = mean_interval(values, groups, level=level)
    expected = (values.mean() - margin, values.mean() + margin)
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-9)


def test_without_groups_the_bounds_of_a_mean_are_students():
    values = np.random.default_rng(0).normal(size=12)
    interval = mean_interval(values, level=0.975)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high))


def test_the_mean_of_one_row_or_of_one_group_has_no_bounds():
    assert mean_interval(np.array([2.0]), level=0.95) == Interval(2.0, -math.inf, math.inf)
    one_group = mean_interval(np.array([1.0, 3.0]), np.array([4, 4]), level=0.95)
    assert one_group == Interval(2.0, -math.inf, math.inf)
    assert math.isnan(mean_interval(np.array([]), level=0.95).estimate)


@given(hits=arrays(np.int8, st.integers(2, 60), elements=st.integers(0, 1)), size=st.integers(1, 6))
def test_the_design_effect_is_the_cluster_variance_over_the_binomial_one(hits, size):
    groups = grouped(len(hits), size)
    successes, n, clusters = effective_rows(hits, groups)
    assert clusters == len(set(groups))
    assert n <= len(hits) + 1e-9
    if 0 < hits.sum() < len(hits) and clusters > 1:
        share = hits.mean()
        naive = naive_cluster_error(hits.astype(float), groups) ** 2
        effect = max(naive / (share * (1 - share) / len(hits)), 1.0)
        assert (successes, n) == pytest.approx((hits.sum() / effect, len(hits) / effect))


def test_rows_without_groups_count_in_full():
    assert effective_rows(np.array([1, 0, 1]), None) == (2.0, 3.0, None)
    assert effective_rows(np.array([]), np.array([])) == (0.0, 0.0, None)


def test_rows_that_all_agree_count_as_one_a_group():
    assert effective_rows(np.ones(60), grouped(60, 20)) == (3.0, 3.0, 3)
    assert effective_rows(np.zeros(60), grouped(60, 20)) == (0.0, 3.0, 3)


def test_rows_that_repeat_inside_their_group_count_once():
    hits = np.random.default_rng(0).integers(0, 2, 80)
    successes, n, clusters = effective_rows(np.repeat(hits, 20), grouped(1600, 20))
    assert clusters == 80
    assert n == pytest.approx(79)
    assert successes / n == pytest.approx(hits.mean())


@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_intervals_of_clustered_shares_cover_the_truth(spread):
    rng = np.random.default_rng(1)
    covered, naive, trials = 0, 0, 400
    truth = (1 / (1 + np.exp(-rng.normal(0.5, spread, 200_000)))).mean()
    for _ in range(trials):
        share = 1 / (1 + np.exp(-np.repeat(rng.normal(0.5, spread, 60), 20)))
        hits = rng.random(1200) < share
        successes, n, clusters = effective_rows(hits, grouped(1200, 20))
        interval = wilson(successes, n, level=0.975, groups=clusters)
        covered += interval.low <= truth <= interval.high
        plain = wilson(hits.sum(), 1200, level=0.975)
        naive += plain.low <= truth <= plain.high
    assert 0.925 <= covered / trials <= 0.985
    if spread:
        assert naive / trials < 0.7


# --- the logit scale -------------------------------------------------------------------------


def test_logit_bounds_are_normal_on_the_logit_scale():
    interval = logit_interval(0.9, 0.05, level=0.95)
    z = stats.norm.ppf(0.95)
    for bound, sign in [(interval.low, -1), (interval.high, 1)]:
        assert math.log(bound / (1 - bound)) == pytest.approx(math.log(9) + sign * z * 0.05 / 0.09)
    assert 0 < interval.low < 0.9 < interval.high < 1


def test_at_the_ends_of_the_scale_bounds_are_those_of_trials_that_all_agree():
    perfect = logit_interval(1.0, 0.0, level=0.95, units=40)
    assert (perfect.low, perfect.high) == (wilson(40, 40, level=0.95).low, 1.0)
    assert logit_interval(0.0, 0.0, level=0.95, units=40).high == wilson(0, 40, level=0.95).high


@pytest.mark.parametrize(
    ("estimate", "error"), [(0.0, 0.1), (1.0, 0.1), (0.5, math.nan), (math.nan, 0.1)]
)
def test_a_logit_without_a_value_has_no_bounds(estimate, error):
    interval = logit_interval(estimate, error, level=0.95)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
