import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from nethical.canonical import canonical_json
from nethical.errors import UsageError
from nethical.gate import (
    Criterion,
    Evidence,
    Limits,
    Reference,
    ScoredSet,
    Verdict,
    compare,
    decide,
    undecided,
)
from nethical.metrics.calibration import ece_debiased
from nethical.metrics.evaluation import base_rate_gain
from nethical.metrics.intervals import Interval, clopper_pearson, mean_interval

PASS, FAIL, UNDECIDED = Verdict.PASS, Verdict.FAIL, Verdict.INSUFFICIENT_EVIDENCE
LIMITS = Limits()
DRAWS = 200


def judged(y, p, groups=None, *, threshold=0.5, **more):
    scored = ScoredSet(np.asarray(y), np.asarray(p, dtype=float), groups)
    return decide(Evidence(scored, threshold, **more), LIMITS)


def criterion(decision, start):
    (found,) = [c for c in decision.criteria if c.name.startswith(start)]
    return found


def draw(rng, truth):
    return (rng.random(len(truth)) < truth).astype(int)


def sharp(rng, n):
    """Return calibrated rows of which 95 % are told apart."""
    p = np.where(rng.random(n) < 0.4, 0.95, 0.05)
    return draw(rng, p), p


def exact(counts):
    """Return rows of (probability, negatives, positives)."""
    y = np.concatenate([np.repeat([0, 1], [no, yes]) for _, no, yes in counts])
    p = np.concatenate([np.full(no + yes, value) for value, no, yes in counts])
    return y, p


GOOD = exact([(0.05, 950, 50), (0.95, 50, 950)])


def mixed_with(verdict_rows):
    return (np.concatenate([GOOD[i], verdict_rows[i]]) for i in (0, 1))


# --- the verdict -----------------------------------------------------------------------------


def test_a_good_model_passes_every_criterion():
    decision = judged(*GOOD)
    assert decision.verdict == PASS
    assert [c.name for c in decision.criteria] == [
        "ECE <= 0.08",
        "Accuracy >= 0.85",
        "Skill over the base rate > 0",
        "Recall > 0",
        "No unaccepted leak",
    ]
    assert {c.verdict for c in decision.criteria} == {PASS}


def test_the_limits_are_those_that_were_given():
    decision = decide(Evidence(ScoredSet(*GOOD), 0.5), Limits(max_ece=0.005, min_accuracy=0.99))
    assert criterion(decision, "ECE <= 0.005").verdict == UNDECIDED
    assert criterion(decision, "Accuracy >= 0.99").verdict == FAIL


def test_one_failure_outweighs_doubt_and_doubt_outweighs_passes():
    few = exact([(0.05, 9, 1), (0.95, 1, 9)])
    assert judged(*few).verdict == UNDECIDED
    assert judged(*few, unaccepted_leaks=("c",)).verdict == FAIL
    assert judged(*GOOD, unaccepted_leaks=("c",)).verdict == FAIL


def test_unaccepted_leaks_fail_by_name():
    leak = criterion(judged(*GOOD, unaccepted_leaks=("total", "id")), "No unaccepted leak")
    assert (leak.verdict, leak.estimate) == (FAIL, 2.0)
    assert leak.note == "total, id nearly decides the label alone"


def test_a_row_at_the_threshold_is_called_positive():
    assert judged(*GOOD, threshold=0.95).verdict == PASS
    assert criterion(judged(*GOOD, threshold=0.951), "Recall").verdict == UNDECIDED
    assert criterion(judged(*GOOD, threshold=0.05), "Accuracy").verdict == FAIL


# --- bounds decide, estimates never ----------------------------------------------------------

ACCURACY = {  # right and wrong rows of a model that says .05 or .95
    PASS: (960, 40),
    "good side": (88, 12),
    "bad side": (82, 18),
    FAIL: (60, 40),
}
ECE = {  # negatives and positives of a model that says .5
    PASS: (1000, 1000),
    "good side": (46, 54),
    "bad side": (38, 62),
    FAIL: (10, 90),
}
SKILL = {  # (said, negatives, positives)
    PASS: [(0.1, 90, 10), (0.9, 10, 90)],
    "good side": [(0.45, 7, 5), (0.55, 5, 7)],
    "bad side": [(0.2, 6, 5), (0.8, 6, 5)],
    FAIL: [(0.1, 10, 90), (0.9, 90, 10)],
}


