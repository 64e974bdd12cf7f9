"""The audit of a run: what is logged, what stops a run, and what becomes of runs that died."""

import json
import os
from datetime import UTC, datetime

import numpy as np
import pytest

from nethical import Plan, train
from nethical.audit.folder import AuditFolder
from nethical.audit.log import Log
from nethical.audit.notes import VerifierKey
from nethical.audit.reading import LogReader
from nethical.audit.runs import find_run, run_ids
from nethical.audit.sink import AuditSink, timestamp
from nethical.audit.verification import verify
from nethical.errors import DataError, IntegrityError, StorageError, UsageError
from nethical.facts import RunStarted, Warned
from nethical.keys import Keys
from nethical.registry import Registry
from nethical.run import Run

START = RunStarted("", "logistic", "logistic", 10, 32, None, 42, {}, {})


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "home")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "logs"


def now():
    return datetime.now(UTC)


def verified(folder, keys):
    log = folder / "log"
    origin = LogReader(log).checkpoint.origin
    return verify(folder, [VerifierKey.of(origin, keys.log_key())])


def record(sink, run, *facts):
    for fact in (START, *facts):
        sink.record(fact, run_id=run.run_id, at=now())


def audited(folder, keys, tmp_path, plan, *others):
    registry = Registry(tmp_path / "models", keys, now)
    with AuditSink(folder, keys) as sink:
        run = Run([sink, *others])
        outcome = train(plan, run=run, registry=registry)
    return outcome, sink.audit


def test_a_run_is_logged_whole_and_its_receipt_is_in_the_signature(folder, keys, tmp_path):
    plan = Plan("logistic", data="sklearn:breast_cancer")
    outcome, audit = audited(folder, keys, tmp_path, plan)
    found = verified(folder, keys)
    assert (found.examined.faults, found.examined.warnings, found.runs) == ([], [], 1)
    reader = LogReader(folder / "log")
    assert audit.merkle_root == reader.checkpoint.root_hash.hex()
    run = find_run(reader)
    saved = run.first("model_saved").document
    assert saved["signature_digest"] == outcome.published.signature_digest
    record = json.loads((outcome.published.path / "run.json").read_text())
    size = record["receipt"]["tree_size"]
    assert reader.root_at(size).hex() == record["receipt"]["merkle_root"]
    assert run.first("gate_decided").index == size - 1


def test_a_run_that_fails_is_logged_with_its_error(folder, keys, tmp_path):
    with pytest.raises(DataError):
        audited(folder, keys, tmp_path, Plan("logistic", data="nowhere.csv"))
    run = find_run(LogReader(folder / "log"))
    assert run.outcome == "failed"
    assert run.first("stage_failed").document["error"] == "DataError"
    assert "nowhere.csv" in run.ended.document["error"]
    summary = json.loads((folder / "training_summary.json").read_text())
    assert (summary["outcome"], summary["promoted"], summary["metrics"]) == ("failed", False, {})
    assert verified(folder, keys).examined.faults == []


def test_an_interruption_is_logged_as_one(folder, keys):
    sink = AuditSink(folder, keys)
    record(sink, Run())
    sink.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert find_run(LogReader(folder / "log")).outcome == "interrupted"


def test_a_log_that_cannot_be_written_stops_the_run_before_anything_is_trained(
    folder, keys, tmp_path
):
    AuditSink(folder, keys)
    (folder / "log" / "pending").chmod(0o400)
    (folder / "log" / "pending").unlink()
    (folder / "log" / "pending").mkdir()
    with pytest.raises(IntegrityError, match="pending is not a regular file"):
        audited(folder, keys, tmp_path, Plan("logistic", data="sklearn:breast_cancer"))
    assert not (tmp_path / "models").exists()


