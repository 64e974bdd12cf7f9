import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pytest

from nethical.data.roles import Role, RoleHints, Roles, infer
from nethical.data.table import normalise
from nethical.errors import DataError, UsageError

N = 40
LABEL = [0, 1] * (N // 2)
FLAGS = (True, False)
RNG = np.random.default_rng(0)
X = RNG.normal(size=N)


def frame(**columns):
    return normalise(pa.table({"x": X, "label": LABEL, **columns}))


def roles_of(hints=None, **columns):
    return {c.name: c for c in infer(frame(**columns), hints or RoleHints()).columns}


def role_of(values, name="c", **given):
    hints = RoleHints({name: Role(given["role"])} if given else {})
    return roles_of(hints, **{name: values})[name]


def repeated(*values):
    return list(values) * (N // len(values))


# --- the label -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["label", "Target", "CLASS", "is_fraud", "IS_BAD"])
def test_the_label_is_found_by_its_name(name):
    roles = infer(normalise(pa.table({"x": X, name: LABEL})), RoleHints())
    assert roles.one(Role.LABEL) == name
    assert roles.labelling.positive == ("1",)


def test_label_goes_before_target_before_class_before_is_something():
    columns = {"is_bad": LABEL, "class": LABEL, "target": LABEL, "label": LABEL}
    for name in ["label", "target", "class", "is_bad"]:
        roles = infer(normalise(pa.table({"x": X, **columns})), RoleHints())
        assert roles.one(Role.LABEL) == name
        assert roles.named(Role.LABEL) == (name,)
        del columns[name]


def test_two_is_columns_are_ambiguous():
    table = normalise(pa.table({"x": X, "is_a": LABEL, "is_b": LABEL}))
    with pytest.raises(DataError, match="no label column found; columns: x, is_a, is_b") as caught:
        infer(table, RoleHints())
    assert "--label-column" in caught.value.mend
    roles = infer(table, RoleHints({"is_a": Role.LABEL}))
    assert roles.one(Role.LABEL) == "is_a"
    assert [c.name for c in roles.features] == ["x", "is_b"]


def test_a_given_label_goes_before_a_named_one():
    roles = infer(frame(outcome=repeated("a", "b")), RoleHints({"outcome": Role.LABEL}))
    assert roles.one(Role.LABEL) == "outcome"
    assert "label" in [c.name for c in roles.features]


def test_a_label_like_column_with_another_role_is_not_the_label():
    with pytest.raises(DataError, match="no label column"):
        infer(frame(), RoleHints({"label": Role.NUMERIC}))


def test_no_label_is_fine_where_none_is_needed():
    roles = infer(normalise(pa.table({"x": X})), RoleHints(), label_needed=False)
    assert roles.labelling is None
    assert roles.one(Role.LABEL) is None


def test_three_classes_are_refused_and_positive_labels_reach_the_labelling():
    table = normalise(pa.table({"x": X, "label": repeated("a", "b", "c", "d")}))
    with pytest.raises(DataError, match="4 classes: 'a', 'b', 'c', 'd'"):
        infer(table, RoleHints())
    roles = infer(table, RoleHints(positive_labels=("c",)))
    assert roles.labelling.negative == ("a", "b", "d")


# --- by name ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("session_id", Role.GROUP),
        ("Group", Role.GROUP),
        ("conversation_id", Role.GROUP),
        ("agent", Role.AGENT),
        ("resource_id", Role.RESOURCE),
        ("sample_weight", Role.WEIGHT),
        ("amount", Role.AMOUNT),
    ],
)
def test_roles_are_known_by_name(name, role):
    column = role_of(repeated(1, 2, 3, 4), name)
    assert column.role == role
    assert column.why == "by its name"
    assert column.feature == (Role.NUMERIC if role == Role.AMOUNT else None)


def test_only_one_column_gets_a_single_role_by_name():
    columns = roles_of(session=repeated("a", "b"), session_id=repeated("c", "d"))
    assert columns["session"].role == Role.GROUP
    assert columns["session_id"].role == Role.CATEGORICAL


def test_a_given_single_role_keeps_others_from_taking_it_by_name():
    columns = roles_of(
        RoleHints({"who": Role.GROUP}), session=repeated("a", "b"), who=repeated("c", "d")
    )
    assert columns["who"].role == Role.GROUP
    assert columns["session"].role == Role.CATEGORICAL


@pytest.mark.parametrize("name", ["weight", "amount"])
def test_a_weight_or_amount_that_holds_words_is_an_ordinary_column(name):
    assert role_of(repeated("light", "heavy"), name).role == Role.CATEGORICAL


