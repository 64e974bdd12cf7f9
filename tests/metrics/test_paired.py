import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels

from nethical.metrics.paired import mcnemar, mid_p, paired_rate_difference

LEVELS = st.sampled_from([0.6, 0.9, 0.95, 0.975, 0.995, 0.999])
PAIRS = st.tuples(*[st.integers(0, 300)] * 4).filter(any)


def bounds(interval):
    return interval.low, interval.high


def mirrored(interval):
    return pytest.approx((-interval.high, -interval.low), abs=1e-12)


def unknown(interval):
    return all(map(math.isnan, (interval.estimate, interval.low, interval.high)))


@given(only_a=st.integers(0, 500), only_b=st.integers(0, 500))
@settings(deadline=None)
def test_mcnemars_p_is_that_of_statsmodels(only_a, only_b):
    theirs = mcnemar_of_statsmodels([[7, only_a], [only_b, 5]], exact=True).pvalue
    assert mcnemar(only_a, only_b) == pytest.approx(theirs if only_a + only_b else 1.0)


@pytest.mark.parametrize(
    ("both", "only_a", "only_b", "neither", "level", "low", "high"),
    [
        (1, 7, 1, 12, 0.975, -0.517, -0.026),  # Bentur 2009, in Fagerland and others 2014
        (59, 16, 6, 80, 0.975, -0.124, -0.0054),  # Cavo 2012, in R's contingencytables
        (500, 25, 28, 65, 0.95, -0.0148, 0.0247),  # R's PropCIs
    ],
)
def test_paired_rates_give_the_bounds_that_are_published(  # noqa: PLR0917, PLR0913 - a table
    both, only_a, only_b, neither, level, low, high
):
    interval = paired_rate_difference(both, only_a, only_b, neither, level=level)
    digits = 3 if both == 1 else 4
    assert (round(interval.low, digits), round(interval.high, digits)) == (low, high)


def score(only_a, only_b, n, difference):
    """The score of a paired difference, its likelihood maximised by search."""

    def cost(share):
        return -(only_a * math.log(share) + only_b * math.log(share + difference)) - (
            n - only_a - only_b
        ) * math.log(1 - 2 * share - difference)

    low, high = max(0.0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12
    share = optimize.minimize_scalar(
        cost, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    error = math.sqrt(n * (2 * share + difference * (1 - difference)))
    return (only_b - only_a - n * difference) / error


@pytest.mark.parametrize("pairs", [(80, 5, 9, 6), (20, 30, 3, 7), (400, 12, 1, 90), (5, 6, 5, 4)])
@pytest.mark.parametrize("level", [0.95, 0.999])
def test_the_bounds_of_paired_rates_are_where_the_score_is_the_quantile(pairs, level):
    _, only_a, only_b, _ = pairs
    interval = paired_rate_difference(*pairs, level=level)
    z = stats.norm.ppf(level)
    assert score(only_a, only_b, sum(pairs), interval.low) == pytest.approx(z, abs=1e-4)
    assert score(only_a, only_b, sum(pairs), interval.high) == pytest.approx(-z, abs=1e-4)


@given(pairs=PAIRS, level=LEVELS)
def test_exchanged_sides_mirror_the_difference_of_paired_rates(pairs, level):
    both, only_a, only_b, neither = pairs
    interval = paired_rate_difference(*pairs, level=level)
    other = paired_rate_difference(both, only_b, only_a, neither, level=level)
    assert bounds(other) == mirrored(interval)
    assert -1 <= interval.low <= interval.estimate <= interval.high <= 1


def test_pairs_that_all_change_or_never_do_have_their_bounds_too():
    changed = paired_rate_difference(0, 0, 9, 0, level=0.95)
    assert (changed.estimate, changed.high) == (1.0, 1.0)
    assert 0 < changed.low < 1
    same = paired_rate_difference(50, 0, 0, 50, level=0.975)
    z2 = stats.norm.ppf(0.975) ** 2
    assert bounds(same) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)), abs=1e-12)
    assert unknown(paired_rate_difference(0, 0, 0, 0, level=0.95))


@pytest.mark.parametrize("law", [(0.85, 0.05, 0.05, 0.05), (0.4, 0.2, 0.05, 0.35)])
def test_the_bounds_of_paired_rates_hold_about_as_often_as_they_say(law):
    rng = np.random.default_rng(5)
    truth = law[2] - law[1]
    pairs = rng.multinomial(200, law, size=1500)
    intervals = [paired_rate_difference(*map(int, row), level=0.95) for row in pairs]
    assert np.mean([i.low <= truth for i in intervals]) > 0.93
    assert np.mean([i.high >= truth for i in intervals]) > 0.93
    assert np.mean([i.low <= truth <= i.high for i in intervals]) < 0.94


@given(only_a=st.integers(0, 400), only_b=st.integers(0, 400))
@settings(deadline=None)
def test_the_mid_p_counts_half_of_the_outcome_itself(only_a, only_b):
    law = stats.binom(only_a + only_b, 0.5)
    expected = law.sf(only_b) + law.pmf(only_b) / 2
    assert mid_p(only_a, only_b) == pytest.approx(expected, abs=1e-12)
    assert mid_p(only_a, only_b) + mid_p(only_b, only_a) == pytest.approx(1.0)


@pytest.mark.parametrize("n", [10, 40, 200])
def test_the_mid_p_refuses_equal_sides_hardly_oftener_than_it_says(n):
    law = stats.binom(n, 0.5)
    size = sum(law.pmf(b) for b in range(n + 1) if mid_p(n - b, b) <= 0.05)
    assert 0.02 < size < 0.06
