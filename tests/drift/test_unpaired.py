import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.discrete.discrete_model import Logit
from statsmodels.stats import proportion

from nethical.drift import unpaired
from nethical.drift.cells import Scored, summarise
from nethical.drift.effects import EffectVerdict, Settings
from nethical.metrics.calibration import ece_debiased
from nethical.metrics.intervals import mean_interval

SETTINGS = Settings()


def rows(seed, n, *, shift=0.0, stretch=1.0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    x = rng.normal(np.where(y, 1.0, -1.0) + shift)
    return 1 / (1 + np.exp(-stretch * (2 * x - 0.4))), y.astype(np.int8)


def cells(p, y, **more):
    return summarise(Scored(p, y, 0.5, **more)).whole


def by_name(found):
    return {getattr(one, "name", None) or one.metric: one for one in found}


def rates(p, y):
    """Hits and trials of each rate, from rows."""
    called = p >= 0.5
    return {
        "accuracy": (called == (y == 1), np.full(len(y), fill_value=True)),
        "recall": (called, y == 1),
        "false_positive_rate": (called, y == 0),
        "precision": (y == 1, called),
        "prevalence": (y == 1, np.full(len(y), fill_value=True)),
        "flag_rate": (called, np.full(len(y), fill_value=True)),
    }


@pytest.fixture(scope="module")
def sides():
    return rows(1, 3000), rows(2, 2000, shift=0.2, stretch=1.5)


def test_effects_of_rates_are_those_of_statsmodels(sides):
    found = {e.name: e for e in unpaired.effects(*(cells(*s) for s in sides), SETTINGS)}
    before, after = (rates(*side) for side in sides)
    for name in ("accuracy", "recall", "false_positive_rate"):
        (hits_a, of_a), (hits_b, of_b) = before[name], after[name]
        counts = int(hits_b[of_b].sum()), int(of_b.sum()), int(hits_a[of_a].sum()), int(of_a.sum())
        low, high = proportion.confint_proportions_2indep(
            *counts, method="newcomb", alpha=2 * (1 - SETTINGS.level(name))
        )
        difference = found[name].gap.difference
        assert (difference.low, difference.high) == pytest.approx((low, high), abs=1e-12)
        assert difference.estimate == pytest.approx(counts[0] / counts[1] - counts[2] / counts[3])
        assert found[name].gap.n == (counts[3], counts[1])


def test_effects_of_losses_and_calibration_are_those_of_the_rows(sides):
    found = {e.name: e.gap for e in unpaired.effects(*(cells(*s) for s in sides), SETTINGS)}
    losses = [(p - y) ** 2 for p, y in sides]
    theirs = stats.ttest_ind(losses[1], losses[0], equal_var=False).confidence_interval(
        2 * SETTINGS.level("brier") - 1
    )
    brier = found["brier"].difference
    assert (brier.low, brier.high) == pytest.approx((theirs.low, theirs.high), abs=1e-7)
    errors = [ece_debiased(y, p) for p, y in sides]
    ece = found["ece"].difference
    assert ece.estimate == pytest.approx(errors[1].estimate - errors[0].estimate, abs=1e-9)
    half = math.hypot(*(e.high - e.estimate for e in errors)) / stats.norm.ppf(0.975)
    wanted = half * stats.norm.ppf(SETTINGS.level("ece"))
    assert ece.high - ece.estimate == pytest.approx(wanted, rel=1e-3)


def test_the_gap_of_scores_is_that_of_the_rows_up_to_the_width_of_a_bin(sides):
    gap = by_name(unpaired.effects(*(cells(*s) for s in sides), SETTINGS))["score_distribution"].gap
    (a, _), (b, _) = sides
    assert gap.difference.estimate == pytest.approx(stats.ks_2samp(a, b).statistic, abs=0.02)
    assert gap.difference.estimate <= stats.ks_2samp(a, b).statistic + 1e-12
    assert gap.n == (3000, 2000)


def test_tests_are_those_of_statsmodels_and_scipy(sides):
    found = {t.metric: t.p for t in unpaired.tests(*(cells(*s) for s in sides))}
    before, after = (rates(*side) for side in sides)
    for name in unpaired.TESTED_RATES:
        (hits_a, of_a), (hits_b, of_b) = before[name], after[name]
        theirs = proportion.test_proportions_2indep(
            *(int(hits_b[of_b].sum()), int(of_b.sum())),
            *(int(hits_a[of_a].sum()), int(of_a.sum())),
            method="score",
            correction=False,
        )
        assert found[name] == pytest.approx(theirs.pvalue, rel=1e-9, abs=1e-12)
    losses = [(p - y) ** 2 for p, y in sides]
    theirs = stats.ttest_ind(losses[1], losses[0], equal_var=False)
    assert found["brier"] == pytest.approx(theirs.pvalue, rel=1e-5)


def test_the_line_test_is_that_of_two_logistic_regressions(sides):
    gap, covariance = np.zeros(2), np.zeros((2, 2))
    for sign, (p, y) in zip((-1, 1), sides, strict=True):
        design = np.column_stack([np.log(p / (1 - p)), np.ones(len(p))])
        fit = Logit(y, design).fit(disp=0, cov_type="HC0")
        gap += sign * fit.params
        covariance += fit.cov_params()
    theirs = stats.chi2.sf(gap @ np.linalg.solve(covariance, gap), 2)
    ours = unpaired.line_test(*(cells(*side) for side in sides))
    assert math.log10(ours) == pytest.approx(math.log10(theirs), rel=0.03)


def test_one_law_has_one_line_as_often_as_the_test_says():
    p_values = [
        unpaired.line_test(cells(*rows(seed, 400)), cells(*rows(seed + 10_000, 700)))
        for seed in range(400)
    ]
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.085


def test_clusters_widen_effects_as_they_widen_those_of_the_rows():
    sides = []
    for seed in (3, 4):
        p, y = rows(seed, 3000, shift=0.0)
        order = np.argsort((p - y) ** 2)  # alike within a cluster
        clusters = np.empty(3000, dtype=np.int64)
        clusters[order] = np.arange(3000) // 20 % 150
        sides.append((p, y, clusters))
    loose = by_name(unpaired.effects(*(cells(p, y) for p, y, _ in sides), SETTINGS))
    tight = by_name(unpaired.effects(*(cells(p, y, clusters=c) for p, y, c in sides), SETTINGS))
    level = SETTINGS.level("brier")
    errors = [
        (i.high - i.estimate) / stats.t.ppf(level, 149)
        for i in (mean_interval((p - y) ** 2, c, level=level) for p, y, c in sides)
    ]
    difference = tight["brier"].gap.difference
    ratio = (errors[0] ** 2 + errors[1] ** 2) ** 2 / sum(e**4 / 149 for e in errors)
    wanted = math.hypot(*errors) * stats.t.ppf(level, ratio)
    assert difference.high - difference.estimate == pytest.approx(wanted, rel=1e-4)
    for name, effect in tight.items():
        own, other = effect.gap.difference, loose[name].gap.difference
        assert own.estimate == pytest.approx(other.estimate, abs=2e-3)
        assert own.high - own.low > (1.0 - 1e-9) * (other.high - other.low)
    assert tight["accuracy"].gap.difference.high > 2 * loose["accuracy"].gap.difference.high


@pytest.mark.parametrize("n", [(99, 5000), (5000, 99), (30, 30)])
def test_fewer_than_a_hundred_rows_are_never_judged(n):
    right = cells(np.full(n[0], 0.99), np.ones(n[0], np.int8))
    wrong = cells(np.full(n[1], 0.01), np.ones(n[1], np.int8))
    found = unpaired.effects(right, wrong, SETTINGS)
    assert {e.verdict for e in found} == {EffectVerdict.NOT_ASSESSABLE}


def test_a_hundred_rows_are_judged_but_not_a_rate_of_nine_of_them():
    y = np.array([1] * 9 + [0] * 91, dtype=np.int8)
    right, wrong = cells(np.where(y == 1, 0.9, 0.1), y), cells(np.where(y == 1, 0.1, 0.9), y)
    found = {e.name: e.verdict for e in unpaired.effects(right, wrong, SETTINGS)}
    assert found["recall"] == EffectVerdict.NOT_ASSESSABLE
    assert found["accuracy"] == found["false_positive_rate"] == EffectVerdict.BEYOND


def test_without_labels_only_the_scores_are_judged(sides):
    (p, _), other = sides
    blind = cells(p, np.full(len(p), -1, np.int8))
    found = {e.name: e.verdict for e in unpaired.effects(blind, cells(*other), SETTINGS)}
    assert found.pop("score_distribution") != EffectVerdict.NOT_ASSESSABLE
    assert set(found.values()) == {EffectVerdict.NOT_ASSESSABLE}
    p_values = {t.metric: t.p for t in unpaired.tests(blind, cells(*other))}
    assert {name for name, p in p_values.items() if not math.isnan(p)} == {
        "flag_rate",
        "score_distribution",
    }


@given(
    st.integers(0, 2**32 - 1),
    st.integers(100, 800),
    st.integers(100, 800),
    st.floats(-1, 1),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_comparing_the_other_way_round_turns_every_sign_and_no_verdict(seed, n, m, shift, grouped):
    more = [{"clusters": np.arange(k) // 5} if grouped else {} for k in (n, m)]
    a, b = cells(*rows(seed, n), **more[0]), cells(*rows(seed + 1, m, shift=shift), **more[1])
    there, back = (by_name(unpaired.effects(*pair, SETTINGS)) for pair in ((a, b), (b, a)))
    for name, one in there.items():
        d, e = one.gap.difference, back[name].gap.difference
        assert one.verdict == back[name].verdict
        signed = (-e.estimate, -e.high, -e.low)
        if name == "score_distribution":  # a distance has no sign
            signed = (e.estimate, e.low, e.high)
        assert (d.estimate, d.low, d.high) == pytest.approx(signed, abs=1e-12, nan_ok=True)
        assert one.gap.n == back[name].gap.n[::-1]
    for one, other in zip(unpaired.tests(a, b), unpaired.tests(b, a), strict=True):
        assert one.p == pytest.approx(other.p, rel=1e-6, abs=1e-12, nan_ok=True)


def clustered(rng, k, m, correlation=0.1):
    """Rows of one law in k clusters of m rows that share a part of their evidence."""
    clusters = np.repeat(np.arange(k), m)
    y = rng.random(k * m) < 0.4
    shared = rng.normal(0, math.sqrt(correlation), k)[clusters]
    x = shared + rng.normal(np.where(y, 1.1, -1.1), math.sqrt(1 - correlation))
    p = 1 / (1 + np.exp(-(2.2 * x - 0.4)))
    return cells(p, y.astype(np.int8), clusters=clusters)


def test_ten_clusters_a_side_do_not_make_tests_of_rates_cry_wolf():
    rng = np.random.default_rng(1)
    names = ("accuracy", "recall", "false_positive_rate", "precision", "flag_rate")
    false = dict.fromkeys(names, 0)
    for _ in range(300):
        sides = [clustered(rng, 10, 60, 0.4) for _ in range(2)]
        for test in unpaired.tests(*sides):
            if test.metric in false:
                false[test.metric] += test.p < 0.01
    # By the normal law 2.5 to 4.5 % of each are false.
    assert sum(false.values()) <= 300 * len(names) * 0.015
    assert max(false.values()) <= 300 * 0.03


@pytest.mark.parametrize("k", [2, 4])
def test_fewer_than_five_clusters_are_never_judged(k):
    rng = np.random.default_rng(2)
    few, many = clustered(rng, k, 200), clustered(rng, 40, 20)
    for sides in ((few, many), (many, few)):
        found = unpaired.effects(*sides, SETTINGS)
        assert {e.verdict for e in found} == {EffectVerdict.NOT_ASSESSABLE}
        tests = {t.metric: t.p for t in unpaired.tests(*sides)}
        assert math.isnan(tests["score_distribution"])
    enough = unpaired.effects(clustered(rng, 5, 200), many, SETTINGS)
    assert EffectVerdict.NOT_ASSESSABLE not in {e.verdict for e in enough}


def test_a_side_without_clusters_does_not_make_the_other_surer():
    rng = np.random.default_rng(3)
    few = clustered(rng, 8, 100)
    plain = cells(*rows(4, 3000))
    p = {t.metric: t.p for t in unpaired.tests(plain, few)}
    same = {t.metric: t.p for t in unpaired.tests(few, plain)}
    assert p == pytest.approx(same, nan_ok=True)
    by_the_normal_law = {
        name: unpaired.statistics.rate_test(
            *(a.hits, a.n, b.hits, b.n), effect_a=a.effect, effect_b=b.effect
        )
        for name in ("accuracy", "recall", "prevalence")
        for a, b in [[unpaired.measures.rate(side, name) for side in (plain, few)]]
    }
    assert all(p[name] >= other for name, other in by_the_normal_law.items())