# --- by content ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "role", "why"),
    [
        (X, Role.NUMERIC, "numbers"),
        (RNG.integers(0, 9, N), Role.NUMERIC, "numbers"),
        (repeated(*FLAGS), Role.NUMERIC, "numbers"),
        (repeated("red", "green"), Role.CATEGORICAL, "limited"),
        ([f"word{i}" for i in range(N)], Role.TEXT, "unique"),
        (repeated("a long sentence of more than thirty letters", "b"), Role.CATEGORICAL, ""),
        (repeated("a long sentence of more than thirty letters", "also " * 9), Role.TEXT, "44"),
        ([None] * N, Role.IGNORE, "nothing"),
        ([3.5] * N, Role.IGNORE, "constant"),
        (["same"] * N, Role.IGNORE, "constant"),
        ([["a", "b"]] * N, Role.SEQUENCE, "lists"),
        ([[["a"]]] * N, Role.IGNORE, "nested"),
        ([dt.datetime(2024, 1, 1)] * N, Role.TIME, "time"),  # noqa: DTZ001
        ([dt.date(2024, 1, 1)] * N, Role.TIME, "time"),
    ],
)
def test_roles_are_known_by_content(values, role, why):
    column = role_of(values)
    assert column.role == role
    assert why in column.why
    expected = None if role in {Role.IGNORE, Role.TIME} else role
    assert column.feature == expected


def test_a_constant_column_with_gaps_is_kept_for_its_gaps():
    assert role_of(repeated(1.0, None)).role == Role.NUMERIC
    assert role_of(repeated("a", None)).role == Role.CATEGORICAL
    assert role_of(repeated(1.0, float("nan"))).role == Role.NUMERIC


@pytest.mark.parametrize(("odd", "role"), [(1, Role.IGNORE), (2, Role.NUMERIC)])
def test_a_value_that_all_but_one_of_ten_thousand_rows_share_is_near_constant(odd, role):
    n = 10_000
    table = pa.table(
        {"x": np.arange(n) / 7, "c": [1] * odd + [0] * (n - odd), "label": [0, 1] * 5000}
    )
    column = infer(normalise(table), RoleHints()).columns[1]
    assert column.role == role
    assert (column.why == "near-constant") == (role == Role.IGNORE)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("id", [f"u{i}" for i in range(N)]),
        ("user_uuid", [f"{i * 7919:032x}" for i in range(N)]),
        ("order_id", RNG.permutation(N) * 3),
        ("anything", list(range(7, 7 + N))),
        ("Unnamed: 0", RNG.permutation(N)),
        ("column 1", RNG.permutation(N)),
    ],
)
def test_a_different_value_in_every_row_is_an_id_if_named_so_or_counting(name, values):
    assert role_of(values, name).role == Role.ID


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("id", repeated(1, 2), Role.NUMERIC),
        ("id", X, Role.NUMERIC),
        ("count", RNG.permutation(N), Role.NUMERIC),
        ("id", [f"free text {i}" for i in range(N)], Role.TEXT),
        ("grid", [f"cell{i}" for i in range(N)], Role.TEXT),
        ("falling", list(range(N, 0, -1)), Role.NUMERIC),
    ],
)
def test_what_recurs_or_reads_like_words_or_is_named_otherwise_is_no_id(name, values, role):
    assert role_of(values, name).role == role


@pytest.mark.parametrize("delimiter", ["|", "->", ";", ">", ","])
def test_short_items_that_recur_make_a_sequence(delimiter):
    values = [delimiter.join(RNG.choice(["read", "write", "send"], 4)) for _ in range(N)]
    column = role_of(values)
    assert (column.role, column.delimiter) == (Role.SEQUENCE, delimiter)
    assert repr(delimiter) in column.why


def test_prose_with_commas_is_no_sequence():
    values = repeated("well, the agent did it, as ever", "no, it is not so, said the other one")
    assert role_of(values).role == Role.TEXT


def test_items_that_do_not_recur_are_no_sequence():
    assert role_of([f"{i},{i + N}" for i in range(N)]).role == Role.TEXT


def test_a_second_time_column_is_not_read():
    times = [dt.datetime(2024, 1, 1, i % 24) for i in range(N)]  # noqa: DTZ001
    columns = roles_of(created=times, updated=times)
    assert columns["created"].role == Role.TIME
    assert columns["updated"].role == Role.IGNORE
    assert columns["updated"].why == "a second time column"
    columns = roles_of(RoleHints({"updated": Role.TIME}), created=times, updated=times)
    assert columns["updated"].role == Role.TIME
    assert columns["created"].role == Role.IGNORE


