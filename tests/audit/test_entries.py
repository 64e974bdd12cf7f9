import json
import math

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from nethical.audit.entries import canonical_faults, decode_entry, encode_entry
from nethical.errors import StorageError

numbers = (
    st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**6), 10**6).map(float)
    | st.floats(-1, 1)
    | st.sampled_from([0.0, -0.0, 1e-4, 9.9e-5, 1e-6, 1e-7, 1e15, 1e16, 1e20, 1e21, 1e22, 5e-324])
)
texts = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts, inner, max_size=4)
        | st.dictionaries(st.sampled_from("abcdé\ue000\U0001f600"), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
@example({"\U0001f600": 1, "\ufb33": 2})
@example({"a": [1.0, -0.0, 1e16, 1e-7, 1e21, 123456789012345680.0]})
@example(['\u2028\x7f\x1f"\\/\b'])
def test_the_fast_path_gives_the_bytes_of_the_reference(value):
    assert encode_entry(value) == rfc8785.dumps(value)


@given(st.lists(values, min_size=1, max_size=6))
def test_canonical_entries_have_no_faults_and_lead_back(documents):
    entries = [encode_entry(each) for each in documents]
    assert canonical_faults(entries) == []
    for entry in entries:
        assert encode_entry(decode_entry(entry)) == entry


@given(st.binary(max_size=30) | values.map(lambda value: json.dumps(value).encode()))
def test_bytes_are_canonical_only_if_the_reference_writes_them_so(content):
    def number(digits):
        return int(digits) if abs(int(digits)) < 2**53 else float(digits)

    try:
        canonical = rfc8785.dumps(json.loads(content, parse_int=number)) == content
    except (ValueError, RecursionError):
        canonical = False
    assert (canonical_faults([content]) == []) is canonical


@pytest.mark.parametrize(
    "entry",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":[1.0]}',
        b"1.0",
        b"-0.0",
        b'{"a":-0}',
        b'{"a":1E2}',
        b'{"a":1e-05}',
        b'{"a":1e-07}',
        b'{"a":1e+16}',
        b'{"a":1e16}',
        b'{"a":0.10}',
        b'{"a":9007199254740993}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        '{"\ufb33":1,"\U0001f600":2}'.encode(),
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1}\n',
        b"",
        b"{",
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_an_entry_that_is_not_canonical_is_found_among_others(entry):
    good = encode_entry({"a": 1})
    assert [at for at, _ in canonical_faults([good, entry, good])] == [1]


@pytest.mark.parametrize(
    "entries",
    [
        [b'{"a":[{}', b"{}]},{}"],
        [b"1,2", b"3"],
        [b"[1", b"2]"],
        [b'["\x7f"', b"1]"],
        [b'[1,"\x7f",2', b"3]"],
        [b'{}],"\x7f",[{}', b"{}"],
    ],
)
def test_broken_entries_that_make_up_whole_ones_together_are_found(entries):
    assert canonical_faults(entries)


def test_an_entry_that_holds_the_mark_between_entries_is_fine():
    assert canonical_faults([encode_entry(["\x7f"]), encode_entry("\x7f")]) == []


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"a": {"b": [0, math.nan]}}, r"a\.b\[1\]"),
        ({"a": math.inf}, "a "),
        ({"a": 2**53}, "a "),
        ({"a": {1: 2}}, "a "),
        ({"a": b"x"}, "a "),
        ({"a": "\ud800"}, "a "),
        ({"a": {"s", "t"}}, "a "),
    ],
)
def test_what_is_not_json_is_refused_and_named(document, named):
    with pytest.raises(StorageError, match=f"^{named}.*is not canonical JSON"):
        encode_entry(document)


def test_a_document_that_holds_itself_is_refused():
    document = {}
    document["a"] = document
    with pytest.raises(StorageError, match="not canonical JSON"):
        encode_entry(document)


def test_the_longest_entry_fits_and_a_longer_one_names_what_to_shorten():
    longest = {"a": "x" * (65_535 - 8)}
    assert len(encode_entry(longest)) == 65_535
    with pytest.raises(StorageError, match=r"65,536 bytes.*'?a'? is the largest") as caught:
        encode_entry({"a": "x" * (65_536 - 8)})
    assert "digest" in caught.value.mend
    with pytest.raises(StorageError, match="the whole"):
        encode_entry(["x" * 70_000])


def test_the_canonical_forms_of_others_are_ours(vectors):
    names = sorted(path.name for path in (vectors / "jcs" / "input").iterdir())
    assert len(names) == 6
    for name in names:
        document = json.loads((vectors / "jcs" / "input" / name).read_bytes())
        expected = (vectors / "jcs" / "output" / name).read_bytes().removesuffix(b"\n")
        assert encode_entry(document) == expected
        assert canonical_faults([expected]) == []
