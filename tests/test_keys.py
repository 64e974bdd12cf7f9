import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from nethical.errors import IntegrityError, StorageError, UsageError
from nethical.keys import Keys, default_home


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "home")


@pytest.fixture
def foreign(tmp_path):
    """The public key file of another machine, and its fingerprint."""
    other = Keys(tmp_path / "other-home")
    file = tmp_path / "other.pem"
    file.write_bytes(other.public_key_pem())
    return file, other.fingerprint()


def test_the_home_folder_is_the_named_one_or_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv("NETHICAL_HOME")
    assert default_home().name == "nethical"


def test_keys_are_made_on_first_use_and_stay_the_same(keys):
    assert not keys.home.exists()
    first, row = keys.fingerprint(), keys.row_key()
    assert first.startswith("SHA256:")
    assert len(row) == 32
    again = Keys(keys.home)
    assert (again.fingerprint(), again.row_key()) == (first, row)
    assert again.bundle_key().curve.name == "secp256r1"


def test_the_key_of_logs_is_made_on_first_use_and_is_of_its_own_kind(keys):
    first = keys.log_key()
    assert isinstance(first, ed25519.Ed25519PrivateKey)
    again = Keys(keys.home).log_key()
    assert again.private_bytes_raw() == first.private_bytes_raw()
    assert mode_of(keys.home / "log.key") == 0o600
    (keys.home / "log.key").write_bytes((keys.home / "log.key").read_bytes()[:-20])
    with pytest.raises(IntegrityError, match=r"log\.key is damaged"):
        keys.log_key()
    keys.bundle_key()
    (keys.home / "log.key").write_bytes((keys.home / "bundle.key").read_bytes())
    with pytest.raises(IntegrityError, match=r"log\.key is damaged"):
        keys.log_key()


def test_key_files_are_the_users_alone_under_any_umask(keys):
    before = os.umask(0)
    try:
        keys.bundle_key()
        keys.row_key()
    finally:
        os.umask(before)
    assert mode_of(keys.home) == 0o700
    assert {file.name: mode_of(file) for file in keys.home.iterdir()} == {
        "bundle.key": 0o600,
        "row.key": 0o600,
    }


def test_first_runs_at_once_agree_on_one_key(tmp_path):
    script = (
        "import sys; from pathlib import Path; from nethical.keys import Keys\n"
        "keys = Keys(Path(sys.argv[1])); sys.stdin.read()\n"
        "print(keys.fingerprint(), keys.row_fingerprint())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "deep" / "home")]
    runs = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)
    ]
    for run in runs:
        run.stdin.close()
    told = {run.stdout.read() for run in runs}
    assert [run.wait() for run in runs] == [0] * 4
    assert len(told) == 1


def test_the_row_key_is_not_the_signing_key(keys):
    secret = keys.bundle_key().private_numbers().private_value.to_bytes(32, "big")
    assert keys.row_key() != secret
    assert keys.row_fingerprint() != keys.fingerprint()