# --- as given --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "role", "feature", "delimiter"),
    [
        (repeated(1, 2, 3, 4), "categorical", Role.CATEGORICAL, None),
        (repeated("a", "b"), "text", Role.TEXT, None),
        (repeated("a b", "b c"), "sequence", Role.SEQUENCE, " "),
        (repeated("a|b|a", "b|c|a"), "sequence", Role.SEQUENCE, "|"),
        (repeated(["a"], ["b"]), "sequence", Role.SEQUENCE, None),
        (list(range(N)), "numeric", Role.NUMERIC, None),
        (X, "ignore", None, None),
        (X, "id", None, None),
        (X, "weight", None, None),
        (X, "amount", Role.NUMERIC, None),
        (repeated("2024-01-01", "2024-01-02"), "time", None, None),
        ([None] * N, "group", None, None),
    ],
)
def test_a_given_role_wins_over_the_contents(values, role, feature, delimiter):
    column = role_of(values, role=role)
    assert column.role == Role(role)
    assert column.why == "as given"
    assert (column.feature, column.delimiter) == (feature, delimiter)


@pytest.mark.parametrize("role", ["numeric", "amount", "weight"])
def test_words_cannot_be_given_as_numbers(role):
    with pytest.raises(DataError, match=f"was given as {role} but holds large_string"):
        role_of(repeated("a", "b"), role=role)


def test_fairness_columns_are_kept_out_of_the_features_unless_asked_for():
    given = {"kind": Role.FAIRNESS, "age": Role.FAIRNESS}
    columns = {"kind": repeated("a", "b"), "age": RNG.integers(20, 70, N)}
    kept_out = infer(frame(**columns), RoleHints(given))
    assert [c.name for c in kept_out.features] == ["x"]
    assert kept_out.named(Role.FAIRNESS) == ("kind", "age")
    read = infer(frame(**columns), RoleHints(given, use_fairness_columns=True))
    assert {c.name: c.feature for c in read.features} == {
        "x": Role.NUMERIC,
        "kind": Role.CATEGORICAL,
        "age": Role.NUMERIC,
    }
    assert read.named(Role.FAIRNESS) == ("kind", "age")


def test_a_given_column_that_is_not_there_is_a_usage_error():
    with pytest.raises(UsageError, match="'nope' is not in the data; found: x, label"):
        infer(frame(), RoleHints({"nope": Role.TEXT}))


def test_two_columns_cannot_both_be_the_group():
    hints = RoleHints({"a": Role.GROUP, "b": Role.GROUP})
    with pytest.raises(UsageError, match="'a', 'b' all have the role group"):
        infer(frame(a=repeated(1, 2), b=repeated(1, 2)), hints)


def test_several_columns_can_be_compared_for_fairness_or_ignored():
    for role in (Role.FAIRNESS, Role.IGNORE, Role.ID):
        hints = RoleHints({"a": role, "b": role})
        assert infer(frame(a=repeated(1, 2), b=repeated(1, 2)), hints).named(role) == ("a", "b")


def test_a_table_without_features_is_an_error():
    with pytest.raises(DataError, match="no column is left to learn from; columns: id, label"):
        infer(normalise(pa.table({"id": list(range(N)), "label": LABEL})), RoleHints())


# --- the roles themselves --------------------------------------------------------------------


def test_roles_survive_their_document_as_json():
    actions = [delimiter.join(["read", "write"] * 3) for delimiter in ["|"] * N]
    hints = RoleHints({"kind": Role.FAIRNESS}, use_fairness_columns=True)
    roles = infer(frame(actions=actions, kind=repeated("a", "b"), session=repeated(1, 2)), hints)
    assert Roles.from_document(json.loads(json.dumps(roles.to_document()))) == roles
    unlabelled = infer(normalise(pa.table({"x": X})), RoleHints(), label_needed=False)
    assert Roles.from_document(unlabelled.to_document()) == unlabelled


def test_a_dropped_column_is_no_longer_read_and_the_rest_stays():
    roles = infer(frame(c=repeated("a", "b")), RoleHints())
    without = roles.without({"c"})
    assert [c.name for c in without.features] == ["x"]
    assert without.columns[2].role == Role.IGNORE
    assert without.labelling == roles.labelling
    assert roles.without(set()) == roles


# --- without a label -------------------------------------------------------------------------


def test_a_table_without_a_label_has_roles_where_none_is_needed():
    table = normalise(pa.table({"x": X, "y": X}))
    assert infer(table, RoleHints(), label_needed=False).labelling is None
    with pytest.raises(DataError, match="no label column"):
        infer(table, RoleHints())


def test_who_knows_no_positive_learns_the_label_from_another_table():
    bare = infer(normalise(pa.table({"x": X})), RoleHints(), label_needed=False)
    labels = {"x": X, "label": LABEL}
    for known in (bare, infer(frame(label=[0] * N), RoleHints(), label_needed=False)):
        found = known.labelled_by(normalise(pa.table(labels)), RoleHints())
        assert found.labelling.positive == ("1",)
        assert found.one(Role.LABEL) == "label"
        assert found.features == known.features
    known = infer(frame(), RoleHints())
    assert known.labelled_by(normalise(pa.table({"x": X, "label": ["a", "b"] * 20})), None) is known
