"""A writer whose key is replaced meanwhile goes on with its heir, and with nobody else."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nethical import Plan, train
from nethical.audit.anchors import anchor
from nethical.audit.checkpoint import sign_checkpoint
from nethical.audit.examine import examine
from nethical.audit.log import Log
from nethical.audit.notes import VerifierKey
from nethical.audit.reading import LogReader
from nethical.audit.rotation import open_log
from nethical.audit.runs import find_run
from nethical.audit.sink import AuditSink
from nethical.audit.verification import verify
from nethical.errors import IntegrityError, StorageError
from nethical.facts import RunStarted
from nethical.keys import Keys
from nethical.registry import Registry
from nethical.run import Run

ORIGIN = "nethical.local/test"
NETHICAL = Path(sys.executable).with_name("nethical")


def private(seed):
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


FIRST, SECOND, THIRD, BEFORE = (private(seed) for seed in (1, 2, 3, 9))
VKEYS = [VerifierKey.of(ORIGIN, key) for key in (FIRST, SECOND, THIRD)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def writer(path):
    """A writer that has logged three entries, one of them not sealed, and knows newer keys."""
    log = Log(path, FIRST, origin=ORIGIN)
    log.follow(lambda: [SECOND, FIRST, BEFORE])
    for i in range(2):
        log.append({"i": i})
    log.seal()
    log.append({"i": 2})
    return log


def sound(path, size):
    """Check that every key of a log verifies it, and that it is of a size."""
    for key in VKEYS[:2]:
        found = verify(path, [key]).examined
        assert (found.faults, found.warnings) == ([], [])
    assert len(LogReader(path)) == size


class Rotating:
    """Rotates the log's key by another process, once the data are loaded."""

    def __init__(self, keys, folder):
        self._keys, self._folder = keys, folder

    def record(self, fact, *, run_id, at):
        del run_id, at
        if fact.event_type == "data_loaded":
            nethical(self._keys, "keys", "rotate", "log", "--enable-audit", "--audit-path",
                     self._folder)  # fmt: skip

    def seal(self):
        return None


