import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from nethical.metrics.calibration import calibration_line, ece, ece_debiased, reliability

RNG = np.random.default_rng(0)


@st.composite
def scored(draw):
    n = draw(st.integers(1, 60))
    y = draw(arrays(np.int8, n, elements=st.integers(0, 1)))
    p = draw(arrays(np.float64, n, elements=st.floats(0, 1)))
    return y, p, draw(arrays(np.int64, n, elements=st.integers(-2, 4)))


def naive_bins(p, n_bins=10):
    """Return the rows of each bin that has any."""
    bins = {}
    for i, value in enumerate(p):
        bins.setdefault(min(int(value * n_bins), n_bins - 1), []).append(i)
    return bins


def calibrated(n, rng=RNG, a=1.0, b=1.0):
    p = rng.beta(a, b, n)
    return (rng.random(n) < p).astype(int), p


# --- expected calibration error --------------------------------------------------------------


@given(rows=scored(), n_bins=st.integers(1, 20))
@settings(deadline=None)
def test_ece_is_the_weighted_gap_of_each_bin(rows, n_bins):
    y, p, _ = rows
    expected = sum(
        len(rows) / len(y) * abs(y[rows].mean() - p[rows].mean())
        for rows in naive_bins(p, n_bins).values()
    )
    assert ece(y, p, n_bins=n_bins) == pytest.approx(expected, abs=1e-12)


def test_a_calibrated_constant_has_no_error():
    y = np.array([0, 0, 0, 0, 1] * 40)
    assert ece(y, np.full(200, 0.2)) == 0.0
    assert ece_debiased(y, np.full(200, 0.2)).estimate == 0.0


def test_a_constant_that_is_off_has_its_gap_as_error():
    y = np.array([0, 0, 0, 0, 1] * 200)
    assert ece(y, np.full(1000, 0.5)) == pytest.approx(0.3)
    assert ece_debiased(y, np.full(1000, 0.5)).estimate == pytest.approx(0.3, abs=1e-6)


def test_one_is_in_the_last_bin():
    assert ece(np.array([1, 0]), np.array([1.0, 0.95])) == pytest.approx(abs(1.95 - 1) / 2)


@pytest.mark.parametrize("p", [[], [math.nan, 0.5], [math.inf, 0.5]])
def test_the_error_of_nothing_or_of_no_numbers_is_unknown(p):
    y = np.zeros(len(p))
    assert math.isnan(ece(y, np.array(p)))
    interval = ece_debiased(y, np.array(p))
    assert all(map(math.isnan, (interval.estimate, interval.low, interval.high)))


def naive_debiased(y, p):
    """Twice the gap less what the gap would be on average if it were the truth."""
    total = 0.0
    for rows in naive_bins(p).values():
        n, gap = len(rows), abs(y[rows].mean() - p[rows].mean())
        share = (y[rows].sum() + p[rows].mean()) / (n + 1)
        error = max(math.sqrt(share * (1 - share) / n), 1e-12)
        expected = stats.foldnorm.mean(gap / error, scale=error) if gap / error < 30 else gap
        total += n / len(y) * (2 * gap - expected)
    return total


@given(rows=scored())
@settings(deadline=None, max_examples=60)
def test_the_debiased_error_subtracts_what_noise_adds_in_each_bin(rows):
    y, p, _ = rows
    expected = min(max(naive_debiased(y, p), 0.0), 1.0)
    assert ece_debiased(y, p).estimate == pytest.approx(expected, abs=1e-9)


@given(rows=scored(), level=st.sampled_from([0.95, 0.975]))
@settings(deadline=None)
def test_the_bounds_of_the_debiased_error_hold_it_within_zero_and_one(rows, level):
    y, p, groups = rows
    for chosen in (None, groups):
        interval = ece_debiased(y, p, chosen, level=level)
        assert 0.0 <= interval.low <= interval.estimate <= interval.high <= 1.0
        assert interval.high > interval.estimate or interval.high == 1.0 or set(p) <= {0.0, 1.0}


def test_debiasing_takes_away_a_third_of_the_noise():
    rng = np.random.default_rng(1)
    draws = [calibrated(100, rng) for _ in range(300)]
    plain = np.mean([ece(y, p) for y, p in draws])
    debiased = np.mean([ece_debiased(y, p).estimate for y, p in draws])
    assert plain == pytest.approx(0.095, abs=0.01)
    assert debiased < 0.67 * plain


def test_the_lower_bound_is_zero_for_nearly_all_perfect_models():
    rng = np.random.default_rng(2)
    lows = [ece_debiased(*calibrated(300, rng), level=0.975).low for _ in range(400)]
    assert np.mean(np.array(lows) > 0) <= 0.06


@pytest.mark.parametrize("tempered", [1.0, 1.5, 2.5])
def test_the_interval_covers_the_true_error(tempered):
    rng = np.random.default_rng(3)
    p = rng.beta(1, 1, 1_000_000)
    reported = expit(tempered * logit(p))
    truth, covered, trials = ece(p, reported), 0, 300
    for start in range(0, trials * 1000, 1000):
        rows = slice(start, start + 1000)
        y = (rng.random(1000) < p[rows]).astype(int)
        interval = ece_debiased(y, reported[rows])
        covered += interval.low - 1e-9 <= truth <= interval.high
    assert 0.91 <= covered / trials <= 1.0


