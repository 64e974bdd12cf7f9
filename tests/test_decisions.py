import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from nethical.decisions import DECISIONS, Thresholds, choose, decide, within_budget
from nethical.errors import UsageError


def test_rows_are_allowed_below_the_gray_zone_reviewed_in_it_and_blocked_above():
    thresholds = Thresholds.around(0.5, "the default")
    assert (thresholds.gray_low, thresholds.gray_high, thresholds.confidence) == (0.4, 0.6, 0.7)
    y_proba = np.array([0.0, 0.3999999, 0.4, 0.5, 0.6, 0.6000001, 1.0])
    words = [DECISIONS[code] for code in decide(y_proba, thresholds)]
    assert words == ["allow", "allow", "review", "review", "review", "block", "block"]
    assert decide(np.empty(0), thresholds).shape == (0,)


@pytest.mark.parametrize(
    ("block", "low", "high"),
    [(0.03, 0.0, 0.13), (0.97, 0.87, 1.0), (0.3, 0.2, 0.4), (0.7, 0.6, 0.8)],
)
def test_the_gray_zone_is_a_tenth_either_way_within_0_and_1(block, low, high):
    thresholds = Thresholds.around(block, "as given")
    assert (thresholds.gray_low, thresholds.block, thresholds.gray_high) == (low, block, high)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_probability_never_gets_a_milder_decision(block, p, q):
    codes = decide(np.sort([p, q]), Thresholds.around(block, ""))
    assert codes[0] <= codes[1]
    assert set(codes.tolist()) <= {0, 1, 2}


@given(st.floats(0, 1))
def test_a_row_on_the_threshold_is_reviewed(block):
    assert decide(np.array([block]), Thresholds.around(block, "")).tolist() == [1]


def test_thresholds_survive_json():
    thresholds = Thresholds.around(1 / 3, "largest F1")
    document = json.loads(json.dumps(thresholds.to_document()))
    assert Thresholds.from_document(document) == thresholds


def test_a_given_threshold_is_taken_as_it_is():
    y = np.array([0, 1, 0, 1])
    chosen = choose(y, np.array([0.1, 0.2, 0.3, 0.4]), min_accuracy=0.85, given=0.77)
    assert (chosen.block, chosen.rule) == (0.77, "as given")


CONFIGURED = {"block": 0.3, "gray_low": 0.2, "gray_high": 0.3, "confidence": 0.6}


def test_configured_thresholds_are_taken_as_they_are():
    thresholds = Thresholds.configured(CONFIGURED)
    assert thresholds.to_document() == {**CONFIGURED, "rule": "as configured"}


@pytest.mark.parametrize(
    "change",
    [
        *[{"gray_low": low} for low in (0.0, 0.31, float("nan"))],
        *[{"gray_high": high} for high in (0.29, 1.0)],
        *[{"confidence": confidence} for confidence in (0.0, 1.0)],
        {"block": 0.1},
        {"margin": 0.1},
    ],
)
def test_configured_thresholds_in_another_order_are_refused(change):
    with pytest.raises(UsageError, match=r"^thresholds are ") as caught:
        Thresholds.configured({**CONFIGURED, **change})
    assert caught.value.mend
    missing = {name: value for name, value in CONFIGURED.items() if name not in change}
    with pytest.raises(UsageError, match="thresholds are given for"):
        Thresholds.configured({**missing, "margin": 0.1})


def test_half_is_kept_where_it_finds_half_of_the_positives():
    y = np.array([0, 0, 1, 1])
    chosen = choose(y, np.array([0.1, 0.9, 0.5, 0.2]), min_accuracy=0.0)
    assert (chosen.block, chosen.rule) == (0.5, "the default")
    assert choose(np.zeros(3), np.array([0.1, 0.2, 0.9]), min_accuracy=0.0).block == 0.5


def test_the_cut_lies_midway_between_the_rows_that_it_parts():
    y = np.array([0, 0, 1, 1, 1])
    y_proba = np.array([0.05, 0.1, 0.3, 0.35, 0.4])
    chosen = choose(y, y_proba, min_accuracy=0.85)
    assert chosen.block == pytest.approx(0.2)
    assert "F1" in chosen.rule


