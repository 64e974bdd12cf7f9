import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from nethical.drift import statistics
from nethical.drift.statistics import (
    holm,
    homogeneity,
    largest_gap,
    mean_difference,
    rate_difference,
    rate_test,
    scaled_psi,
    shrunken,
    wasserstein,
    welch,
)
from nethical.metrics.intervals import wilson

LEVELS = st.sampled_from([0.6, 0.9, 0.95, 0.975, 0.995, 0.999])
SHARES = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
SAMPLES = arrays(np.float64, st.integers(2, 30), elements=st.floats(-100, 100).map(lambda x: x / 7))
P_VALUES = st.lists(st.floats(0, 1) | st.just(math.nan), max_size=12)
BINS = 6
HISTOGRAMS = arrays(np.int64, BINS, elements=st.integers(0, 60)).filter(lambda h: h.sum() > 0)
EDGES = np.linspace(0.0, 1.0, BINS + 1)


def bounds(interval):
    return interval.low, interval.high


def mirrored(interval):
    return pytest.approx((-interval.high, -interval.low), abs=1e-12)


def unknown(interval):
    return all(map(math.isnan, (interval.estimate, interval.low, interval.high)))


def test_what_is_public_is_what_is_listed():
    own = {
        name
        for name, value in vars(statistics).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == statistics.__name__
    }
    assert own == set(statistics.__all__)


# --- two independent rates -------------------------------------------------------------------


@given(a=SHARES, b=SHARES, level=LEVELS)
@settings(deadline=None)
def test_the_difference_of_rates_has_the_bounds_of_statsmodels(a, b, level):
    interval = rate_difference(*a, *b, level=level)
    theirs = confint_proportions_2indep(
        *b, *a, method="newcomb", compare="diff", alpha=2 * (1 - level)
    )
    assert interval.estimate == b[0] / b[1] - a[0] / a[1]
    assert bounds(interval) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(
    ("b", "a", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_difference_of_rates_gives_the_examples_of_newcombe_1998(b, a, low, high):
    interval = rate_difference(*a, *b, level=0.975)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(a=SHARES, b=SHARES, level=LEVELS, groups=st.none() | st.integers(2, 40))
def test_exchanged_sides_mirror_the_difference_of_rates(a, b, level, groups):
    interval = rate_difference(*a, *b, level=level, groups=groups)
    assert bounds(rate_difference(*b, *a, level=level, groups=groups)) == mirrored(interval)
    assert -1 <= interval.low <= interval.estimate <= interval.high <= 1


def test_few_clusters_make_the_difference_of_rates_less_sure():
    few = rate_difference(40, 100, 50, 100, level=0.975, groups=5)
    many = rate_difference(40, 100, 50, 100, level=0.975)
    assert few.low < many.low < many.high < few.high
    assert few.low == pytest.approx(
        0.1
        - math.hypot(
            0.5 - wilson(50, 100, level=0.975, groups=5).low,
            wilson(40, 100, level=0.975, groups=5).high - 0.4,
        )
    )


def test_a_side_without_rows_has_no_difference_and_no_test():
    assert unknown(rate_difference(0, 0, 3, 9, level=0.95))
    assert unknown(rate_difference(3, 9, 0, 0, level=0.95))
    assert math.isnan(rate_test(0, 0, 3, 9))
    assert math.isnan(rate_test(3, 9, 0, 0))


@given(a=SHARES, b=SHARES)
@settings(deadline=None)
def test_the_test_of_rates_is_pearsons_or_where_little_is_expected_fishers(a, b):
    table = np.array([[a[0], a[1] - a[0]], [b[0], b[1] - b[0]]])
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    ours = rate_test(*a, *b)
    if expected.min() >= 5:
        assert ours == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    elif expected.min() < 4.999:
        assert ours == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-7)


@pytest.mark.parametrize(
    ("a", "b"), [((1, 10_000_000), (7, 10_000_000)), ((0, 8), (4_000_000, 9_000_000))]
)
def test_fishers_p_keeps_its_digits_with_millions_of_rows(a, b):
    table = [[a[0], a[1] - a[0]], [b[0], b[1] - b[0]]]
    assert rate_test(*a, *b) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-5)


