"""Thresholds are solved exactly: prefix sums say what counting every row says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical.errors import UsageError
from nethical.governance.thresholds import Curve, solve

PROBABILITIES = st.lists(st.integers(0, 20).map(lambda k: k / 20), min_size=2, max_size=40)
CUT = st.integers(0, 40).map(lambda k: k / 40)


def counted(y, p, block, low, high, confidence):
    """Count row by row what a configuration decides."""
    found = dict.fromkeys(
        ("tp", "fp", "fn", "tn", "missed", "wrongly_blocked", "reviewed", "queued"), 0
    )
    for label, proba in zip(y, p, strict=True):
        outcome = ("t" if (proba >= block) == (label == 1) else "f") + "np"[int(proba >= block)]
        found[outcome] += 1
        if proba < low:
            found["missed"] += label == 1
        elif proba > high:
            found["wrongly_blocked"] += label == 0
        else:
            found["reviewed"] += 1
        in_zone = low <= proba <= high
        found["queued"] += (1 - confidence < proba < confidence) and not in_zone
    return found


def check_counts(values, seed, block, a, b, sure):
    rng = np.random.default_rng(seed)
    p = np.array(values)
    y = rng.integers(0, 2, len(p))
    y[:2] = (0, 1)
    low, high = min(a, b), max(a, b)
    confidence = sure / 20
    outcomes = Curve(y, p).outcomes(*(np.array([x]) for x in (block, low, high, confidence)))
    got = {name: int(value[0]) for name, value in vars(outcomes).items()}
    assert got == counted(y, p, block, low, high, confidence)


CASES = (PROBABILITIES, st.integers(0, 2**32 - 1), CUT, CUT, CUT, st.integers(11, 19))


@given(*CASES)
@settings(max_examples=500, deadline=None)
def test_prefix_sums_count_what_brute_force_counts(values, seed, block, a, b, sure):
    check_counts(values, seed, block, a, b, sure)


@pytest.mark.slow
@given(*CASES)
@settings(max_examples=10_000, deadline=None)
def test_they_do_so_in_ten_thousand_cases(values, seed, block, a, b, sure):
    check_counts(values, seed, block, a, b, sure)


@given(PROBABILITIES, st.integers(0, 2**32 - 1), CUT)
@settings(max_examples=500, deadline=None)
def test_no_other_cut_finds_more_within_the_limit(values, seed, limit):
    rng = np.random.default_rng(seed)
    p = np.array(values)
    y = rng.integers(0, 2, len(p))
    y[:2] = (0, 1)
    found = Curve(y, p).most_recall(max_false_positive_rate=limit)
    best = 0
    for cut in (np.arange(42) - 0.5) / 40:
        called = p >= cut
        whole = called.all() or not called.any()  # a model that calls all or none is no model
        if not whole and (called & (y == 0)).sum() <= limit * (y == 0).sum() + 1e-9:
            best = max(best, int((called & (y == 1)).sum()))
    got = 0 if found is None else int(((p >= found) & (y == 1)).sum())
    assert got == best
    if found is not None:
        assert ((p >= found) & (y == 0)).sum() <= limit * (y == 0).sum() + 1e-9


def rows(rng, n, separation=2.0):
    y = (rng.random(n) < 0.3).astype(int)
    x = rng.normal(0, 1, n) + separation * y
    return y, 1 / (1 + np.exp(-(separation * x - separation**2 / 2 + np.log(0.3 / 0.7))))


def test_each_limit_of_the_gray_zone_is_broken_in_at_most_five_of_a_hundred_draws():
    rng = np.random.default_rng(5)
    y_all, p_all = rows(rng, 400_000)
    broken = {"miss": 0, "block": 0}
    draws = 300
    for _ in range(draws):
        picked = rng.integers(0, len(y_all), 300)
        _, zone = solve(y_all[picked], p_all[picked], max_false_positive_rate=0.1)
        broken["miss"] += np.mean(p_all[y_all == 1] < zone.low) > 0.05
        broken["block"] += np.mean(p_all[y_all == 0] > zone.high) > 0.05
    assert max(broken.values()) / draws <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)


def test_more_rows_cost_less_review():
    rng = np.random.default_rng(7)
    shares = []
    for n, draws in ((300, 40), (20_000, 4)):
        found = []
        for _ in range(draws):
            y, p = rows(rng, n)
            thresholds, zone = solve(y, p, max_false_positive_rate=0.1)
            assert thresholds.gray_low <= thresholds.block <= thresholds.gray_high
            assert zone.miss_bound <= 0.05
            assert zone.false_block_bound <= 0.05
            reviewed = (p >= zone.low) & (p <= zone.high)
            assert zone.review_share == pytest.approx(reviewed.mean())
            found.append(zone.review_share)
        shares.append(np.mean(found))
    assert shares[0] > shares[1] + 0.05


def test_few_rows_review_everything_rather_than_promise():
    y, p = np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.2, 0.8])
    _, zone = solve(y, p, max_false_positive_rate=0.0)
    assert zone.review_share == 1.0
    assert zone.miss_bound > 0.05


def test_a_million_configurations_are_counted_at_once():
    rng = np.random.default_rng(9)
    y, p = rows(rng, 10_000)
    block, low, high = (rng.random(100_000) for _ in range(3))
    outcomes = Curve(y, p).outcomes(block, low, high, np.full(100_000, 0.7))
    assert (outcomes.tp + outcomes.fn == y.sum()).all()


def test_rows_of_one_class_are_refused():
    with pytest.raises(UsageError, match="one class"):
        solve(np.ones(5), np.linspace(0, 1, 5), max_false_positive_rate=0.1)
