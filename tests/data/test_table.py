import datetime as dt
import decimal
import struct

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from nethical.data.roles import Role, RoleHints, infer
from nethical.data.rows import seed_key
from nethical.data.table import LabelledTable, Table, normalise, table_digest, to_arrow
from nethical.errors import DataError

MOMENT = dt.datetime(2024, 5, 1, 12, 30, 0, 250_000)  # noqa: DTZ001


def labelled(hints=None, **columns):
    frame = normalise(pa.table(columns))
    return LabelledTable.read(frame, infer(frame, RoleHints(hints or {})))[0]


def digest_of(values, kind=None):
    return table_digest(normalise(pa.table({"a": pa.array(values, kind)})))


# --- frames of any kind ----------------------------------------------------------------------


def test_frames_of_every_kind_become_the_same_table():
    columns = {
        "n": [1, 2, 3],
        "x": [0.5, None, 2.5],
        "t": ["a", None, "c"],
        "b": [True, False, True],
    }
    table = to_arrow(pa.table(columns))
    for frame in (pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns).to_batches()[0]):
        assert to_arrow(frame).equals(table)
        assert table_digest(to_arrow(frame)) == table_digest(table)
    assert [str(kind) for kind in table.schema.types] == ["int64", "double", "large_string", "bool"]


def test_an_array_gets_the_names_of_the_feature_columns():
    table = to_arrow(np.array([[1.0, 2.0], [3.0, 4.0]]), ("a", "b"))
    assert table.to_pydict() == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


@pytest.mark.parametrize("shape", [(2, 3), (2,), (1, 2, 1)])
def test_an_array_of_another_shape_is_refused(shape):
    with pytest.raises(DataError, match="does not fit the 2 feature columns") as caught:
        to_arrow(np.zeros(shape), ("a", "b"))
    assert caught.value.mend == "pass shape (n, 2) in the order a, b"


def test_what_is_no_frame_is_refused():
    with pytest.raises(DataError, match="cannot read a table from dict"):
        to_arrow({"a": [1]})


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (pa.array([1, None], pa.int8()), "int64", [1, None]),
        (pa.array([1, 2**63], pa.uint64()), "double", [1.0, 2.0**63]),
        (pa.array(np.array([0.5, 2], np.float16)), "double", [0.5, 2.0]),
        (pa.array([decimal.Decimal("1.25"), None]), "double", [1.25, None]),
        (pa.array(["a", None], pa.string_view()), "large_string", ["a", None]),
        (pa.array(["a", "a"]).dictionary_encode(), "large_string", ["a", "a"]),
        (pa.array([dt.date(2024, 5, 1)]), "timestamp[us]", [dt.datetime(2024, 5, 1)]),  # noqa: DTZ001
        (pa.array([MOMENT], pa.timestamp("ns")), "timestamp[us]", [MOMENT]),
        (
            pa.array([MOMENT], pa.timestamp("us", "UTC")).cast(pa.timestamp("us", "Asia/Tokyo")),
            "timestamp[us]",
            [MOMENT],
        ),
        (pa.array([[1, None], None]), "large_list<item: large_string>", [["1", None], None]),
        (pa.array([{"a": 1}]), "null", [None]),
        (pa.array([[["a"]]]), "null", [None]),
        (pa.nulls(2), "null", [None, None]),
    ],
)
def test_each_kind_of_value_has_one_type(array, kind, values):
    column = normalise(pa.table({"c": array})).column("c")
    assert str(column.type) == kind
    assert column.to_pylist() == values


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(DataError, match="two columns are named 'a'"):
        normalise(pa.table([[1], [2]], names=["a", "a"]))


def test_bytes_are_refused_by_the_name_of_their_column():
    with pytest.raises(DataError, match="column 'raw' holds bytes"):
        normalise(pa.table({"raw": [b"\xff"]}))


# --- the digest ------------------------------------------------------------------------------