@given(a=SHARES, b=SHARES, effect=st.floats(1, 30))
def test_the_test_of_rates_is_a_probability_and_the_same_from_both_sides(a, b, effect):
    p = rate_test(*a, *b, effect_a=effect, effect_b=1.5)
    assert 0 <= p <= 1
    assert p == pytest.approx(rate_test(*b, *a, effect_a=1.5, effect_b=effect))


def test_a_design_effect_counts_as_fewer_rows():
    assert rate_test(400, 1000, 900, 2000, effect_a=4, effect_b=10) == rate_test(100, 250, 90, 200)


@pytest.mark.parametrize("groups", [2, 5, 30])
def test_a_test_of_few_clusters_is_by_students_law_and_never_below_the_other(groups):
    plain, few = rate_test(400, 1000, 450, 1000), rate_test(400, 1000, 450, 1000, groups=groups)
    z = float(stats.norm.isf(plain / 2))
    assert few == pytest.approx(2 * stats.t.sf(z, groups - 1))
    assert few > plain
    assert rate_test(0, 50, 3, 60, groups=groups) >= rate_test(0, 50, 3, 60)
    assert rate_test(0, 5, 0, 6, groups=groups) == rate_test(5, 5, 6, 6, groups=groups) == 1.0


@pytest.mark.parametrize(("rate", "n"), [(0.02, 100), (0.15, 300), (0.5, 2000)])
def test_the_test_of_rates_refuses_equal_rates_no_oftener_than_it_says(rate, n):
    rng = np.random.default_rng(3)
    p = [rate_test(a, n, b, n) for a, b in rng.binomial(n, rate, size=(4000, 2))]
    assert np.mean(np.array(p) < 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize(("rate_a", "rate_b"), [(0.02, 0.02), (0.15, 0.1), (0.5, 0.7)])
def test_each_bound_of_the_difference_of_rates_holds_about_as_often_as_it_says(rate_a, rate_b):
    rng = np.random.default_rng(4)
    a, b = rng.binomial(400, rate_a, size=4000), rng.binomial(200, rate_b, size=4000)
    intervals = [rate_difference(x, 400, y, 200, level=0.95) for x, y in zip(a, b, strict=True)]
    truth = rate_b - rate_a
    assert np.mean([i.low <= truth for i in intervals]) > 0.93
    assert np.mean([i.high >= truth for i in intervals]) > 0.93
    assert 0.88 < np.mean([i.low <= truth <= i.high for i in intervals]) < 0.95


# --- means -----------------------------------------------------------------------------------


@given(a=SAMPLES, b=SAMPLES, level=LEVELS)
@settings(deadline=None)
def test_the_difference_of_means_is_welchs_of_scipy(a, b, level):
    assume(np.ptp(a) > 1e-3 and np.ptp(b) > 1e-3)
    interval, p = welch(a, b, level=level)
    theirs = stats.ttest_ind(b, a, equal_var=False)
    low, high = theirs.confidence_interval(2 * level - 1)
    assert p == pytest.approx(theirs.pvalue, rel=1e-7)
    assert bounds(interval) == pytest.approx((low, high), rel=1e-7, abs=1e-9)


@given(a=SAMPLES, b=SAMPLES, level=LEVELS)
def test_exchanged_sides_mirror_the_difference_of_means(a, b, level):
    interval, p = welch(a, b, level=level)
    other, other_p = welch(b, a, level=level)
    assert bounds(other) == mirrored(interval)
    assert p == pytest.approx(other_p)
    assert 0 <= p <= 1


def test_means_with_infinite_degrees_of_freedom_follow_the_normal_law():
    interval, p = mean_difference(1.0, 0.3, math.inf, 2.0, 0.4, math.inf, level=0.95)
    assert bounds(interval) == pytest.approx(stats.norm.interval(0.9, 1.0, 0.5))
    assert p == pytest.approx(2 * stats.norm.sf(2.0))


def test_one_exact_mean_leaves_the_degrees_of_freedom_of_the_other():
    interval, p = mean_difference(0.0, 0.0, math.inf, 2.0, 1.0, 4.0, level=0.975)
    assert bounds(interval) == pytest.approx(stats.t.interval(0.95, 4, 2.0, 1.0))
    assert p == pytest.approx(2 * stats.t.sf(2.0, 4))


def test_means_without_any_spread_are_equal_or_they_are_not():
    same, p_same = welch(np.full(7, 0.1), np.full(3, 0.1), level=0.95)
    other, p_other = welch(np.full(7, 0.1), np.full(3, 0.3), level=0.95)
    assert (*bounds(same), p_same) == (0.0, 0.0, 1.0)
    assert (*bounds(other), p_other) == (0.3 - 0.1, 0.3 - 0.1, 0.0)


def test_one_value_has_a_difference_but_no_bounds_and_no_value_has_nothing():
    interval, p = welch(np.array([1.0, 2.0, 4.0]), np.array([5.0]), level=0.95)
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    assert interval.estimate == pytest.approx(5 - 7 / 3)
    assert math.isnan(p)
    empty, p = welch(np.array([]), np.array([5.0, 6.0]), level=0.95)
    assert unknown(empty)
    assert math.isnan(p)


def test_unequal_spread_and_size_leave_the_bounds_of_means_true():
    rng = np.random.default_rng(6)
    inside = refused = 0
    for _ in range(1500):
        interval, p = welch(rng.normal(0, 1, 20), rng.normal(0, 4, 6), level=0.95)
        inside += interval.low <= 0 <= interval.high
        refused += p < 0.1
    assert inside + refused == 1500
    assert 0.875 < inside / 1500 < 0.925


# --- families of tests -----------------------------------------------------------------------


@given(p=P_VALUES)
@settings(deadline=None, max_examples=25)
def test_holms_p_values_are_those_of_statsmodels_and_nan_stays_outside(p):
    ours = holm(p)
    known = [i for i, value in enumerate(p) if not math.isnan(value)]
    theirs = multipletests([p[i] for i in known], method="holm")[1] if known else []
    assert [ours[i] for i in known] == pytest.approx(list(theirs))
    assert [math.isnan(value) for value in ours] == [math.isnan(value) for value in p]


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_never_makes_a_p_smaller(p):
    ours = holm(p)
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(np.array(ours)[order]) >= 0)
    assert all(before <= after <= 1 for before, after in zip(p, ours, strict=True))


