import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn import metrics as oracle

from nethical.metrics import classification as ours
from nethical.metrics.intervals import wilson

RNG = np.random.default_rng(0)


@st.composite
def scored(draw, smallest=1, largest=60):
    """Labels and probabilities, often tied."""
    n = draw(st.integers(smallest, largest))
    y = draw(arrays(np.int8, n, elements=st.integers(0, 1)))
    step = draw(st.sampled_from([3, 10, 10**6]))
    return y, draw(arrays(np.int64, n, elements=st.integers(0, step))) / step


def both_classes(y):
    return 0 < y.sum() < len(y)


# --- decisions -------------------------------------------------------------------------------


@given(rows=scored())
@settings(deadline=None)
def test_decisions_are_counted_and_rated_as_by_scikit_learn(rows):
    y, p = rows
    call = p >= 0.5
    counts = ours.confusion(y, call)
    tn, fp, fn, tp = oracle.confusion_matrix(y, call, labels=[0, 1]).ravel()
    assert counts == ours.Confusion(tp, fp, tn, fn)
    expected = {
        ours.accuracy: oracle.accuracy_score(y, call),
        ours.precision: oracle.precision_score(y, call, zero_division=math.nan),
        ours.recall: oracle.recall_score(y, call, zero_division=math.nan),
        ours.f1_score: oracle.f1_score(y, call, zero_division=math.nan),
        ours.false_positive_rate: fp / (fp + tn) if fp + tn else math.nan,
    }
    for metric, value in expected.items():
        assert metric(y, call).estimate == pytest.approx(value, nan_ok=True)


def test_the_false_positive_rate_is_not_one_less_the_precision():
    y = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    call = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    assert ours.false_positive_rate(y, call).estimate == pytest.approx(1 / 7)
    assert ours.precision(y, call).estimate == pytest.approx(2 / 3)


def test_the_bounds_of_a_rate_are_wilsons_on_its_own_rows():
    y, call = RNG.integers(0, 2, 90), RNG.random(90) < 0.4
    counts = ours.confusion(y, call)
    expected = {
        ours.accuracy: (counts.tp + counts.tn, 90),
        ours.precision: (counts.tp, counts.tp + counts.fp),
        ours.recall: (counts.tp, counts.tp + counts.fn),
        ours.false_positive_rate: (counts.fp, counts.fp + counts.tn),
    }
    for metric, (hits, n) in expected.items():
        for level in (0.95, 0.975):
            assert metric(y, call, level=level) == wilson(hits, n, level=level)


def test_a_rate_of_no_rows_is_unknown():
    none, zeros = np.zeros(4, dtype=bool), np.zeros(4, dtype=int)
    for interval in (
        ours.precision(zeros, none),
        ours.recall(zeros, none),
        ours.f1_score(zeros, none),
        ours.false_positive_rate(zeros + 1, none),
        ours.accuracy(zeros[:0], none[:0]),
    ):
        assert all(map(math.isnan, (interval.estimate, interval.low, interval.high)))


@pytest.mark.parametrize(
    "metric", [ours.accuracy, ours.precision, ours.recall, ours.false_positive_rate, ours.f1_score]
)
def test_rows_that_repeat_in_their_group_give_no_tighter_bounds(metric):
    y, call = RNG.integers(0, 2, 120), RNG.random(120) < 0.5
    alone = metric(y, call)
    groups = np.repeat(np.arange(120), 20)
    repeated = metric(np.repeat(y, 20), np.repeat(call, 20), groups)
    blind = metric(np.repeat(y, 20), np.repeat(call, 20))
    assert repeated.estimate == pytest.approx(alone.estimate)
    assert repeated.low <= alone.low + 1e-9
    assert repeated.high >= alone.high - 1e-9
    assert blind.high - blind.low < 0.3 * (repeated.high - repeated.low)


