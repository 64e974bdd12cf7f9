import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from nethical.drift import paired, unpaired
from nethical.drift.cells import Scored, summarise
from nethical.drift.effects import EffectVerdict, Settings, Verdict, verdict_of
from nethical.drift.paired import PairedSides
from nethical.drift.rows import RowSet
from nethical.metrics.calibration import ece_debiased
from nethical.metrics.intervals import mean_interval

SETTINGS = Settings()
THRESHOLDS = (0.5, 0.4)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def two_models(seed, n, *, worse=0.0, clusters=None, unknown=0.0):
    """Rows that two models see, each with an error of its own."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.5
    seen = rng.normal(np.where(y, 1.1, -1.1))
    shared = 0.0 if clusters is None else rng.normal(0, 0.5, clusters.max() + 1)[clusters]
    p = [sigmoid(1.8 * (seen + shared + 0.4 * rng.normal(size=n) * k)) for k in (1, 1 + worse)]
    label = np.where(rng.random(n) < unknown, -1, y).astype(np.int8)
    ids = rng.integers(0, 2**63, (n, 2)).astype(np.uint64)
    return [RowSet(ids, one, label, clusters) for one in p]


def by_name(found):
    return {getattr(one, "name", None) or one.metric: one for one in found}


def sides_of(rows, thresholds=THRESHOLDS):
    return PairedSides(*rows, thresholds)


def hits(rows, name):
    """What each row holds of a rate on either side, from the rows alone."""
    known = rows[0].y_true >= 0
    y = rows[0].y_true[known]
    called = [r.y_proba[known] >= t for r, t in zip(rows, THRESHOLDS, strict=True)]
    if name == "accuracy":
        return [c == (y == 1) for c in called]
    if name == "flag_rate":
        return called
    return [c[y == (name == "recall")] for c in called]


def test_rates_are_tested_by_the_exact_test_of_mcnemar():
    rows = two_models(1, 2000, worse=1.0, unknown=0.1)
    found = {t.metric: t for t in paired.tests(sides_of(rows))}
    for name in ("accuracy", "recall", "false_positive_rate", "flag_rate"):
        a, b = hits(rows, name)
        table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
        assert found[name].p == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)
        assert found[name].n == (len(a), len(a))


def test_losses_are_tested_by_student_s_t_of_their_differences():
    rows = two_models(2, 800, worse=0.3)
    found = {t.metric: t.p for t in paired.tests(sides_of(rows))}
    y = rows[0].y_true
    squared = [(r.y_proba - y) ** 2 for r in rows]
    logs = [-np.log(np.where(y == 1, r.y_proba, 1 - r.y_proba)) for r in rows]
    assert found["brier"] == pytest.approx(stats.ttest_rel(*squared).pvalue, rel=1e-8)
    assert found["log_loss"] == pytest.approx(stats.ttest_rel(*logs).pvalue, rel=1e-8)


def test_effects_are_differences_of_the_same_rows():
    rows = two_models(3, 3000, worse=0.5)
    y = rows[0].y_true
    found = {e.name: e.gap for e in paired.effects(sides_of(rows), SETTINGS)}
    for name in ("accuracy", "recall", "false_positive_rate"):
        a, b = hits(rows, name)
        difference = found[name].difference
        assert difference.estimate == pytest.approx(b.mean() - a.mean())
        wald = np.std(b * 1.0 - a, ddof=1) / math.sqrt(len(a))
        half = stats.norm.ppf(SETTINGS.level(name)) * wald
        assert (difference.high - difference.low) / 2 == pytest.approx(half, rel=0.03)
    losses = (rows[1].y_proba - y) ** 2 - (rows[0].y_proba - y) ** 2
    theirs = stats.ttest_1samp(losses, 0).confidence_interval(2 * SETTINGS.level("brier") - 1)
    brier = found["brier"].difference
    assert (brier.low, brier.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    errors = [ece_debiased(y, r.y_proba).estimate for r in rows]
    assert found["ece"].difference.estimate == pytest.approx(errors[1] - errors[0], abs=1e-9)


def test_the_same_rows_tell_more_than_as_many_others():
    rows = two_models(4, 3000)
    sides = sides_of(rows, (0.5, 0.5))
    own = paired.effects(sides, SETTINGS)
    cells = [summarise(Scored(r.y_proba, r.y_true, 0.5)).whole for r in rows]
    other = by_name(unpaired.effects(*cells, SETTINGS))
    for one in own[:5]:
        theirs = other[one.name].gap.difference
        difference = one.gap.difference
        assert difference.estimate == pytest.approx(theirs.estimate, abs=1e-9)
        if one.name != "ece":  # whose noise is of each model's own
            assert difference.high - difference.low < 0.8 * (theirs.high - theirs.low)


def test_clusters_are_the_units_where_rows_belong_together():
    clusters = np.repeat(np.arange(150), 20)
    rows = two_models(5, 3000, worse=0.5, clusters=clusters)
    sides = sides_of(rows)
    effects = by_name(paired.effects(sides, SETTINGS))
    found = {t.metric: t for t in paired.tests(sides)}
    y = rows[0].y_true
    a, b = hits(rows, "accuracy")
    for name, values in (
        ("accuracy", b * 1.0 - a),
        ("brier", (rows[1].y_proba - y) ** 2 - (rows[0].y_proba - y) ** 2),
    ):
        wanted = mean_interval(values, clusters, level=SETTINGS.level(name))
        difference = effects[name].gap.difference
        assert (difference.low, difference.high) == pytest.approx((wanted.low, wanted.high))
        sums = np.bincount(clusters, values - values.mean())
        t = values.mean() / (math.sqrt(150 / 149 * np.sum(sums**2)) / len(values))
        assert found[name].p == pytest.approx(2 * stats.t.sf(abs(t), 149), rel=1e-9)
    assert found["accuracy"].name == "clustered paired t"


def test_two_models_of_one_quality_are_called_different_as_seldom_as_asked():
    p_values, drifts = [], 0
    for seed in range(300):
        sides = sides_of(two_models(seed, 400), (0.5, 0.5))
        p_values.append([test.p for test in paired.tests(sides)])
        drifts += verdict_of(paired.effects(sides, SETTINGS)) == Verdict.DRIFT
    shares = np.mean(np.array(p_values) < 0.05, axis=0)
    assert np.all(shares < 0.085), shares
    assert shares[-2] > 0.015  # the t of Brier losses is no test that never refuses
    assert drifts <= 2


def test_a_worse_model_is_found():
    sides = sides_of(two_models(6, 3000, worse=4.0), (0.5, 0.5))
    effects = by_name(paired.effects(sides, SETTINGS))
    assert effects["accuracy"].verdict == effects["brier"].verdict == EffectVerdict.BEYOND
    assert effects["accuracy"].gap.difference.estimate < 0


def test_the_same_model_twice_has_no_difference_at_all():
    rows = two_models(7, 500)
    sides = sides_of([rows[0], rows[0]], (0.5, 0.5))
    effects = paired.effects(sides, SETTINGS)
    assert {e.gap.difference.estimate for e in effects} == {0.0}
    assert {t.p for t in paired.tests(sides)} == {1.0}


@pytest.mark.parametrize("n", [0, 1, 99])
def test_fewer_than_a_hundred_rows_are_never_judged(n):
    rows = two_models(8, 300)
    label = np.where(np.arange(300) < n, rows[0].y_true, -1).astype(np.int8)
    few = [RowSet(r.ids[:99], r.y_proba[:99], label[:99], None) for r in rows]
    found = paired.effects(sides_of(few), SETTINGS)
    assert {e.verdict for e in found} == {EffectVerdict.NOT_ASSESSABLE}
    assert len(paired.tests(sides_of(few))) == 6


def test_rows_without_labels_are_left_out_of_what_needs_them():
    rows = two_models(9, 600, unknown=0.5)
    known = rows[0].y_true >= 0
    found = {e.name: e.gap.n for e in paired.effects(sides_of(rows), SETTINGS)}
    assert found["accuracy"] == found["brier"] == (known.sum(), known.sum())
    assert found["score_distribution"] == (600, 600)


def test_the_other_way_round_turns_every_sign():
    for clusters in (None, np.arange(900) // 6):
        rows = two_models(10, 900, worse=0.7, clusters=clusters)
        there = paired.effects(sides_of(rows, (0.5, 0.4)), SETTINGS)
        back = by_name(paired.effects(sides_of(rows[::-1], (0.4, 0.5)), SETTINGS))
        for one in there[:5]:
            d, e = one.gap.difference, back[one.name].gap.difference
            assert (d.estimate, d.low, d.high) == pytest.approx(
                (-e.estimate, -e.high, -e.low), abs=1e-9
            )
            assert one.verdict == back[one.name].verdict


def test_groups_that_only_one_side_tells_count_for_both():
    clusters = np.arange(600) // 20
    before, after = two_models(9, 600, worse=0.5, clusters=clusters)
    bare = RowSet(before.ids, before.y_proba, before.y_true, None)
    both, one = (sides_of((side, after)) for side in (before, bare))
    assert [t.p for t in paired.tests(one)] == [t.p for t in paired.tests(both)]