def test_of_twenty_true_hypotheses_holm_refuses_any_as_often_as_it_says():
    rng = np.random.default_rng(7)
    refused = np.mean([min(holm(rng.uniform(size=20))) < 0.05 for _ in range(4000)])
    assert 0.038 < refused < 0.06


# --- several distributions -------------------------------------------------------------------


@given(
    table=st.tuples(st.integers(2, 5), st.integers(2, 6)).flatmap(
        lambda shape: arrays(np.int64, shape, elements=st.integers(0, 90))
    ),
    ordered=st.booleans(),
)
@settings(deadline=None)
def test_homogeneity_is_the_chi_square_of_scipy_where_enough_is_expected(table, ordered):
    assume((table.sum(axis=0) > 0).all() and (table.sum(axis=1) > 0).all())
    theirs = stats.chi2_contingency(table, correction=False)
    ours = homogeneity(table, ordered=ordered, fewest=min(10.0, theirs.expected_freq.min()) * 0.99)
    assert ours.df == theirs.dof
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), abs=1e-9)


def test_neighbours_are_pooled_until_ten_are_expected_and_the_rest_joins_the_last():
    table = np.array([[4, 6, 30, 5, 5, 3], [8, 2, 20, 5, 5, 1]])
    pooled = [[10, 30, 13], [10, 20, 11]]
    theirs = stats.chi2_contingency(pooled, correction=False)
    ours = homogeneity(table, ordered=True, fewest=theirs.expected_freq.min())
    assert (ours.df, ours.p) == (2, pytest.approx(theirs.pvalue))


