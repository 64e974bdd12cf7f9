"""How a report says its values."""

import pytest

from nethical.drift.effects import MARGINS
from nethical.drift.page_words import (
    METRICS,
    QUESTIONS,
    difference,
    joined,
    measured,
    p_value,
    rows_needed,
    short_ruling,
    signed,
)
from nethical.drift.questions import Kind


def effect(metric, change, verdict="beyond"):
    return {"metric": metric, "effect": change, "verdict": verdict, "rows_needed": 12_345}


def test_numbers_are_told_as_people_read_them():
    assert [signed(value) for value in (0.1234, -0.1, -0.0001, 0.0, None)] == [
        *("+0.123", "-0.100", "0.000", "0.000", "unknown")
    ]
    assert [p_value(p) for p in (0.01234, 3.24893e-47, 1.0, None)] == [
        *("0.012", "3.2e-47", "1", "unknown")
    ]
    assert difference({"effect": -0.5, "ci": [-0.6, 0.1]}) == "-0.500 [-0.600,\u00a0+0.100]"
    assert measured({"value": 0.5, "ci": [0.4, None]}) == "0.500 [0.400,\u00a0unknown]"
    unknown = {"effect": None, "value": None, "ci": [None, None]}
    assert difference(unknown) == measured(unknown) == "unknown"


@pytest.mark.parametrize(
    ("metric", "change", "told"),
    [
        ("recall", -0.1, "worse, beyond margin"),
        ("accuracy", 0.1, "better, beyond margin"),
        ("false_positive_rate", 0.1, "worse, beyond margin"),
        ("ece", 0.1, "worse, beyond margin"),
        ("brier", -0.1, "better, beyond margin"),
        ("score_distribution", 0.2, "beyond margin"),
    ],
)
def test_a_change_beyond_its_margin_is_called_better_or_worse(metric, change, told):
    assert short_ruling(effect(metric, change), "same_model_other_rows") == told
    assert short_ruling(effect(metric, change), "single_retrain") == "differs, not judged"


def test_rows_are_asked_for_only_where_more_of_them_decide():
    assert rows_needed(effect("recall", 0.1, "undecided")) == "12,345"
    assert rows_needed(effect("recall", 0.1, "beyond")) == ""


def test_every_kind_has_a_question_and_every_effect_a_name():
    assert {kind.value for kind in Kind} == set(QUESTIONS)
    assert set(MARGINS) <= set(METRICS)


def test_words_are_joined_as_people_join_them():
    assert joined([]) == ()
    assert joined(["a"]) == ("a",)
    assert joined(["a", ("b", "c")]) == ("a", " and ", "b", "c")