def case(name, key):
    if name == "Accuracy":
        right, wrong = ACCURACY[key]
        return exact([(0.05, right // 2, wrong // 2), (0.95, wrong // 2, right // 2)])
    if name == "ECE":
        return exact([(0.5, *ECE[key])])
    return exact(SKILL[key])


def bounds(name, y, p):
    if name == "Accuracy":
        return clopper_pearson(int(((p >= 0.5) == y).sum()), len(y), level=0.95)
    if name == "ECE":
        return ece_debiased(y, p, level=0.95)
    gain = mean_interval(base_rate_gain(y, p), level=0.95)
    loss = np.mean((y - y.mean()) ** 2)
    return Interval(gain.estimate / loss, gain.low / loss, min(gain.high / loss, 1.0))


@pytest.mark.parametrize("key", [PASS, "good side", "bad side", FAIL])
@pytest.mark.parametrize("name", ["Accuracy", "ECE", "Skill"])
def test_a_criterion_passes_and_fails_by_its_bounds_and_is_undecided_between(name, key):
    y, p = case(name, key)
    found = criterion(judged(y, p), name)
    assert found.verdict == (key if isinstance(key, Verdict) else UNDECIDED)
    interval = bounds(name, y, p)
    limit = {"Accuracy": 0.85, "ECE": 0.08, "Skill": 0.0}[name]
    good_estimate = (interval.estimate < limit) == (name == "ECE")
    assert good_estimate == (key in {PASS, "good side"})
    passing, opposite = (interval.low, interval.high)[:: -1 if name == "ECE" else 1]
    assert found.bound == pytest.approx(opposite if key == FAIL else passing)
    assert found.estimate == pytest.approx(interval.estimate)
    assert (found.threshold, found.n) == (limit, len(y))
    assert (found.rows_needed is not None) == (key == "good side")


@pytest.mark.parametrize(
    ("found_rows", "groups", "verdict"),
    [
        ([7], None, PASS),
        ([], None, UNDECIDED),
        ([7], np.repeat([0, 1, 2, 3], 10), UNDECIDED),
        (range(10), np.repeat([0, 1, 2, 3], 10), UNDECIDED),
        ([7, 17, 27], np.repeat([0, 1, 2, 3], 10), PASS),
    ],
)
def test_recall_above_zero_needs_found_rows_in_more_than_one_group(found_rows, groups, verdict):
    p = np.where(np.isin(np.arange(40), found_rows), 0.9, 0.1)
    found = criterion(judged(np.ones(40), p, groups), "Recall")
    assert found.verdict == verdict
    assert found.estimate == len(found_rows) / 40
    assert (found.bound > 0) == (verdict == PASS)


def test_recall_without_positives_cannot_be_measured():
    found = criterion(judged(np.zeros(400), np.full(400, 0.01)), "Recall")
    assert (found.verdict, found.note, found.estimate) == (FAIL, "cannot be measured", None)


@pytest.mark.parametrize(("n_groups", "verdict"), [(29, UNDECIDED), (30, PASS)])
def test_fewer_than_thirty_groups_are_not_enough(n_groups, verdict):
    order = np.random.default_rng(0).permutation(len(GOOD[0]))
    y, p = GOOD[0][order], GOOD[1][order]
    decision = judged(y, p, np.arange(len(y)) % n_groups)
    found = criterion(decision, "Groups in the gate part >= 30")
    assert (found.verdict, found.estimate) == (verdict, n_groups)
    assert found.note == ("1 more groups needed" if n_groups == 29 else "")
    assert decision.verdict == verdict
    assert {c.verdict for c in decision.criteria if c is not found} == {PASS}


# --- calibrated scores pass or wait; over-confident ones never pass --------------------------

LAWS = [(1, 1), (2, 5)]
ROWS = [200, 500, 2000]


def verdicts(law, n, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(DRAWS):
        truth, said = law(rng, n)
        found.append(criterion(judged(draw(rng, truth), said), "ECE").verdict)
    return found


def perfect(a, b):
    def law(rng, n):
        p = rng.beta(a, b, n)
        return p, p

    return law


def said_doubled(a, b):
    def law(rng, n):
        truth = rng.beta(a, b, n)
        return truth, expit(2 * logit(truth))

    return law


def truth_halved(a, b):
    def law(rng, n):
        said = rng.beta(a, b, n)
        return expit(logit(said) / 2), said

    return law


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("shape", LAWS)
def test_perfectly_calibrated_scores_hardly_ever_fail(shape, n):
    found = verdicts(perfect(*shape), n)
    assert found.count(FAIL) <= 0.05 * DRAWS
    assert found.count(PASS) >= {200: 0.2, 500: 0.85, 2000: 0.99}[n] * DRAWS


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("shape", LAWS)
@pytest.mark.parametrize("law", [said_doubled, truth_halved])
def test_scores_that_are_over_confident_by_two_hardly_ever_pass(law, shape, n):
    found = verdicts(law(*shape), n)
    assert found.count(PASS) <= 0.05 * DRAWS
    if n == 2000:
        assert found.count(FAIL) >= 0.3 * DRAWS


# --- what never passes -----------------------------------------------------------------------


@given(
    n=st.integers(1, 3000),
    share=st.floats(0, 1),
    said=st.one_of(st.floats(0, 1), st.none()),
    threshold=st.sampled_from([0.01, 0.5, 0.9]),
)
@settings(deadline=None, max_examples=80)
def test_a_constant_never_passes(n, share, said, threshold):
    y = (np.arange(n) < round(share * n)).astype(int)
    p = np.full(n, y.mean() if said is None else said)
    decision = judged(y, p, threshold=threshold)
    assert decision.verdict != PASS
    assert criterion(decision, "Skill").verdict != PASS


def test_a_constant_of_the_base_rate_fails_for_lack_of_skill():
    y = (np.arange(2000) % 10 == 0).astype(int)
    decision = judged(y, np.full(2000, 0.1))
    assert criterion(decision, "ECE").verdict == PASS
    assert criterion(decision, "Accuracy").verdict == PASS
    assert criterion(decision, "Skill").verdict == FAIL


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_no_number_fails_and_can_be_recorded(bad):
    y, p = GOOD[0], GOOD[1].copy()
    p[7] = bad
    fairness = {"kind": np.where(np.arange(len(y)) < 500, "a", "b")}
    decisions = [
        judged(y, p, np.arange(len(y)) // 4, fairness=fairness),
        judged(*GOOD, challenges={"hard": ScoredSet(y, p)}),
    ]
    for decision in decisions:
        assert decision.verdict == FAIL
        canonical_json([c.to_document() for c in decision.criteria])
    assert criterion(decisions[1], "hard: ECE").note == "cannot be measured"
    assert criterion(decisions[0], "ECE of each fairness group").verdict == FAIL


@pytest.mark.parametrize("n", [0, 1, 2])
def test_next_to_no_rows_never_pass_and_can_be_recorded(n):
    for groups in (None, np.arange(n)):
        decision = judged(np.arange(n) % 2, np.arange(n) % 2, groups)
        assert decision.verdict != PASS
        canonical_json([c.to_document() for c in decision.criteria])


# --- challenge sets --------------------------------------------------------------------------


def test_challenge_sets_must_hold_too_and_are_named():
    failing = case("Accuracy", FAIL)
    few = exact([(0.05, 9, 1), (0.95, 1, 9)])
    for rows, verdict in [(GOOD, PASS), (few, UNDECIDED), (failing, FAIL)]:
        decision = judged(*GOOD, challenges={"fine": ScoredSet(*GOOD), "hard": ScoredSet(*rows)})
        assert decision.verdict == verdict
        named = [c for c in decision.criteria if c.name.startswith("hard: ")]
        assert [c.name for c in named] == [
            "hard: ECE <= 0.08",
            "hard: Accuracy >= 0.85",
            "hard: Skill over the base rate > 0",
        ]
        assert {c.verdict for c in decision.criteria if c not in named} == {PASS}


# --- fairness --------------------------------------------------------------------------------

FIVE = {"kind": np.repeat(list("abcde"), 100)}


def five_groups(rng, offset):
    """Return calibrated rows in which the last hundred are off by ``offset``."""
    p = rng.uniform(0.3, 0.7, 500)
    truth = p.copy()
    truth[400:] += offset
    return draw(rng, truth), p


def fairness_of(y, p, fairness, groups=None):
    return criterion(judged(y, p, groups, fairness=fairness), "ECE of each fairness group <= 0.08")


def test_five_groups_of_a_perfect_model_hardly_ever_fail():
    rng = np.random.default_rng(0)
    found = [fairness_of(*five_groups(rng, 0.0), FIVE).verdict for _ in range(DRAWS)]
    assert found.count(FAIL) <= 0.05 * DRAWS
    assert found.count(PASS) == DRAWS - found.count(FAIL), "lack of rows withholds nothing"


def test_a_group_that_is_off_by_three_tenths_fails_by_name():
    rng = np.random.default_rng(0)
    found = [fairness_of(*five_groups(rng, 0.3), FIVE) for _ in range(50)]
    failed = [c for c in found if c.verdict == FAIL]
    assert len(failed) >= 48
    assert sum(c.note == "exceeded by kind=e" for c in failed) >= 45
    assert judged(*five_groups(rng, 0.3), fairness=FIVE).verdict == FAIL


def test_many_groups_at_the_very_limit_fail_together_no_more_often_than_one_may():
    rng = np.random.default_rng(0)
    names = {"kind": np.repeat([f"g{i}" for i in range(10)], 200)}
    p = np.full(2000, 0.45)
    found = [fairness_of(draw(rng, p + 0.08), p, names).verdict for _ in range(DRAWS)]
    assert found.count(FAIL) <= 0.09 * DRAWS


def test_an_estimate_beyond_the_limit_fails_no_group_without_evidence():
    y, p = exact([(0.5, 38, 62)])
    found = fairness_of(y, p, {"kind": np.repeat("a", 100)})
    assert found.estimate > 0.08
    assert (found.verdict, found.note) == (PASS, "")
    assert found.bound < 0.08


def test_small_groups_are_named_and_withhold_nothing():
    y, p = GOOD
    names = np.where(np.arange(len(y)) < 99, "few", "many")
    decision = judged(y, p, fairness={"kind": names, "age": np.repeat("old", len(y))})
    assert decision.verdict == PASS
    found = criterion(decision, "ECE of each fairness group")
    assert found.note == "not assessable (under 100 rows): kind=few"
    assert found.n == 2
    only_small = fairness_of(y[:50], p[:50], {"kind": names[:50]})
    assert (only_small.verdict, only_small.estimate, only_small.n) == (PASS, None, 0)


def test_a_group_of_a_hundred_rows_is_assessed():
    y, p = mixed_with(exact([(0.5, 5, 95)]))
    names = np.where(np.arange(len(y)) < len(GOOD[0]), "many", "few")
    assert fairness_of(y, p, {"kind": names}).note == "exceeded by kind=few"


# --- rows needed -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Accuracy", "Skill"])
def test_with_the_rows_needed_of_the_same_kind_the_criterion_passes(name):
    y, p = case(name, "good side")
    needed = criterion(judged(y, p), name).rows_needed

    def verdict_at(rows):
        times = rows / len(y)
        counts = [
            (
                value,
                round(times * ((p == value) & (y == 0)).sum()),
                round(times * ((p == value) & (y == 1)).sum()),
            )
            for value in np.unique(p)
        ]
        return criterion(judged(*exact(counts)), name).verdict

    assert verdict_at(1.25 * (len(y) + needed)) == PASS
    assert verdict_at(0.6 * (len(y) + needed)) == UNDECIDED


@pytest.mark.parametrize(("name", "n"), [("Accuracy", 150), ("ECE", 200)])
def test_with_the_rows_needed_drawn_anew_most_models_pass_that_did_not_before(name, n):
    rng = np.random.default_rng(0)

    def at(n):
        p = rng.uniform(0.83, 0.97, n) if name == "Accuracy" else rng.uniform(0.1, 0.9, n)
        return criterion(judged(draw(rng, p), p), name)

    asked, passed, early = 0, 0, 0
    while asked < DRAWS:
        needed = at(n).rows_needed
        if needed is not None and 50 <= needed <= 20_000:
            asked += 1
            passed += at(n + needed).verdict == PASS
            early += at(n).verdict == PASS
    assert 0.5 <= passed / asked <= 0.95
    assert early / asked <= passed / asked - 0.2


def test_no_number_of_rows_is_named_where_more_rows_would_not_help():
    assert criterion(judged(*case("Accuracy", "bad side")), "Accuracy").rows_needed is None
    assert criterion(judged(np.ones(40), np.full(40, 0.1)), "Recall").rows_needed is None


# --- rows that belong together ---------------------------------------------------------------

JUDGED = ["ECE", "Accuracy", "Skill"]


def test_sessions_of_alike_rows_widen_the_bounds():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 20)
    p = expit(np.repeat(rng.normal(0, 1.5, 60), 20) + rng.normal(0, 1.5, 1200))
    y = draw(rng, expit(logit(p) + np.repeat(rng.normal(0, 1.0, 60), 20)))
    blind, clustered = judged(y, p), judged(y, p, groups)
    for name in JUDGED:
        one, other = criterion(blind, name), criterion(clustered, name)
        assert one.estimate == pytest.approx(other.estimate, abs=0.02)
        assert abs(other.bound - other.estimate) > 1.2 * abs(one.bound - one.estimate)


def test_rows_that_repeat_in_their_group_are_no_further_evidence():
    rng = np.random.default_rng(0)
    p = expit(rng.normal(0, 2, 80))
    y = draw(rng, p)
    distinct = judged(y, p)
    repeated = judged(np.repeat(y, 20), np.repeat(p, 20), np.repeat(np.arange(80), 20))
    blind = judged(np.repeat(y, 20), np.repeat(p, 20))
    for name in JUDGED:
        one, other, unaware = (criterion(d, name) for d in (distinct, repeated, blind))
        assert (other.bound - one.bound) * (1 if name == "ECE" else -1) >= -1e-9
        margin = abs(other.bound - other.estimate)
        assert margin >= 0.95 * abs(one.bound - one.estimate)
        assert margin > 3 * abs(unaware.bound - unaware.estimate)
    one, other = (criterion(d, "Recall").bound for d in (distinct, repeated))
    assert other <= one + 1e-9


# --- beside the current model ----------------------------------------------------------------


def test_a_newcomer_is_worse_only_when_the_paired_rows_say_so():
    rng = np.random.default_rng(0)
    y, p = sharp(rng, 2000)
    blurred = 0.5 * p + 0.25
    better, worse, same = (compare(y, *pair, None) for pair in ((p, blurred), (blurred, p), (p, p)))
    assert worse.worse
    assert not better.worse
    assert not same.worse
    assert better.difference.high < 0 < worse.difference.low
    assert worse.difference.estimate == pytest.approx(
        np.mean((blurred - y) ** 2) - np.mean((p - y) ** 2)
    )
    assert (same.difference.estimate, same.n) == (0.0, 2000)


def test_a_difference_by_chance_is_not_worse():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(DRAWS):
        y, p = sharp(rng, 300)
        one, other = (np.clip(p + rng.normal(0, 0.05, 300), 0, 1) for _ in range(2))
        found += compare(y, one, other, None).worse
    assert found <= 0.09 * DRAWS


def test_groups_make_a_comparison_less_sure():
    rng = np.random.default_rng(0)
    y, p = sharp(rng, 100)
    other = np.clip(p + rng.normal(0.02, 0.1, 100), 0, 1)
    rows = [np.repeat(values, 20) for values in (y, other, p)]
    alone = compare(y, other, p, None).difference
    repeated = compare(*rows, np.repeat(np.arange(100), 20)).difference
    assert (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high))
    assert compare(*rows, None).difference.low > alone.low


def test_no_common_rows_compare_nothing():
    none = np.array([])
    empty = compare(none, none, none, None)
    assert not empty.worse
    assert math.isnan(empty.difference.estimate)


def test_a_criterion_is_recorded_as_json():
    document = Criterion("c", 0.5, None, 0.1, 3, UNDECIDED, 7, "n").to_document()
    assert document["verdict"] == "INSUFFICIENT_EVIDENCE"
    assert type(document["verdict"]) is str
    assert canonical_json(document)


@pytest.mark.parametrize("limits", [{"max_ece": 5.0}, {"min_accuracy": -3.0}])
def test_limits_lie_between_zero_and_one(limits):
    with pytest.raises(UsageError):
        Limits(**limits)


# --- without labels, and beside a plainer model ----------------------------------------------


def test_without_labels_of_both_classes_nothing_is_decided():
    decision = undecided(LIMITS, 0)
    assert decision.verdict == UNDECIDED
    assert {c.verdict for c in decision.criteria} == {UNDECIDED}
    assert {c.estimate for c in decision.criteria} == {None}
    names = [c.name for c in decision.criteria]
    assert names[:2] == ["ECE <= 0.08", "Accuracy >= 0.85"]


def test_a_model_that_is_as_good_as_the_plainer_one_row_by_row_is_not_worse():
    y, p = GOOD
    decision = judged(y, p, reference=Reference("logistic", p))
    assert criterion(decision, "Brier loss less that of logistic").verdict == PASS
    assert decision.verdict == PASS


def test_a_better_model_passes_and_a_worse_one_never_does():
    rng = np.random.default_rng(0)
    y, p = sharp(rng, 4000)
    blurred = expit(0.5 * logit(p))
    better = judged(y, p, reference=Reference("logistic", blurred))
    worse = judged(y, blurred, reference=Reference("logistic", p))
    assert criterion(better, "Brier loss less").verdict == PASS
    assert criterion(worse, "Brier loss less").verdict == FAIL
    assert worse.verdict == FAIL


def test_a_model_that_is_not_shown_to_be_no_worse_is_undecided():
    rng = np.random.default_rng(1)
    y, p = sharp(rng, 600)
    noisy = np.clip(p + rng.normal(0, 0.02, 600), 0.01, 0.99)
    also_noisy = np.clip(p + rng.normal(0, 0.02, 600), 0.01, 0.99)
    decision = judged(y, noisy, reference=Reference("logistic", also_noisy))
    found = criterion(decision, "Brier loss less")
    assert found.verdict == UNDECIDED
    assert decision.verdict != PASS


def test_equally_good_models_pass_beside_each_other_at_most_one_time_in_twenty():
    rng = np.random.default_rng(2)
    passed = 0
    for _ in range(DRAWS):
        y, p = sharp(rng, 500)
        one, other = (np.clip(p + rng.normal(0, 0.03, 500), 0.01, 0.99) for _ in range(2))
        decision = judged(y, one, reference=Reference("logistic", other))
        passed += criterion(decision, "Brier loss less").verdict == PASS
    assert passed <= 0.05 * DRAWS + 3 * math.sqrt(0.05 * 0.95 * DRAWS)


def test_probabilities_that_are_not_numbers_fail_beside_any_model():
    y, p = GOOD
    broken = np.where(np.arange(len(p)) == 3, np.nan, p)
    decision = judged(y, broken, reference=Reference("logistic", p))
    assert criterion(decision, "Brier loss less").verdict == FAIL


def test_where_a_budget_sets_the_threshold_half_of_the_positives_must_be_found():
    def found(hits, misses):
        y = np.repeat([1, 1, 0], [hits, misses, 4000])
        p = np.repeat([0.9, 0.02, 0.02], [hits, misses, 4000])
        return criterion(judged(y, p, min_recall=0.5), "Recall >= 0.5").verdict

    assert found(90, 10) == PASS
    assert found(10, 90) == FAIL
    assert found(31, 26) == UNDECIDED
    assert criterion(undecided(LIMITS, 0, min_recall=0.5), "Recall >= 0.5").threshold == 0.5


def test_percentiles_leave_open_what_asks_for_probabilities_and_nothing_else():
    y, p = GOOD
    decision = judged(y, p, is_calibrated=False, challenges={"ECE.csv": ScoredSet(y, p)})
    verdicts = {c.name: c.verdict for c in decision.criteria}
    for prefix in ("", "ECE.csv: "):
        assert verdicts[f"{prefix}ECE <= 0.08"] == UNDECIDED
        assert verdicts[f"{prefix}Skill over the base rate > 0"] == UNDECIDED
        assert verdicts[f"{prefix}Accuracy >= 0.85"] == PASS
