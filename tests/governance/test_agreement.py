"""Agreement with people: as many decisions as a case stands for, and no number without a case."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from nethical.governance.agreement import agreement

NONE = np.array([])


def of(agrees, probability, strata):
    return agreement(np.array(agrees, bool), np.array(probability, float), strata)


def alike(k, n):
    """The agreement of n cases of one stratum, k of which agree."""
    return of(np.arange(n) < k, np.full(n, 0.1), ["audit"] * n)


def test_without_a_reviewed_case_agreement_is_unknown_and_no_number():
    assert agreement(NONE.astype(bool), NONE, []) is None
    assert agreement(NONE.astype(bool), NONE, [], left_out=7) is None


@pytest.mark.parametrize(("k", "n"), [(40, 40), (179, 200), (199, 200), (0, 30), (19, 20)])
def test_cases_that_stand_for_as_many_decisions_each_have_the_exact_interval(k, n):
    found = alike(k, n)
    low, high = proportion_confint(k, n, alpha=0.1, method="beta")
    assert found.interval.estimate == pytest.approx(k / n)
    assert found.interval.low == pytest.approx(low, abs=1e-9)
    assert found.interval.high == pytest.approx(high, abs=1e-9)
    assert found.n == n


def test_the_document_s_example_of_one_hundred_cases_is_no_pass_and_needs_two_hundred():
    assert alike(90, 100).interval.low < 0.85
    assert alike(179, 200).interval.low > 0.85


def test_a_case_counts_for_as_many_decisions_as_it_stands_for():
    found = of([True, True, False, False], [0.5, 0.5, 0.1, 0.1], ["a", "a", "b", "b"])
    assert found.interval.estimate == pytest.approx(4 / 24)


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.01, 0.2, 1.0]), st.sampled_from("abc")),
        min_size=1,
        max_size=60,
    )
)
@settings(deadline=None)
def test_the_bounds_enclose_the_estimate_and_are_never_surer_than_as_many_even_cases(cases):
    agrees, probability, strata = (list(part) for part in zip(*cases, strict=True))
    found = of(agrees, probability, strata)
    weight = 1 / np.array(probability)
    share = float((weight * agrees).sum() / weight.sum())
    assert found.interval.estimate == pytest.approx(share)
    assert -1e-9 <= found.interval.low <= share + 1e-9
    assert share - 1e-9 <= found.interval.high <= 1 + 1e-9
    low, _ = proportion_confint(share * len(cases), len(cases), alpha=0.1, method="beta")
    assert found.interval.low <= (0 if np.isnan(low) else low) + 1e-9


def test_the_order_of_cases_and_the_names_of_strata_do_not_matter():
    rng = np.random.default_rng(1)
    agrees, probability = rng.random(80) < 0.8, rng.choice([0.1, 0.9], 80)
    strata = np.where(probability > 0.5, "gray", "audit")
    order = rng.permutation(80)
    renamed = np.where(strata == "gray", "a", "z")
    first = agreement(agrees, probability, strata.tolist())
    other = agreement(agrees[order], probability[order], renamed[order].tolist())
    assert other.interval.low == pytest.approx(first.interval.low)
    assert other.interval.high == pytest.approx(first.interval.high)


def sampled(rng, audits, rates=(0.6, 0.9), shares=(0.1, 0.9)):
    """Cases of a gray zone and an audit of 20,000 decisions whose agreement is known."""
    cases = (200, audits)
    names = np.repeat(["gray", "audit"], cases)
    chance = np.repeat(
        [k / (20_000 * share) for k, share in zip(cases, shares, strict=True)], cases
    )
    agrees = rng.random(len(names)) < np.repeat(rates, cases)
    return agreement(agrees, chance, names.tolist()), float(np.dot(rates, shares))


@pytest.mark.parametrize("audits", [10, 20, 50, 200])
def test_the_lower_bound_holds_in_as_many_samples_as_it_says_even_with_few_audits(audits):
    rng = np.random.default_rng(audits)
    found = [sampled(rng, audits) for _ in range(1500)]
    gaps = [one.interval.estimate - truth for one, truth in found]
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(len(gaps)) + 1e-4
    assert np.mean([one.interval.low <= truth for one, truth in found]) > 0.93


def test_gray_cases_alone_would_misjudge_what_a_few_audits_set_right():
    rng = np.random.default_rng(4)
    chance, names = np.repeat([0.1, 0.011], 200), np.repeat(["gray", "audit"], 200)
    agrees = rng.random(400) < np.repeat([0.6, 0.9], 200)
    truth = 0.1 * 0.6 + 0.9 * 0.9
    whole = agreement(agrees, chance, names.tolist())
    alone = agreement(agrees[:200], chance[:200], names[:200].tolist())
    assert whole.interval.estimate == pytest.approx(truth, abs=0.05)
    assert alone.interval.high < truth - 0.14


def test_one_disagreement_in_a_small_stratum_costs_little():
    chance = np.repeat([0.1, 0.011], 200)
    names = ["gray"] * 200 + ["audit"] * 200
    agrees = np.ones(400, bool)
    all_agree = agreement(agrees, chance, names).interval
    agrees[0] = False
    one_less = agreement(agrees, chance, names).interval
    assert all_agree.low - 0.005 < one_less.low <= all_agree.low
    assert all_agree.estimate == 1.0


def test_strata_that_are_named_after_the_outcome_make_nothing_surer():
    chance = np.repeat([1.0, 0.01], (200, 30))
    agrees = np.concatenate([np.arange(200) < 120, np.arange(30) < 24])
    told = np.repeat(["gray", "audit"], (200, 30))
    split = np.char.add(told, np.where(agrees, " yes", " no"))
    honest = agreement(agrees, chance, told.tolist()).interval
    assert agreement(agrees, chance, split.tolist()).interval.low <= honest.low + 1e-9


def test_a_single_audit_says_nearly_nothing():
    found = of([True] * 51, [1.0] * 50 + [0.001], ["gray"] * 50 + ["audit"])
    assert found.interval.low < 0.1
