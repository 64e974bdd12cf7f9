"""Searches measure: the same trials for one worker or many, whole or interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from nethical.data import synthetic
from nethical.errors import DataError, UsageError
from nethical.governance import search as searches
from nethical.governance.search import TECHNIQUES, Limits, Trial, affordable_increase, search
from nethical.governance.store import GovernanceStore
from nethical.models import catalog
from nethical.plan import Plan
from nethical.preparation import prepare
from nethical.run import Run

LIMITS = Limits(0.08, 0.06)


def rows(seed=1, n=3000):
    return synthetic.generate("risk", n, seed=seed, overlap=2.0, prevalence_shift=-3.0)


def planned(model_type="logistic", frame=None, **settings):
    frame = rows().table if frame is None else frame
    return Plan(model_type, data=frame, has_search=True, threads=1, **settings)


@pytest.fixture
def store(tmp_path):
    return GovernanceStore(tmp_path / "governance", lambda: datetime.now(UTC))


@pytest.fixture(scope="session")
def prepared():
    return prepare(planned(), Run())


def told(trials):
    """What must be the same whoever tried it: everything but the time it took."""
    return [
        (t.number, t.name, dict(t.parameters), {**t.outcome, "latency_ms": None}) for t in trials
    ]


def run(prepared, store, technique="random_search", iterations=6, **settings):
    plan = planned(**settings.pop("plan", {}))
    _, trials = search(
        plan,
        prepared,
        store,
        technique=technique,
        iterations=iterations,
        limits=LIMITS,
        **settings,
    )
    return trials


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_exactly_as_many_trials_as_asked_for_each_measured(prepared, store, technique):
    trials = run(prepared, store, technique, 7)
    assert [trial.number for trial in trials] == list(range(1, 8))
    assert trials[0].name == f"{technique.split('_')[0]}_v1"
    space = {p.name for p in catalog.traits("logistic").space}
    for trial in trials:
        assert set(trial.parameters) == space
        assert 0 < trial.outcome["recall"] <= 1
        assert trial.outcome["false_positive_rate"] <= LIMITS.max_false_positive_rate
        thresholds = trial.outcome["thresholds"]
        assert thresholds["gray_low"] <= thresholds["block"] <= thresholds["gray_high"]


@pytest.mark.parametrize("technique", ["random_search", "evolutionary"])
def test_the_first_trial_has_the_defaults_so_a_search_is_never_worse(prepared, store, technique):
    first, *_ = run(prepared, store, technique, 5)
    assert first.parameters == {p.name: p.default for p in catalog.traits("logistic").space}


def test_many_workers_make_the_same_trials(prepared, store, tmp_path):
    alone = run(prepared, store, iterations=5)
    other = GovernanceStore(tmp_path / "other", lambda: datetime.now(UTC))
    assert told(run(prepared, other, iterations=5, workers=3)) == told(alone)


def test_a_seed_decides_the_proposals(prepared, store):
    first = run(prepared, store, iterations=5)
    again = run(prepared, store, iterations=5, plan={"seed": 43})
    assert told(first)[1:] != told(again)[1:]


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_study_that_was_cut_short_goes_on_to_the_same_trials(
    prepared, store, tmp_path, monkeypatch, technique
):
    whole = run(prepared, store, technique, 9)
    other = GovernanceStore(tmp_path / "other", lambda: datetime.now(UTC))
    count = 0
    measured = searches._measured

    def interrupted(*arguments):
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(searches, "_measured", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(prepared, other, technique, 9)
    monkeypatch.setattr(searches, "_measured", measured)
    calls = []
    monkeypatch.setattr(
        searches, "_measured", lambda *arguments: calls.append(1) or measured(*arguments)
    )
    assert told(run(prepared, other, technique, 9)) == told(whole)
    assert len(calls) == 9 - 4  # the lot of four that was stored is not measured again


KILLED = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from nethical.data import synthetic
from nethical.governance.search import Limits, search
from nethical.governance.store import GovernanceStore
from nethical.plan import Plan
from nethical.preparation import prepare
from nethical.run import Run
drawn = synthetic.generate("risk", 3000, seed=1, overlap=2.0, prevalence_shift=-3.0)
plan = Plan("logistic", data=drawn.table, has_search=True, threads=1)
store = GovernanceStore(Path(sys.argv[1]), lambda: datetime.now(UTC))
prepared = prepare(plan, Run())
print("ready", flush=True)
search(plan, prepared, store, technique="evolutionary", iterations=12, limits=Limits(.08, .06))
print("done", flush=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_search_killed_at_random_moments_ends_with_the_same_trials(
    prepared, store, tmp_path, kills
):
    whole = run(prepared, store, "evolutionary", 12)
    place = tmp_path / "killed"
    rng = np.random.default_rng(kills)
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(place)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    other = GovernanceStore(place, lambda: datetime.now(UTC))
    assert told(run(prepared, other, "evolutionary", 12)) == told(whole)


def test_a_finished_study_is_read_and_not_run_again(prepared, store, monkeypatch):
    first = run(prepared, store, iterations=5)

    def never(*_):
        pytest.fail("a trial that is known was measured again")

    monkeypatch.setattr(searches, "_measured", never)
    assert told(run(prepared, store, iterations=5)) == told(first)


def test_scores_follow_from_the_parameters_and_the_labels(store, tmp_path):
    drawn = rows(n=4000).table
    rng = np.random.default_rng(0)
    shuffled = drawn.set_column(
        drawn.column_names.index("label"),
        "label",
        pa.array(rng.permutation(drawn["label"].to_numpy())),
    )
    honest = search(
        planned(frame=drawn),
        prepare(planned(frame=drawn), Run()),
        store,
        technique="random_search",
        iterations=8,
        limits=LIMITS,
    )[1]
    noise = search(
        planned(frame=shuffled),
        prepare(planned(frame=shuffled), Run()),
        GovernanceStore(tmp_path / "noise", lambda: datetime.now(UTC)),
        technique="random_search",
        iterations=8,
        limits=LIMITS,
    )[1]
    assert max(t.outcome["recall"] for t in honest) > 0.5
    # Nobody can find more of the positives than of the negatives in noise, but by chance.
    assert max(t.outcome["recall"] for t in noise) < LIMITS.max_false_positive_rate + 0.08
    assert len({t.outcome["brier"] for t in honest}) > 3


def climbed(technique, space, iterations, seed, value_of):
    """What a proposer comes to on a task whose value follows from the parameters."""
    proposals = searches._proposer(technique, space, iterations, seed)
    trials = []
    while batch := proposals.ask():
        for parameters in batch:
            outcome = {"recall": value_of(parameters), "brier": 0.0}
            trials.append(Trial(len(trials) + 1, "", parameters, outcome))
        proposals.tell(trials[-len(batch) :])
    return [trial.outcome["recall"] for trial in trials]


def nearness(space, target):
    """A value that is highest where each parameter lies at one place of its range."""

    def value_of(parameters):
        loss = 0.0
        for axis in space:
            value, low, high = (float(x) for x in (parameters[axis.name], axis.low, axis.high))
            wide, far = (
                (np.log(high / low), np.log(value / low))
                if axis.is_log
                else (high - low, value - low)
            )
            loss += (far / wide - target) ** 2
        return 1 - loss / len(space)

    return value_of


def test_later_generations_descend_from_earlier_winners():
    space = catalog.traits("boosted").space[:3]
    better = []
    for seed in range(20):
        values = climbed("evolutionary", space, 60, seed, nearness(space, 0.9))
        better.append(np.mean(values[-12:]) > np.mean(values[1:12]))
    assert np.mean(better) >= 0.9


def test_evolution_beats_random_search_on_a_fixed_task():
    space = catalog.traits("boosted").space[:3]
    best = {
        technique: [
            max(climbed(technique, space, 60, seed, nearness(space, 0.8))) for seed in range(50)
        ]
        for technique in ("random_search", "evolutionary")
    }
    assert np.mean(best["evolutionary"]) > np.mean(best["random_search"])


def test_a_grid_has_no_point_twice_and_says_when_it_is_smaller(prepared, store):
    trials = run(prepared, store, "grid_search", 9)
    points = [tuple(sorted(trial.parameters.items())) for trial in trials]
    assert len(set(points)) == len(points) == 9


@pytest.mark.parametrize(
    ("technique", "iterations"), [("bayesian", 5), ("random_search", 0), ("grid_search", -1)]
)
def test_what_cannot_be_searched_is_refused(prepared, store, technique, iterations):
    with pytest.raises(UsageError):
        run(prepared, store, technique, iterations)


def test_a_tune_part_of_one_class_is_refused(prepared, store):
    parts = {**prepared.parts, "tune": prepared.parts["tune"].rows(prepared.parts["tune"].y == 0)}
    with pytest.raises(DataError, match="tune part lacks a class"):
        run(replace(prepared, parts=parts), store)


def test_a_trial_that_cannot_be_trained_is_told_and_the_others_go_on(prepared, store, monkeypatch):
    measured = searches._measured
    calls = []

    def sometimes(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise DataError("this one cannot be", mend="leave it")
        return measured(*arguments)

    monkeypatch.setattr(searches, "_measured", sometimes)
    trials = run(prepared, store, iterations=4)
    assert [trial.is_complete for trial in trials] == [True, False, True, True]
    assert trials[1].outcome["error"] == "this one cannot be"


def test_what_a_gate_can_be_shown_to_allow_grows_with_its_rows():
    rooms = [affordable_increase(0.02, n, n) for n in (0, 100, 1000, 100_000)]
    assert rooms == sorted(rooms)
    assert rooms[0] == 0.0
    assert 0.018 < rooms[-1] < 0.02
