import math

import numpy as np
import pytest
from scipy import stats

from nethical.drift import process
from nethical.drift.cells import Scored, summarise
from nethical.drift.effects import EffectVerdict, Settings, Verdict, verdict_of
from nethical.metrics.calibration import ece_debiased
from nethical.metrics.classification import brier_score

SETTINGS = Settings()


def rows(rng, *, separation=2.2, n=2000):
    """Rows that one model scored; models of one process are not all as good."""
    y = (rng.random(n) < 0.5).astype(np.int8)
    x = rng.normal((y - 0.5) * (separation + rng.normal(0, 0.05)))
    return 1 / (1 + np.exp(-2.2 * x)), y


def cells(scored):
    return summarise(Scored(*scored, 0.5)).whole


def some(seed, k, **more):
    rng = np.random.default_rng(seed)
    return [rows(rng, **more) for _ in range(k)]


def values(runs, name):
    found = {
        "accuracy": lambda p, y: np.mean((p >= 0.5) == y),
        "recall": lambda p, y: np.mean(p[y == 1] >= 0.5),
        "false_positive_rate": lambda p, y: np.mean(p[y == 0] >= 0.5),
        "brier": lambda p, y: brier_score(y, p),
        "score_distribution": lambda p, _: np.mean(p),
    }[name]
    return [float(found(p, y)) for p, y in runs]


def test_runs_are_compared_by_welch_s_t_of_their_values():
    before, after = some(1, 5), some(2, 4, separation=2.0)
    sides = [cells(r) for r in before], [cells(r) for r in after]
    effects = {e.name: e.gap for e in process.effects(*sides, SETTINGS)}
    tests = {t.metric: t for t in process.tests(*sides)}
    for name in ("accuracy", "recall", "false_positive_rate", "brier", "score_distribution"):
        theirs = stats.ttest_ind(values(after, name), values(before, name), equal_var=False)
        assert tests[name].p == pytest.approx(theirs.pvalue, rel=1e-4)
        assert tests[name].n == effects[name].n == (5, 4)
        interval = theirs.confidence_interval(2 * SETTINGS.level(name) - 1)
        difference = effects[name].difference
        assert (difference.low, difference.high) == pytest.approx(
            (interval.low, interval.high), rel=1e-4, abs=1e-8
        )


def test_the_calibration_error_of_a_run_may_be_below_nothing():
    before, after = some(3, 3), some(4, 3)
    gap = {
        e.name: e.gap
        for e in process.effects([cells(r) for r in before], [cells(r) for r in after], SETTINGS)
    }["ece"]
    floor = [max(ece_debiased(y, p).estimate, 0.0) for p, y in before]
    assert gap.reference <= np.mean(floor) + 1e-9


@pytest.mark.parametrize(("k_a", "k_b"), [(2, 3), (3, 2), (1, 20), (0, 3)])
def test_fewer_than_three_runs_a_side_are_never_judged(k_a, k_b):
    good = [cells(r) for r in some(5, k_a)]
    bad = [cells(r) for r in some(6, k_b, separation=0.0)]
    found = process.effects(good, bad, SETTINGS)
    assert {e.verdict for e in found} == {EffectVerdict.NOT_ASSESSABLE}
    p_values = [t.p for t in process.tests(good, bad)]
    assert all(map(math.isnan, p_values)) == (min(k_a, k_b) < 2)


def test_three_runs_a_side_tell_a_process_that_learns_nothing():
    sides = [[cells(r) for r in some(s, 3, separation=d)] for s, d in ((7, 2.2), (8, 0.0))]
    assert verdict_of(process.effects(*sides, SETTINGS)) == Verdict.DRIFT


def test_one_process_is_called_two_as_seldom_as_asked():
    drifts = flagged = 0
    for seed in range(200):
        sides = [[cells(r) for r in some(1000 + 2 * seed + k, 3, n=500)] for k in (0, 1)]
        drifts += verdict_of(process.effects(*sides, SETTINGS)) == Verdict.DRIFT
        flagged += process.tests(*sides)[0].p < 0.05
    assert drifts <= 2
    assert flagged <= 20


def test_runs_without_labels_are_no_runs_of_what_needs_them():
    labelled = [cells(r) for r in some(9, 4)]
    blind = [cells((p, np.full(len(y), -1, np.int8))) for p, y in some(10, 4)]
    found = {e.name: e for e in process.effects(labelled, blind, SETTINGS)}
    assert found["accuracy"].gap.n == (4, 0)
    assert found["accuracy"].verdict == EffectVerdict.NOT_ASSESSABLE
    assert found["score_distribution"].gap.n == (4, 4)