def test_the_interval_of_f1_covers_the_truth():
    rng = np.random.default_rng(2)
    hit, alarm, base, trials, n = 0.7, 0.15, 0.3, 400, 300
    truth = 2 * hit * base / (hit * base + base + alarm * (1 - base))
    covered = 0
    for _ in range(trials):
        y = (rng.random(n) < base).astype(int)
        interval = ours.f1_score(y, rng.random(n) < np.where(y == 1, hit, alarm))
        covered += interval.low <= truth <= interval.high
    assert 0.92 <= covered / trials <= 0.98


# --- ranking ---------------------------------------------------------------------------------


@given(rows=scored())
@settings(deadline=None)
def test_areas_are_those_of_scikit_learn(rows):
    y, p = rows
    if both_classes(y):
        assert ours.roc_auc(y, p).estimate == pytest.approx(oracle.roc_auc_score(y, p))
    if y.any():
        expected = oracle.average_precision_score(y, p)
        assert ours.average_precision(y, p).estimate == pytest.approx(expected)


def naive_delong(y, p):
    """Area and its variance by DeLong 1988, over all pairs."""
    pos, neg = p[y == 1], p[y == 0]
    psi = [[1.0 if a > b else 0.5 if a == b else 0.0 for b in neg] for a in pos]
    v10 = [sum(row) / len(neg) for row in psi]
    v01 = [sum(row[j] for row in psi) / len(pos) for j in range(len(neg))]
    area = sum(v10) / len(pos)
    s10 = sum((v - area) ** 2 for v in v10) / (len(pos) - 1)
    s01 = sum((v - area) ** 2 for v in v01) / (len(neg) - 1)
    return area, s10 / len(pos) + s01 / len(neg)


@given(rows=scored(smallest=5), level=st.sampled_from([0.95, 0.975]))
@settings(deadline=None)
def test_the_interval_of_the_roc_area_is_delongs_on_the_logit_scale(rows, level):
    y, p = rows
    if min(y.sum(), len(y) - y.sum()) < 2:
        return
    area, variance = naive_delong(y, p)
    interval = ours.roc_auc(y, p, level=level)
    assert interval.estimate == pytest.approx(area)
    if 0 < area < 1:
        margin = stats.norm.ppf(level) * math.sqrt(variance) / (area * (1 - area))
        centre = math.log(area / (1 - area))
        expected = [1 / (1 + math.exp(-(centre + sign * margin))) for sign in (-1, 1)]
        assert [interval.low, interval.high] == pytest.approx(expected)


def naive_clustered_roc_variance(y, p, groups):
    """Variance of the area by Obuchowski's placements, summed over each cluster by loops."""
    n_pos, n_neg = int(y.sum()), int(len(y) - y.sum())
    area = oracle.roc_auc_score(y, p)
    total = 0.0
    for name in set(groups.tolist()):
        inside = 0.0
        for i in np.flatnonzero(groups == name):
            others = p[y != y[i]]
            below, ties = (others < p[i]).sum(), (others == p[i]).sum()
            right = (below + ties / 2) / len(others)
            inside += ((right if y[i] else 1 - right) - area) / (n_pos if y[i] else n_neg)
        total += inside**2
    n_groups = len(set(groups.tolist()))
    return total * n_groups / (n_groups - 1)


def test_the_clustered_interval_of_the_roc_area_sums_placements_over_each_group():
    y = RNG.integers(0, 2, 60)
    p = np.round(RNG.random(60) * 0.5 + 0.3 * y, 1)
    groups = np.arange(60) // 4 * 10
    area = oracle.roc_auc_score(y, p)
    margin = stats.norm.ppf(0.975) * math.sqrt(naive_clustered_roc_variance(y, p, groups))
    margin /= area * (1 - area)
    interval = ours.roc_auc(y, p, groups)
    assert math.log(interval.high / (1 - interval.high)) == pytest.approx(
        math.log(area / (1 - area)) + margin
    )