@pytest.mark.parametrize("name", ["bundle.key", "row.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_file_open_to_others_is_refused_with_the_mend(keys, name, mode):
    keys.bundle_key()
    keys.row_key()
    (keys.home / name).chmod(mode)
    with pytest.raises(IntegrityError, match="others may read") as caught:
        keys.bundle_key() if name == "bundle.key" else keys.row_key()
    assert f"chmod 600 {keys.home / name}" in caught.value.mend


def test_a_home_folder_that_others_may_write_is_refused(keys):
    keys.bundle_key()
    keys.home.chmod(0o777)
    for use in (keys.bundle_key, keys.trusted):
        with pytest.raises(IntegrityError, match="others may write to"):
            use()


@pytest.mark.parametrize("place", [".", "bundle.key", "trusted", "trusted/{}.pem"])
def test_a_home_or_key_file_of_another_user_is_refused(keys, foreign, monkeypatch, place):
    keys.bundle_key()
    path = keys.home / place.format(keys.trust(foreign[0]).removeprefix("SHA256:"))
    if os.geteuid() == 0:
        os.chown(path, 54321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(IntegrityError, match="belongs to another user") as caught:
        keys.trusted()
    assert "chown" in caught.value.mend


def test_keys_that_root_gave_are_taken(keys, monkeypatch):
    keys.bundle_key()
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert keys.trusted()


@pytest.mark.parametrize("content", [b"", b"garbage", None, b"\x00" * 31])
@pytest.mark.parametrize("name", ["bundle.key", "row.key"])
def test_a_damaged_key_file_is_named(keys, name, content):
    keys.bundle_key()
    keys.row_key()
    path = keys.home / name
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    with pytest.raises(IntegrityError, match=f"{name} is damaged"):
        keys.bundle_key() if name == "bundle.key" else keys.row_key()


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_a_key_of_another_kind_is_refused(keys, key, tmp_path):
    keys.bundle_key()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (keys.home / "bundle.key").write_bytes(pem)
    with pytest.raises(IntegrityError, match="damaged"):
        keys.bundle_key()
    public = tmp_path / "public.pem"
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    with pytest.raises(UsageError, match="another kind than P-256"):
        keys.trust(public)


def test_an_encrypted_key_is_refused(keys):
    pem = keys.bundle_key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (keys.home / "bundle.key").write_bytes(pem)
    with pytest.raises(IntegrityError, match="damaged"):
        keys.bundle_key()


def test_nothing_is_trusted_before_a_key_was_made_and_looking_makes_none(keys):
    assert keys.trusted() == {}
    assert not keys.home.exists()
    own = keys.fingerprint()
    assert list(keys.trusted()) == [own]


def test_a_trusted_key_is_believed_from_then_on(keys, foreign):
    file, fingerprint = foreign
    assert fingerprint not in keys.trusted()
    assert keys.trust(file) == fingerprint
    assert keys.trust(file) == fingerprint
    file.unlink()
    assert fingerprint in Keys(keys.home).trusted()


def test_a_key_can_be_believed_for_one_call(keys, foreign):
    file, fingerprint = foreign
    assert fingerprint in Keys(keys.home, believed=[file]).trusted()
    assert fingerprint not in keys.trusted()


def test_a_private_key_is_not_taken_for_a_public_one(keys):
    keys.bundle_key()
    with pytest.raises(UsageError, match="holds a private key"):
        keys.trust(keys.home / "bundle.key")


def test_what_is_no_key_cannot_be_trusted(keys, tmp_path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UsageError, match="no public key"):
        keys.trust(tmp_path / "text")
    with pytest.raises(StorageError, match="nowhere"):
        keys.trust(tmp_path / "nowhere")


def test_a_trusted_file_that_is_damaged_or_open_to_others_is_refused(keys, foreign):
    keys.trust(foreign[0])
    (kept,) = (keys.home / "trusted").iterdir()
    kept.chmod(0o666)
    with pytest.raises(IntegrityError, match="others may write to") as caught:
        keys.trusted()
    assert f"chmod go-w {kept}" in caught.value.mend
    kept.chmod(0o644)
    kept.write_text("damaged")
    with pytest.raises(IntegrityError, match="no public key"):
        keys.trusted()


def test_the_row_key_is_exported_once_and_for_the_user_alone(keys, tmp_path):
    keys.export_row_key(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == keys.row_key()
    assert mode_of(tmp_path / "out") == 0o600
    (tmp_path / "link").symlink_to("nowhere")
    for taken in ("out", "link"):
        with pytest.raises(UsageError, match="exists already"):
            keys.export_row_key(tmp_path / taken)
    with pytest.raises(StorageError):
        keys.export_row_key(tmp_path / "no" / "folder")


def test_earlier_row_keys_stay_for_reading_newest_first(keys):
    newest = keys.row_key()
    older = {number: bytes([number]) * 32 for number in range(1, 12)}
    for number, key in older.items():
        file = keys.home / f"row.{number}.key"
        file.write_bytes(key)
        file.chmod(0o600)
    assert keys.row_keys() == [newest, *(older[number] for number in range(11, 0, -1))]
    (keys.home / "row.3.key").chmod(0o640)
    with pytest.raises(IntegrityError, match="others may read"):
        keys.row_keys()


@pytest.mark.parametrize("place", [".", "home", "deep/er"])
def test_keys_never_lie_inside_the_folder_they_sign(tmp_path, place):
    keys = Keys(tmp_path / "models" / place)
    with pytest.raises(UsageError, match="would lie inside") as caught:
        keys.must_lie_outside(tmp_path / "models")
    assert "NETHICAL_HOME" in caught.value.mend


def test_a_link_does_not_hide_keys_inside_the_folder_they_sign(tmp_path):
    (tmp_path / "models" / "home").mkdir(parents=True)
    (tmp_path / "link").symlink_to("models/home")
    with pytest.raises(UsageError):
        Keys(tmp_path / "link").must_lie_outside(tmp_path / "models")
    Keys(tmp_path / "models-home").must_lie_outside(tmp_path / "models")


def test_a_home_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        Keys(Path(tmp_path / "file" / "home")).bundle_key()


@pytest.mark.parametrize("kind", ["log", "bundle", "row"])
def test_a_rotation_makes_a_new_key_and_keeps_the_old_one_for_the_user_alone(keys, kind):
    first, second = keys.rotate(kind)
    assert first != second
    assert keys.rotate(kind)[0] == second
    files = [keys.home / f"{kind}.{n}.key" for n in (1, 2)] + [keys.home / f"{kind}.key"]
    assert len({file.read_bytes() for file in files}) == 3
    assert all(mode_of(file) == 0o600 for file in files)


def test_what_an_old_key_signed_is_still_believed_and_recognised(keys):
    bundle, row, log = keys.fingerprint(), keys.row_key(), keys.log_key()
    for kind in ("bundle", "row", "log"):
        keys.rotate(kind)
    assert bundle in keys.trusted()
    assert keys.fingerprint() != bundle
    assert keys.row_keys() == [keys.row_key(), row]
    raw = [key.private_bytes_raw() for key in keys.log_keys()]
    assert raw == [keys.log_key().private_bytes_raw(), log.private_bytes_raw()]


def test_no_log_key_is_made_only_to_look_who_is_believed(keys):
    assert keys.log_keys() == []
    assert keys.trusted_log_keys() == []
    assert not keys.home.exists()


def test_a_verifier_key_of_another_log_is_kept_among_the_trusted(keys):
    keys.trust_log_key("a.example/log+12345678+AAAA")
    keys.trust_log_key("a.example/log+12345678+AAAA")
    assert keys.trusted_log_keys() == ["a.example/log+12345678+AAAA"]
    (keys.home / "trusted").chmod(0o777)
    with pytest.raises(IntegrityError, match="others may write to"):
        keys.trusted_log_keys()
