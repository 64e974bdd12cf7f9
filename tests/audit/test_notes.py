import json
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from nethical.audit.notes import VerifierKey, check_name, open_note, sign_note
from nethical.errors import IntegrityError, UsageError

# The example of C2SP signed-note, and a key of golang.org/x/mod/sumdb/note.
EXAMPLE = (
    "This is an example message.\n\n\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def signed(text, key, name="example.com/a"):
    return sign_note(text, name=name, key=key)


def test_the_example_of_the_specification_opens():
    key = VerifierKey.from_vkey(EXAMPLE_KEY)
    note = open_note(EXAMPLE.encode(), [key])
    assert note.text == "This is an example message.\n"
    assert [line.name for line in note.verified] == ["example.com/foo"]
    assert key.to_vkey() == EXAMPLE_KEY


def test_a_known_seed_gives_the_known_key():
    seed = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert VerifierKey.of("PeterNeumann", key).to_vkey() == NEUMANN


def test_the_notes_of_others_are_judged_as_they_judge_them(vectors):
    shared = json.loads((vectors / "signed_notes.json").read_text())
    assert len(shared["notes"]) == 14
    for case in shared["notes"]:
        keys = [VerifierKey.from_vkey(text) for text in case["vkeys"]]
        note = b64decode(case["note_base64"])
        if case["ok"]:
            found = [line.name for line in open_note(note, keys).verified]
            assert sorted(found) == sorted(case["verified"]), case["name"]
        else:
            with pytest.raises(IntegrityError):
                open_note(note, keys)
    for text in shared["bad_vkeys"]:
        with pytest.raises(UsageError):
            VerifierKey.from_vkey(text)


@given(st.text(alphabet=st.characters(min_codepoint=32, codec="utf-8"), max_size=40), st.booleans())
def test_a_signed_text_opens_again(key, text, two):
    text = text + "\n" + ("\n\nmore\n" if two else "")
    note = open_note(signed(text, key), [VerifierKey.of("example.com/a", key)])
    assert note.text == text
    assert note.others == ()


def test_a_line_of_an_unknown_key_is_left_alone_and_twice_the_same_line_is_once(key, other_key):
    note = signed("a\n", key)
    other = signed("a\n", other_key, "example.com/b").split(b"\n\n")[1]
    same_name = signed("a\n", other_key).split(b"\n\n")[1]
    opened = open_note(
        note + other + same_name + note.split(b"\n\n")[1], [VerifierKey.of("example.com/a", key)]
    )
    assert [line.name for line in opened.verified] == ["example.com/a"]
    assert [line.name for line in opened.others] == ["example.com/b", "example.com/a"]


def test_a_known_key_that_fails_spoils_the_note_even_beside_one_that_fits(key, other_key):
    keys = [VerifierKey.of("example.com/a", key), VerifierKey.of("example.com/b", other_key)]
    wrong = signed("b\n", other_key, "example.com/b").split(b"\n\n")[1]
    with pytest.raises(IntegrityError, match=r"example\.com/b does not fit"):
        open_note(signed("a\n", key) + wrong, keys)


def test_a_note_of_another_key_under_our_name_is_not_ours(key, other_key):
    with pytest.raises(IntegrityError, match="no believed key signed it") as caught:
        open_note(signed("a\n", other_key), [VerifierKey.of("example.com/a", key)])
    assert "example.com/a+" in caught.value.what


def test_a_key_id_that_was_made_to_fit_does_not_help(key, other_key):
    mine = VerifierKey.of("example.com/a", key)
    mark = b64encode(mine.key_id + other_key.sign(b"a\n")).decode()
    with pytest.raises(IntegrityError, match="does not fit"):
        open_note(f"a\n\n\u2014 example.com/a {mark}\n".encode(), [mine])


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace(b"a\n", b"a\r\n", 1),
        lambda note: note.replace(b"a\n", b"a\t\n", 1),
        lambda note: note.replace(b"a\n", b"a\0\n", 1),
        lambda note: b"\xff" + note,
        lambda note: note[:-1],
        lambda note: note + b"\n",
        lambda note: note.replace(b"\n\n", b"\n"),
        lambda note: note.replace("\u2014".encode(), b"-"),
        lambda note: note.replace(b"/a ", b"/a  "),
        lambda note: note.replace(b"/a ", b"/+ "),
        lambda note: note.replace(b"=\n", b"\n"),
        lambda note: note[:-3] + bytes([note[-3] ^ 1]) + note[-2:],
        lambda note: note + 100 * note.split(b"\n\n")[1],
        lambda note: note.split(b"\n\n")[0] + "\n\n\u2014 example.com/a AAAA\n".encode(),
        lambda _: b"",
    ],
)
def test_what_is_no_note_is_refused(key, change):
    note = signed("a\n", key)
    with pytest.raises(IntegrityError):
        open_note(change(note), [VerifierKey.of("example.com/a", key)])


def test_a_note_may_have_a_hundred_lines(key):
    note = signed("a\n", key)
    open_note(note + 99 * note.split(b"\n\n")[1], [VerifierKey.of("example.com/a", key)])


@pytest.mark.parametrize("text", ["", "a", "a\rb\n", "a\x00\n"])
def test_a_text_that_cannot_be_a_note_is_not_signed(key, text):
    with pytest.raises(ValueError, match="ends in a newline"):
        sign_note(text, name="example.com/a", key=key)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\x01"])
def test_a_name_with_spaces_or_plus_is_refused(key, name):
    with pytest.raises(UsageError):
        check_name(name)
    with pytest.raises(UsageError):
        VerifierKey.of(name, key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        EXAMPLE_KEY[:-1],
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("530d903a", "530D903A"),
        EXAMPLE_KEY.replace("+A", "+B"),
        EXAMPLE_KEY + "AAAA",
        EXAMPLE_KEY.replace("example.com/foo", "example.com/fou"),
    ],
)
def test_a_mistyped_key_is_a_usage_error_that_says_where_to_get_it(text):
    with pytest.raises(UsageError) as caught:
        VerifierKey.from_vkey(text)
    assert "nethical audit key" in caught.value.mend


def test_a_key_read_from_a_file_may_end_in_a_newline():
    assert VerifierKey.from_vkey(EXAMPLE_KEY + "\n").to_vkey() == EXAMPLE_KEY