def test_the_interval_of_the_roc_area_covers_the_truth():
    rng = np.random.default_rng(3)
    truth, covered, trials = stats.norm.cdf(1.2 / math.sqrt(2)), 0, 400
    for _ in range(trials):
        y = (np.arange(200) < 50).astype(int)
        interval = ours.roc_auc(y, rng.normal(size=200) + 1.2 * y)
        covered += interval.low <= truth <= interval.high
    assert 0.92 <= covered / trials <= 0.98


def test_areas_of_one_class_are_unknown_and_one_row_of_a_class_has_no_bounds():
    p = np.array([0.1, 0.2, 0.3])
    assert math.isnan(ours.roc_auc(np.zeros(3), p).estimate)
    assert math.isnan(ours.roc_auc(np.ones(3), p).estimate)
    assert math.isnan(ours.average_precision(np.zeros(3), p).estimate)
    lonely = ours.roc_auc(np.array([0, 1, 0]), p)
    assert lonely.estimate == 0.5
    assert math.isnan(lonely.low)


def test_average_precision_is_as_sure_as_its_positives_or_their_groups():
    y = np.array([1, 0, 1, 0, 1, 1, 0, 0])
    p = np.linspace(0.9, 0.1, 8)
    estimate = oracle.average_precision_score(y, p)
    groups = np.array([0, 1, 0, 2, 1, 1, 3, 4])
    for chosen, units in [(None, 4), (groups, 2)]:
        interval = ours.average_precision(y, p, chosen)
        margin = stats.norm.ppf(0.975) / math.sqrt(units * estimate * (1 - estimate))
        assert math.log(interval.low / (1 - interval.low)) == pytest.approx(
            math.log(estimate / (1 - estimate)) - margin
        )


# --- the alert budget ------------------------------------------------------------------------


@given(rows=scored(), budget=st.sampled_from([0.01, 0.1, 0.5, 0.9]))
@settings(deadline=None)
def test_recall_at_a_budget_alerts_the_riskiest_and_draws_among_ties(rows, budget):
    y, p = rows
    allowed = max(int(budget * len(y)), 1)
    draws = np.random.default_rng(1)
    recalls = []
    for _ in range(200 if y.any() else 0):
        shuffled = draws.permutation(len(y))
        alerted = shuffled[np.argsort(-p[shuffled], kind="stable")][:allowed]
        recalls.append(y[alerted].sum() / y.sum())
    measured = ours.recall_at_budget(y, p, budget=budget).estimate
    if not recalls:
        assert math.isnan(measured)
    else:
        assert abs(measured - np.mean(recalls)) <= 5 * np.std(recalls) / 200**0.5 + 1e-12


def test_a_tie_at_the_cut_counts_by_the_share_that_the_budget_allows():
    y = np.array([1, 1, 0, 0])
    assert ours.recall_at_budget(y, np.array([0.9, 0.5, 0.5, 0.1]), budget=0.5).estimate == 0.75
    assert ours.recall_at_budget(y, np.full(4, 0.5), budget=0.5).estimate == 0.5
    assert math.isnan(ours.recall_at_budget(y[:0], y[:0] / 1.0).estimate)


# --- losses ----------------------------------------------------------------------------------


@given(rows=scored())
@settings(deadline=None)
def test_losses_are_those_of_scikit_learn(rows):
    y, p = rows
    assert ours.brier_score(y, p) == pytest.approx(oracle.brier_score_loss(y, p, labels=[0, 1]))
    inside = np.clip(p, 0.001, 0.999)
    expected = oracle.log_loss(y, inside, labels=[0, 1])
    assert ours.log_loss(y, inside).mean() == pytest.approx(expected)
    assert ours.log_loss(y, p).shape == y.shape


def test_the_log_loss_of_a_sure_mistake_is_large_and_finite():
    losses = ours.log_loss(np.array([1, 0, 1]), np.array([0.0, 1.0, 1.0]))
    assert losses == pytest.approx([34.5, 34.5, 0.0], abs=0.1)
