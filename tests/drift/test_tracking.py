"""A run that is tracked, and weekly looks: what is refused, recorded, spent."""

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import pyarrow as pa
import pytest

from nethical.canonical import digest
from nethical.drift import report, tracking
from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import Cohorts, NewRun
from nethical.drift.effects import Settings
from nethical.drift.tracking import DriftTracking, watch
from nethical.errors import DataError, StorageError, UsageError
from nethical.facts import CohortAdded, DriftReported
from nethical.pipeline import train
from nethical.plan import Plan
from nethical.run import Run

START = datetime(2026, 1, 5, tzinfo=UTC)


class Facts:
    """A sink that keeps what it is told."""

    def __init__(self):
        self.facts = []

    def record(self, fact, *, run_id, at):
        del run_id, at
        self.facts.append(fact)

    def seal(self):
        return None

    def of(self, kind):
        return [fact for fact in self.facts if isinstance(fact, kind)]


@pytest.fixture
def clock():
    ticks = count()
    return lambda: START + timedelta(seconds=next(ticks))


def table(n=1200, seed=1, **more):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return pa.table({"x": y + rng.normal(0, 0.6, n), "label": y, **more})


@pytest.fixture
def tracked(tmp_path, clock):
    """Return a function that trains with tracking and gives the tracking, report and facts."""

    def tracked(plan=None, *, folder=tmp_path / "reports", cohort="a", column=None, **changes):
        plan = plan or Plan("heuristic", data=table(), models_dir=str(tmp_path / "models"))
        following = DriftTracking(folder, cohort, column, "week", clock)
        heard = Facts()
        run = Run([following, heard])
        outcome = train(replace(plan, **changes), run=run, check=following.check)
        return following, following.finish(outcome, run), heard

    return tracked


def test_a_run_adds_its_gate_rows_and_reports_and_both_are_recorded(tracked):
    following, written, heard = tracked()
    (cohort,) = following.cohorts.load()
    (joined,) = heard.of(CohortAdded)
    (told,) = heard.of(DriftReported)
    assert joined.cohort_id == told.reference == cohort.cohort_id == "a"
    assert joined.rows == joined.labelled == cohort.summary.whole.rows
    assert joined.cells_digest == cohort.runs[0].cells_digest
    assert told.report_digest == written.digest
    assert heard.facts.index(joined) < heard.facts.index(told)


def test_the_logged_digest_is_that_of_the_file_as_anybody_computes_it(tracked):
    _, written, heard = tracked()
    found = hashlib.sha256(written.path.read_bytes()).hexdigest()
    assert heard.of(DriftReported)[0].report_digest == f"sha256:{found}"


def test_the_cells_of_a_run_follow_from_its_bundle(tracked, tmp_path):
    """What an auditor does: derive what was counted from the scores that were signed."""
    from nethical.drift.rows import read_rows

    following, _, _ = tracked()
    (run,) = following.cohorts.load()[0].runs
    rows = read_rows(run, tmp_path / "anywhere")
    again = summarise(Scored(rows.y_proba, rows.y_true, run.details["threshold"]))
    assert digest(again.to_bytes()) == run.cells_digest


def test_other_parameters_are_another_way_of_training_and_another_seed_is_not(tracked):
    following, _, _ = tracked()
    tracked(cohort="b", seed=7)
    tracked(cohort="c", parameters={"penalty": 50.0})
    tracked(cohort="d", threshold=0.3)
    way = {c.cohort_id: c.runs[0].process for c in following.cohorts.load()}
    assert way["a"] == way["b"]
    assert len({way["a"], way["c"], way["d"]}) == 3