def test_rare_columns_become_one_with_the_next_rarest_if_they_are_still_too_few():
    table = np.array([[40, 3, 20, 2, 60], [50, 2, 30, 3, 50]])
    theirs = stats.chi2_contingency([[40, 25, 60], [50, 35, 50]], correction=False)
    ours = homogeneity(table)
    assert (ours.df, ours.p) == (2, pytest.approx(theirs.pvalue))
    enough = np.array([[40, 13, 20, 12, 60], [50, 2, 30, 3, 50]])
    theirs = stats.chi2_contingency([[40, 25, 20, 60], [50, 5, 30, 50]], correction=False)
    assert homogeneity(enough).df == 3
    assert homogeneity(enough).p == pytest.approx(theirs.pvalue)


def test_rows_and_columns_without_counts_are_left_out():
    table = np.array([[30, 0, 70], [0, 0, 0], [50, 0, 50]])
    assert homogeneity(table) == homogeneity(np.array([[30, 70], [50, 50]]))


@pytest.mark.parametrize(
    "table", [np.zeros((2, 3)), [[5, 7, 9]], [[30], [40]], [[3, 2], [2, 3]], np.zeros((0, 2))]
)
def test_one_row_or_one_column_is_homogeneous_with_nothing(table):
    ours = homogeneity(np.array(table))
    assert ours.df == 0
    assert math.isnan(ours.statistic)
    assert math.isnan(ours.p)


@pytest.mark.parametrize(("sizes", "ordered"), [((60, 200, 1000), True), ((250, 400, 1000), False)])
def test_homogeneity_refuses_rows_of_one_law_as_often_as_it_says(sizes, ordered):
    rng = np.random.default_rng(8)
    law = np.diff(np.linspace(0, 1, 21) ** 3)
    tables = np.stack([rng.multinomial(n, law, size=2000) for n in sizes], axis=1)
    refused = np.mean([homogeneity(table, ordered=ordered).p < 0.05 for table in tables])
    assert 0.035 < refused < 0.065


# --- two distributions -----------------------------------------------------------------------


@given(a=HISTOGRAMS, b=HISTOGRAMS, level=LEVELS)
@settings(deadline=None)
def test_the_largest_gap_is_that_of_kolmogorov_and_smirnov_at_the_edges(a, b, level):
    theirs = stats.ks_2samp(np.repeat(np.arange(BINS), a), np.repeat(np.arange(BINS), b))
    interval = largest_gap(a, b, level=level)
    assert interval.estimate == pytest.approx(theirs.statistic)
    assert 0 <= interval.low <= interval.estimate <= interval.high <= 1
    assert bounds(largest_gap(b, a, level=level)) == pytest.approx(bounds(interval))


def test_without_rows_distributions_have_no_gap_distance_or_index():
    none, some = np.zeros(3), np.array([1, 2, 3])
    for a, b in [(none, some), (some, none)]:
        assert unknown(largest_gap(a, b, level=0.95))
        assert math.isnan(wasserstein(a, b, np.linspace(0, 1, 4)))
        assert all(map(math.isnan, scaled_psi(a, b)))


def test_a_design_effect_widens_the_largest_gap_like_fewer_rows():
    a, b = np.array([400, 600]), np.array([200, 800])
    wide = largest_gap(a, b, level=0.95, effect_a=4, effect_b=5)
    assert bounds(wide) == pytest.approx(bounds(largest_gap(a / 4, b / 5, level=0.95)))


