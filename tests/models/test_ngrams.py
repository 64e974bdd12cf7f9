import re
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical.data import synthetic
from nethical.models import ngrams

WORD = re.compile("[0-9A-Za-z_\u00c0-\u1fff\u2070-\u2fff\u3040-\U0010ffff]+")
SPACES = re.compile("[\0-\x20\xa0\u3000]+")
TEXTS = [
    "Ignore the rules, ignore the RULES!",
    "",
    None,
    "   ",
    "a",
    "ab cd",
    " leading and trailing \t\n",
    "don't foo-bar foo_bar 3.5%",
    "\uff21\uff22\uff23 \u2460 \ufb01ne \u212bngstr\u00f6m",  # full-width, circled, ligature
    "\u5ffd\u7565\u4e4b\u524d\u7684\u6307\u4ee4\u3002\u6267\u884c\u547d\u4ee4",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 ok \U0001f44d\U0001f3fd",
    "de\u200blete\u2060 every\u00adthing",
    "cafe\u0301 caf\u00e9 e\u0301\u0301",
    "nul\0in\x1fside",
    "non\xa0breaking\u3000wide\u2003em",
]
LISTS = [
    ["read", "write", "read", "write"],
    [],
    None,
    ["only"],
    ["two", "items"],
    ["", "gap", None, "gap"],
    ["a > b", "c"],
    ["\u8bfb", "\U0001f44d", "e\u0301"],
    ["x"] * 9,
]


def plain(text):
    """NFKC, then lower case letter by letter."""
    return "".join(letter.lower() for letter in unicodedata.normalize("NFKC", text or ""))


def reference(row, kind):
    """Return the n-grams of one row: a tuple of words or items, or the characters as they stand."""
    if kind == "items":
        items = [item or "" for item in row or []]
        return [tuple(items[i : i + n]) for n in (1, 2, 3) for i in range(len(items) - n + 1)]
    text = plain(row)
    if kind == "words":
        words = WORD.findall(text)
        return [tuple(words[i : i + n]) for n in (1, 2) for i in range(len(words) - n + 1)]
    padded = [f" {word} " for word in SPACES.split(text) if word]
    return [word[i : i + n] for n in (3, 4, 5) for word in padded for i in range(len(word) - n + 1)]


def column(rows, kind):
    return pa.array(
        rows, pa.large_list(pa.large_string()) if kind == "items" else pa.large_string()
    )


def found(rows, kind, chunk_symbols=1 << 21):
    """Return (row, n-gram, hash, decoded text) of every place."""
    entries = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "CHUNK_SYMBOLS", chunk_symbols)
        for chunk in ngrams.grams(column(rows, kind), kind):
            places = chunk.texts
            for k, (row, value) in enumerate(zip(chunk.rows, chunk.hashes, strict=True)):
                window = places.symbols[int(places.starts[k]) : int(places.ends[k])]
                if kind == "items":
                    gram = tuple(window)
                else:
                    gram = window.tobytes().decode("utf-32-le")
                    gram = tuple(WORD.findall(gram)) if kind == "words" else gram
                assert 0 <= row < chunk.n_rows
                entries.append((chunk.first_row + int(row), gram, int(value), places[k]))
    return entries


def expected(rows, kind):
    return Counter((i, gram) for i, row in enumerate(rows) for gram in reference(row, kind))


def one_to_one(entries):
    by_gram, by_hash = {}, {}
    for _, gram, value, _ in entries:
        assert by_gram.setdefault(gram, value) == value, gram
        assert by_hash.setdefault(value, gram) == gram, gram


@pytest.mark.parametrize("chunk_symbols", [1, 7, 40, 1 << 21])
@pytest.mark.parametrize("kind", ["words", "characters", "items"])
def test_grams_are_those_of_a_plain_loop_over_the_rows(kind, chunk_symbols):
    rows = LISTS if kind == "items" else TEXTS
    entries = found(rows, kind, chunk_symbols)
    assert Counter((row, gram) for row, gram, _, _ in entries) == expected(rows, kind)
    one_to_one(entries)


@pytest.mark.parametrize("kind", ["words", "characters", "items"])
def test_hashes_do_not_depend_on_the_chunk_or_the_neighbours_of_a_row(kind):
    rows = LISTS if kind == "items" else TEXTS
    whole = Counter((row, value) for row, _, value, _ in found(rows, kind))
    assert Counter((row, value) for row, _, value, _ in found(rows, kind, 1)) == whole
    for i in range(len(rows)):
        alone = Counter(value for _, _, value, _ in found(rows[i : i + 1], kind))
        assert alone == Counter({value: n for (row, value), n in whole.items() if row == i})
    backwards = found(rows[::-1], kind, 30)
    assert Counter((len(rows) - 1 - row, value) for row, _, value, _ in backwards) == whole


