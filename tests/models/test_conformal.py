import numpy as np
import pytest

from nethical.models.conformal import MOST_KNOTS, Conformal


def p_value(held, score):
    return (1 + np.sum(held >= score)) / (len(held) + 1)


def test_the_risk_at_a_held_out_score_is_that_of_its_conformal_p_value():
    held = np.array([3.0, 1.0, 2.0, 2.0])
    risks = Conformal.fit(held).risk(np.array([1.0, 2.0, 3.0]))
    assert 10**-risks == pytest.approx([5 / 5, 4 / 5, 2 / 5])


def test_a_score_above_all_held_out_ones_has_at_most_the_least_p_value():
    conformal = Conformal.fit(np.arange(9.0))
    just, far, farther = conformal.risk(np.array([8.0 + 1e-9, 20.0, 1e300])).tolist()
    assert just == pytest.approx(1.0, abs=1e-6)
    assert 1.0 < far < farther < np.inf


def test_half_of_a_new_p_value_is_gone_one_scale_beyond_the_last_score():
    conformal = Conformal.fit(np.arange(9.0))
    at = conformal.knots[-1] + conformal.scale
    assert 10 ** -conformal.risk(np.array([at]))[0] == pytest.approx(0.1 / 2)


def test_between_held_out_scores_the_risk_rises_and_never_claims_more_than_the_p_value():
    held = np.sort(np.random.default_rng(0).normal(size=60))
    conformal = Conformal.fit(held)
    grid = np.linspace(held[0], held[-1], 1000)
    risks = conformal.risk(grid)
    assert (np.diff(risks) > 0).all()
    assert all(
        risk <= -np.log10(p_value(held, s)) + 1e-12 for s, risk in zip(grid, risks, strict=True)
    )


def test_new_normals_have_p_values_of_five_per_cent_or_less_about_five_times_in_a_hundred():
    rng = np.random.default_rng(1)
    shares = [
        np.mean(10 ** -Conformal.fit(rng.normal(size=400)).risk(rng.normal(size=400)) <= 0.05)
        for _ in range(200)
    ]
    assert np.mean(shares) == pytest.approx(0.05, abs=0.005)


def test_normals_that_are_all_alike_have_no_risk_and_all_that_is_above_them_has():
    conformal = Conformal.fit(np.full(30, 7.0))
    assert conformal.risk(np.array([7.0, 6.0])).tolist() == [0, 0]
    assert conformal.risk(np.array([7.1]))[0] > np.log10(31)


def test_many_held_out_scores_are_thinned_where_they_are_dense():
    held = np.random.default_rng(2).normal(size=20_000)
    conformal = Conformal.fit(held)
    assert len(conformal.knots) <= MOST_KNOTS
    assert conformal.knots[-1] == held.max()
    grid = np.linspace(-3, held.max(), 500)
    exact = np.array([-np.log10(p_value(held, s)) for s in grid])
    assert np.abs(conformal.risk(grid) - exact)[:-3].max() < 0.2
    assert np.abs(conformal.risk(grid) - exact)[exact < 3].max() < 0.03


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e9, 1e200])
def test_scores_of_any_size_have_finite_risks_in_their_order(scale):
    held = np.random.default_rng(3).normal(size=50) * scale
    new = np.linspace(-5, 40, 200) * scale
    risks = Conformal.fit(held).risk(new)
    assert np.isfinite(risks).all()
    assert (np.diff(risks) >= 0).all()
