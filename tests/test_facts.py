import dataclasses
import json

import pytest

from nethical import facts
from nethical.canonical import canonical_json
from nethical.facts import Fact

KINDS = [getattr(facts, name) for name in facts.__all__ if name != "Fact"]
EXAMPLES = {
    "str": "text",
    "str | None": None,
    "int": 3,
    "int | None": None,
    "float": 0.5,
    "bool": True,
    "float | None": None,
    "dict[str, Any]": {"a": [1, None, {"b": "c"}]},
    "dict[str, Any] | None": None,
    "dict[str, int]": {"train": 7},
    "dict[str, float | None]": {"ece": None},
    "dict[str, list[float | None]]": {"ece": [0.1, None]},
    "list[str]": ["a"],
    "list[dict[str, Any]]": [{"column": "c"}],
}


def example(kind):
    return kind(**{field.name: EXAMPLES[field.type] for field in dataclasses.fields(kind)})


def test_every_fact_is_public():
    assert set(KINDS) == set(Fact.__subclasses__())


def test_each_kind_has_a_name_of_its_own():
    names = [kind.event_type for kind in KINDS]
    assert len(set(names)) == len(names)


def test_the_names_that_scripts_look_for_are_there():
    assert {
        "training_start",
        "data_loaded",
        "data_split",
        "training_completed",
        "validation_metrics",
        "model_saved",
    } <= {kind.event_type for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fact_is_json_with_its_kind_first_and_nothing_left_out(kind):
    document = example(kind).to_document()
    assert next(iter(document.items())) == ("event_type", kind.event_type)
    assert list(document)[1:] == [field.name for field in dataclasses.fields(kind)]
    assert json.loads(canonical_json(document)) == document


@pytest.mark.parametrize("kind", KINDS)
def test_a_fact_cannot_be_changed(kind):
    fact = example(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(fact, dataclasses.fields(kind)[0].name, "other")


def test_a_document_shares_nothing_with_its_fact():
    fact = facts.DataLoaded("file:t.csv", 3, 2, 0, "sha256:00", {"files": ["a"]})
    fact.to_document()["details"]["files"].append("b")
    assert fact.details == {"files": ["a"]}
