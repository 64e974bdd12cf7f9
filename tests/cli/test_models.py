import argparse
import json
from datetime import UTC, datetime

import pytest

from nethical.cli import models
from nethical.cli.console import Console
from nethical.errors import IntegrityError, UsageError
from nethical.keys import Keys
from nethical.registry import Registry

METRICS = {
    "precision": 0.9,
    "recall": 0.8,
    "verdict": "PASS",
    "metrics": {"precision": 0.9, "recall": 0.8, "roc_auc": None},
    "intervals": {"precision": [0.85, 0.95], "recall": [0.75, None], "roc_auc": None},
    "criteria": [
        {
            "name": "ECE",
            "estimate": 0.01,
            "bound": 0.02,
            "threshold": 0.08,
            "n": 2000,
            "verdict": "PASS",
        }
    ],
}


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    found = Registry(
        tmp_path / "models", Keys(tmp_path / "home"), lambda: datetime(2026, 1, 2, tzinfo=UTC)
    )
    for model_id, promote in (("m_1", True), ("m_2", True), ("m_3", False)):
        found.publish(
            model_id=model_id,
            name="m",
            files={"metrics.json": json.dumps(METRICS).encode()},
            claims={"run_id": "run_1", "tree_size": 12},
            promote=promote,
            baseline="m_1" if model_id == "m_2" else None,
            details={"verdict": "PASS" if promote else "FAIL"},
        )
    return found


def nethical(*arguments):
    parser = argparse.ArgumentParser()
    models.add_parser(parser.add_subparsers())
    args = parser.parse_args(["models", *arguments])
    return args.run(args, Console(json_output=args.json))


def document(capsys):
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("registry")
def test_list_shows_the_newest_first_with_status_and_verdict(capsys):
    assert nethical("list") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["MODEL", "NAME", "STATUS", "VERDICT", "PUBLISHED"],
        ["m_3", "m", "candidate", "FAIL", "2026-01-02T00:00:00Z"],
        ["m_2", "m", "current", "PASS", "2026-01-02T00:00:00Z"],
        ["m_1", "m", "past", "PASS", "2026-01-02T00:00:00Z"],
    ]


@pytest.mark.usefixtures("registry")
def test_list_prints_one_document_for_programs(capsys):
    nethical("list", "--json", "--name", "m")
    assert [entry["status"] for entry in document(capsys)] == ["past", "current", "candidate"]
    nethical("list", "--json", "--name", "other")
    assert document(capsys) == []


@pytest.mark.usefixtures("registry")
def test_an_empty_folder_is_said_to_have_no_models(tmp_path, capsys):
    nethical("list", "--models-dir", str(tmp_path / "none"))
    nethical("verify", "--models-dir", str(tmp_path / "none"))
    assert capsys.readouterr().out.count("no models in") == 2


@pytest.mark.usefixtures("registry")
def test_show_prints_metrics_with_intervals_criteria_and_claims(capsys):
    assert nethical("show", "m") == 0
    out = capsys.readouterr().out
    words = [line.split() for line in out.splitlines()]
    assert out.startswith("m_2  (current)\n")
    assert ["verdict", "PASS"] in words
    assert ["precision", "0.9000", "0.8500", "0.9500"] in words
    assert ["recall", "0.8000", "0.7500", "-"] in words
    assert ["roc_auc", "-"] in words
    assert ["ECE", "0.0100", "0.0200", "0.0800", "2000", "PASS"] in words
    assert ["tree_size", "12"] in words


@pytest.mark.usefixtures("registry")
def test_show_prints_one_document_for_programs(capsys):
    nethical("show", "m_3", "--json")
    found = document(capsys)
    assert (found["model_id"], found["status"]) == ("m_3", "candidate")
    assert found["metrics"] == METRICS
    assert found["claims"]["run_id"] == "run_1"


@pytest.mark.usefixtures("registry")
def test_verify_checks_one_or_all_and_names_what_is_wrong(capsys, tmp_path):
    assert nethical("verify") == 0
    assert capsys.readouterr().out.count("files as signed by SHA256:") == 3
    nethical("verify", "m_1", "--json")
    assert [found["model_id"] for found in document(capsys)] == ["m_1"]
    (tmp_path / "models/versions/m_1/metrics.json").write_text("{}")
    for arguments in (["verify"], ["verify", "m_1"], ["show", "m_1"]):
        with pytest.raises(IntegrityError, match=r"metrics\.json was edited"):
            nethical(*arguments)


def test_promote_and_rollback_move_production_and_say_so(registry, capsys):
    assert nethical("promote", "m_3", "--reason", "holiday traffic") == 0
    assert "m is now m_3; recorded as promoted" in capsys.readouterr().out
    assert registry.current("m").name == "m_3"
    nethical("rollback", "m", "--reason", "too many alarms", "--json")
    captured = capsys.readouterr()
    entry = json.loads(captured.out)
    assert (entry["event"], entry["model_id"], entry["replaces"]) == ("rolled_back", "m_2", "m_3")
    assert entry["reason"] == "too many alarms"
    assert "m is now m_2" in captured.err


@pytest.mark.parametrize("arguments", [["promote", "m_3"], ["rollback", "m"], ["prune"], []])
@pytest.mark.usefixtures("registry")
def test_what_is_needed_is_asked_for(arguments):
    with pytest.raises(SystemExit) as caught:
        nethical(*arguments)
    assert caught.value.code == 2


@pytest.mark.usefixtures("registry")
def test_an_empty_reason_is_refused():
    with pytest.raises(UsageError, match="reason is empty"):
        nethical("promote", "m_3", "--reason", " ")


@pytest.mark.usefixtures("registry")
def test_an_export_verifies_elsewhere_with_the_key_that_is_named(capsys, tmp_path, monkeypatch):
    pem = tmp_path / "key.pem"
    pem.write_bytes(Keys(tmp_path / "home").public_key_pem())
    nethical("export", "m", "copy", "--json")
    assert document(capsys)["path"] == "copy"
    nethical("export", "m", "second")
    assert "nethical models verify second --key KEY.pem" in capsys.readouterr().out
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(IntegrityError, match="not trusted"):
        nethical("verify", "copy")
    assert nethical("verify", "copy", "--key", str(pem)) == 0
    nethical("show", "./copy", "--key", str(pem), "--models-dir", "none")
    assert "not in this registry" in capsys.readouterr().out
    assert not (tmp_path / "elsewhere").exists()


def test_a_name_with_nothing_in_production_is_not_taken_for_its_candidate(registry):
    registry.publish(
        model_id="pay_1",
        name="pay",
        files={"metrics.json": b"{}"},
        claims={},
        promote=False,
        baseline=None,
        details={},
    )
    for action in ("show", "verify"):
        with pytest.raises(UsageError, match="pay has nothing in production"):
            nethical(action, "pay")
    assert nethical("verify", "pay_") == 0


@pytest.mark.usefixtures("registry")
def test_prune_tells_what_it_removed(capsys):
    nethical("prune", "--keep", "0", "--name", "m")
    assert "removed m_3" in capsys.readouterr().out
    nethical("prune", "--keep", "0", "--json")
    assert document(capsys) == {"removed": []}


def test_what_came_from_a_bundle_cannot_write_to_the_terminal(registry, capsys):
    registry.publish(
        model_id="n_1",
        name="n",
        files={"model.json": b"{}"},
        claims={"run_id": "\x1b[2J"},
        promote=False,
        baseline=None,
        details={"verdict": "\x1b[2J"},
    )
    nethical("show", "n_1")
    nethical("list")
    assert "\x1b" not in capsys.readouterr().out