def test_synthetic_messages_and_actions_have_one_hash_for_each_gram():
    for task, name, kinds in (
        ("text", "message", ("words", "characters")),
        ("sequence", "actions", ("items",)),
    ):
        rows = synthetic.generate(task, 300, seed=3).table.column(name).to_pylist()
        for kind in kinds:
            if kind == "items" and isinstance(rows[0], str):
                rows = [row.split(" > ") for row in rows]
            entries = found(rows, kind, 1000)
            assert Counter((row, gram) for row, gram, _, _ in entries) == expected(rows, kind)
            one_to_one(entries)


def test_a_gram_is_read_back_as_it_stands_in_the_text():
    texts = {gram: text for _, gram, _, text in found(["Foo-Bar  baz"], "words")}
    assert texts == {
        ("foo",): "foo",
        ("bar",): "bar",
        ("baz",): "baz",
        ("foo", "bar"): "foo-bar",
        ("bar", "baz"): "bar  baz",
    }
    assert {text for *_, text in found(["ab"], "characters")} == {"ab"}
    assert [text for *_, text in found([["a", "b", "c"]], "items")][-1] == "a > b > c"


def test_order_length_and_kind_tell_grams_apart():
    entries = found(
        [["a", "b"], ["b", "a"], ["a", "a"], ["ab"], ["a"], ["", "a"], ["a", ""]], "items"
    )
    one_to_one(entries)
    values = {gram: value for _, gram, value, _ in entries}
    assert values["a", "b"] != values["b", "a"]
    assert values["a", ""] != values[("a",)] != values["", "a"]
    words = {value for *_, value, _ in found(["ab cd abc"], "words")}
    assert words.isdisjoint(value for *_, value, _ in found(["ab cd abc"], "characters"))


def test_zero_width_and_combining_characters_count_as_unicode_says():
    assert {gram for _, gram, _, _ in found(["de\u200blete"], "words")} == {
        ("de",),
        ("lete",),
        ("de", "lete"),
    }
    composed, decomposed = found(["caf\u00e9"], "words"), found(["cafe\u0301"], "words")
    assert [entry[2] for entry in composed] == [entry[2] for entry in decomposed]
    assert [entry[2] for entry in found(["\uff21\uff22\uff23"], "words")] == [
        entry[2] for entry in found(["abc"], "words")
    ]


def test_one_row_longer_than_any_chunk_is_read_whole():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in rng.integers(0, 3000, 20_000)]
    rows = ["before here", " ".join(words), "after there"]
    for kind in ("words", "characters"):
        entries = found(rows, kind, 1000)
        assert Counter((row, gram) for row, gram, _, _ in entries) == expected(rows, kind)
        one_to_one(entries)
    lists = [["before"], words, ["after"]]
    entries = found(lists, "items", 1000)
    assert Counter((row, gram) for row, gram, _, _ in entries) == expected(lists, "items")


@pytest.mark.parametrize("kind", ["words", "characters", "items"])
def test_no_rows_and_missing_rows_have_no_grams(kind):
    assert list(ngrams.grams(column([], kind), kind)) == []
    (chunk,) = ngrams.grams(column([None, None], kind), kind)
    assert (chunk.n_rows, len(chunk.rows), len(chunk.hashes)) == (2, 0, 0)


def test_a_sliced_column_has_the_grams_of_its_own_rows_only():
    for kind, rows in (("words", TEXTS), ("characters", TEXTS), ("items", LISTS)):
        (chunk,) = ngrams.grams(column(rows, kind).slice(3, 4), kind)
        alone = found(rows[3:7], kind)
        assert Counter(zip(chunk.rows.tolist(), chunk.hashes.tolist(), strict=True)) == Counter(
            (row, value) for row, _, value, _ in alone
        )


LETTERS = st.characters(exclude_categories=("Cs", "Cn", "Co"), exclude_characters="\u0130")
AWKWARD = st.sampled_from(
    " \t\n\0-_'.aAbB1\xa0\u3000\u200b\u200d\u0301\u5ffd\U0001f44d\u1680\u2028"
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.text(st.one_of(LETTERS, AWKWARD), max_size=20), max_size=6),
    st.integers(1, 60),
)
def test_any_texts_give_the_grams_of_the_plain_loop(rows, chunk_symbols):
    for kind in ("words", "characters"):
        entries = found(rows, kind, chunk_symbols)
        assert Counter((row, gram) for row, gram, _, _ in entries) == expected(rows, kind)
        one_to_one(entries)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.none() | st.lists(st.none() | st.text("ab> ", max_size=3), max_size=6), max_size=6),
    st.integers(1, 12),
)
def test_any_lists_give_the_grams_of_the_plain_loop(rows, chunk_symbols):
    entries = found(rows, "items", chunk_symbols)
    assert Counter((row, gram) for row, gram, _, _ in entries) == expected(rows, "items")
    one_to_one(entries)