@pytest.mark.parametrize("n_b", [300, 1500])
@pytest.mark.parametrize("law", [(2, 5), (2.5, 5), (1, 2.5), (6, 3)])
def test_each_bound_of_the_largest_gap_holds_for_equal_and_unequal_laws(law, n_b):
    rng = np.random.default_rng(9)
    edges = np.linspace(0, 1, 51)
    cdf_a, cdf_b = stats.beta(2, 5).cdf(edges), stats.beta(*law).cdf(edges)
    truth = np.abs(cdf_b - cdf_a).max()
    a = rng.multinomial(300, np.diff(cdf_a), size=1500)
    b = rng.multinomial(n_b, np.diff(cdf_b), size=1500)
    intervals = [largest_gap(*pair, level=0.95) for pair in zip(a, b, strict=True)]
    assert np.mean([i.low <= truth for i in intervals]) > 0.945
    assert np.mean([i.high >= truth for i in intervals]) > 0.945


def test_the_upper_bound_of_the_largest_gap_is_no_wider_than_one_edge_needs():
    rng = np.random.default_rng(10)
    a, b = rng.binomial(1000, 0.45, size=6000), rng.binomial(1000, 0.55, size=6000)
    highs = [
        largest_gap(np.array([x, 1000 - x]), np.array([y, 1000 - y]), level=0.95).high
        for x, y in zip(a, b, strict=True)
    ]
    assert 0.94 < np.mean(np.array(highs) >= 0.1) < 0.96


def test_the_lower_bound_of_two_bins_is_newcombe_s_in_either_direction():
    for x, y in ((300, 420), (420, 300), (5, 90)):
        low, high = confint_proportions_2indep(y, 900, x, 700, method="newcomb", alpha=0.05)
        gap = largest_gap(np.array([x, 0, 700 - x]), np.array([y, 0, 900 - y]), level=0.95)
        assert gap.low == pytest.approx(max(low, -high, 0.0))


def test_a_gap_at_high_scores_is_known_better_than_one_in_the_middle():
    middle = largest_gap(np.array([500, 500, 0]), np.array([380, 620, 0]), level=0.999)
    end = largest_gap(np.array([0, 990, 10]), np.array([0, 870, 130]), level=0.999)
    assert middle.estimate == pytest.approx(end.estimate)
    assert end.low > middle.low + 0.01


def test_equal_laws_show_a_gap_as_seldom_as_the_level_says():
    rng = np.random.default_rng(11)
    pairs = rng.multinomial(1000, np.full(200, 0.005), size=(2000, 2))
    shown = np.mean([largest_gap(a, b, level=0.95).low > 0 for a, b in pairs])
    assert 0.001 < shown < 0.05  # edges close together are seldom wrong one by one


@given(a=HISTOGRAMS, b=HISTOGRAMS)
@settings(deadline=None)
def test_the_distance_of_histograms_is_that_of_scipy_for_values_spread_in_their_bins(a, b):
    fine = (np.arange(BINS * 400) + 0.5) / (BINS * 400)
    theirs = stats.wasserstein_distance(fine, fine, np.repeat(a, 400), np.repeat(b, 400))
    ours = wasserstein(a, b, EDGES)
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert ours == pytest.approx(wasserstein(b, a, EDGES))


def test_the_distance_has_the_unit_of_uneven_edges():
    a, b, edges = np.array([5, 0, 0]), np.array([0, 0, 9]), np.array([0.0, 1.0, 4.0, 10.0])
    assert wasserstein(a, b, edges) == pytest.approx(7.0 - 0.5)


def test_the_index_is_the_sum_that_it_is_known_as():
    a, b = np.array([30, 0, 70, 0]), np.array([10, 20, 70, 0])
    p, q = np.array([30.5, 0.5, 70.5]) / 101.5, np.array([10.5, 20.5, 70.5]) / 101.5
    psi, p_value = scaled_psi(a, b)
    assert psi == pytest.approx(float(np.sum((q - p) * np.log(q / p))))
    assert p_value == pytest.approx(stats.chi2.sf(psi / 0.02, 2))


