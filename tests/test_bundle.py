import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from nethical import bundle
from nethical.canonical import digest
from nethical.errors import IntegrityError, StorageError
from nethical.signing import fingerprint, sign

FILES = {
    "model.json": b'{"type":"heuristic"}',
    "arrays.npz": bytes(range(256)) * 4,
    "metrics.json": b"{}",
    "empty.txt": b"",
}


@pytest.fixture(scope="module")
def key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def trusted(key):
    return {fingerprint(key.public_key()): key.public_key()}


@pytest.fixture
def folder(tmp_path, key):
    path = tmp_path / "m_1"
    path.mkdir()
    signature = sign(FILES, name="m_1", key=key, claims={"run_id": "r"})
    for name, content in {**FILES, "model.sig": signature}.items():
        (path / name).write_bytes(content)
    return path


def test_a_bundle_comes_back_as_it_was_signed(folder, trusted):
    found = bundle.read(folder, trusted)
    assert found.model_id == "m_1"
    assert found.claims == {"run_id": "r"}
    assert {name: found.files[name] for name in FILES} == FILES
    assert set(found.files) == {*FILES, "model.sig"}
    assert found.signature_digest == digest((folder / "model.sig").read_bytes())
    assert found.fingerprint in trusted


@pytest.mark.parametrize("name", [name for name, content in FILES.items() if content])
def test_one_flipped_bit_anywhere_in_a_file_is_found_and_the_file_named(folder, trusted, name):
    for position in range(0, len(FILES[name]), max(1, len(FILES[name]) // 16)):
        edited = bytearray(FILES[name])
        edited[position] ^= 1
        (folder / name).write_bytes(edited)
        with pytest.raises(IntegrityError, match=f"{name} was edited"):
            bundle.read(folder, trusted)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_byte_added_a_removed_and_a_renamed_file_are_found(folder, trusted, name):
    (folder / name).write_bytes(FILES[name] + b"\n")
    with pytest.raises(IntegrityError, match=f"{name} was edited"):
        bundle.read(folder, trusted)
    (folder / name).rename(folder / "other")
    with pytest.raises(IntegrityError, match=f"{name} is missing, other was added"):
        bundle.read(folder, trusted)
    (folder / "other").unlink()
    with pytest.raises(IntegrityError, match=f"{name} is missing"):
        bundle.read(folder, trusted)


def test_two_files_that_changed_places_are_found(folder, trusted):
    (folder / "model.json").write_bytes(FILES["metrics.json"])
    (folder / "metrics.json").write_bytes(FILES["model.json"])
    with pytest.raises(IntegrityError, match=r"metrics\.json was edited, model\.json was edited"):
        bundle.read(folder, trusted)


@pytest.mark.parametrize("name", ["extra.txt", ".hidden", "model.sig.bak", "new\nline"])
def test_an_added_file_is_found(folder, trusted, name):
    (folder / name).touch()
    with pytest.raises(IntegrityError, match="was added"):
        bundle.read(folder, trusted)


def test_a_link_is_refused_even_to_the_right_content(folder, trusted, tmp_path):
    (folder / "model.json").rename(tmp_path / "elsewhere")
    (folder / "model.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match=r"model\.json is a link"):
        bundle.read(folder, trusted)


def test_a_subfolder_and_a_pipe_are_refused(folder, trusted):
    (folder / "sub").mkdir()
    with pytest.raises(IntegrityError, match="sub is no plain file"):
        bundle.read(folder, trusted)
    (folder / "sub").rmdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(IntegrityError, match="pipe is no plain file"):
        bundle.read(folder, trusted)


def test_a_folder_without_a_signature_is_no_bundle(folder, trusted):
    (folder / "model.sig").unlink()
    with pytest.raises(IntegrityError, match=r"has no model\.sig"):
        bundle.read(folder, trusted)


def test_a_huge_signature_is_not_read(folder, trusted):
    os.truncate(folder / "model.sig", 2 << 20)
    with pytest.raises(IntegrityError, match="too large"):
        bundle.read(folder, trusted)


def test_the_error_names_the_folder(folder, trusted):
    (folder / "model.json").unlink()
    with pytest.raises(IntegrityError) as caught:
        bundle.read(folder, trusted)
    assert str(folder) in caught.value.what


def test_a_bundle_of_an_unknown_key_is_refused(folder):
    with pytest.raises(IntegrityError, match="not trusted"):
        bundle.read(folder, {})


def test_a_path_that_is_no_folder_cannot_be_read(folder, trusted, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "nowhere", folder / "model.json", tmp_path / "loop"):
        with pytest.raises(StorageError, match="cannot read the model"):
            bundle.read(path, trusted)


def test_a_file_edited_after_it_was_verified_is_not_handed_out(folder, trusted):
    found = bundle.read(folder, trusted)
    (folder / "model.json").write_bytes(b"{}")
    with pytest.raises(IntegrityError, match="edited while it was in use"):
        found.files["model.json"]


def test_a_moved_link_does_not_change_a_bundle_that_was_read(folder, trusted, tmp_path):
    other = tmp_path / "m_2"
    shutil.copytree(folder, other)
    link = tmp_path / "current"
    link.symlink_to("m_1")
    found = bundle.read(link, trusted)
    link.unlink()
    link.symlink_to("m_2")
    shutil.rmtree(other)
    assert found.path == folder.resolve()
    assert found.files["model.json"] == FILES["model.json"]


def test_a_name_outside_the_bundle_is_not_handed_out(folder, trusted):
    (folder.parent / "secret").write_bytes(b"x")
    with pytest.raises(KeyError):
        bundle.read(folder, trusted).files["../secret"]


@pytest.fixture
def registered(tmp_path, key):
    """A models folder whose slot ``m`` leads to ``versions/m_1``."""
    version = tmp_path / "versions" / "m_1"
    version.mkdir(parents=True)
    signature = sign(FILES, name="m_1", key=key, claims={"name": "m"})
    for name, content in {**FILES, "model.sig": signature}.items():
        (version / name).write_bytes(content)
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "m").symlink_to("../versions/m_1")
    return tmp_path


def test_a_version_under_another_id_than_was_signed_is_refused(registered, trusted):
    assert bundle.read(registered / "versions" / "m_1", trusted).model_id == "m_1"
    (registered / "versions" / "m_1").rename(registered / "versions" / "m_2")
    with pytest.raises(IntegrityError, match="versions/m_2 holds the model m_1"):
        bundle.read(registered / "versions" / "m_2", trusted)
    (registered / "versions" / "m_2").rename(registered / "anywhere")
    assert bundle.read(registered / "anywhere", trusted).model_id == "m_1"
    (registered / "current" / "m").unlink()
    (registered / "current" / "m").symlink_to("../anywhere")
    with pytest.raises(IntegrityError, match="anywhere holds the model m_1"):
        bundle.read(registered / "current" / "m", trusted)


def test_a_slot_that_leads_to_a_model_of_another_name_is_refused(registered, trusted, monkeypatch):
    assert bundle.read(registered / "current" / "m", trusted).model_id == "m_1"
    (registered / "current" / "other").symlink_to("../versions/m_1")
    monkeypatch.chdir(registered / "current")
    for path in (registered / "current" / "other", Path("other")):
        with pytest.raises(IntegrityError, match="other holds m_1, which was signed for 'm'") as e:
            bundle.read(path, trusted)
        assert "nethical models rollback other" in e.value.mend


def test_a_copy_in_the_place_of_a_slot_is_believed_if_it_was_signed_for_it(registered, trusted):
    slot = registered / "current" / "m"
    slot.unlink()
    shutil.copytree(registered / "versions" / "m_1", slot)
    assert bundle.read(slot, trusted).model_id == "m_1"
    slot.rename(registered / "current" / "n")
    with pytest.raises(IntegrityError, match="signed for 'm'"):
        bundle.read(registered / "current" / "n", trusted)
