import numpy as np
import pyarrow as pa
import pytest

from nethical.data.labels import Labelling, read_labels
from nethical.errors import DataError, UsageError


def column(*values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


def read(*values, positive=(), kind=None):
    return read_labels(column(*values, kind=kind), "outcome", positive)


def positive_of(*values):
    return read(*values).positive


@pytest.mark.parametrize(
    ("values", "positive", "negative"),
    [
        ((0, 1), "1", "0"),
        ((1.0, 0.0), "1", "0"),
        ((-1, 1), "1", "-1"),
        ((True, False), "true", "false"),
        (("malicious", "benign"), "malicious", "benign"),
        (("SAFE", "Unsafe"), "Unsafe", "SAFE"),
        ((" yes ", "no"), "yes", "no"),
        (("ham", "spam"), "spam", "ham"),
        (("allow", "block"), "block", "allow"),
        (("attack", "web"), "attack", "web"),
        (("dos", "normal"), "dos", "normal"),
        ((0, 7), "7", "0"),
    ],
)
def test_two_values_read_by_their_meaning(values, positive, negative):
    labelling = read(*values)
    assert (labelling.positive, labelling.negative) == ((positive,), (negative,))
    assert "meaning" in labelling.why
    backwards = read(*values[::-1], *values)
    assert backwards.positive == (positive,)


def test_values_without_a_known_meaning_take_the_rarer_as_positive():
    assert positive_of("round", "square", "round") == ("square",)
    assert positive_of("square", "round", "square") == ("round",)
    assert read("round", "square", "square").why == "the rarer value"
    assert positive_of("round", "square") == ("square",), "a draw goes to the later value"


def test_two_words_of_the_same_meaning_fall_back_to_the_rarer():
    assert positive_of("attack", "fraud", "fraud") == ("attack",)
    assert positive_of("good", "clean", "clean") == ("good",)


def test_three_classes_are_an_error_that_lists_them_and_says_how_to_go_on():
    with pytest.raises(DataError, match=r"3 classes: 'cat', 'cow', 'dog'") as caught:
        read("cat", "dog", "cow")
    assert "--positive-label" in caught.value.mend


def test_many_classes_are_listed_up_to_ten():
    with pytest.raises(DataError, match=r"14 classes: .*'5' and 4 more") as caught:
        read(*range(14))
    assert "'6'" not in caught.value.what


def test_positive_labels_turn_many_classes_into_two():
    labelling = read("a", "b", "c", "d", positive=("d", "b"))
    assert labelling.positive == ("d", "b")
    assert labelling.negative == ("a", "c")
    assert labelling.encode(column("a", "b", "c", "d", None)).tolist() == [0, 1, 0, 1, -1]


def test_a_positive_label_overrides_the_meaning():
    assert read(0, 1, positive=("0",)).positive == ("0",)


def test_a_positive_label_that_does_not_occur_is_a_usage_error_that_lists_the_labels():
    with pytest.raises(UsageError, match=r"'spam' is not among the labels: '0', '1'"):
        read(0, 1, positive=("spam",))


@pytest.mark.parametrize("values", [(1, 1, None), ("a", "a")])
def test_one_class_is_an_error(values):
    with pytest.raises(DataError, match="one class only"):
        read(*values)


def test_calling_every_label_positive_leaves_one_class():
    with pytest.raises(DataError, match="one class only"):
        read("a", "b", positive=("a", "b"))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((None, None), pa.int64()),
        ((float("nan"),), pa.float64()),
        ((" ", ""), pa.string()),
        ((), pa.string()),
    ],
)
def test_a_label_column_without_any_value_is_an_error(values, kind):
    with pytest.raises(DataError, match="no value at all"):
        read(*values, kind=kind)


def test_a_label_column_of_lists_is_an_error():
    with pytest.raises(DataError, match="holds lists"):
        read([1], [0])


def test_missing_labels_of_every_kind_are_minus_one():
    labelling = Labelling(("1",), ("0",), "as given")
    assert labelling.encode(column(1.0, float("nan"), None, 0.0)).tolist() == [1, -1, -1, 0]
    assert labelling.encode(column("1", "", "  ", None, " 0 ")).tolist() == [1, -1, -1, -1, 0]


def test_labels_read_the_same_as_numbers_words_or_booleans_of_another_file():
    labelling = read(0, 1)
    for values in [(1, 0), (1.0, 0.0), ("1", "0")]:
        assert labelling.encode(column(*values)).tolist() == [1, 0]
    assert read(True, False).encode(column("true", "false")).tolist() == [1, 0]  # noqa: FBT003


def test_chunks_of_a_column_share_their_codes():
    parts = pa.chunked_array([["b", "a"], ["a", None, "b"], ["c", "a"]])
    labelling = Labelling(("b", "c"), ("a",), "as given")
    encoded = labelling.encode(parts)
    assert encoded.dtype == np.int8
    assert encoded.tolist() == [1, 0, 0, -1, 1, 1, 0]


def test_a_value_that_was_not_there_in_training_is_an_error_that_names_it():
    with pytest.raises(DataError, match="unknown values: '2'") as caught:
        read(0, 1).encode(column(0, 1, 2))
    assert "'1' and '0'" in caught.value.mend


def test_a_labelling_survives_its_document():
    labelling = read("a", "b", "c", positive=("b",))
    assert Labelling.from_document(labelling.to_document()) == labelling


def test_negatives_alone_will_do_where_nothing_else_is_needed():
    labels = column("normal", "normal", None)
    labelling = read_labels(labels, "outcome", negatives_suffice=True)
    assert labelling == Labelling((), ("normal",), "the only value")
    assert labelling.encode(labels).tolist() == [0, 0, -1]
    with pytest.raises(DataError, match="unknown values: 'attack'") as caught:
        labelling.encode(column("attack"))
    assert caught.value.mend == "use 'normal' as in training"


@pytest.mark.parametrize("value", ["attack", 1, "A"])
def test_positives_alone_or_a_word_of_no_meaning_never_will(value):
    with pytest.raises(DataError, match="one class only"):
        read_labels(column(value, value), "outcome", negatives_suffice=True)