def test_what_cannot_be_tracked_stops_a_run_before_it_learns(tracked, tmp_path):
    case = pa.array(np.arange(1200))
    plan = Plan("heuristic", data=table(case=case), models_dir=str(tmp_path / "models"))
    with pytest.raises(DataError, match="at most 200 cohorts"):
        tracked(plan, column="case")
    with pytest.raises(DataError, match="cohort column 'nowhere' is missing"):
        tracked(plan, column="nowhere")
    late = Plan(
        "heuristic",
        data=table(at=["soon"] * 1200),
        columns={"at": "time"},
        split="random",
        models_dir=str(tmp_path / "models"),
    )
    with pytest.raises(DataError, match="time column 'at' cannot be read"):
        tracked(late)
    assert not (tmp_path / "models" / "versions").exists()
    assert not (tmp_path / "reports").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told_first(tracked, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="cannot be written"):
        tracked(folder=closed / "reports")


def test_a_file_in_the_way_of_the_folder_is_told_first(tracked, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "reports"):
        with pytest.raises(StorageError, match="cannot write drift reports"):
            tracked(folder=folder)


# --- what a run is compared with ----------------------------------------------------------------


def test_a_run_is_compared_with_the_reference_that_was_set_else_with_what_says_most(tracked):
    following, first, _ = tracked()
    assert first.verdict == "inconclusive"
    _, _, heard = tracked(cohort="b", parameters={"penalty": 50.0})  # the same rows
    assert heard.of(DriftReported)[0].reference == "a"
    _, _, heard = tracked(cohort="c", seed=9)  # other rows; the way of a, but not of b
    assert heard.of(DriftReported)[0].reference == "a"
    following.cohorts.set_reference("b", horizon=4)
    _, _, heard = tracked(cohort="d", seed=10)
    assert heard.of(DriftReported)[0].reference == "b"
    assert following.cohorts.looks() == []  # a run spends none


# --- weekly looks -------------------------------------------------------------------------------


def add(store, name, seed, n=2000, separation=2.2):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(np.int8)
    p = 1 / (1 + np.exp(-2.2 * rng.normal(np.where(y, separation / 2, -separation / 2))))
    cells = summarise(Scored(p, y, 0.5))
    details = {"threshold": 0.5, "violations": []}
    store.add(name, NewRun(f"r{seed}", "m", "m", "p", f"rows {seed}", "", cells, details))


@pytest.fixture
def store(tmp_path, clock):
    made = Cohorts(tmp_path / "looks", clock)
    add(made, "base", 1)
    add(made, "june", 2)
    made.set_reference("base", horizon=3)
    return made


def look(store, names=None):
    return watch(store, names, settings=Settings(), at=START)


def test_a_look_is_spent_where_something_is_new_and_only_there(store):
    written, fact, number, horizon = look(store)
    assert (number, horizon, fact.cohorts) == (1, 3, ["base", "june"])
    assert look(store) is None
    add(store, "july", 3)
    assert look(store, ["june"]) is None
    assert look(store)[1].cohorts == ["base", "july"]
    add(store, "june", 4)  # a cohort that grew is new again
    assert look(store)[1].cohorts == ["base", "june"]
    assert [one.alpha for one in store.looks()] == pytest.approx([0.01 / 3] * 3)
    assert written.report_id == store.looks()[0].report_id
    add(store, "august", 5)
    with pytest.raises(UsageError, match="all 3 looks"):
        look(store)


def test_a_reference_that_is_set_anew_begins_anew(store):
    look(store)
    store.set_reference("base", horizon=3)
    assert look(store)[2] == 1


def test_a_report_that_fails_spends_no_look(store, monkeypatch):
    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(report.durable, "write", broken)
        with pytest.raises(OSError, match="No space"):
            look(store)
    assert store.looks() == []
    assert look(store)[2] == 1


def test_two_who_look_at_once_do_not_both_spend(store, monkeypatch):
    """The other one comes between the report and the look."""
    honest = tracking.reported

    def interrupted(*given, **more):
        monkeypatch.setattr(tracking, "reported", honest)
        assert look(store)[2] == 1
        return honest(*given, **more)

    monkeypatch.setattr(tracking, "reported", interrupted)
    with pytest.raises(StorageError, match="look 1 is not the next"):
        look(store)
    assert len(store.looks()) == 1


def test_a_name_that_is_no_cohort_is_told(store):
    with pytest.raises(UsageError, match="nobody"):
        look(store, ["nobody"])
