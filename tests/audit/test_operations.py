"""Operations beside runs: logged whatever they are done with, told again, and held in pairs."""

import pytest

from nethical.audit.log import Log
from nethical.audit.logged_operations import all_operations
from nethical.audit.notes import VerifierKey
from nethical.audit.operations import operation
from nethical.audit.reading import LogReader
from nethical.audit.verification import verify
from nethical.errors import DataError
from nethical.keys import Keys


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "home")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "logs"


def told(folder):
    return all_operations(LogReader(folder / "log"))


def found(folder, keys):
    log = Log(folder / "log", keys.log_key(), earlier=keys.earlier_log_keys())
    log.seal()
    return verify(folder, [VerifierKey.of(log.origin, keys.log_key())])


def test_an_operation_is_told_with_what_came_of_it(folder, keys):
    with operation(folder, keys, "models promote", {"model": "m"}) as going_on:
        going_on.results["status"] = "current"
    with pytest.raises(DataError), operation(folder, keys, "govern gate", {}):
        raise DataError("no rows", mend="give some")
    done, failed = told(folder)
    assert (done.command, done.outcome, done.begun.index) == ("models promote", "done", 0)
    assert done.ended.document["results"] == {"status": "current"}
    assert (failed.outcome, failed.ended.document["error"]) == ("failed", "DataError: no rows")
    verified = found(folder, keys)
    assert (verified.operations, verified.examined.faults, verified.examined.warnings) == (
        *(2, [], []),
    )


def test_an_end_is_logged_whatever_came_of_it(folder, keys):
    with operation(folder, keys, "models list", {"path": "\udcff"}) as going_on:
        going_on.results["all"] = ["x" * 100] * 1000
    with pytest.raises(DataError), operation(folder, keys, "models list", {}):
        raise DataError("\udcff" * 70_000, mend="")
    done, failed = told(folder)
    assert done.begun.document["arguments"] == {"path": "\\udcff"}
    assert done.ended.document["results"]["bytes"] == 103_009
    assert (done.outcome, failed.outcome) == ("done", "failed")


def test_a_rotated_key_is_told_among_the_operations(folder, keys):
    with operation(folder, keys, "keys rotate", {"kind": "log"}):
        keys.rotate("log")
    assert [(each.command, each.outcome) for each in told(folder)] == [
        *(("keys rotate", "done"), ("key_rotated", "-")),
    ]


def test_an_operation_that_was_killed_is_warned_of(folder, keys):
    with operation(folder, keys, "models list", {}):
        pass
    begun = {"event_type": "operation", "command": "govern gate", "arguments": {}, "by": "ada"}
    Log(folder / "log", keys.log_key()).append({**begun, "phase": "begun", "timestamp": "2026"})
    examined = found(folder, keys).examined
    assert [(each.index, each.kind) for each in examined.warnings] == [(2, "not ended")]
    assert told(folder)[1].outcome == "not ended"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"begun_index": 0}, "did not begin at entry 0"),
        ({"begun_index": None}, "did not begin at entry None"),
        ({"begun_index": 2, "by": "ben"}, "not the end of the operation that began at entry 2"),
    ],
)
def test_an_end_of_no_operation_or_another_is_a_fault(folder, keys, change, why):
    with operation(folder, keys, "models list", {}):
        pass
    log = Log(folder / "log", keys.log_key())
    entry = {"event_type": "operation", "command": "govern gate", "arguments": {}, "by": "ada"}
    log.append({**entry, "phase": "begun", "timestamp": "2026"})
    log.append({**entry, "phase": "done", "timestamp": "2026", **change})
    (fault,) = found(folder, keys).examined.faults
    assert (fault.index, fault.kind) == (3, "incomplete")
    assert why in fault.what
