"""A configuration is its content; what becomes of it follows one table; fitness invents nothing."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical.decisions import Thresholds
from nethical.errors import UsageError
from nethical.governance.configurations import MOVES, Configuration, Status, check_move, fitness
from nethical.plan import Plan

DECISION = {
    "classifier_threshold": 0.5,
    "confidence_threshold": 0.7,
    "gray_zone_lower": 0.4,
    "gray_zone_upper": 0.6,
}
TRAINING = {"epochs": 5, "batch_size": 32, "parameters": {"depth": 3, "rate": 0.1}}
LEGAL = {
    ("candidate", "shadow"),
    ("candidate", "production"),
    ("candidate", "rejected"),
    ("shadow", "production"),
    ("shadow", "rejected"),
    ("production", "deprecated"),
    ("deprecated", "production"),
}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(Status, Status)))
def test_a_move_is_allowed_exactly_where_the_table_has_it(old, new):
    if (old.value, new.value) in LEGAL:
        check_move(old, new)
        return
    with pytest.raises(UsageError, match=f"{old} cannot become {new}") as refused:
        check_move(old, new)
    allowed = sorted(b for a, b in LEGAL if a == old.value)
    assert refused.value.mend == f"from {old} it may become: {', '.join(allowed) or 'nothing'}"


def test_the_table_has_a_line_for_each_status():
    assert set(MOVES) == set(Status)


def configuration(**changes):
    return Configuration(
        changes.get("model_type", "logistic"),
        {**TRAINING, **changes.get("training", {})},
        {**DECISION, **changes.get("decision", {})},
    )


def test_the_same_choices_are_the_same_configuration_in_whatever_order_they_are_told():
    reordered = Configuration(
        "logistic", dict(reversed(TRAINING.items())), dict(reversed(DECISION.items()))
    )
    assert reordered.configuration_id == configuration().configuration_id
    assert reordered.digest == configuration().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "boosted"},
        {"training": {"epochs": 6}},
        {"training": {"batch_size": 33}},
        {"training": {"parameters": {"depth": 3, "rate": 0.2}}},
        *({"decision": {name: 0.45}} for name in DECISION),
    ],
)
def test_another_choice_is_another_configuration(changes):
    assert configuration(**changes).configuration_id != configuration().configuration_id


def test_an_id_is_the_beginning_of_the_digest():
    found = configuration()
    assert found.digest.startswith(f"sha256:{found.configuration_id.removeprefix('cfg_')}")
    assert len(found.configuration_id) == 16


def test_a_configuration_comes_back_from_its_document():
    found = configuration()
    assert Configuration.from_document(found.to_document()) == found


def test_a_run_is_repeated_by_its_configuration():
    plan = Plan(model_type="logistic", epochs=4, batch_size=16)
    thresholds = Thresholds(0.31, 0.2, 0.5, 0.8, "solved")
    found = Configuration.of(plan, thresholds)
    again = found.plan(Plan(model_type="heuristic"))
    assert (again.model_type, again.epochs, again.batch_size) == ("logistic", 4, 16)
    assert again.threshold is None
    decided = Thresholds.configured(again.thresholds)
    assert Configuration.of(again, decided).configuration_id == found.configuration_id


SHARES = st.none() | st.floats(0, 1)


@given(SHARES, SHARES, st.none() | st.floats(0, 1e4), SHARES)
def test_fitness_adds_what_is_known_and_says_how_much_that_is(recall, fpr, latency, agreement):
    score, terms = fitness(recall, fpr, latency, agreement)
    expected, known = 0.0, 0
    if recall is not None:
        expected, known = expected + 0.4 * recall, known + 1
    if fpr is not None:
        expected, known = expected - 0.25 * fpr, known + 1
    if latency is not None:
        expected, known = expected - 0.15 * min(latency / 100, 1), known + 1
    if agreement is not None:
        expected, known = expected + 0.2 * agreement, known + 1
    assert terms == known
    assert score == (pytest.approx(expected) if known else None)


def test_fitness_of_the_document_s_example():
    assert fitness(0.9, 0.05, 20.0, 0.9) == (pytest.approx(0.36 - 0.0125 - 0.03 + 0.18), 4)


def test_an_unknown_agreement_is_no_term_of_the_fitness_and_never_a_number():
    known, _ = fitness(0.9, 0.05, 20.0, 0.0)
    score, terms = fitness(0.9, 0.05, 20.0, None)
    assert terms == 3
    assert score == known
    assert fitness(None, None, None, None) == (None, 0)