def test_no_cut_below_the_accuracy_floor_is_taken():
    rng = np.random.default_rng(0)
    y = (rng.random(1000) < 0.3).astype(int)
    y_proba = rng.uniform(0.1, 0.45, 1000)
    chosen = choose(y, y_proba, min_accuracy=0.9)
    assert (chosen.block, chosen.rule) == (0.5, "the default: no cut reaches the accuracy floor")
    loose = choose(y, y_proba, min_accuracy=0.0)
    assert loose.block < 0.45


def by_trying_all(y, y_proba, floor):
    """Return the largest F1 of any cut that reaches the floor, or None."""
    scores = []
    for cut in np.unique(y_proba):
        called = y_proba >= cut
        if np.mean(called == y) >= floor - 1e-12:
            scores.append(f1_score(y, called, zero_division=0))
    return max(scores, default=0) or None


ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.one_of(st.floats(0, 1), st.sampled_from([0.1, 0.2, 0.3]))),
    min_size=1,
    max_size=30,
)


@given(ROWS, st.sampled_from([0.0, 0.5, 0.7, 0.85]))
@settings(deadline=None)
def test_the_cut_has_the_largest_f1_of_all_that_reach_the_floor(rows, floor):
    y = np.array([label for label, _ in rows])
    y_proba = np.array([p for _, p in rows])
    assume(y.any())
    chosen = choose(y, y_proba, min_accuracy=floor)
    if recall_score(y, y_proba >= 0.5) >= 0.5:
        assert (chosen.block, chosen.rule) == (0.5, "the default")
        return
    best = by_trying_all(y, y_proba, floor)
    if best is None:
        assert chosen.rule == "the default: no cut reaches the accuracy floor"
        return
    called = y_proba >= chosen.block
    assert f1_score(y, called) == pytest.approx(best)
    assert np.mean(called == y) >= floor - 1e-12


@pytest.mark.parametrize("low", [0.25, 0.0, 0.1])
def test_probabilities_that_are_neighbours_are_still_parted(low):
    high = np.nextafter(low, 1)
    y = np.array([0, 0, 0, 1, 1])
    y_proba = np.array([low, low, low, high, high])
    assert choose(y, y_proba, min_accuracy=0.5).block == high


# --- an alert budget -------------------------------------------------------------------------


@given(
    n=st.integers(1, 3000),
    budget=st.floats(0.001, 0.5),
    decimals=st.sampled_from([1, 2, 9]),
    seed=st.integers(0, 10**6),
)
@settings(deadline=None)
def test_no_more_normal_rows_than_the_budget_are_alerted(n, budget, decimals, seed):
    normals = 0.99 * np.round(np.random.default_rng(seed).random(n), decimals)
    thresholds = within_budget(normals, budget)
    assert np.sum(normals >= thresholds.block) <= budget * n
    assert np.sum(normals > thresholds.gray_high) <= 0.1 * budget * n
    assert thresholds.gray_low == thresholds.block <= thresholds.gray_high


def test_a_budget_is_used_as_far_as_rows_can_be_told_apart():
    normals = np.random.default_rng(0).random(5000)
    thresholds = within_budget(normals, 0.02)
    assert np.sum(normals >= thresholds.block) == 100
    assert np.sum(normals > thresholds.gray_high) == 10
    assert thresholds.rule == "alert budget of 0.02 on 5,000 normal rows"


def test_alerts_are_reviewed_and_the_most_abnormal_of_them_blocked():
    thresholds = within_budget(np.linspace(0, 0.5, 1000), 0.01)
    above = np.array([0.1, thresholds.block, thresholds.gray_high + 0.1])
    assert [DECISIONS[code] for code in decide(above, thresholds)] == ["allow", "review", "block"]


def test_too_few_rows_for_the_budget_leave_only_what_exceeds_them_all():
    thresholds = within_budget(np.array([0.1, 0.3, 0.2]), 0.01)
    assert decide(np.array([0.3, 0.31]), thresholds).tolist() == [0, 2]
