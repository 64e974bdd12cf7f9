import json
import re
from pathlib import Path

import numpy as np
import pytest

from nethical.errors import UsageError
from nethical.models import catalog
from nethical.models.base import Parameter, Settings, Traits, filled
from nethical.run import silent
from nethical.testing.cases import generated

PAGE = Path(__file__).parents[2] / "training" / "README.md"
RATE = Parameter("rate", 0.1, 0.01, 1.0, is_log=True)
LEAVES = Parameter("leaves", 31, 2, 99, is_whole=True)
KIND = Parameter("kind", "auto", choices=("auto", 1, 2))
SPACE = (RATE, LEAVES, KIND)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [(RATE, 0.01), (RATE, 1), (LEAVES, 2), (LEAVES, 99), (KIND, "auto"), (KIND, 2)],
)
def test_a_value_within_the_range_is_taken(parameter, value):
    parameter.check(value)


NUMBER = "give a number from 0.01 to 1"
WHOLE = "give a whole number from 2 to 99"
CHOICE = "give one of auto, 1, 2"


@pytest.mark.parametrize(
    ("parameter", "value", "mend"),
    [
        *[(RATE, value, NUMBER) for value in (0.0, 1.001, float("nan"), float("inf"), "x", None)],
        *[(LEAVES, value, WHOLE) for value in (1, 100, 31.0, True, "31")],
        *[(KIND, value, CHOICE) for value in ("other", 3, 1.0, True)],
        (Parameter("free", 0.0), float("inf"), "give a number"),
        (Parameter("half", 1.0, 0.0), -1, "give a number from 0"),
    ],
)
def test_another_value_is_refused_with_the_name_and_the_range(parameter, value, mend):
    with pytest.raises(UsageError) as caught:
        parameter.check(value)
    assert caught.value.what == f"the parameter {parameter.name!r} is {value!r}"
    assert caught.value.mend == mend


def test_what_is_not_given_has_its_default_and_whole_numbers_become_real_ones():
    assert filled(SPACE, {}) == {"rate": 0.1, "leaves": 31, "kind": "auto"}
    values = filled(SPACE, {"kind": 2, "rate": 1})
    assert values == {"rate": 1.0, "leaves": 31, "kind": 2}
    assert [type(value) for value in values.values()] == [float, int, int]


def test_an_unknown_name_is_refused_with_the_names_that_there_are():
    with pytest.raises(UsageError, match="no parameter 'speed'") as caught:
        filled(SPACE, {"speed": 1})
    assert caught.value.mend == "choose one of rate, leaves, kind"
    with pytest.raises(UsageError) as caught:
        filled((), {"speed": 1})
    assert caught.value.mend == "leave it out: this model type has no parameters"


def test_a_parameter_is_told_as_json():
    assert json.loads(json.dumps(KIND.to_document())) == {
        "name": "kind",
        "default": "auto",
        "low": None,
        "high": None,
        "is_log": False,
        "is_whole": False,
        "choices": ["auto", 1, 2],
    }


def test_the_catalog_tells_and_checks_the_parameters_of_a_type():
    values = catalog.parameters("correlation", {"num_leaves": 7})
    assert values["num_leaves"] == 7
    assert values["min_data_in_leaf"] == 100
    with pytest.raises(UsageError, match="no parameter 'bins'"):
        catalog.build("logistic", Settings(parameters={"bins": 3}))


def test_a_type_of_somebody_else_without_parameters_stays_valid(monkeypatch):
    class Plain:
        model_type = "plain"

    monkeypatch.setattr(catalog, "_builder", lambda _: lambda _: Plain())
    assert catalog.traits("plain") == Traits()
    assert isinstance(catalog.build("plain", Settings()), Plain)
    with pytest.raises(UsageError, match="no parameter 'x'"):
        catalog.build("plain", Settings(parameters={"x": 1}))


def fit(model_type, rows=None, **parameters):
    model = catalog.build(model_type, Settings(epochs=30, parameters=parameters))
    rows = generated("mixed", 400, 1) if rows is None else rows
    return model.fit(rows, rng=np.random.default_rng(7), progress=silent)


@pytest.mark.parametrize("model_type", ["heuristic", "logistic"])
def test_a_stronger_penalty_draws_scores_together(model_type):
    rows = generated("numeric", 400, 1)
    spreads = [fit(model_type, rows, penalty=p).score(rows).std() for p in (0.1, 10, 1000)]
    assert spreads[0] > spreads[1] > spreads[2]


def test_words_have_a_penalty_of_their_own():
    rows = generated("text", 400, 1)
    spreads = [fit("logistic", rows, gram_penalty=p).score(rows).std() for p in (0.01, 1, 100)]
    assert spreads[0] > spreads[1] > spreads[2]


def test_a_heavier_positive_row_counts_as_copies_of_it():
    rows, judged = generated("numeric", 400, 1), generated("numeric", 300, 2)
    copies = rows.rows(np.concatenate([np.arange(400), *[np.flatnonzero(rows.y)] * 2]))
    plain, heavy, copied = (
        fit("logistic", table, **given).score(judged)
        for table, given in ((rows, {}), (rows, {"positive_weight": 3}), (copies, {}))
    )
    # What is left comes from the scale of the numbers, which sees the copies.
    assert np.abs(heavy - copied).mean() < 0.1
    assert (heavy - plain).mean() > 0.5
    card = fit("heuristic", rows, positive_weight=3).score(judged)
    assert (card - fit("heuristic", rows).score(judged)).mean() > 0.5


def test_a_card_has_no_more_steps_than_bins():
    card = fit("heuristic", n_bins=3).card
    steps = [len(term["edges"]) for term in card["terms"] if term["kind"] == "bins"]
    assert steps
    assert max(steps) <= 2
    tokens = fit("heuristic", n_tokens=10).card["terms"]
    assert all(len(term["points"]) <= 10 for term in tokens if term["kind"] == "tokens")


def test_trees_have_no_more_leaves_than_asked_for():
    for leaves in (2, 5):
        text = fit("boosted", num_leaves=leaves).to_parts().texts["trees.txt"]
        assert {int(n) for n in re.findall(r"num_leaves=(\d+)", text)} == {leaves}


def test_the_forest_and_the_order_of_anomaly_are_those_asked_for():
    model = fit("anomaly", n_trees=30, sample_rows=64, order=2)
    cells, *runs = [part.to_parts() for part in model._parts]
    assert cells.arrays["forest.columns"].shape == (30, 63)
    assert all(run.document["order"] == 2 for run in runs)
    assert "mean surprise, order 2" in str(model.fitting.details["detectors"])


def test_every_parameter_stands_on_the_training_page_as_it_is_declared():
    text = PAGE.read_text()
    lines = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\S+) \| ([^|]+) \|", text, re.MULTILINE)
    declared = [
        (
            name,
            parameter.name,
            parameter.default if isinstance(parameter.default, str) else f"{parameter.default:g}",
            ", ".join(map(str, parameter.choices))
            or f"{parameter.low:.6g} to {parameter.high:.6g}",
        )
        for name in catalog.BUILT_IN
        for parameter in catalog.traits(name).space
    ]
    assert lines == declared
