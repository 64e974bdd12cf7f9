import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical.canonical import canonical_json, digest, file_digest

LEAVES = st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.text(max_size=5)
JSON = st.recursive(
    LEAVES | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(document=JSON)
def test_canonical_bytes_read_back_as_the_document(document):
    assert json.loads(canonical_json(document), parse_int=float) == document


@given(document=st.dictionaries(st.text(max_size=3), LEAVES, min_size=2))
def test_the_order_of_keys_does_not_matter(document):
    backwards = dict(reversed(document.items()))
    assert canonical_json(document) == canonical_json(backwards)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, b"0"),
        (-0.0, b"0"),
        (5e-324, b"5e-324"),
        (1.7976931348623157e308, b"1.7976931348623157e+308"),
        (9007199254740992.0, b"9007199254740992"),
        (295147905179352830000.0, b"295147905179352830000"),
        (9.999999999999997e22, b"9.999999999999997e+22"),
        (1e23, b"1e+23"),
        (333333333.3333332, b"333333333.3333332"),
        (-0.0000033333333333333333, b"-0.0000033333333333333333"),
    ],
)
def test_numbers_are_those_of_rfc_8785_appendix_b(number, text):
    assert canonical_json(number) == text


def test_the_example_of_rfc_8785_section_3_2_4_has_its_bytes():
    document = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical_json(document) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_by_their_utf_16_units():
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = list(json.loads(canonical_json(dict.fromkeys(keys, 0))))
    assert ordered == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize(
    "document",
    [float("nan"), float("inf"), 2**53 + 1, {1: "a"}, b"bytes", object(), "\ud800", [{"a": {1}}]],
)
def test_what_is_no_json_is_a_value_error(document):
    with pytest.raises(ValueError, match=r"JCS|domain|unsupported|strings|UTF-8"):
        canonical_json(document)


def test_a_digest_is_sha256_of_the_bytes():
    assert digest(b"abc") == "sha256:" + hashlib.sha256(b"abc").hexdigest()
    assert digest(b"abc").startswith("sha256:ba7816bf")


@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    path = tmp_path / "file"
    path.write_bytes(content)
    assert file_digest(path) == digest(content)