def test_the_index_of_one_bin_is_nothing_and_cannot_be_tested():
    psi, p = scaled_psi(np.array([0, 9]), np.array([0, 4]))
    assert psi == 0.0
    assert math.isnan(p)


@given(a=HISTOGRAMS, b=HISTOGRAMS)
def test_the_index_is_never_negative_and_the_same_from_both_sides(a, b):
    psi, p = scaled_psi(a, b)
    assert psi >= 0
    assert scaled_psi(b, a) == pytest.approx((psi, p), nan_ok=True)
    assert math.isnan(p) or 0 <= p <= 1


@pytest.mark.parametrize(("n_a", "n_b"), [(100, 100), (300, 3000), (2000, 2000)])
def test_the_index_refuses_equal_laws_no_oftener_than_it_says_where_fixed_limits_would(n_a, n_b):
    rng = np.random.default_rng(12)
    law = np.full(10, 0.1)
    a, b = rng.multinomial(n_a, law, size=3000), rng.multinomial(n_b, law, size=3000)
    found = np.array([scaled_psi(x, y) for x, y in zip(a, b, strict=True)])
    assert 0.003 < np.mean(found[:, 1] < 0.01) < 0.016
    if n_a == 100:
        assert np.mean(found[:, 0] > 0.1) > 0.5


# --- rates of groups -------------------------------------------------------------------------


@given(groups=st.lists(SHARES, min_size=1, max_size=8))
def test_a_shrunken_rate_lies_between_its_own_and_the_pooled_one(groups):
    hits, n = np.array(groups).T
    rates = shrunken(hits, n)
    pooled = hits.sum() / n.sum()
    assert np.all(rates >= np.minimum(hits / n, pooled) - 1e-12)
    assert np.all(rates <= np.maximum(hits / n, pooled) + 1e-12)


def test_groups_that_differ_by_chance_only_share_one_rate():
    assert shrunken(np.array([50, 51, 49]), np.array([100, 100, 100])).tolist() == [0.5, 0.5, 0.5]


def test_groups_that_differ_in_full_keep_their_own_rates():
    assert shrunken(np.array([0, 9]), np.array([9, 9])) == pytest.approx([0.0, 1.0])


def test_groups_without_rows_get_the_pooled_rate_and_no_rows_at_all_nothing():
    rates = shrunken(np.array([90, 20, 0]), np.array([100, 100, 0]))
    assert rates[2] == pytest.approx(110 / 200)
    assert rates[:2] == pytest.approx(shrunken(np.array([90, 20]), np.array([100, 100])))
    assert np.isnan(shrunken(np.zeros(2), np.zeros(2))).all()


def test_shrunken_rates_are_nearer_to_the_truth_than_raw_ones():
    rng = np.random.default_rng(13)
    n = np.array([20, 30, 50, 80, 100, 200, 400, 1000])
    raw = own = 0.0
    for _ in range(300):
        truth = rng.beta(18, 2, size=len(n))
        hits = rng.binomial(n, truth)
        raw += np.sum((hits / n - truth) ** 2)
        own += np.sum((shrunken(hits, n) - truth) ** 2)
    assert own < 0.85 * raw


def test_the_correlation_behind_shrinking_is_found_without_bias():
    rng = np.random.default_rng(14)
    n = np.full(400, 25)
    hits = rng.binomial(n, rng.beta(6, 2, size=400))  # correlation 1 / (6 + 2 + 1)
    rates, pooled = shrunken(hits, n), hits.sum() / n.sum()
    weight = np.polyfit(hits / n - pooled, rates - pooled, 1)[0]
    assert weight == pytest.approx(25 / (25 + 8), abs=0.04)