def test_a_log_that_stops_in_the_middle_stops_the_run_at_once(folder, keys, tmp_path):
    class Breaking:
        """Takes the journal away once the data are loaded."""

        def record(self, fact, *, run_id, at):
            del run_id, at
            if fact.event_type == "data_loaded":
                journal = folder / "log" / "pending"
                journal.unlink()
                journal.mkdir()

        def seal(self):
            return None

    plan = Plan("logistic", data="sklearn:breast_cancer")
    with pytest.raises((IntegrityError, StorageError)):
        audited(folder, keys, tmp_path, plan, Breaking())
    assert not (tmp_path / "models" / "versions").exists()


def test_a_run_that_died_is_ended_by_the_next_one(folder, keys):
    dead, run = Run(), Run()
    sink = AuditSink(folder, keys)
    record(sink, dead, Warned("careful"))

    os.close(sink._held.descriptor)
    with AuditSink(folder, keys) as after:
        record(after, run)
    found = find_run(LogReader(folder / "log"), dead.run_id)
    assert [event.event_type for event in found.events] == [
        *("training_start", "warning", "training_aborted"),
    ]
    assert found.ended.document["noticed_by"] == run.run_id
    assert (
        json.loads((folder / "runs" / dead.run_id / "training_summary.json").read_text())["outcome"]
        == "aborted"
    )
    assert not (folder / "runs" / dead.run_id / "lock").exists()
    assert (folder / "latest").readlink().name == run.run_id


def test_the_very_first_run_may_die_before_its_first_fact(folder, keys):
    dead, run = Run(), Run()
    sink = AuditSink(folder, keys)
    sink._begin(dead.run_id)
    os.close(sink._held.descriptor)
    with AuditSink(folder, keys) as after:
        record(after, run)
    assert run_ids(LogReader(folder / "log")) == [run.run_id]
    assert not (folder / "runs" / dead.run_id).exists()


@pytest.mark.parametrize("name", ["zzz", "run_2026", "run_20260101T000000Z_abcdef"])
def test_a_lock_that_somebody_put_there_stops_no_run(folder, keys, name):
    with AuditSink(folder, keys) as sink:
        record(sink, Run())
    (folder / "runs" / name).mkdir()
    (folder / "runs" / name / "lock").write_text("[" * 60_000)
    run = Run()
    with AuditSink(folder, keys) as sink:
        record(sink, run)
    found = find_run(LogReader(folder / "log"), run.run_id)
    assert [event.event_type for event in found.events] == ["training_start", "run_ended"]
    assert len(run_ids(LogReader(folder / "log"))) == 2


def test_a_run_whose_log_stopped_is_ended_by_the_next_one(folder, keys):
    stopped = Run()
    pending = folder / "log" / "pending"
    with AuditSink(folder, keys) as sink:
        record(sink, stopped)
        pending.rename(folder / "away")
        with pytest.raises(IntegrityError, match="missing"):
            sink.record(Warned("careful"), run_id=stopped.run_id, at=now())
    (folder / "away").rename(pending)
    with AuditSink(folder, keys) as after:
        record(after, Run())
    assert find_run(LogReader(folder / "log"), stopped.run_id).outcome == "aborted"


def test_views_that_could_not_be_written_are_written_by_the_next_run(folder, keys):
    full = Run()
    views = folder / "runs" / full.run_id
    sink = AuditSink(folder, keys)
    record(sink, full)
    (views / "training_summary.json").mkdir()
    with pytest.raises(StorageError, match="directory"):
        sink.__exit__(None, None, None)
    (views / "training_summary.json").rmdir()
    with AuditSink(folder, keys) as after:
        record(after, Run())
    assert json.loads((views / "training_summary.json").read_text())["outcome"] == "completed"
    assert not (views / "lock").exists()


def test_a_run_that_could_not_begin_leaves_no_folder(folder, keys, monkeypatch):
    sink = AuditSink(folder, keys)

    def full(*_arguments, **_options):
        raise StorageError("no space", mend="")

    monkeypatch.setattr("nethical.audit.folder.durable.write", full)
    with pytest.raises(StorageError, match="no space"):
        record(sink, Run())
    assert list((folder / "runs").iterdir()) == []