def nethical(keys, *arguments):
    environment = {**os.environ, "NETHICAL_HOME": str(keys.home)}
    return subprocess.run(
        [NETHICAL, *arguments], env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_a_run_goes_on_when_another_process_rotates_the_key_of_its_log(tmp_path):
    keys, folder = Keys(tmp_path / "home"), tmp_path / "logs"
    registry = Registry(tmp_path / "models", keys, lambda: datetime.now(UTC))
    old = keys.log_key()
    with AuditSink(folder, keys) as sink:
        run = Run([sink, Rotating(keys, folder)])
        train(Plan("heuristic", data="sklearn:breast_cancer"), run=run, registry=registry)
    origin = LogReader(folder / "log").checkpoint.origin
    for key in (old, keys.log_key()):
        found = verify(folder, [VerifierKey.of(origin, key)])
        assert (found.examined.faults, found.examined.warnings) == ([], [])
    assert (found.runs, found.operations) == (1, 1)
    logged = find_run(LogReader(folder / "log"))
    assert logged.outcome == "completed"
    events = [json.loads(entry)["event_type"] for entry in LogReader(folder / "log").entries()]
    assert events.index("key_rotated") < events.index("data_split")
    receipt = folder / "runs" / run.run_id / "run.tlog-proof"
    vkey = VerifierKey.of(origin, keys.log_key()).to_vkey()
    told = nethical(keys, "audit", "verify", folder, "--key", vkey, "--proof", receipt)
    assert "run_ended" in told


def test_a_run_ends_well_though_its_log_is_handed_over_just_before_its_views_are_written(tmp_path):
    keys, folder = Keys(tmp_path / "home"), tmp_path / "logs"
    kept = anchor(f"file:{tmp_path / 'kept'}")
    sink = AuditSink(folder, keys, anchors=[kept])
    run, seal = Run([sink]), sink.log.seal
    run.record(RunStarted("", "logistic", "logistic", 10, 32, None, 42, {}, {}))

    def seal_and_be_handed_over():
        sealed = seal()
        keys.rotate("log")
        Log(folder / "log", keys.log_key(), earlier=keys.earlier_log_keys())
        return sealed

    sink.log.seal = seal_and_be_handed_over
    sink.__exit__(None, None, None)
    old, new = (VerifierKey.of(sink.log.origin, key) for key in keys.log_keys()[::-1])
    assert (sink.log.key, open_log(folder / "log", [old]).key) == (old, new)
    for key in (old, new):
        found = verify(folder, [key], [kept]).examined
        assert [fault.kind for fault in found.faults] == ["incomplete"]  # it did not do much
        assert (found.warnings, found.anchored_size) == ([], 3)


def test_what_was_acknowledged_before_a_hand_over_stands_before_it(path, writer):
    assert Log(path, SECOND, earlier=[FIRST]).append({"i": "other"}) == 4
    assert writer.append({"i": 3}) == 5
    assert writer.seal().checkpoint.tree_size == 6
    assert writer.key == VKEYS[1]
    sound(path, 6)


def test_a_writer_follows_several_rotations_at_once(path, writer):
    writer.follow(lambda: [THIRD, SECOND, FIRST])
    Log(path, SECOND, earlier=[FIRST])
    Log(path, THIRD, earlier=[SECOND, FIRST])
    writer.append({"i": 3})
    writer.seal()
    assert writer.key == VKEYS[2]
    sound(path, 6)


def test_a_writer_goes_on_with_its_key_until_the_log_is_handed_over(path, writer):
    writer.append({"i": 3})
    writer.seal()
    assert writer.key == VKEYS[0]
    Log(path, SECOND, earlier=[FIRST])
    writer.seal()
    assert writer.key == VKEYS[1]
    sound(path, 5)


def test_a_key_that_is_not_in_the_folder_of_the_writer_stops_it(path, writer):
    writer.follow(lambda: [FIRST, BEFORE])
    Log(path, SECOND, earlier=[FIRST])
    with pytest.raises(IntegrityError, match=r"handed over to the key .* not in the key") as raised:
        writer.append({"i": 3})
    assert "NETHICAL_HOME" in raised.value.mend
    with pytest.raises(StorageError, match=r"stopped at an earlier error: .* handed over") as again:
        writer.append({"i": 3})
    assert "NETHICAL_HOME" in again.value.mend
    sound(path, 4)


def test_an_older_key_of_the_folder_is_no_heir(path, writer):
    """Who has stolen two keys, one of them long replaced, hands the log back to it."""
    Log(path, BEFORE, earlier=[FIRST])
    with pytest.raises(IntegrityError, match="handed over to the key"):
        writer.append({"i": 3})
    assert writer.stopped


def test_a_folder_that_does_not_hold_the_key_of_the_writer_gives_no_heir(path, writer):
    writer.follow(lambda: [SECOND])
    Log(path, SECOND, earlier=[FIRST])
    with pytest.raises(IntegrityError, match="handed over to the key"):
        writer.append({"i": 3})


def test_a_new_key_to_which_nothing_hands_the_log_is_not_gone_on_with(path, writer):
    head = sign_checkpoint(LogReader(path).checkpoint, SECOND)
    (path / "checkpoint").write_bytes(head)
    with pytest.raises(IntegrityError, match="no believed key signed it") as raised:
        writer.append({"i": 3})
    assert "NETHICAL_HOME" in raised.value.mend


@pytest.mark.parametrize("lost", ["the last entry", "all of it", "another entry in its place"])
def test_a_log_that_lost_what_was_acknowledged_is_not_gone_on_with(path, writer, lost):
    kept = shutil.copytree(path, path.parent / "kept")
    if lost == "all of it":
        shutil.rmtree(kept)
        Log(kept, FIRST, origin=ORIGIN)
    else:
        (kept / "pending").write_bytes(b"")
        if lost == "another entry in its place":
            Log(kept, FIRST).append({"i": "other"})
    Log(kept, SECOND, earlier=[FIRST])
    assert examine(kept, VKEYS[0]).faults == []
    shutil.rmtree(path)
    kept.rename(path)
    with pytest.raises(IntegrityError, match="does not begin with the 3 entries"):
        writer.append({"i": 3})


@pytest.mark.parametrize("sealed", [False, True])
def test_a_hand_over_that_was_killed_is_finished_by_the_writer(path, writer, sealed):
    other = Log(path, FIRST)
    other.append(rotation())
    if sealed:
        other.seal()
    assert writer.append({"i": 3}) == 5
    assert writer.key == VKEYS[1]
    writer.seal()
    sound(path, 6)


@pytest.mark.parametrize("sealed", [False, True])
def test_no_entry_comes_under_a_key_after_the_entry_that_replaced_it(path, writer, sealed):
    other = Log(path, FIRST)
    other.append(rotation())
    if sealed:
        other.seal()
    writer.follow(lambda: [FIRST])
    before = LogReader(path)
    for late in (writer.append, lambda document: Log(path, FIRST).append(document)):
        with pytest.raises(IntegrityError, match="handed over to the key"):
            late({"i": 3})
    assert len(LogReader(path)) == len(before)


def rotation():
    old, new = (key.to_vkey() for key in VKEYS[:2])
    return {"event_type": "key_rotated", "old_key": old, "new_key": new}


@pytest.mark.parametrize("change", [{"old_key": VKEYS[2].to_vkey()}, {"new_key": "x"}, {"a": 1.5}])
def test_an_entry_that_hands_nothing_over_stops_nobody(path, writer, change):
    other = Log(path, FIRST)
    other.append({"event_type": "warning", "message": '"event_type":"key_rotated"'})
    other.append(rotation() | change if "a" not in change else [rotation()])
    writer.append({"i": 3})
    assert writer.key == VKEYS[0]