def test_rows_that_repeat_in_their_group_give_no_tighter_bounds():
    y, p = calibrated(200)
    p = np.clip(p + 0.15, 0, 1)
    alone = ece_debiased(y, p)
    repeated = ece_debiased(np.repeat(y, 20), np.repeat(p, 20), np.repeat(np.arange(200), 20))
    blind = ece_debiased(np.repeat(y, 20), np.repeat(p, 20))
    assert repeated.high - repeated.estimate >= 0.95 * (alone.high - alone.estimate)
    assert repeated.low <= alone.low + 0.02
    assert blind.high - blind.low < 0.4 * (repeated.high - repeated.low)


# --- bins ------------------------------------------------------------------------------------


@given(rows=scored())
@settings(deadline=None, max_examples=60)
def test_bins_hold_means_shares_and_cluster_robust_errors(rows):
    y, p, groups = rows
    plain, robust = reliability(y, p), reliability(y, p, groups)
    n_groups = len(set(groups.tolist()))
    for code in range(10):
        inside = naive_bins(p).get(code, [])
        assert plain.n[code] == len(inside)
        if not inside:
            assert math.isnan(plain.share[code])
            continue
        n, share, mean = len(inside), y[inside].mean(), p[inside].mean()
        assert (plain.share[code], plain.mean_proba[code]) == pytest.approx((share, mean))
        shrunk = (n * share + mean) / (n + 1)
        binomial = shrunk * (1 - shrunk) / n
        assert plain.error[code] ** 2 == pytest.approx(binomial, abs=1e-12)
        total = 0.0
        for name in set(groups.tolist()):
            members = [i for i in inside if groups[i] == name]
            total += sum((y[i] - p[i]) - (share - mean) for i in members) ** 2
        clustered = total * n_groups / max(n_groups - 1, 1) / n**2
        assert robust.error[code] ** 2 == pytest.approx(max(binomial, clustered), abs=1e-9)


def test_a_bin_whose_rows_all_agree_is_not_taken_for_certain():
    bins = reliability(np.zeros(4), np.full(4, 0.25))
    assert bins.share[2] == 0.0
    assert bins.error[2] > 0.1


# --- the recalibration line ------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), tempered=st.floats(0.3, 3), shift=st.floats(-1, 1))
@settings(deadline=None, max_examples=25)
def test_slope_and_intercept_are_those_of_an_unpenalised_logistic_regression(seed, tempered, shift):
    y, p = calibrated(300, np.random.default_rng(seed))
    reported = np.clip(expit(tempered * logit(p) + shift), 1e-9, 1 - 1e-9)
    x = logit(reported)[:, None]
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=2000).fit(x, y)
    slope, intercept = calibration_line(y, reported)
    assert slope.estimate == pytest.approx(oracle.coef_[0, 0], abs=1e-4)
    assert intercept.estimate == pytest.approx(oracle.intercept_[0], abs=1e-4)


@pytest.mark.parametrize("size", [1, 5])
def test_the_bounds_of_slope_and_intercept_are_sandwich_ones(size):
    y, p = calibrated(200)
    groups = np.arange(200) // size
    slope, intercept = calibration_line(y, p, groups, level=0.95)
    x = np.column_stack([logit(p), np.ones(200)])
    fitted = expit(x @ [slope.estimate, intercept.estimate])
    bread, meat = np.zeros((2, 2)), np.zeros((2, 2))
    for i in range(200):
        bread += fitted[i] * (1 - fitted[i]) * np.outer(x[i], x[i])
    for name in set(groups.tolist()):
        score = sum((y[i] - fitted[i]) * x[i] for i in np.flatnonzero(groups == name))
        meat += np.outer(score, score)
    covariance = np.linalg.inv(bread) @ meat @ np.linalg.inv(bread)
    t = stats.t.ppf(0.95, len(set(groups.tolist())) - 1)
    for interval, variance in zip((slope, intercept), np.diag(covariance), strict=True):
        margin = t * math.sqrt(variance)
        assert interval.high - interval.estimate == pytest.approx(margin, rel=1e-6)
        assert interval.estimate - interval.low == pytest.approx(margin, rel=1e-6)


def test_an_over_confident_model_has_a_slope_below_one_and_a_low_one_an_intercept_above_zero():
    y, p = calibrated(20_000)
    slope, _ = calibration_line(y, expit(2 * logit(p)))
    assert slope.low < 0.5 < slope.high
    assert slope.high < 0.6
    slope, intercept = calibration_line(y, expit(logit(p) - 1))
    assert intercept.low < 1.0 < intercept.high
    assert slope.low < 1.0 < slope.high


@pytest.mark.parametrize(
    ("y", "p"),
    [
        ([0, 1], [0.1, 0.9]),
        ([0, 0, 0, 0], [0.1, 0.2, 0.3, 0.4]),
        ([0, 1, 0, 1], [0.2, 0.2, 0.2, 0.2]),
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),
        ([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]),
        ([0, 0, 1, 1], [1e-12, 2.6e-10, 0.9999946, 0.9999949]),
    ],
)
def test_where_no_line_is_best_slope_and_intercept_are_unknown(y, p):
    for interval in calibration_line(np.array(y), np.array(p)):
        assert all(map(math.isnan, (interval.estimate, interval.low, interval.high)))


def test_sure_probabilities_do_not_break_the_line():
    y = np.array([0, 1, 0, 1, 1, 0])
    slope, intercept = calibration_line(y, np.array([0.0, 1.0, 1.0, 0.7, 0.6, 0.2]))
    assert math.isfinite(slope.estimate)
    assert math.isfinite(intercept.high)
