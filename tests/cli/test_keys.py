import argparse
import json
import stat

import pytest

from nethical.audit.notes import VerifierKey
from nethical.cli import keys as command
from nethical.cli.console import Console
from nethical.errors import UsageError
from nethical.keys import Keys


@pytest.fixture
def keys(tmp_path, monkeypatch):
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "home"))
    return Keys(tmp_path / "home")


def nethical(*arguments):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["keys", *arguments])
    return args.run(args, Console(json_output=args.json))


def test_show_prints_fingerprints_and_the_public_key_only(keys, capsys):
    assert nethical("show") == 0
    out = capsys.readouterr().out
    assert keys.fingerprint() in out
    assert keys.row_fingerprint() in out
    assert keys.public_key_pem().decode() in out
    assert "PRIVATE" not in out
    assert keys.row_key().hex() not in out


def test_show_tells_the_log_key_and_the_logs_that_are_believed(keys, capsys, tmp_path):
    nethical("show", "--json")
    assert json.loads(capsys.readouterr().out)["log_fingerprint"] is None
    vkey = VerifierKey.of("example.org/log", Keys(tmp_path / "other").log_key())
    (tmp_path / "vkey").write_text(vkey.to_vkey())
    nethical("trust", str(tmp_path / "vkey"))
    keys.log_key()
    capsys.readouterr()
    nethical("show", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["trusted_logs"] == [vkey.to_vkey()]
    nethical("show")
    out = capsys.readouterr().out
    assert f"example.org/log+{vkey.key_id.hex()}" in out
    assert told["log_fingerprint"] in out
    assert keys.rotate("log")[0] == told["log_fingerprint"]


def test_what_show_pem_prints_can_be_trusted_elsewhere(keys, capsys, tmp_path, monkeypatch):
    nethical("show", "--pem")
    (tmp_path / "key.pem").write_text(capsys.readouterr().out)
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "elsewhere"))
    assert nethical("trust", str(tmp_path / "key.pem")) == 0
    assert keys.fingerprint() in capsys.readouterr().out
    nethical("show", "--json")
    assert json.loads(capsys.readouterr().out)["trusted"] == [keys.fingerprint()]


@pytest.mark.usefixtures("keys")
def test_trust_prints_one_document_and_refuses_a_private_key(capsys, tmp_path):
    other = Keys(tmp_path / "other")
    (tmp_path / "other.pem").write_bytes(other.public_key_pem())
    nethical("trust", str(tmp_path / "other.pem"), "--json")
    assert json.loads(capsys.readouterr().out) == {"trusted": other.fingerprint()}
    with pytest.raises(UsageError, match="private key"):
        nethical("trust", str(other.home / "bundle.key"))


def test_the_row_key_is_handed_out_as_a_private_file(keys, capsys, tmp_path):
    nethical("export-row-key", str(tmp_path / "row"))
    assert stat.S_IMODE((tmp_path / "row").stat().st_mode) == 0o600
    assert (tmp_path / "row").read_bytes() == keys.row_key()
    capsys.readouterr()
    nethical("export-row-key", str(tmp_path / "again"), "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["row_fingerprint"] == keys.row_fingerprint()
