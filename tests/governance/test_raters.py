"""Agreement of two people: raw, alpha and AC1, against known answers and other programs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import fleiss_kappa

from nethical.governance.raters import alpha_and_ac1, rater_agreement


def pairs_of(cells):
    """Two answers a case, of so many cases of (0, 0), (0, 1), (1, 0) and (1, 1)."""
    first = np.repeat([False, False, True, True], cells)
    return first, np.repeat([False, True, False, True], cells)


@pytest.mark.parametrize(
    ("cells", "alpha", "ac1"),
    [
        ((5, 3, 1, 1), 0.095, None),  # Krippendorff 2011, section B: binary data, two observers
        ((0, 2, 5, 118), None, 0.9408),  # Gwet 2008, table 1: 125 subjects, + and -
    ],
)
def test_alpha_and_ac1_are_those_of_the_papers(cells, alpha, ac1):
    found = rater_agreement(*pairs_of(cells), np.random.default_rng(0))
    if alpha is not None:
        assert found.alpha.estimate == pytest.approx(alpha, abs=0.0005)
    if ac1 is not None:
        assert found.ac1.estimate == pytest.approx(ac1, abs=0.00005)


@pytest.mark.parametrize("cells", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1), (0, 0, 0, 200)])
def test_where_alpha_is_not_defined_it_has_no_bounds_either(cells):
    found = rater_agreement(*pairs_of(cells), np.random.default_rng(0))
    assert np.isnan([found.alpha.estimate, found.alpha.low, found.alpha.high]).all()
    assert np.isfinite([found.ac1.low, found.ac1.high]).all()


@pytest.mark.parametrize("cells", [(0, 0, 0, 1), (1, 0, 0, 1), (1, 1, 0, 0), (9, 0, 0, 9)])
def test_bounds_hold_what_they_are_the_bounds_of_and_few_cases_are_not_perfect(cells):
    found = rater_agreement(*pairs_of(cells), np.random.default_rng(0))
    for one in (found.raw, found.alpha, found.ac1):
        assert np.isnan(one.estimate) or one.low <= one.estimate <= one.high
        assert not one.low > 0.9


def brute_alpha(first, second):
    """Krippendorff's alpha as his book counts it: pairs of values within units and at all."""
    units = list(zip(first, second, strict=True))
    values = [value for unit in units for value in unit]
    observed = sum(a != b for a, b in units) / len(units)
    expected = sum(a != b for i, a in enumerate(values) for j, b in enumerate(values) if i != j)
    return 1 - observed / (expected / (len(values) * (len(values) - 1)))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
@settings(deadline=None)
def test_alpha_and_ac1_are_those_of_counting_and_of_statsmodels(pairs):
    first, second = (np.array(part) for part in zip(*pairs, strict=True))
    n = len(pairs)
    cells = np.bincount(2 * first.astype(int) + second, minlength=4) / n
    alpha, ac1 = alpha_and_ac1(cells, n)
    share = (first.mean() + second.mean()) / 2
    chance = 2 * share * (1 - share)  # Gwet 2008, eq. 4 for two classes
    assert ac1 == pytest.approx(((first == second).mean() - chance) / (1 - chance))
    if not 0 < share < 1:
        return
    assert alpha == pytest.approx(brute_alpha(first, second))
    votes = np.stack([(~first).astype(int) + ~second, first.astype(int) + second], axis=1)
    scott = fleiss_kappa(votes)
    assert alpha == pytest.approx(scott + (1 - scott) / (2 * n))


@pytest.mark.parametrize(("share", "error", "n"), [(0.5, 0.1, 60), (0.03, 0.03, 300)])
def test_bounds_of_alpha_and_ac1_hold_as_often_as_they_say(share, error, n):
    rng = np.random.default_rng(1)

    def two(size):
        truth = rng.random(size) < share
        return truth ^ (rng.random(size) < error), truth ^ (rng.random(size) < error)

    first, second = two(1_000_000)
    cells = np.bincount(2 * first.astype(int) + second, minlength=4) / len(first)
    true = alpha_and_ac1(cells, len(first))
    held = np.zeros(2)
    for _ in range(300):
        found = rater_agreement(*two(n), rng)
        held += [
            one.low <= value <= one.high
            for one, value in zip((found.alpha, found.ac1), true, strict=True)
        ]
    assert (held / 300 > 0.91).all(), held


def test_ten_who_all_agree_are_not_sure_to_agree():
    found = rater_agreement(np.arange(10) < 5, np.arange(10) < 5, np.random.default_rng(0))
    assert found.raw.low < 0.75
    assert found.alpha.low < 0.95
    assert found.ac1.low < 0.95
