import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import zt_ind_solve_power
from statsmodels.stats.proportion import power_proportions_2indep

from nethical.drift import power as module
from nethical.drift.power import (
    rows_for_interval,
    rows_for_rate_change,
    smallest_change,
    spent,
)
from nethical.drift.statistics import rate_test
from nethical.errors import UsageError
from nethical.metrics.intervals import wilson


def test_what_is_public_is_what_is_listed():
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    }
    assert own == set(module.__all__)


@given(alpha=st.floats(1e-6, 0.5), horizon=st.integers(1, 400))
def test_all_looks_together_spend_alpha_and_none_is_left(alpha, horizon):
    looks = [spent(alpha, horizon, look) for look in range(1, horizon + 20)]
    assert math.fsum(looks) == pytest.approx(alpha)
    assert len(set(looks[:horizon])) == 1
    assert set(looks[horizon:]) == {0.0}


@pytest.mark.parametrize(("horizon", "look"), [(0, 1), (-3, 1), (5, 0)])
def test_no_horizon_and_no_look_are_errors_of_use(horizon, look):
    with pytest.raises(UsageError) as caught:
        spent(0.01, horizon, look)
    assert caught.value.mend


def test_a_year_of_weekly_looks_raises_a_false_alarm_no_oftener_than_alpha():
    rng = np.random.default_rng(1)
    reference = rng.binomial(2000, 0.15, size=300)
    weeks = rng.binomial(500, 0.15, size=(300, 52))
    alarms = {"spent": 0, "each": 0}
    for own, counts in zip(reference, weeks, strict=True):
        smallest = min(rate_test(own, 2000, week, 500) for week in counts)
        alarms["spent"] += smallest < spent(0.05, 52, 1)
        alarms["each"] += smallest < 0.05
    assert alarms["spent"] / 300 < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)
    assert alarms["each"] / 300 > 0.6


@pytest.mark.parametrize(
    ("rate", "rows"),
    [(0.85, [40489, 10382, 4726, 1778, 487]), (0.95, [16063, 4352, 2081, 851, 271])],
)
def test_the_rows_for_a_fall_of_accuracy_are_those_worked_out_by_hand(rate, rows):
    falls = [0.01, 0.02, 0.03, 0.05, 0.10]
    assert [rows_for_rate_change(rate, -fall, alpha=0.01 / 5) for fall in falls] == rows


@pytest.mark.parametrize(("rate", "change"), [(0.5, 0.1), (0.15, 0.05), (0.95, -0.02)])
def test_rows_and_power_agree_with_statsmodels(rate, change):
    rows = rows_for_rate_change(rate, change, alpha=0.01, power=0.9)
    theirs = power_proportions_2indep(change, rate, rows, alpha=0.01, return_results=False)
    assert theirs == pytest.approx(0.9, abs=0.01)
    spread = math.sqrt((rate * (1 - rate) + (rate + change) * (1 - rate - change)) / 2)
    exact = zt_ind_solve_power(effect_size=change / spread, alpha=0.01, power=0.9)
    assert rows == pytest.approx(exact, rel=0.01, abs=3)


def test_a_change_is_found_as_often_as_the_power_says():
    rng = np.random.default_rng(2)
    rows = rows_for_rate_change(0.85, -0.05, alpha=0.05)
    a, b = rng.binomial(rows, 0.85, size=3000), rng.binomial(rows, 0.8, size=3000)
    found = np.mean([rate_test(x, rows, y, rows) < 0.05 for x, y in zip(a, b, strict=True)])
    assert found == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("rate", "change"), [(0.9, 0.0), (0.9, 0.2), (0.1, -0.2)])
def test_a_change_that_cannot_happen_is_an_error_of_use(rate, change):
    with pytest.raises(UsageError, match="cannot change"):
        rows_for_rate_change(rate, change, alpha=0.01)


@given(rate=st.floats(0, 1), n=st.integers(200, 100_000), power=st.floats(0.55, 0.95))
def test_the_smallest_change_needs_just_the_rows_that_there_are(rate, n, power):
    change = smallest_change(rate, n, n, alpha=0.01, power=power)
    signed = change if rate < 0.5 else -change
    assert rows_for_rate_change(rate, signed, alpha=0.01, power=power) == pytest.approx(n, abs=1)


def test_the_smallest_change_shrinks_with_the_rows_of_either_side():
    few = smallest_change(0.85, 500, 500, alpha=0.01)
    assert smallest_change(0.85, 5000, 500, alpha=0.01) < few
    assert smallest_change(0.85, 500, 5000, alpha=0.01) < few


def test_without_rows_or_with_too_few_no_change_would_be_found():
    assert math.isnan(smallest_change(0.5, 0, 100, alpha=0.01))
    assert math.isnan(smallest_change(0.5, 100, 0, alpha=0.01))
    assert math.isnan(smallest_change(math.nan, 100, 100, alpha=0.01))
    assert math.isnan(smallest_change(0.5, 3, 3, alpha=0.001))


def test_the_rows_for_an_interval_give_its_width():
    now = wilson(450, 500, level=0.975)
    half = (now.high - now.low) / 2
    rows = rows_for_interval(half, 500, half / 3)
    assert rows == 4500
    then = wilson(0.9 * rows, rows, level=0.975)
    assert (then.high - then.low) / 2 == pytest.approx(half / 3, rel=0.02)


@pytest.mark.parametrize(("half", "wanted"), [(0.1, 0.0), (0.1, -1.0), (math.nan, 0.1)])
def test_no_number_of_rows_gives_a_width_of_nothing(half, wanted):
    assert rows_for_interval(half, 100, wanted) is None
    assert rows_for_interval(math.inf, 100, 0.1) is None