def test_the_digest_knows_nothing_of_chunks_slices_or_bytes_under_missing_values():
    mask = np.array([False, True, False])
    hidden = pa.array(np.array([1, 99, 3]), mask=mask)
    text = pa.LargeStringArray.from_buffers(
        3,
        pa.py_buffer(np.array([0, 1, 4, 5])),
        pa.py_buffer(b"aXYZc"),
        pa.py_buffer(b"\x05"),
    )
    lists = pa.array([["a"], None, ["b", "c"]], pa.large_list(pa.large_string()))
    odd = pa.table({"n": hidden, "t": text, "l": lists})
    plain = pa.table(
        {
            "n": pa.chunked_array([[1], [], [None, 3]], pa.int64()),
            "t": pa.chunked_array([["a", None], ["c"]], pa.large_string()),
            "l": pa.chunked_array([lists.slice(0, 1), lists.slice(1, 0), lists.slice(1, 2)]),
        }
    )
    assert table_digest(odd) == table_digest(plain)
    longer = pa.concat_tables([plain.slice(2), plain, plain.slice(0, 1)])
    assert table_digest(longer.slice(1, 3)) == table_digest(plain)
    assert table_digest(plain).startswith("sha256:")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (([1, 2], None), ([2, 1], None)),
        (([1, 2], None), ([1.0, 2.0], None)),
        (([0], None), ([None], pa.int64())),
        ((["ab", "c"], None), (["a", "bc"], None)),
        (([["a"], ["b"]], None), ([["a", "b"], []], None)),
        (([["a"], []], None), ([["a"], None], None)),
        (([True], None), ([1], None)),
        (([None], pa.int64()), ([None], None)),
        (([1.0], None), ([np.nextafter(1.0, 2)], None)),
        (([float("nan")], None), ([None], pa.float64())),
    ],
)
def test_the_digest_tells_other_content_apart(one, other):
    assert digest_of(*one) != digest_of(*other)


def test_the_digest_depends_on_names_and_order_of_columns():
    frames = [{"a": [1], "b": [2]}, {"b": [2], "a": [1]}, {"a": [1], "c": [2]}, {"a": [1]}]
    assert len({table_digest(pa.table(frame)) for frame in frames}) == 4


def test_the_two_zeros_are_one_value():
    assert digest_of([0.0]) == digest_of([-0.0])


def test_a_text_cannot_be_written_so_that_it_passes_for_a_gap_and_another_column():
    header = b"b\0large_string\0002\0"
    second_column = struct.pack("<Q", len(header)) + header + struct.pack("<QQ", 22, 0) + b"v" * 22
    crafted = {"a": [(b"\0" + second_column).decode(), ""]}
    honest = {"a": ["", None], "b": ["v" * 22, ""]}
    assert len(crafted["a"][0]) == 0x40, "reads as the bits of the gap"
    frames = [normalise(pa.table(frame)) for frame in (crafted, honest)]
    assert table_digest(frames[0]) != table_digest(frames[1])


# --- columns as models read them -------------------------------------------------------------


