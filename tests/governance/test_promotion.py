"""The promotion gate: each criterion by its bound, and a verdict only where there is evidence."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nethical.errors import UsageError
from nethical.gate import Verdict
from nethical.governance.agreement import Agreement
from nethical.governance.latency import LatencyComparison
from nethical.governance.promotion import (
    Evidence,
    Policy,
    _design_effect,
    alpha_of,
    decide,
    rows_for_gain,
)
from nethical.metrics.intervals import Interval
from nethical.metrics.paired import paired_rate_difference

SAME = Interval(0.0, -0.01, 0.01)
QUICK = LatencyComparison(SAME, SAME, 0.02, 1.0, 1.0, 200)
AGREED = Agreement(Interval(0.93, 0.89, 0.96), 200)
PASS, FAIL, UNDECIDED = Verdict.PASS, Verdict.FAIL, Verdict.INSUFFICIENT_EVIDENCE
POLICY = Policy()


def pairs(both, only_a, only_b, neither):
    """What baseline and candidate call rows of one class."""
    counts = (both, only_a, only_b, neither)
    return tuple(np.repeat(calls, counts) for calls in ([1, 1, 0, 0], [1, 0, 1, 0]))


def evidence(positives=(0, 0, 0, 0), negatives=(0, 0, 0, 0), **more):
    """What two sides decide about positives and negatives, both given as four counts."""
    of_positives, of_negatives = pairs(*positives), pairs(*negatives)
    baseline, candidate = (
        np.concatenate(side).astype(bool) for side in zip(of_positives, of_negatives, strict=True)
    )
    y = np.repeat([1, 0], (sum(positives), sum(negatives))).astype(np.int8)
    return Evidence(y, baseline, candidate, **{"latency": QUICK, "agreement": AGREED, **more})


GOOD = {"positives": (800, 10, 60, 130), "negatives": (40, 20, 20, 2920)}


def line(name, attempt=1, policy=POLICY, **given_evidence):
    """One line of a decision."""
    decision = decide(evidence(**given_evidence), policy, attempt=attempt)
    return next(one for one in decision.lines if one.name == name)


# --- the rate of an attempt


def test_all_attempts_together_err_at_most_as_often_as_one_may():
    assert sum(alpha_of(k) for k in range(1, 100_000)) < 0.05
    assert sum(alpha_of(k) for k in range(1, 100_000)) == pytest.approx(0.05, abs=1e-6)
    assert alpha_of(3, 0.1) == pytest.approx(6 * 0.1 / (math.pi**2 * 9))


@pytest.mark.parametrize("k", [0, -1])
def test_attempts_are_counted_from_one(k):
    with pytest.raises(UsageError, match=f"attempt {k}"):
        alpha_of(k)


def test_what_passes_at_the_first_attempt_may_need_more_evidence_at_the_tenth():
    given_evidence = {"positives": (330, 10, 26, 34)}
    assert line("Recall gain", 1, **given_evidence).verdict == PASS
    assert line("Recall gain", 10, **given_evidence).verdict == UNDECIDED


# --- the verdict


def test_a_better_candidate_with_enough_of_all_evidence_passes():
    decision = decide(evidence(**GOOD, left_out=3), POLICY, attempt=1)
    assert decision.verdict == PASS
    assert [one.verdict for one in decision.lines] == [PASS] * 4
    assert decision.alpha == alpha_of(1)
    assert decision.left_out == 3


def test_what_failed_outweighs_what_is_undecided_and_that_what_passed():
    worse = decide(evidence(**GOOD | {"positives": (600, 200, 10, 190)}), POLICY, attempt=1)
    assert worse.verdict == FAIL
    both = evidence(**GOOD | {"positives": (600, 200, 10, 190)}, agreement=None)
    assert decide(both, POLICY, attempt=1).verdict == FAIL
    undecided = decide(evidence(**GOOD, agreement=None), POLICY, attempt=1)
    assert undecided.verdict == UNDECIDED
    assert sum(one.verdict == PASS for one in undecided.lines) == 3


def test_a_candidate_that_decides_as_the_baseline_does_is_never_promoted():
    for n in (50, 500, 50_000):
        found = decide(evidence((n, 0, 0, n // 5), (n, 0, 0, 9 * n)), POLICY, attempt=1)
        assert found.lines[0].estimate == 0.0
        assert found.verdict != PASS


def test_a_decision_is_told_as_json():
    policy = Policy(strict=True)
    assert json.loads(json.dumps(policy.to_document()))["strict"] is True
    for one in decide(evidence(), POLICY, attempt=1).lines:
        assert json.loads(json.dumps(one.to_document(), allow_nan=False))["verdict"]


# --- recall


@given(
    st.tuples(st.integers(0, 400), st.integers(0, 60), st.integers(0, 60), st.integers(0, 200)),
    st.integers(1, 12),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_gain_passes_exactly_where_it_is_large_and_the_mid_p_is_small(counts, attempt, strict):
    n, (_, only_a, only_b, _) = sum(counts), counts
    found = line("Recall gain", attempt, Policy(strict=strict), positives=counts)
    if n == 0:
        assert (found.verdict, found.estimate) == (UNDECIDED, None)
        return
    law = stats.binom(only_a + only_b, 0.5)
    mid_p = law.sf(only_b) + law.pmf(only_b) / 2
    bounds = paired_rate_difference(*counts, level=1 - alpha_of(attempt))
    is_sure = bounds.low >= 0.03 if strict else mid_p <= alpha_of(attempt)
    assert found.estimate == (only_b - only_a) / n
    assert (found.verdict == PASS) == (found.estimate >= 0.03 and is_sure)
    if found.verdict != PASS:
        assert (found.verdict == FAIL) == (bounds.high < 0.03)


def test_a_gain_of_exactly_the_limit_is_enough():
    assert line("Recall gain", positives=(1000, 0, 36, 164)).estimate == 0.03
    assert line("Recall gain", positives=(1000, 0, 36, 164)).verdict == PASS
    assert line("Recall gain", positives=(1000, 0, 35, 165)).verdict == UNDECIDED


def test_a_strict_policy_asks_the_bound_itself_for_the_gain():
    strict = Policy(strict=True)
    assert line("Recall gain", positives=(800, 10, 50, 140)).verdict == PASS
    assert line("Recall gain", policy=strict, positives=(800, 10, 50, 140)).verdict == UNDECIDED
    assert line("Recall gain", policy=strict, positives=(800, 10, 110, 80)).verdict == PASS


@pytest.mark.parametrize("counts", [(90, 2, 8, 10), (35, 1, 5, 9), (200, 10, 20, 20)])
def test_the_rows_that_are_said_to_be_missing_decide_if_the_estimate_holds(counts):
    found = line("Recall gain", positives=counts)
    assert found.verdict == UNDECIDED
    scale = 1.15 * (1 + found.needed / sum(counts))
    more = tuple(math.ceil(scale * count) for count in counts)
    assert line("Recall gain", positives=more).verdict == PASS
    fewer = tuple(math.floor(0.6 * scale * count) for count in counts)
    assert line("Recall gain", positives=fewer).verdict == UNDECIDED


def test_no_number_of_rows_is_promised_where_more_would_not_help():
    assert line("Recall gain", positives=(80, 4, 5, 11)).needed is None


# --- false positives


def test_without_an_unlike_pair_the_bound_needs_one_hundred_and_seventy_three_negatives():
    short = line("FP increase", negatives=(10, 0, 0, 162))
    assert (short.estimate, short.verdict) == (0.0, UNDECIDED)
    assert short.needed >= 1
    assert line("FP increase", negatives=(10, 0, 0, 163)).verdict == PASS


def test_a_rise_fails_only_where_even_its_lower_bound_is_beyond_the_limit():
    assert line("FP increase", negatives=(30, 5, 65, 900)).verdict == FAIL
    assert line("FP increase", negatives=(30, 5, 35, 930)).verdict == UNDECIDED
    assert line("FP increase", negatives=(30, 35, 5, 930)).verdict == PASS


def test_a_part_without_one_class_decides_nothing():
    found = decide(evidence(), POLICY, attempt=1)
    assert found.verdict == UNDECIDED
    assert [one.note for one in found.lines[:2]] == ["no positive row", "no negative row"]
    assert [one.estimate for one in found.lines[:2]] == [None, None]


# --- rows that belong together


def test_the_design_effect_is_that_of_cluster_robust_errors_in_statsmodels():
    import statsmodels.api as sm

    rng = np.random.default_rng(3)
    groups = rng.integers(0, 40, 600)
    own = rng.choice([-1.0, 0.0, 1.0], 40, p=[0.1, 0.7, 0.2])
    change = np.where(rng.random(600) < 0.5, own[groups], rng.choice([-1.0, 0.0, 1.0], 600))
    model = sm.OLS(change, np.ones(600))
    theirs = model.fit(cov_type="cluster", cov_kwds={"groups": groups}).bse[0] ** 2
    effect, clusters = _design_effect(change, groups)
    assert clusters == 40
    assert effect == pytest.approx(theirs / (np.var(change) / 600), rel=1e-9)
    assert effect > 2


def test_a_row_that_is_written_ten_times_is_one_row():
    counts = (30, 8, 6, 156)
    single = line("FP increase", negatives=counts)
    ten = tuple(10 * count for count in counts)
    groups = np.repeat(np.arange(200), 10)
    clustered = line("FP increase", negatives=ten, clusters=groups)
    assert clustered.estimate == pytest.approx(single.estimate)
    assert clustered.bound == pytest.approx(single.bound, abs=0.002)
    assert line("FP increase", negatives=ten).bound < single.bound - 0.01


def test_sessions_in_which_nothing_changes_are_as_many_observations_and_no_proof():
    """A spread of 0 passed half of the gate parts whose rate truly rises by more than .02."""
    groups = np.repeat(np.arange(40), 20)
    found = line("FP increase", negatives=(80, 0, 0, 720), clusters=groups)
    assert found.verdict == UNDECIDED
    assert found.bound == pytest.approx(
        line("FP increase", negatives=(4, 0, 0, 36)).bound, abs=0.005
    )
    rng = np.random.default_rng(6)
    passed = 0
    for _ in range(300):
        changed = np.repeat(rng.random(40) < 0.025, 20)
        baseline = rng.random(800) < 0.05
        rows = Evidence(np.zeros(800, np.int8), baseline, baseline | changed, groups)
        passed += decide(rows, POLICY, attempt=1).lines[1].verdict == PASS
    assert passed / 300 < 0.05


def test_fewer_than_thirty_groups_decide_nothing():
    groups = np.concatenate([np.arange(1000) % 29, np.arange(3000) % 400])
    found = decide(evidence(**GOOD, clusters=groups), POLICY, attempt=1)
    assert found.lines[0].verdict == UNDECIDED
    assert found.lines[0].note == "fewer than 30 groups"
    assert found.lines[1].bound is not None


# --- latency


def timed(low, high, floor=0.02):
    middle = Interval((low + high) / 2, low, high)
    return LatencyComparison(SAME, middle, floor, 1.0, 1.0, 200)


@pytest.mark.parametrize(
    ("latency", "verdict"),
    [
        (timed(1.0, 4.9), PASS),
        (timed(4.0, 6.0), UNDECIDED),
        (timed(5.01, 6.0), UNDECIDED),  # the clock itself is off by .02
        (timed(5.03, 6.0), FAIL),
        (timed(-9.0, -5.0), PASS),
        (timed(0.0, 0.1, floor=2.5), UNDECIDED),
        (timed(9.0, 9.1, floor=2.5), UNDECIDED),
        (None, UNDECIDED),
    ],
)
def test_latency_is_judged_beyond_what_the_clock_does_itself(latency, verdict):
    found = line("Latency increase", latency=latency)
    assert found.verdict == verdict
    if latency is None:
        assert found.estimate is None
    else:
        assert f"floor {latency.floor_ms:.2g} ms" in found.note


def test_the_slower_of_median_and_tail_counts():
    slow = Interval(7.0, 6.5, 7.5)
    for found in (replace(QUICK, p50=slow), replace(QUICK, p95=slow)):
        assert line("Latency increase", latency=found).verdict == FAIL


def test_a_median_that_is_surely_slower_fails_however_unsure_the_tail_is():
    found = replace(QUICK, p50=Interval(7.0, 6.5, 7.5), p95=Interval(4.0, 0.0, 8.0))
    decided = line("Latency increase", latency=found)
    assert (decided.verdict, decided.estimate, decided.bound) == (FAIL, 7.0, 6.5)


# --- people


def test_without_reviews_agreement_is_unknown_and_never_a_number():
    for none in (None, Agreement(Interval(0.0, 0.0, 1.0), 0)):
        found = line("Human agreement", agreement=none)
        assert (found.verdict, found.estimate, found.bound) == (UNDECIDED, None, None)
        assert found.note == "0 reviewed"


@pytest.mark.parametrize(
    ("low", "estimate", "high", "verdict"),
    [(0.85, 0.9, 0.94, PASS), (0.83, 0.895, 0.94, UNDECIDED), (0.7, 0.8, 0.849, FAIL)],
)
def test_agreement_is_judged_by_its_bound(low, estimate, high, verdict):
    found = line("Human agreement", agreement=Agreement(Interval(estimate, low, high), 100))
    assert (found.verdict, found.estimate, found.n) == (verdict, estimate, 100)
    assert (found.needed is not None) == (verdict == UNDECIDED)


def test_a_waiver_is_told_and_makes_no_number():
    found = line("Human agreement", agreement=None, waiver="no reviewers yet")
    assert (found.verdict, found.estimate, found.bound) == (PASS, None, None)
    assert found.note == "waived: no reviewers yet"
    assert decide(evidence(waiver="w"), POLICY, attempt=1).waiver == "w"
    low = Agreement(Interval(0.5, 0.4, 0.6), 90)
    known = line("Human agreement", agreement=low, waiver="pilot")
    assert (known.estimate, known.n) == (0.5, 90)


# --- planning


@pytest.mark.parametrize(("gain", "discordance"), [(0.05, 0.1), (0.05, 0.15), (0.08, 0.2)])
def test_as_many_rows_as_are_said_show_a_gain_with_that_power(gain, discordance):
    n = rows_for_gain(gain, discordance, alpha=0.05)
    rng = np.random.default_rng(2)
    lost, won = (discordance - gain) / 2, (discordance + gain) / 2
    drawn = rng.multinomial(n, (lost, won, 1 - discordance), 4000)
    unlike = drawn[:, 0] + drawn[:, 1]
    p = stats.binom.sf(drawn[:, 1], unlike, 0.5) + stats.binom.pmf(drawn[:, 1], unlike, 0.5) / 2
    assert 0.76 < np.mean(p <= 0.05) < 0.86


def test_what_changes_is_told_for_each_kind_of_rows():
    rng = np.random.default_rng(4)
    y = (rng.random(2000) < 0.4).astype(np.int8)
    kind = rng.choice(["mail", "web"], 2000)
    baseline = (y == 1) & (rng.random(2000) < 0.6)
    candidate = baseline | ((y == 1) & (kind == "web"))
    decision = decide(
        Evidence(y, baseline, candidate, fairness={"tool": kind}), Policy(), attempt=1
    )
    mail, web = decision.slices
    assert (mail.value, web.value) == ("mail", "web")
    assert mail.recall_gain.estimate == 0.0
    assert web.recall_gain.low > 0.3
    assert web.false_positive_increase.estimate == 0.0
    assert mail.positives + web.positives == int(y.sum())
    assert web.to_document()["recall_gain"][0] == web.recall_gain.estimate