def test_a_run_that_goes_on_is_not_declared_dead(folder, keys):
    with AuditSink(folder, keys) as one, AuditSink(folder, keys) as two:
        first, second = Run(), Run()
        record(one, first)
        record(two, second)
    reader = LogReader(folder / "log")
    assert {find_run(reader, each).outcome for each in run_ids(reader)} == {"completed"}


def test_what_does_not_fit_into_an_entry_is_there_by_its_digest(folder, keys):
    with AuditSink(folder, keys) as sink:
        run = Run()
        record(sink, run, Warned("x" * 70_000), Warned("short"))
    entry = find_run(LogReader(folder / "log")).first("warning").document
    assert entry["message"]["bytes"] == 70_002
    (kept,) = (folder / "runs" / run.run_id / "large").iterdir()
    assert entry["message"]["digest"] == f"sha256:{kept.stem}"
    kept.write_bytes(b'"y"')
    kinds = [fault.kind for fault in verified(folder, keys).examined.faults]
    assert "changed" in kinds


def test_a_fact_with_nan_is_refused_and_named(folder, keys):
    sink = AuditSink(folder, keys)
    bad = RunStarted("", "a", "a", 1, 1, None, 1, {"threshold": float("nan")}, {})
    with pytest.raises(StorageError, match=r"plan\.threshold is not canonical JSON"):
        sink.record(bad, run_id=Run().run_id, at=now())
    assert len(LogReader(folder / "log")) <= 1


def test_keys_inside_the_folder_are_refused(folder):
    with pytest.raises(UsageError, match="would lie inside"):
        AuditSink(folder, Keys(folder / "home"))


def test_a_folder_of_the_older_format_is_named_as_such_and_left_alone(folder, keys):
    folder.mkdir()
    (folder / "chunk_20240101_000000_1.json").write_text("{}")
    with pytest.raises(IntegrityError, match="older format"):
        AuditSink(folder, keys)
    with pytest.raises(IntegrityError, match="older format"):
        verify(folder, [])
    assert [path.name for path in folder.iterdir()] == ["chunk_20240101_000000_1.json"]


@pytest.mark.parametrize("content", ['{"format": "nethical-audit", "version": 2}', "{", "[]"])
def test_a_newer_format_is_refused(folder, keys, content):
    AuditSink(folder, keys)
    (folder / "format.json").write_text(content)
    with pytest.raises(IntegrityError, match="this release knows version 1"):
        AuditSink(folder, keys)


def test_a_missing_event_shows_though_the_log_is_sound(folder, keys):
    """Whoever writes the log leaves an entry out before the end says how many there were."""
    run_id = "run_20260101T000000Z_abcdef"
    AuditFolder(folder).make()
    log = Log(folder / "log", keys.log_key())
    start = {**START.to_document(), "run_id": run_id, "timestamp": timestamp(now())}
    log.append(start)
    end = {"event_type": "run_ended", "outcome": "completed", "event_count": 7}
    log.append({**end, "events_digest": "x", "run_id": run_id, "timestamp": "2020"})
    log.seal()
    found = verified(folder, keys).examined
    assert [fault.kind for fault in found.faults] == ["incomplete", "incomplete"]
    assert "ended after 7 events; here are 1" in found.faults[0].what
    assert [warning.kind for warning in found.warnings] == ["clock", "missing"]


def test_a_run_that_reads_further_tables_is_whole(folder, keys, tmp_path):
    rng = np.random.default_rng(3)
    for name in ("main", "test", "challenge"):
        x = rng.normal(size=600)
        label = (x + rng.normal(scale=0.3, size=600) > 0).astype(int)
        rows = [f"{a},{b}" for a, b in zip(x, label, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,label", *rows]) + "\n")
    plan = Plan(
        "logistic",
        data=str(tmp_path / "main.csv"),
        test_data=str(tmp_path / "test.csv"),
        challenge_data=(str(tmp_path / "challenge.csv"),),
    )
    audited(folder, keys, tmp_path, plan)
    run = find_run(LogReader(folder / "log"))
    loaded = [event for event in run.events if event.event_type == "data_loaded"]
    assert len(loaded) == 3
    assert verified(folder, keys).examined.faults == []
