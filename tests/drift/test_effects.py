import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical.drift import effects as module
from nethical.drift.effects import (
    MARGINS,
    SHARES,
    Effect,
    EffectVerdict,
    Gap,
    Settings,
    Verdict,
    effect,
    known,
    verdict_of,
)
from nethical.errors import UsageError
from nethical.metrics.intervals import Interval, normal_quantile

BEYOND, WITHIN = EffectVerdict.BEYOND, EffectVerdict.WITHIN
UNDECIDED, UNKNOWN = EffectVerdict.UNDECIDED, EffectVerdict.NOT_ASSESSABLE
NAN = math.nan


def gap(low, high, n=(500, 500)):
    return Gap(0.8, 0.8, Interval((low + high) / 2, low, high), n)


def judged(low, high, n=(500, 500), **more):
    """The verdict on accuracy, whose margin is .02."""
    return effect("accuracy", gap(low, high, n), Settings(), **more).verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.021, 0.08, BEYOND),
        (-0.08, -0.021, BEYOND),
        (-0.019, 0.019, WITHIN),
        (0.001, 0.019, WITHIN),  # a difference, but one that does not matter
        (0.02, 0.08, UNDECIDED),  # a bound on the margin decides nothing
        (-0.02, 0.01, UNDECIDED),
        (0.0, 0.02, UNDECIDED),
        (0.01, 0.03, UNDECIDED),
        (-0.5, 0.5, UNDECIDED),
        (-math.inf, math.inf, UNKNOWN),
        (0.03, math.inf, UNKNOWN),
        (NAN, NAN, UNKNOWN),
    ],
)
def test_an_effect_is_judged_by_its_whole_interval(low, high, verdict):
    assert judged(low, high) == verdict


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ([], Verdict.INCONCLUSIVE),
        ([WITHIN, WITHIN], Verdict.NO_DRIFT),
        ([WITHIN, UNDECIDED], Verdict.INCONCLUSIVE),
        ([WITHIN, UNKNOWN], Verdict.INCONCLUSIVE),
        ([UNKNOWN, UNKNOWN], Verdict.INCONCLUSIVE),
        ([WITHIN, BEYOND], Verdict.DRIFT),
        ([BEYOND, UNDECIDED, UNKNOWN], Verdict.DRIFT),
    ],
)
def test_drift_needs_one_effect_beyond_and_no_drift_needs_all_within(verdicts, together):
    found = [Effect("accuracy", gap(0, 0), 0.02, verdict) for verdict in verdicts]
    assert verdict_of(found) == together


@given(st.floats(-0.5, 0.5), st.floats(0, 0.5))
def test_a_verdict_does_not_depend_on_the_direction(middle, half):
    assert judged(middle - half, middle + half) == judged(-middle - half, -middle + half)


@pytest.mark.parametrize("n", [(9, 10**6), (10**6, 9), (0, 0)])
def test_fewer_than_ten_in_a_denominator_are_never_judged(n):
    assert judged(0.5, 0.9, n) == UNKNOWN
    assert judged(0.5, 0.9, (10, 10)) == BEYOND


def test_no_number_of_rows_is_enough_where_none_is():
    assert judged(0.5, 0.9, fewest=math.inf) == UNKNOWN


def test_the_bounds_of_all_effects_miss_together_no_oftener_than_alpha():
    for settings in (Settings(), Settings(alpha=0.2, comparisons=7)):
        missed = sum(2 * (1 - settings.level(name)) for name in MARGINS)
        assert missed * settings.comparisons == pytest.approx(settings.alpha)
    assert set(SHARES) == set(MARGINS)


def test_what_is_detectable_is_found_in_four_of_five_cases_and_not_of_less():
    half, settings = 0.01, Settings()
    found = effect("accuracy", gap(-half, half), settings)
    error = half / normal_quantile(settings.level("accuracy"))
    # The lower bound of an estimate around the detectable change is above the margin with 80 %.
    above = (found.detectable - half - found.margin) / error
    assert above == pytest.approx(normal_quantile(0.8))


def test_with_the_rows_that_are_needed_no_change_is_seen_to_be_none_in_four_of_five_cases():
    settings = Settings()
    found = effect("accuracy", gap(-0.05, 0.05, (400, 900)), settings)
    assert found.verdict == UNDECIDED
    half = 0.05 * math.sqrt((2 / found.rows_needed) / (1 / 400 + 1 / 900))
    error = half / normal_quantile(settings.level("accuracy"))
    beside = (found.margin - half) / error  # the estimate may lie so many errors off, either way
    assert normal_quantile(0.9) == pytest.approx(beside, rel=1e-3)


def test_rows_that_are_needed_are_all_rows_of_which_a_rate_counts_a_part():
    every = effect("recall", gap(-0.1, 0.1, (500, 500)), Settings())
    part = effect("recall", gap(-0.1, 0.1, (500, 500)), Settings(), rows=(10_000, 10_000))
    assert part.rows_needed == pytest.approx(20 * every.rows_needed, abs=20)
    assert part.detectable == every.detectable


def test_rows_that_nobody_has_are_not_told():
    assert effect("accuracy", gap(-1e6, 1e6), Settings()).rows_needed is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"alpha": NAN},
        {"margins": {"accuracy": 0.0}},
        {"margins": {"accuracy": 1.0}},
        {"margins": {"accurracy": 0.1}},
    ],
)
def test_settings_out_of_their_range_are_errors_of_use(wrong):
    with pytest.raises(UsageError) as caught:
        Settings(**wrong)
    assert caught.value.mend


def test_a_margin_that_is_given_counts_and_the_others_stay():
    settings = Settings(margins={"recall": 0.2})
    assert settings.margin("recall") == 0.2
    assert settings.margin("accuracy") == MARGINS["accuracy"]


def test_documents_hold_no_number_that_json_has_not():
    told = effect("ece", gap(NAN, NAN), Settings()).to_document()
    assert told["effect"] is None
    assert told["ci"] == [None, None]
    assert told["verdict"] == "not_assessable"
    assert module.Test("a", "b", NAN, (1, 2)).to_document()["p"] is None
    assert known(math.inf) is None


def test_what_is_public_is_what_is_listed():
    assert set(module.__all__) <= set(vars(module))
