import pytest

from nethical.audit.checkpoint import (
    Checkpoint,
    open_checkpoint,
    read_checkpoint,
    sign_checkpoint,
)
from nethical.audit.merkle import EMPTY_ROOT, leaf_hashes, root_hash
from nethical.audit.notes import VerifierKey, sign_note
from nethical.audit.tiles import decode_bundle
from nethical.errors import IntegrityError, UsageError

ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


def test_a_checkpoint_is_three_lines_and_leads_back():
    text = f"example.com/behind-the-sofa\n20852163\n{ROOT}\n"
    checkpoint = Checkpoint.from_text(text)
    assert (checkpoint.origin, checkpoint.tree_size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.to_text() == text


def test_further_lines_are_kept_as_they_are():
    text = f"example.com/log\n1\n{ROOT}\nmore\nand more\n"
    assert Checkpoint.from_text(text).extensions == ("more", "and more")
    assert Checkpoint.from_text(text).to_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n",
        "a\n1\n",
        f"a\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        f"a\n\n{ROOT}\n",
        f"a\n01\n{ROOT}\n",
        f"a\n+1\n{ROOT}\n",
        f"a\n-1\n{ROOT}\n",
        f"a\n 1\n{ROOT}\n",
        f"a\n1.0\n{ROOT}\n",
        f"a\n\u0661\n{ROOT}\n",
        f"a\n9223372036854775808\n{ROOT}\n",
        f"a\n0\n{ROOT}\n",
        f"a\n1\n{ROOT[:-1]}\n",
        f"a\n1\n{ROOT} \n",
        f"a\n1\n{ROOT.replace('2I=', '2J=')}\n",
        "a\n1\nAAAA\n",
        f"a\n1\n{ROOT}\n\n",
        f"a\n1\n{ROOT}\n\nmore\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(IntegrityError, match="not a checkpoint"):
        Checkpoint.from_text(text)


def test_a_log_signs_under_its_origin_and_another_log_or_key_is_refused(key, other_key):
    checkpoint = Checkpoint("example.com/a", 0, EMPTY_ROOT)
    note = sign_checkpoint(checkpoint, key)
    assert open_checkpoint(note, VerifierKey.of("example.com/a", key)) == checkpoint
    assert read_checkpoint(note) == checkpoint
    for name, wrong in [("example.com/a", other_key), ("example.com/b", key)]:
        with pytest.raises(IntegrityError, match="no believed key"):
            open_checkpoint(note, VerifierKey.of(name, wrong))
    foreign = sign_note(checkpoint.to_text(), name="example.com/b", key=key)
    with pytest.raises(IntegrityError, match=r"a checkpoint of example\.com/a"):
        open_checkpoint(foreign, VerifierKey.of("example.com/b", key))


@pytest.mark.parametrize("origin", ["a b", "a+b", ""])
def test_an_origin_with_spaces_or_plus_is_not_signed(key, origin):
    with pytest.raises(UsageError):
        sign_checkpoint(Checkpoint(origin, 0, EMPTY_ROOT), key)


def test_the_log_of_another_program_is_believed_at_every_size(vectors):
    folder = vectors / "foreign_log"
    key = VerifierKey.from_vkey((folder / "vkey").read_text())
    for size in range(9):
        checkpoint = open_checkpoint((folder / f"checkpoint.{size}").read_bytes(), key)
        assert checkpoint.tree_size == size
        hashes = b""
        if size:
            bundle = (folder / f"tile/entries/000.p/{size}").read_bytes()
            hashes = b"".join(leaf_hashes(decode_bundle(bundle, size)))
            assert hashes == (folder / f"tile/0/000.p/{size}").read_bytes()
        assert root_hash(hashes) == checkpoint.root_hash
