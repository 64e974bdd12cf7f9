import struct

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nethical.data.rows import BLOCK_ROWS, column_words, exact_words, keyed_digests, seed_key
from nethical.data.table import normalise

KEY, OTHER_KEY = seed_key(1, "test"), seed_key(2, "test")
WORDS = st.integers(0, 2**64 - 1)


def naive_digest(words, key):
    """CBC-MAC with AES-256 of one row: the number of words, then the words, 16 bytes a block."""
    message = struct.pack(f"<{len(words) + 1}Q", len(words), *words)
    message += b"\0" * (-len(message) % 16)
    cipher = Cipher(algorithms.AES256(key), modes.CBC(b"\0" * 16)).encryptor()
    return struct.unpack("<2Q", (cipher.update(message) + cipher.finalize())[-16:])


def words(*values, kind=None, blurred=False):
    column = normalise(pa.table({"c": pa.array(values, kind)})).column("c")
    return column_words(column, blurred=blurred)


def alike(*values, blurred=False):
    return len(set(words(*values, blurred=blurred).tolist())) == 1


@given(table=arrays(np.uint64, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=WORDS))
@settings(deadline=None, max_examples=60)
def test_a_digest_is_the_cbc_mac_of_the_row(table):
    digests = keyed_digests(list(table.T), KEY)
    assert digests.shape == (len(table), 2)
    expected = [naive_digest([int(word) for word in row], KEY) for row in table]
    assert digests.tolist() == [list(pair) for pair in expected]


def test_rows_beyond_one_block_have_the_digest_that_they_have_alone():
    rng = np.random.default_rng(0)
    columns = list(rng.integers(0, 2**63, size=(3, BLOCK_ROWS + 5)).astype(np.uint64))
    digests = keyed_digests(columns, KEY)
    tail = keyed_digests([column[-7:] for column in columns], KEY)
    assert (digests[-7:] == tail).all()
    assert len(np.unique(digests[:, 0])) == len(digests)


@given(
    row=st.lists(WORDS, min_size=1, max_size=7), where=st.integers(0, 6), mask=st.integers(1, 99)
)
@settings(deadline=None, max_examples=60)
def test_a_digest_depends_on_the_key_and_on_each_column(row, where, mask):
    columns = [np.array([word], dtype=np.uint64) for word in row]
    digest = keyed_digests(columns, KEY).tolist()
    assert digest != keyed_digests(columns, OTHER_KEY).tolist()
    columns[where % len(row)] = columns[where % len(row)] ^ np.uint64(mask)
    assert digest != keyed_digests(columns, KEY).tolist()


def test_a_digest_does_not_depend_on_other_rows_but_on_the_order_of_columns():
    rng = np.random.default_rng(0)
    columns = list(rng.integers(0, 2**63, size=(4, 50)).astype(np.uint64))
    shuffled = rng.permutation(50)
    digests = keyed_digests(columns, KEY)
    assert (keyed_digests([c[shuffled] for c in columns], KEY) == digests[shuffled]).all()
    assert (keyed_digests(columns[::-1], KEY) != digests).all()
    assert (keyed_digests([*columns, np.zeros(50, np.uint64)], KEY) != digests).all()


def test_a_seed_has_one_key_for_each_purpose():
    keys = {seed_key(seed, purpose) for seed in (0, 1) for purpose in ("split", "leaks")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize(
    "values",
    [
        ("Delete the FILE", "delete the file"),
        ("two  words\n", " two words"),
        ("order 12345 is late", "order 9 is late"),
        ("STRASSE ÄÖ", "strasse äö"),
        (1234.5, 1234.5 * (1 + 1e-9)),
        (0.0, -0.0),
        (1e-300, 1e-300 * (1 + 1e-9)),
    ],
)
def test_near_duplicates_have_one_word(values):
    assert alike(*values, blurred=True)


@pytest.mark.parametrize(
    "values",
    [
        ("delete the file", "delete this file"),
        ("ab", "a b"),
        ("one -1", "one 1"),
        ("x", None),
        (1.0, 1.00001),
        (1.0, -1.0),
        (0.0, None),
        (0.0, 1e-300),
        (1, 2),
        (float("inf"), float("-inf")),
        (True, False),
        (["a", "b"], ["b", "a"]),
        (["a", "b"], ["A", "b"]),
        (["ab"], ["a", "b"]),
    ],
)
def test_other_values_have_other_words(values):
    assert not alike(*values)


def test_whole_numbers_have_one_word_as_integers_and_as_floats():
    assert (words(1, 2, None) == words(1.0, 2.0, None)).all()
    assert words(float("nan")).tolist() == words(None, kind=pa.float64()).tolist()


def test_missing_values_of_every_kind_have_one_word():
    kinds = [pa.int64(), pa.string(), pa.bool_(), pa.list_(pa.string())]
    missing = {int(words(None, kind=kind)[0]) for kind in [*kinds, pa.null()]}
    assert len(missing) == 1


def test_words_know_nothing_of_chunks():
    whole = pa.chunked_array([["b", "a", None, "b"]], pa.large_string())
    parts = pa.chunked_array([["b"], [], ["a", None, "b"]], pa.large_string())
    assert (column_words(whole) == column_words(parts)).all()
    assert (exact_words(whole) == exact_words(parts)).all()


def test_exact_words_tell_apart_what_near_duplicates_do_not():
    names = pa.chunked_array([["s1", "s2", "S1", "s1", None]], pa.large_string())
    exact = exact_words(names).tolist()
    assert len(set(exact)) == 4
    assert exact[0] == exact[3]
    assert column_words(names).tolist() == exact
    assert len(set(column_words(names, blurred=True).tolist())) == 2