def test_numbers_are_floats_with_nan_where_missing_or_infinite():
    infinite = float("inf")
    table = labelled(
        n=[1, 2, None, 4],
        x=[0.5, infinite, None, -infinite],
        b=[True, False, None, True],
        label=[0, 1, 0, 1],
    )
    np.testing.assert_array_equal(table.numeric("n"), [1, 2, np.nan, 4])
    np.testing.assert_array_equal(table.numeric("x"), [0.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(table.numeric("b"), [1, 0, np.nan, 1])
    assert table.numeric("n").dtype == np.float64


def test_finite_numbers_whose_sum_is_not_stay():
    table = labelled(x=[1e308, 1e308, -1.0, 2.0], label=[0, 1, 0, 1])
    assert table.numeric("x").tolist() == [1e308, 1e308, -1.0, 2.0]


def test_texts_are_the_same_whatever_type_the_value_had():
    columns = {"i": [1, 2], "f": [1.0, 2.0], "t": ["1", "2"], "label": [0, 1]}
    table = labelled(dict.fromkeys("ift", Role.TEXT), **columns)
    assert {tuple(table.texts(name).to_pylist()) for name in "ift"} == {("1", "2")}


def test_texts_of_fractions_lists_and_gaps():
    table = labelled(
        {"f": Role.CATEGORICAL}, f=[1.0, 2.5, None], s=[["a", "b"], [], None], label=[0, 1, 0]
    )
    assert table.texts("f").to_pylist() == ["1", "2.5", None]
    assert table.texts("s").to_pylist() == ["a b", "", None]


def test_items_of_a_delimited_sequence_are_split_and_trimmed():
    values = ["read|write", "write | read ", "a->b|read", None, "|"] * 4
    chunked = pa.chunked_array([values[:3], values[3:]])
    for column in (values, chunked):
        table = labelled(s=column, label=[0, 1] * 10)
        assert table.features[0].delimiter == "|"
        assert table.items("s").to_pylist()[:5] == [
            ["read", "write"],
            ["write", "read"],
            ["a->b", "read"],
            None,
            ["", ""],
        ]


def test_items_of_a_given_sequence_are_its_words():
    table = labelled({"s": Role.SEQUENCE}, s=["read  write", " send ", "7"], label=[0, 1, 0])
    assert table.items("s").to_pylist() == [["read", "write"], ["send"], ["7"]]


def test_items_of_lists_are_the_lists():
    table = labelled(s=[["a", "b"], None, []], label=[0, 1, 0])
    assert table.items("s").to_pylist() == [["a", "b"], None, []]
    chunked = Table(pa.concat_tables([table.frame, table.frame]), table.roles)
    assert chunked.items("s").to_pylist() == [["a", "b"], None, []] * 2
    assert chunked.slice(0, 0).items("s").to_pylist() == []


def test_slices_and_masks_and_indices_take_rows():
    table = labelled(x=[10.0, 11.5, 12.0, 13.0], label=[0, 1, 1, 0])
    assert table.slice(1, 2).numeric("x").tolist() == [11.5, 12.0]
    assert table.take(np.array([True, False, False, True])).numeric("x").tolist() == [10.0, 13.0]
    chosen = table.rows(np.array([3, 1]))
    assert chosen.numeric("x").tolist() == [13.0, 11.5]
    assert chosen.y.tolist() == [0, 1]
    assert len(table.rows(table.y == 1)) == 2


# --- labelled tables -------------------------------------------------------------------------


def test_rows_without_a_label_are_counted_and_left_out():
    frame = normalise(pa.table({"x": [1.5, 2.0, 3.0, 4.0], "label": [0, None, 1, float("nan")]}))
    table, unlabelled = LabelledTable.read(frame, infer(frame, RoleHints()))
    assert unlabelled == 2
    assert table.numeric("x").tolist() == [1.5, 3.0]
    assert table.y.tolist() == [0, 1]


def test_a_table_that_lacks_the_label_column_is_refused():
    frame = normalise(pa.table({"x": [1.5, 2.0], "label": [0, 1]}))
    roles = infer(frame, RoleHints())
    with pytest.raises(DataError, match="label column 'label' is missing; found: x"):
        LabelledTable.read(frame.select(["x"]), roles)
    unlabelled = infer(frame.select(["x"]), RoleHints(), label_needed=False)
    with pytest.raises(DataError, match="the table has no label"):
        LabelledTable.read(frame.select(["x"]), unlabelled)


def test_digests_leave_out_label_id_weight_and_ignored_columns():
    columns = {"x": [1.5, 2.0, 3.0], "label": [0, 1, 0], "id": ["a", "b", "c"], "weight": [1, 2, 1]}
    hints = {"junk": Role.IGNORE}
    one = labelled(hints, **columns, junk=[1, 2, 3])
    other = labelled(
        hints, x=columns["x"], label=[1, 0, 0], id=["d", "e", "f"], weight=[3, 3, 1], junk=[3, 2, 1]
    )
    key = seed_key(0, "test")
    assert (one.digests(key) == other.digests(key)).all()
    assert one.digests(key).shape == (3, 2)
    changed = labelled(hints, **{**columns, "x": [1.5, 2.0, 4.0]}, junk=[1, 2, 3])
    assert (one.digests(key) == changed.digests(key)).all(axis=1).tolist() == [True, True, False]


def test_groups_are_codes_by_name_and_a_row_without_one_is_its_own():
    table = labelled(
        x=[1.5, 2, 3, 4, 5], session=["b", "a", None, "b", None], label=[0, 1, 0, 1, 1]
    )
    groups = table.groups
    assert groups[0] == groups[3]
    assert len(set(groups.tolist())) == 4
    assert labelled(x=[1.5, 2.0], label=[0, 1]).groups is None


def test_weights_have_mean_one():
    table = labelled(x=[1.5, 2.0, 3.0], weight=[1, 2, 3], label=[0, 1, 0])
    assert table.weights.tolist() == [0.5, 1.0, 1.5]
    assert labelled(x=[1.5, 2.0], label=[0, 1]).weights is None


@pytest.mark.parametrize("weights", [[1, None, 1], [1, -1, 1], [0, 0, 0]])
def test_weights_that_are_missing_negative_or_all_zero_are_refused(weights):
    table = labelled({"w": Role.WEIGHT}, x=[1.5, 2.0, 3.0], w=weights, label=[0, 1, 0])
    with pytest.raises(DataError, match="weight column 'w' holds missing or negative values"):
        _ = table.weights


def test_codes_stand_for_their_texts():
    table = labelled(c=["red", None, "blue", "red"], x=[1.5, 2.0, 3.0, 4.0], label=[0, 1, 0, 1])
    codes, texts = table.codes("c")
    assert [texts[code] for code in codes] == ["red", "(missing)", "blue", "red"]


def test_other_roles_read_the_same_rows():
    table = labelled(x=[1.5, 2.0], c=["a", "b"], label=[0, 1])
    without = table.with_roles(table.roles.without({"c"}))
    assert [c.name for c in without.features] == ["x"]
    assert without.frame is table.frame


def test_a_number_as_text_depends_on_itself_alone():
    roles = infer(normalise(pa.table({"x": [1.0, 2.5] * 9, "label": [0, 1] * 9})), RoleHints())
    alone = Table(pa.table({"x": [1e15]}), roles).texts("x").to_pylist()
    beside = Table(pa.table({"x": [1e15, 0.5]}), roles).texts("x").to_pylist()
    assert alone == beside[:1] == ["1000000000000000"]
