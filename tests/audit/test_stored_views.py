"""What somebody who may write the folder, but has no key, can put before a reader."""

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nethical.audit.folder import AuditFolder
from nethical.audit.log import Log
from nethical.audit.notes import VerifierKey
from nethical.audit.reading import LogReader
from nethical.audit.sink import AuditSink
from nethical.audit.verification import believed, located, verify, vkey_of
from nethical.audit.views import _json
from nethical.errors import DataError, IntegrityError, StorageError, UsageError
from nethical.facts import RunStarted, Warned
from nethical.keys import Keys
from nethical.run import Run

START = RunStarted("", "logistic", "logistic", 10, 32, None, 42, {}, {})
PLANTED = "chunk_20260101_000000_1.json"
NO_RUN = "run_20260101T000000Z_abcdef"


def log_run(folder, keys, *facts):
    run, sink = Run(), AuditSink(folder, keys)
    for fact in (START, *facts):
        sink.record(fact, run_id=run.run_id, at=datetime.now(UTC))
    error = DataError("no data", mend="give some")
    sink.__exit__(DataError, error, None)
    return run.run_id


members = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(members)
@example({"a": [], "b": {}, "\u2028\x7f": [[], {"c": [1e16, -0.0, True, None]}]})
def test_a_view_is_written_as_the_encoder_of_python_writes_it(document):
    told = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    assert _json(document) == f"{told}\n".encode()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_view_holds_no_number_that_is_not_json(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        _json({"a": number})


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A folder with two runs, the first with a fact that does not fit into an entry."""
    place = tmp_path_factory.mktemp("views")
    keys = Keys(place / "home")
    first = log_run(place / "logs", keys, Warned("x" * 70_000))
    shutil.copytree(place / "logs", place / "before", symlinks=True)
    return place, keys, (first, log_run(place / "logs", keys))


@pytest.fixture
def folder(audited, tmp_path):
    shutil.copytree(audited[0] / "logs", tmp_path / "logs", symlinks=True)
    return tmp_path / "logs"


@pytest.fixture
def runs(audited, folder):
    return [folder / "runs" / name for name in audited[2]]


@pytest.fixture
def verified(audited, folder):
    """Return a function that gives the faults and the warnings, each as file and kind."""

    def run():
        keys = audited[1]
        found = verify(folder, believed(folder / "log", keys, ())).examined
        return [
            {(each.file, each.kind) for each in some} for some in (found.faults, found.warnings)
        ]

    return run


def test_what_was_written_is_without_fault(verified):
    assert verified() == [set(), set()]


@pytest.mark.parametrize("target", ["runs/../../evil", f"runs/{NO_RUN}", "runs/", "../evil"])
def test_latest_leads_to_a_run_of_the_log_and_nowhere_else(folder, verified, target):
    (folder / "latest").unlink()
    (folder / "latest").symlink_to(target)
    for place in (folder.parent / "evil", folder / "runs" / NO_RUN):
        place.mkdir()
        (place / "training_summary.json").write_text('{"promoted": true}')
    assert ("latest", "changed") in verified()[0]


def test_latest_that_leads_to_an_earlier_run_is_told(folder, runs, verified):
    (folder / "latest").unlink()
    (folder / "latest").symlink_to(f"runs/{runs[0].name}")
    assert verified() == [set(), {("latest", "old")}]


def test_nothing_else_may_look_like_the_facts_of_a_run(folder, runs, verified):
    (runs[1] / PLANTED).write_text("{}")
    (folder / PLANTED).symlink_to(f"latest/{PLANTED}")
    (runs[1] / "notes").write_text("x")
    name = f"runs/{runs[1].name}"
    assert verified() == [{(f"{name}/{PLANTED}", "changed")}, {(f"{name}/notes", "stray")}]


def test_a_run_whose_views_are_gone_is_told(runs, verified):
    shutil.rmtree(runs[1])
    assert ("runs/" + runs[1].name, "missing") in verified()[1]


def test_what_an_entry_has_by_its_digest_must_be_there(runs, verified):
    (kept,) = (runs[0] / "large").iterdir()
    name = f"runs/{runs[0].name}/large"
    planted = hashlib.sha256(b"hi").hexdigest()
    (runs[0] / "large" / f"{planted}.json").write_bytes(b"hi")
    assert verified() == [set(), {(f"{name}/{planted}.json", "stray")}]
    kept.rename(runs[0] / "large" / "x")
    assert verified()[0] == {(f"{name}/{kept.name}", "missing")}
    shutil.rmtree(runs[0] / "large")
    assert verified()[0] == {(f"{name}/{kept.name}", "missing")}


def test_views_of_a_longer_log_show_that_it_was_set_back(audited, folder, verified):
    shutil.rmtree(folder / "log")
    shutil.copytree(audited[0] / "before" / "log", folder / "log")
    name = f"runs/{audited[2][1]}"
    assert verified()[0] == {
        *((f"{name}/{file}", "set back") for file in ("training_summary.json", "run.tlog-proof")),
        ("latest", "changed"),
    }


def test_views_of_another_log_of_the_same_name_show_the_fork(audited, folder, tmp_path, verified):
    shutil.rmtree(folder)
    keys = audited[1]
    shutil.copytree(audited[0] / "before", folder, symlinks=True)
    shutil.copytree(folder, tmp_path / "fork", symlinks=True)
    for path in (folder, tmp_path / "fork"):
        run = log_run(path, keys)
    shutil.copytree(tmp_path / "fork" / "runs" / run, folder / "runs" / run)
    assert (f"runs/{run}/training_summary.json", "fork") in verified()[0]


@pytest.mark.parametrize(
    "content",
    ["[" * 60_000, "[]", '{"checkpoint": 1}', '{"checkpoint": "\\ud800"}', "\0", "9" * 9_999],
)
def test_a_summary_of_any_content_is_a_fault_and_no_error(runs, verified, content):
    (runs[1] / "training_summary.json").write_text(content)
    assert verified()[0] == {(f"runs/{runs[1].name}/training_summary.json", "changed")}


@pytest.mark.parametrize("put", ["link", "folder", "pipe"])
@pytest.mark.parametrize("file", ["training_summary.json", "run.tlog-proof", "large", "chunk"])
def test_what_is_no_file_is_a_fault_and_no_error(runs, verified, put, file):
    path = {
        "large": next((runs[0] / "large").iterdir()),
        "chunk": next(runs[0].glob("chunk_*")),
    }.get(file, runs[0] / file)
    path.rename(path.parent.parent.parent / "away")
    if put == "link":
        path.symlink_to(path.parent.parent.parent / "away")
    elif put == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert verified()[0] == {(str(path.relative_to(runs[0].parent.parent)), "not a file")}


def test_the_folder_of_a_run_may_not_be_a_link(runs, verified):
    runs[0].rename(runs[0].parent.parent.parent / "away")
    runs[0].symlink_to(runs[0].parent.parent.parent / "away")
    assert verified()[0] == {(f"runs/{runs[0].name}", "not a file")}


def test_a_lock_that_is_a_pipe_does_not_hold_a_reader(folder, verified):
    (folder / "log" / "lock").unlink()
    os.mkfifo(folder / "log" / "lock")
    assert verified()[0] == set()


def test_an_operation_that_tells_of_a_run_is_no_run(tmp_path):
    keys, path = Keys(tmp_path / "home"), tmp_path / "logs"
    AuditFolder(path).make()
    log = Log(path / "log", keys.log_key())
    told = {"command": "x", "arguments": {"run_id": NO_RUN}, "phase": "begun", "by": "ada"}
    log.append({"event_type": "operation", **told, "timestamp": "2026"})
    log.append({"event_type": "training_start", "run_id": "run_../../x", "timestamp": "2026"})
    log.seal()
    found = verify(path, [VerifierKey.of(log.origin, keys.log_key())])
    assert (found.runs, found.examined.fault_count) == (0, 1)
    assert "is not the id of a run" in found.examined.faults[0].what


def test_a_checkpoint_of_an_impossible_log_is_no_wrong_usage(audited, folder):
    path = folder / "log" / "checkpoint"
    path.write_bytes(b"a b+c\n" + path.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(IntegrityError, match="cannot be the name of a log"):
        believed(folder / "log", audited[1], ())


def test_names_that_no_file_can_have_are_told_in_two_lines(tmp_path):
    with pytest.raises(StorageError, match="File name too long"):
        located(tmp_path / ("a" * 300))
    with pytest.raises(UsageError, match="is not a verifier key"):
        vkey_of("a" * 300)


def test_a_run_that_ends_while_its_folder_is_verified_is_no_fault(audited, folder, monkeypatch):
    """The log grows between the opening and the examination, as under a training."""
    keys = audited[1]
    believing = believed(folder / "log", keys, ())
    from nethical.audit import verification

    examine = verification.examine

    def later(*args, **options):
        log_run(folder, keys)
        return examine(*args, **options)

    monkeypatch.setattr(verification, "examine", later)
    found = verify(folder, believing)
    assert (found.examined.faults, found.runs) == ([], 3)
    assert LogReader(folder / "log").checkpoint.tree_size > 5
