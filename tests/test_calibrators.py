import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from nethical.calibrators import (
    ISOTONIC_FROM,
    Isotonic,
    Sigmoid,
    _pool,
    _runs,
    fit,
    fit_to_normals,
    from_document,
)
from nethical.metrics.calibration import ece, ece_debiased

SHAPES = st.tuples(st.integers(20, 1500), st.integers(0, 10**6))


def drawn(n, seed=0, *, slope=1.0, intercept=0.0, decimals=None):
    """Return scores and labels whose truth is a sigmoid of the scores."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n) * 2
    if decimals is not None:
        scores = np.round(scores, decimals)
    y = (rng.random(n) < expit(slope * scores + intercept)).astype(int)
    y[:2] = 0, 1
    return scores, y


# --- both kinds ------------------------------------------------------------------------------


def test_isotonic_steps_begin_at_a_thousand_rows():
    assert fit(*drawn(ISOTONIC_FROM)).method == "isotonic"
    assert fit(*drawn(ISOTONIC_FROM - 1)).method == "sigmoid"


@given(shape=SHAPES, decimals=st.sampled_from([0, 1, None]), scale=st.sampled_from([1e-3, 1, 1e3]))
@settings(deadline=None, max_examples=40)
def test_probabilities_are_monotone_and_strictly_between_zero_and_one(shape, decimals, scale):
    scores, y = drawn(*shape, decimals=decimals)
    calibrator = fit(scale * scores, y)
    ends = scale * np.array([-1e6, -1e3, 1e3, 1e6])
    probabilities = calibrator.predict(np.sort(np.concatenate([scale * scores, ends])))
    assert (np.diff(probabilities) >= 0).all()
    assert (probabilities > 0).all()
    assert (probabilities < 1).all()


@given(shape=SHAPES, score=st.floats(-1e4, 1e4))
@settings(deadline=None, max_examples=40)
def test_one_score_has_the_probability_that_it_has_among_many(shape, score):
    scores, y = drawn(*shape)
    calibrator = fit(scores, y)
    for value in (score, scores[0], scores.max(), (scores[0] + scores[1]) / 2):
        many = calibrator.predict(np.array([value, 0.0]))[0]
        assert calibrator.predict_one(float(value)) == pytest.approx(many, rel=1e-14)


@pytest.mark.parametrize("n", [200, 2000])
def test_a_calibrator_survives_its_document_bit_by_bit(n):
    scores, y = drawn(n)
    calibrator = fit(scores, y)
    read = from_document(json.loads(json.dumps(calibrator.to_document())))
    assert read == calibrator
    assert (read.predict(scores) == calibrator.predict(scores)).all()


@pytest.mark.parametrize("n", [600, 3000])
@pytest.mark.parametrize("slope", [0.4, 1.0, 3.0])
def test_scores_that_meant_something_else_come_out_calibrated(n, slope):
    scores, y = drawn(n, slope=slope, intercept=-1)
    calibrator = fit(scores, y)
    fresh, outcomes = drawn(20_000, seed=1, slope=slope, intercept=-1)
    after = ece_debiased(outcomes, calibrator.predict(fresh))
    assert after.estimate < 0.06
    if slope != 1.0:
        assert after.estimate < 0.5 * ece(outcomes, expit(fresh))


@pytest.mark.parametrize("n", [400, 1500])
def test_scores_of_any_scale_are_calibrated(n):
    scores, y = drawn(n)
    plain = fit(scores, y).predict(scores)
    for scale, shift in [(100.0, 5.0), (0.01, -3.0)]:
        moved = scale * scores + shift
        assert fit(moved, y).predict(moved) == pytest.approx(plain, abs=0.08)


@pytest.mark.parametrize("n", [400, 2000])
def test_a_weight_of_two_is_a_row_twice(n):
    scores, y = drawn(n, decimals=1)
    twice = np.arange(n) % 3 == 0
    weighted = fit(scores, y, np.where(twice, 2.0, 1.0))
    rows = np.concatenate([scores, scores[twice]])
    repeated = fit(rows, np.concatenate([y, y[twice]]))
    assert weighted.predict(scores) == pytest.approx(repeated.predict(scores), abs=2e-3)


@pytest.mark.parametrize("n", [300, 1500])
def test_scores_that_say_nothing_give_the_share_of_positives(n):
    y = (np.arange(n) % 4 == 0).astype(int)
    probabilities = fit(np.zeros(n), y).predict(np.array([-1.0, 0.0, 1.0]))
    assert probabilities[1] == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("n", [300, 1500])
def test_scores_that_rank_backwards_give_nearly_the_share_of_positives(n):
    scores, y = drawn(n)
    probabilities = fit(-scores, y).predict(-scores)
    assert (np.diff(probabilities[np.argsort(-scores)]) >= 0).all()
    assert np.abs(probabilities - y.mean()).mean() < 0.05


# --- the sigmoid -----------------------------------------------------------------------------


def test_separable_scores_give_a_finite_slope():
    scores = np.concatenate([np.full(20, -1.0), np.full(20, 1.0)])
    calibrator = fit(scores, np.repeat([0, 1], 20))
    assert math.isfinite(calibrator.slope)
    assert 0.75 < calibrator.predict_one(1.0) < 1.0
    assert calibrator.predict_one(-1.0) == pytest.approx(1 - calibrator.predict_one(1.0), abs=0.02)


def test_scores_beyond_all_bounds_stay_probabilities():
    calibrator = Sigmoid(3.0, 0.0)
    scores = np.array([-1e300, -1e4, 0.0, 1e4, 1e300])
    probabilities = calibrator.predict(scores)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert [calibrator.predict_one(s) for s in scores.tolist()] == probabilities.tolist()


def test_true_log_odds_are_left_nearly_alone():
    scores, y = drawn(900)
    assert fit(scores, y).predict(scores) == pytest.approx(expit(scores), abs=0.06)


# --- isotonic steps --------------------------------------------------------------------------


def pooled(hits, mass):
    runs = _runs(np.array(hits), np.array(mass))
    blocks = _pool(*(values.tolist() for values in runs))
    return np.concatenate([np.full(size, h / m) for h, m, size in blocks])


@given(
    rows=st.integers(1, 60).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, n, elements=st.floats(0, 1).map(lambda v: round(v, 2))),
            arrays(np.float64, n, elements=st.integers(1, 5).map(float)),
        )
    )
)
@settings(deadline=None)
def test_pooled_blocks_are_those_of_scikit_learn(rows):
    shares, mass = rows
    oracle = IsotonicRegression().fit_transform(np.arange(len(mass)), shares, sample_weight=mass)
    ours = pooled((shares * mass).tolist(), mass.tolist())
    np.testing.assert_allclose(ours, oracle, atol=1e-12)


@pytest.mark.parametrize("decimals", [1, None])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_block_lies_at_its_middle_with_its_share(decimals, weighted):
    scores, y = drawn(1500, decimals=decimals)
    weights = np.random.default_rng(1).uniform(0.5, 2, 1500) if weighted else np.ones(1500)
    calibrator = fit(scores, y, weights if weighted else None)
    oracle = IsotonicRegression().fit(scores, y, sample_weight=weights).predict(scores)
    shares = np.unique(np.round(oracle, 12))
    middles = [
        np.average(scores[inside], weights=weights[inside])
        for share in shares
        if (inside := np.abs(oracle - share) < 1e-10).any()
    ]
    assert calibrator.scores == pytest.approx(middles)
    edge = 1 / 1502
    assert calibrator.probabilities == pytest.approx(np.clip(shares, edge, 1 - edge))


def test_between_the_middles_probabilities_rise_evenly_and_beyond_them_not():
    calibrator = Isotonic((0.0, 1.0, 3.0), (0.1, 0.3, 0.9))
    scores = np.array([-5.0, 0.0, 0.5, 1.0, 2.0, 3.0, 9.0])
    expected = [0.1, 0.1, 0.2, 0.3, 0.6, 0.9, 0.9]
    assert calibrator.predict(scores) == pytest.approx(expected)
    assert [calibrator.predict_one(s) for s in scores.tolist()] == pytest.approx(expected)


def test_rows_of_no_weight_do_no_harm():
    scores, y = drawn(1500)
    weights = np.where((np.abs(scores) > 3) | (np.arange(1500) % 3 == 0), 0.0, 1.0)
    kept = weights > 0
    some = fit(scores, y, weights)
    alone = fit(scores[kept], y[kept]) if kept.sum() >= ISOTONIC_FROM else None
    assert np.isfinite(some.predict(scores)).all()
    if alone is not None:
        assert some.predict(scores) == pytest.approx(alone.predict(scores), abs=2e-3)


def test_isotonic_steps_follow_what_no_sigmoid_can():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=20_000)
    truth = np.where(scores < 0, 0.1, np.where(scores < 1, 0.4, 0.9))
    y = (rng.random(20_000) < truth).astype(int)
    assert np.abs(fit(scores, y).predict(scores) - truth).mean() < 0.02
    few = slice(0, ISOTONIC_FROM - 1)
    assert np.abs(fit(scores[few], y[few]).predict(scores) - truth).mean() > 0.03
    assert logit(fit(scores, y).predict(scores)).max() < 10


# --- without a positive row ------------------------------------------------------------------


def test_a_percentile_is_the_share_of_normal_rows_that_score_lower():
    normals = np.random.default_rng(0).normal(size=4000)
    calibrator = fit_to_normals(normals)
    fresh = np.random.default_rng(1).normal(size=20_000)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert np.mean(calibrator.predict(fresh) > share) == pytest.approx(1 - share, abs=0.015)
    assert calibrator.predict(normals).mean() == pytest.approx(0.5, abs=0.002)


@given(n=st.integers(1, 2000), seed=st.integers(0, 10**6), decimals=st.sampled_from([0, 1, None]))
@settings(deadline=None, max_examples=60)
def test_percentiles_rise_also_beyond_all_normal_rows_and_never_reach_the_ends(n, seed, decimals):
    normals = np.random.default_rng(seed).normal(size=n)
    normals = normals if decimals is None else np.round(normals, decimals)
    calibrator = fit_to_normals(normals)
    top = float(normals.max())
    beyond = calibrator.predict(top + calibrator.tail * np.arange(20))
    assert (np.diff(beyond) > 0).all()
    spread = calibrator.predict(np.sort(np.append(normals, [-1e300, 1e300, top + 1])))
    assert (np.diff(spread) >= 0).all()
    assert 0 < spread.min() <= spread.max() < 1
    assert calibrator.predict_one(top + 0.3) == calibrator.predict(np.array([top + 0.3]))[0]


def test_a_percentile_calibrator_is_the_same_after_json():
    calibrator = fit_to_normals(np.random.default_rng(3).exponential(size=500))
    again = from_document(json.loads(json.dumps(calibrator.to_document())))
    assert again == calibrator
    assert again.method == "percentile"


def test_where_higher_must_be_higher_a_sigmoid_is_taken_for_any_number_of_rows():
    scores, y = drawn(3 * ISOTONIC_FROM)
    assert fit(scores, y).method == "isotonic"
    strict = fit(scores, y, strict=True)
    assert strict.method == "sigmoid"
    assert (np.diff(strict.predict(np.unique(scores))) > 0).all()
