import math

import numpy as np
import pytest
from fairlearn.metrics import (
    MetricFrame,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from scipy import stats
from sklearn.metrics import accuracy_score
from statsmodels.stats.proportion import confint_proportions_2indep

from nethical.drift import measures
from nethical.drift.cells import Scored, Summary, summarise
from nethical.drift.fairness import COMPARED, changes, disparities, group_name
from nethical.drift.statistics import rate_difference, rate_test

PARTS = (0.4, 0.25, 0.18, 0.1, 0.07)
NAMES = ("A", "B", "C", "D", "E")
THEIRS = {
    "accuracy": accuracy_score,
    "recall": true_positive_rate,
    "false_positive_rate": false_positive_rate,
    "flag_rate": selection_rate,
}


def rows(seed, n, *, lost=0.0, parts=PARTS):
    """Rows of five groups; the last may lose a part of its recall."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(np.int8)
    p = 1 / (1 + np.exp(-2.2 * rng.normal(1.1 * (2 * y - 1.0))))
    group = rng.choice(5, n, p=parts)
    hit = (group == 4) & (y == 1) & (rng.random(n) < lost)
    return np.where(hit, 0.4 * p, p), y, group


def summary(p, y, group, **more):
    return summarise(Scored(p, y, 0.5, fairness={"team": (group, NAMES), **more}))


def of_group(tests, name):
    return {t.metric: t for t in tests if t.group == (("team", name),)}


def test_the_rates_of_groups_are_those_of_fairlearn():
    p, y, group = rows(1, 4000)
    called = (p >= 0.5).astype(int)
    frame = MetricFrame(
        metrics=THEIRS, y_true=y, y_pred=called, sensitive_features=np.array(NAMES)[group]
    ).by_group
    found = disparities(summary(p, y, group), alpha=0.01)
    assert len(found.tests) == 20
    assert found.not_assessable == ()
    for test in found.tests:
        ((column, value),) = test.group
        assert column == "team"
        assert test.value == pytest.approx(frame[test.metric][value], abs=1e-12)


def test_each_group_is_tested_against_all_other_rows_with_one_error_rate():
    p, y, group = rows(2, 4000, lost=0.2)
    found = disparities(summary(p, y, group), alpha=0.01)
    for test in found.tests:
        value = NAMES.index(test.group[0][1])
        rows_of = {"recall": y == 1, "false_positive_rate": y == 0}.get(test.metric, y >= 0)
        hits = (p >= 0.5) == (y == 1) if test.metric == "accuracy" else p >= 0.5
        own, other = hits[rows_of & (group == value)], hits[rows_of & (group != value)]
        assert test.n == (len(own), len(other))
        assert test.other == pytest.approx(other.mean())
        assert test.p == pytest.approx(rate_test(other.sum(), len(other), own.sum(), len(own)))
        low, high = confint_proportions_2indep(
            *(own.sum(), len(own), other.sum(), len(other)), method="newcomb", alpha=0.01 / 20
        )
        assert (test.difference.low, test.difference.high) == pytest.approx((low, high), abs=1e-9)
    ordered = sorted(found.tests, key=lambda t: t.p)
    for place, test in enumerate(ordered):
        assert test.p_adjusted >= min((20 - place) * test.p, 1.0) - 1e-12
    assert ordered[0].p_adjusted == pytest.approx(20 * ordered[0].p)


def test_the_omnibus_is_the_chi_square_of_all_groups():
    p, y, group = rows(3, 4000)
    found = disparities(summary(p, y, group), alpha=0.01).omnibus
    assert set(found) == {("team", metric) for metric in COMPARED}
    called = p >= 0.5
    table = [[np.sum(called & (group == k)), np.sum(~called & (group == k))] for k in range(5)]
    theirs = stats.chi2_contingency(table, correction=False)
    assert found["team", "flag_rate"] == pytest.approx(theirs.pvalue)


def test_a_group_whose_recall_is_lower_raises_an_alarm_and_only_there():
    p, y, group = rows(4, 20_000, lost=0.3)
    found = disparities(summary(p, y, group), alpha=0.01)
    own = of_group(found.alarms, "E")
    assert own["recall"].difference.high < 0
    assert own["recall"].value < own["recall"].shrunken < own["recall"].other
    assert of_group(disparities(summary(*rows(4, 20_000)), alpha=0.01).alarms, "E") == {}


def test_small_and_empty_groups_are_listed_and_judged_by_nothing():
    p, y, group = rows(5, 1000, parts=(0.5, 0.3, 0.15, 0.04, 0.01))
    y[group == 3] = 1  # no false positive rate
    found = disparities(summary(p, y, group), alpha=0.01)
    listed = {(test.group[0][1], test.metric) for test in found.not_assessable}
    tested = {(test.group[0][1], test.metric) for test in found.tests}
    assert ("D", "false_positive_rate") in listed
    assert listed | tested == {(name, metric) for name in NAMES for metric in COMPARED}
    assert not listed & tested
    for test in found.not_assessable:
        assert test.n[0] < 10
        assert not test.is_alarm
        assert math.isnan(test.p_adjusted)
        assert test.to_document()["p"] is None


def test_groups_of_two_columns_are_tested_too():
    p, y, group = rows(6, 4000)
    tool = np.arange(4000) % 2
    both = (group == 0) & (tool == 1)
    p = np.where(both & (p > 0.5), p * 0.5, p)
    found = disparities(summary(p, y, group, tool=(tool, ("mail", "web"))), alpha=0.01)
    alarms = {group_name(test.group) for test in found.alarms if test.metric == "recall"}
    assert "team = A and tool = web" in alarms
    assert len(found.tests) == 4 * (5 + 2 + 10)


def test_in_whom_something_changed_is_told():
    before = summary(*rows(7, 20_000))
    worse = changes(before, summary(*rows(8, 20_000, lost=0.3)), alpha=0.01)
    alarms = [test for test in worse if test.is_alarm]
    assert {test.group for test in alarms} == {(("team", "E"),)}
    assert "recall" in {test.metric for test in alarms}
    assert not any(t.is_alarm for t in changes(before, summary(*rows(9, 20_000)), alpha=0.01))


def test_a_group_that_one_side_lacks_did_not_change():
    p, y, group = rows(10, 3000)
    here = np.flatnonzero(group != 2)
    found = changes(summary(p, y, group), summary(p[here], y[here], group[here]), alpha=0.01)
    assert {test.group[0][1] for test in found} == {"A", "B", "D", "E"}
    assert {test.p for test in found} == {1.0}


def test_clustered_groups_are_tested_less_often_wrongly():
    alarms = [0, 0]
    for seed in range(60):
        rng = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(100), 20)
        shift = rng.normal(0, 1.2, 100)[clusters]
        y = (rng.random(2000) < 0.5).astype(np.int8)
        p = 1 / (1 + np.exp(-(2 * y - 1 + shift + rng.normal(size=2000))))
        group = rng.integers(0, 2, 100)[clusters]
        for place, given in enumerate((None, clusters)):
            scored = Scored(p, y, 0.5, given, {"team": (group, ("A", "B"))})
            alarms[place] += bool(disparities(summarise(scored), alpha=0.05).alarms)
    assert alarms[0] > 20
    assert alarms[1] <= 9


def test_a_group_beside_a_reference_of_few_clusters_is_as_unsure_as_these():
    p, y, group = rows(12, 2000)
    many, few = np.arange(2000) // 4, np.arange(2000) // 250
    for here, there in ((many, few), (few, many), (None, few)):
        current = summarise(Scored(p, y, 0.5, here, {"team": (group, NAMES)}))
        reference = summarise(Scored(p, y, 0.5, there, {"team": (group, NAMES)}))
        for test in changes(reference, current, alpha=0.01):
            own, other = (side.groups[test.group] for side in (current, reference))
            pair = [measures.rate(side, test.metric) for side in (other, own)]
            wanted = rate_difference(
                *(part / rate.effect for rate in pair for part in (rate.hits, rate.n)),
                level=1 - 0.01 / 15 / 2,
                groups=8,
            )
            assert test.difference == wanted


def test_a_cohort_without_groups_has_nothing_to_compare():
    p, y, _ = rows(11, 200)
    found = disparities(summarise(Scored(p, y, 0.5)), alpha=0.01)
    assert (found.tests, found.not_assessable, found.omnibus) == ((), (), {})


@pytest.mark.parametrize("n_groups", [1, 2])
def test_a_single_group_is_compared_with_nobody(n_groups):
    p, y, _ = rows(12, 500)
    group = np.arange(500) % n_groups
    found = disparities(summary(p, y, group), alpha=0.01)
    assert len(found.tests) == (0 if n_groups == 1 else 8)
    assert len(found.not_assessable) == (4 if n_groups == 1 else 0)
    assert isinstance(summary(p, y, group), Summary)
