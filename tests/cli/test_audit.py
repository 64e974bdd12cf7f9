"""``nethical audit`` and the flags of the audit, as a user meets them."""

import json
import re
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from nethical.audit.log import Log
from nethical.audit.reading import LogReader
from nethical.audit.sink import AuditSink
from nethical.cli.main import main
from nethical.facts import RunStarted, Warned
from nethical.keys import Keys
from nethical.run import Run

TRAIN = "train --model-type heuristic --num-samples 1000 --enable-audit --audit-path logs".split()
START = RunStarted("", "logistic", "logistic", 10, 32, None, 42, {}, {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with one audited run in it, and the home of its keys."""
    place = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETHICAL_HOME", str(place / "home"))
        (place / "work").mkdir()
        patch.chdir(place / "work")
        assert main([*TRAIN, "--quiet"]) == 0
    return place


@pytest.fixture
def nethical(trained, tmp_path, monkeypatch, capsys):
    """Run a command in a copy of that folder, and return code, output and errors."""
    shutil.copytree(trained, tmp_path / "place", symlinks=True)
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "place" / "home"))
    monkeypatch.chdir(tmp_path / "place" / "work")
    capsys.readouterr()

    def run(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    run.path = tmp_path / "place" / "work"
    run.stranger = lambda: monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "stranger"))
    return run


def test_verify_says_how_much_was_proved(nethical):
    done = nethical("audit", "verify", "logs")
    assert done.code == 0
    assert "Proved: self-consistent: nothing outside shows" in done.out
    assert nethical("audit", "anchor", "logs", "--anchor", "file:elsewhere").code == 0
    done = nethical("audit", "verify", "logs", "--anchor", "file:elsewhere")
    assert "Proved: fully anchored" in done.out
    nethical(*TRAIN)
    done = nethical("audit", "verify", "logs", "--anchor", "file:elsewhere")
    assert "Proved: consistent with 1 anchor up to" in done.out


def test_a_folder_that_was_set_back_shows_by_an_anchor_alone(nethical):
    shutil.copytree(nethical.path / "logs", nethical.path / "old", symlinks=True)
    nethical(*TRAIN, "--anchor", "file:elsewhere")
    assert nethical("audit", "verify", "old").code == 0
    done = nethical("audit", "verify", "old", "--anchor", "file:elsewhere")
    assert done.code == 6
    assert "set back" in done.out


def test_a_stranger_needs_the_key_and_nothing_else(nethical):
    (nethical.path / "key").write_text(nethical("audit", "key", "logs").out)
    nethical("audit", "prove", "logs", "--run-id", "latest", "-o", "receipt")
    nethical.stranger()
    refused = nethical("audit", "verify", "logs")
    assert refused.code == 6
    assert "is believed here" in refused.err
    assert nethical("audit", "verify", "logs", "--key", "key").code == 0
    assert nethical("audit", "verify", "--proof", "receipt").code == 6
    done = nethical("audit", "verify", "--proof", "receipt", "--key", "key")
    assert done.code == 0
    assert '"event_type": "run_ended"' in done.out
    assert nethical("keys", "trust", "key").code == 0
    assert nethical("audit", "verify", "logs").code == 0
    assert nethical("audit", "verify", "--proof", "receipt").code == 0


def test_the_key_of_another_log_is_refused(nethical):
    key = nethical("audit", "key", "logs").out
    nethical("train", "--model-type", "heuristic", "--num-samples", 500, "--enable-audit")
    done = nethical("audit", "verify", "--key", key.strip())
    assert done.code == 6
    assert "is not signed by a believed key" in done.err
    assert nethical("audit", "verify", "logs", "--key", "nonsense").code == 2


def test_a_changed_receipt_is_refused(nethical):
    nethical("audit", "prove", "logs", "--index", 0, "-o", "receipt")
    path = nethical.path / "receipt"
    path.write_bytes(path.read_bytes().replace(b"index 0", b"index 1"))
    done = nethical("audit", "verify", "--proof", "receipt")
    assert done.code == 6
    path.write_bytes(b"c2sp.org/tlog-proof@v2\n")
    assert (
        "does not begin with c2sp.org/tlog-proof@v1"
        in nethical("audit", "verify", "--proof", "receipt").err
    )


def test_show_lists_runs_and_tells_one_in_order(nethical):
    (run,) = json.loads(nethical("audit", "show", "logs", "--json").out)
    assert run["outcome"] == "completed"
    assert run["run_id"] in nethical("audit", "show", "logs").out
    done = nethical("audit", "show", "logs", "--run-id", run["run_id"][:12])
    assert [line.split()[2] for line in done.out.splitlines()[1:]][:2] == [
        *("training_start", "source_fallback"),
    ]
    only = nethical("audit", "show", "logs", "--run-id", "latest", "--type", "gate_decided")
    assert len(only.out.splitlines()) == 2
    assert nethical("audit", "show", "logs", "--run-id", "run_x").code == 2


def test_a_model_is_proved_by_its_entry(nethical):
    (model_id,) = [path.name for path in (nethical.path / "models" / "versions").iterdir()]
    nethical("audit", "prove", "logs", "--model", model_id, "-o", "receipt")
    done = nethical("audit", "verify", "--proof", "receipt", "--json")
    assert json.loads(done.out)["entry"]["model_id"] == model_id
    assert nethical("audit", "prove", "logs", "--model", "no", "-o", "receipt").code == 2
    assert nethical("audit", "prove", "logs", "--index", 999, "-o", "receipt").code == 2


def test_a_model_and_its_log_vouch_for_each_other(nethical):
    done = nethical("models", "verify", "--audit", "logs")
    assert done.code == 0
    assert "which says the same at entry" in done.out
    nethical("train", "--model-type", "logistic", "--num-samples", 500)
    done = nethical("models", "verify", "--audit", "logs")
    assert done.code == 6


def test_checkpoint_prints_the_note_as_it_lies_there(nethical):
    note = (nethical.path / "logs" / "log" / "checkpoint").read_text()
    assert nethical("audit", "checkpoint", "logs").out == note


@pytest.mark.parametrize("words", [("--audit-path", "x"), ("--anchor", "file:x")])
def test_a_flag_of_an_audit_that_is_off_is_a_usage_error(nethical, words):
    done = nethical("train", "--model-type", "heuristic", *words)
    assert done.code == 2
    assert "--enable-audit is not" in done.err


def test_an_anchor_that_cannot_keep_stops_the_run_before_training(nethical):
    (nethical.path / "in-the-way").write_text("")
    done = nethical(*TRAIN, "--anchor", "file:in-the-way/x")
    assert done.code in {2, 5}
    assert "Fitted" not in done.out
    assert len(list((nethical.path / "models" / "versions").iterdir())) == 1


def test_what_people_do_is_in_the_log_too(nethical):
    audit = ("--enable-audit", "--audit-path", "logs")
    done = nethical("models", "promote", "absent", "--reason", "why not", *audit)
    assert done.code == 2
    done = nethical("models", "prune", "--keep", 0, *audit)
    assert done.code == 0
    assert re.search(r"Merkle root: [0-9a-f]{64}", done.out)
    reader = LogReader(nethical.path / "logs" / "log")
    told = [json.loads(entry) for entry in reader.entries()]
    failed, pruned = (
        [e for e in told if e.get("command") == f"models {c}"] for c in ("promote", "prune")
    )
    assert [entry["phase"] for entry in failed] == ["begun", "failed"]
    assert failed[1]["error"].startswith("UsageError: no model 'absent'")
    assert [entry["phase"] for entry in pruned] == ["begun", "done"]
    assert pruned[0]["arguments"]["keep"] == "0"
    assert nethical("audit", "verify", "logs").code == 0


def test_a_rotated_log_is_verified_by_the_old_key_and_by_the_new(nethical):
    old = nethical("audit", "key", "logs").out.strip()
    audit = ("--enable-audit", "--audit-path", "logs")
    assert nethical("keys", "rotate", "log", *audit).code == 0
    new = nethical("audit", "key", "logs").out.strip()
    assert re.sub(r"\+.*", "", old) == re.sub(r"\+.*", "", new)
    assert old != new
    nethical(*TRAIN)
    for words in ((), ("--key", old), ("--key", new)):
        done = nethical("audit", "verify", "logs", *words)
        assert (done.code, done.err) == (0, "")


def test_an_empty_folder_and_an_older_one_are_named(nethical):
    (nethical.path / "empty").mkdir()
    done = nethical("audit", "verify", "empty")
    assert done.code == 6
    assert "holds no log" in done.err
    (nethical.path / "empty" / "training_summary.json").write_text("{}")
    assert "older format" in nethical("audit", "verify", "empty").err


def test_the_numbers_of_a_run_are_derived_again_from_its_scores(nethical):
    done = nethical("audit", "verify", "logs", "--recompute", "latest")
    assert (done.code, done.err) == (0, "")
    assert "Equal: every number that can be derived is the one that was logged" in done.out
    assert re.search(r"accuracy +0\.\d+ \[.*\] +0\.\d+ \[.*\] +exact", done.out)
    document = json.loads(
        nethical("audit", "verify", "logs", "--recompute", "latest", "--json").out
    )
    assert document["recomputed"]["equal"] is True


def test_a_report_is_written_as_a_page_and_as_text(nethical):
    done = nethical("audit", "report", "logs", "-o", "reports", "--json")
    assert done.code == 0
    markdown, page = ((nethical.path / path).read_text() for path in json.loads(done.out)["paths"])
    run_id = json.loads(done.out)["run_id"]
    assert run_id in markdown
    assert run_id in page
    assert "<script" not in page
    assert nethical("audit", "report", "logs", "-o", "again").code == 0
    assert (nethical.path / "again" / f"{run_id}.html").read_text() == page


def test_operations_are_shown_and_counted_beside_runs(nethical):
    nethical("models", "list", "--enable-audit", "--audit-path", "logs")
    done = nethical("audit", "show", "logs", "--operations")
    assert done.out.splitlines()[1].split()[3:6] == ["models", "list", "done"]
    (told,) = json.loads(nethical("audit", "show", "logs", "--operations", "--json").out)
    assert (told["command"], told["outcome"]) == ("models list", "done")
    assert json.loads(nethical("audit", "verify", "logs", "--json").out)["operations"] == 1
    assert "1 operations beside the runs" in nethical("audit", "verify", "logs").out
    refused = nethical("audit", "show", "logs", "--operations", "--run-id", "latest")
    assert refused.code == 2


def test_what_was_changed_is_not_shown(nethical):
    bundles = nethical.path.glob("logs/log/tile/entries/000.p/*")
    bundle = max(bundles, key=lambda path: int(path.name))
    content = bundle.read_bytes()
    bundle.write_bytes(content.replace(b"heuristic", b"authentic"))
    assert bundle.read_bytes() != content
    done = nethical("audit", "show", "logs")
    assert (done.code, done.out) == (6, "")


def test_what_no_key_sealed_is_called_so(nethical):
    run = Run()
    sink = AuditSink(nethical.path / "logs", Keys(nethical.path.parent / "home"))
    sink.record(START, run_id=run.run_id, at=datetime.now(UTC))
    sink.record(Warned("careful"), run_id=run.run_id, at=datetime.now(UTC))
    done = nethical("audit", "show", "logs", "--run-id", run.run_id)
    assert "[WARN] entries from 14 on are not sealed yet" in done.out
    done = nethical("audit", "prove", "logs", "--run-id", run.run_id, "-o", "receipt")
    assert (done.code, "has not ended" in done.err) == (2, True)
    sink._held.release(ended=False)


def test_the_receipt_of_an_entry_that_is_no_document_is_verified(nethical):
    log = Log(nethical.path / "other", Keys(nethical.path.parent / "home").log_key())
    log._commit([b"no JSON \xff", b"[" * 9_000])
    log.seal()
    for index, told in enumerate(["no JSON", "[[["]):
        nethical("audit", "prove", "other", "--index", index, "-o", "receipt")
        done = nethical("audit", "verify", "--proof", "receipt")
        assert (done.code, told in done.out) == (0, True)


def test_the_receipt_of_an_impossible_log_is_no_wrong_usage(nethical):
    nethical("audit", "prove", "logs", "--index", 0, "-o", "receipt")
    path = nethical.path / "receipt"
    path.write_bytes(re.sub(rb"\nnethical.local/\w+\n", b"\na b+c\n", path.read_bytes(), count=1))
    assert nethical("audit", "verify", "--proof", "receipt").code == 6


@pytest.mark.usefixtures("nethical")
def test_a_checkpoint_that_cannot_be_written_ends_in_two_lines(monkeypatch):
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr("sys.stdout", full)
        assert main(["audit", "checkpoint", "logs"]) == 5
