import re
from datetime import UTC, datetime, timedelta

import pytest

from nethical.facts import StageFailed, Warned
from nethical.run import Receipt, Run, silent

START = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)


class Clock:
    """Goes on by a second each time it is read."""

    def __init__(self):
        self.now = START - timedelta(seconds=1)

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


class Kept:
    """A sink that keeps what it is told, in a log shared with others."""

    def __init__(self, log, name="sink", receipt=None):
        self.log, self.name, self.receipt = log, name, receipt

    def record(self, fact, *, run_id, at):
        self.log.append((self.name, fact, run_id, at))

    def seal(self):
        self.log.append((self.name, "sealed"))
        return self.receipt


class Full(Kept):
    """A sink that cannot keep anything."""

    def record(self, *_fact, **_when):
        raise OSError("no space")


def test_a_run_is_named_by_its_start_and_by_chance():
    one, other = Run(clock=Clock()), Run(clock=Clock())
    assert one.started_at == START
    assert re.fullmatch(r"run_20240501T120000Z_[0-9a-f]{6}", one.run_id)
    assert one.run_id != other.run_id


def test_the_clock_of_a_run_is_utc_unless_another_is_given():
    assert Run().started_at.utcoffset() == timedelta(0)


def test_every_sink_gets_each_fact_in_order_with_one_time():
    log = []
    run = Run([Kept(log, "a"), Kept(log, "b")], clock=Clock())
    run.record(Warned("one"))
    run.record(Warned("two"))
    assert [(name, fact.message) for name, fact, _, _ in log] == [
        ("a", "one"),
        ("b", "one"),
        ("a", "two"),
        ("b", "two"),
    ]
    assert {entry[2] for entry in log} == {run.run_id}
    assert [entry[3] - START for entry in log] == [timedelta(seconds=s) for s in (1, 1, 2, 2)]


def test_a_sink_that_cannot_write_stops_the_run_and_later_sinks_never_hear_of_it():
    log = []
    run = Run([Kept(log, "before"), Full([]), Kept(log, "after")])
    with pytest.raises(OSError, match="no space"):
        run.record(Warned("lost"))
    assert [name for name, *_ in log] == ["before"]


def test_a_warning_is_a_fact_and_kept_for_the_user():
    log = []
    run = Run([Kept(log)])
    run.warn("careful")
    assert log[0][1] == Warned("careful")
    assert run.warnings == ["careful"]


def test_sealing_asks_every_sink_and_returns_the_first_receipt():
    log, receipt = [], Receipt("log.example", 7, "ab" * 32)
    other = Receipt("other", 1, "cd" * 32)
    sinks = [Kept(log, "a"), Kept(log, "b", receipt), Kept(log, "c", other)]
    assert Run(sinks).seal() == receipt
    assert [name for name, _ in log] == ["a", "b", "c"]


def test_a_run_without_a_log_has_no_receipt():
    assert Run().seal() is None
    assert Run([Kept([])]).seal() is None


@pytest.mark.parametrize("error", [ValueError("bad value"), KeyboardInterrupt()])
def test_a_stage_that_raises_is_recorded_and_raised_again(error):
    log = []
    run = Run([Kept(log)])
    with pytest.raises(type(error)) as caught, run.stage("fit"):
        raise error
    assert caught.value is error
    assert [entry[1] for entry in log] == [StageFailed("fit", type(error).__name__, str(error))]


def test_a_stage_that_ends_well_records_nothing():
    log = []
    with Run([Kept(log)]).stage("fit"):
        pass
    assert log == []


def test_a_failure_that_cannot_be_recorded_keeps_its_cause():
    with pytest.raises(OSError, match="no space") as caught, Run([Full([])]).stage("fit"):
        raise ValueError("bad value")
    assert isinstance(caught.value.__context__, ValueError)


def test_progress_is_silent_unless_somebody_listens():
    assert Run().progress is silent
    assert silent("fit", 1, 2) is None
    heard = []
    Run(progress=lambda *step: heard.append(step)).progress("fit", 1, 2)
    assert heard == [("fit", 1, 2)]
