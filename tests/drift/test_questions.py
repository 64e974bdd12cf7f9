from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import Cohort, CohortRun
from nethical.drift.compare import analyse
from nethical.drift.effects import Settings, Verdict
from nethical.drift.questions import UNJUDGED, Kind, asked
from nethical.drift.report import document

TEAMS = ("A", "B", "C")


def people(rng, n):
    """What models look at, and what is true."""
    y = rng.random(n) < 0.4
    return rng.normal(np.where(y, 1.1, -1.1)), y.astype(np.int8), rng.integers(0, 3, n)


def run(seen, rows, model, *, way="way", noise=0.02, calibrated=True):
    """The run of a model; each model of a number adds a little noise of its own."""
    x, y, team = seen
    own = np.random.default_rng(model).normal(0, noise, len(x))
    p = 1 / (1 + np.exp(-(2.2 * x + own - 0.4)))
    cells = summarise(Scored(p, y, 0.5, None, {"team": (team, TEAMS)}))
    name = f"m{model}"
    details = {"threshold": 0.5, "is_calibrated": calibrated}
    return CohortRun(f"{rows} by {name}", name, name, way, rows, "", cells, details)


def cohort(name, *runs):
    at = "2026-01-01T00:00:00.000000Z"
    return Cohort(name, name, at, tuple(CohortRun(**{**vars(r), "added_at": at}) for r in runs))


def compare(*cohorts):
    return analyse(cohorts, folder=Path(), settings=Settings(), reference=cohorts[0].cohort_id)


def unlabelled(seen):
    return seen[0], np.full(len(seen[0]), -1, np.int8), seen[2]


@pytest.fixture
def seen():
    return people(np.random.default_rng(1), 3000)


@pytest.fixture
def others():
    return people(np.random.default_rng(2), 3000)


def test_models_that_scored_two_sets_of_rows_are_not_two_ways_of_training():
    """Run after run with one cohort for each value of a column: the same models in each."""
    rng, false = np.random.default_rng(3), 0
    for _ in range(60):
        a, b = people(rng, 1000), people(rng, 1000)
        found = compare(
            cohort("a", *(run(a, f"a{m}", m) for m in range(3))),
            cohort("b", *(run(b, f"b{m}", m) for m in range(3))),
        )
        assert found.comparisons[0].kind == Kind.OTHER_ROWS
        false += found.verdict == Verdict.DRIFT
    assert false == 0  # over runs, whose rows are the same, it would be 12


def test_several_models_are_compared_by_the_newest_that_both_cohorts_hold(seen, others):
    both = compare(
        cohort("a", run(seen, "a", 1), run(seen, "a", 2), run(seen, "a", 3)),
        cohort("b", run(others, "b", 1), run(others, "b", 2)),
    ).comparisons[0]
    alone = compare(cohort("a", run(seen, "a", 2)), cohort("b", run(others, "b", 2)))
    assert both.kind == Kind.OTHER_ROWS
    assert both.effects == alone.comparisons[0].effects
    assert "by m2 alone" in both.message


def test_a_model_that_both_hold_on_the_same_rows_says_nothing(seen, others):
    found = compare(
        cohort("a", run(seen, "a", 1)), cohort("b", run(seen, "a", 1), run(others, "b", 2))
    ).comparisons[0]
    assert found.kind == Kind.RETRAIN
    assert not found.is_attributable


@pytest.mark.parametrize("n_sets", [1, 2])
def test_models_judged_by_one_set_of_rows_do_not_tell_how_rows_vary(n_sets):
    rng, false = np.random.default_rng(4), 0
    for _ in range(20):
        sides = []
        for name in "ab":
            sets = [people(rng, 1000) for _ in range(n_sets)]
            runs = [
                run(sets[m % n_sets], f"{name}{m % n_sets}", 10 * ord(name) + m) for m in range(4)
            ]
            sides.append(cohort(name, *runs))
        found = compare(*sides)
        assert found.comparisons[0].kind == Kind.RETRAIN
        assert "how much rows vary is not known" in found.message
        false += found.verdict == Verdict.DRIFT
    assert false == 0


def test_all_models_of_both_ways_on_the_same_rows_are_compared_by_runs(seen):
    found = compare(
        cohort("a", *(run(seen, "rows", m) for m in range(3))),
        cohort("b", *(run((-seen[0], *seen[1:]), "rows", m) for m in range(3, 6))),
    )
    assert found.comparisons[0].kind == Kind.PROCESS
    assert found.verdict == Verdict.DRIFT


def test_another_model_on_other_rows_is_not_called_a_retraining(seen, others):
    a = cohort("a", run(seen, "a", 1, way="trees"))
    again = asked(a, cohort("b", run(others, "b", 2, way="trees")))
    other = asked(a, cohort("b", run(others, "b", 2, way="lines")))
    assert {again.kind, other.kind} == {Kind.RETRAIN} <= UNJUDGED
    assert "single retraining" in again.told
    assert "neither the model nor the rows are the same" in other.told


def test_what_is_not_judged_needs_no_number_of_rows(seen, others):
    found = compare(cohort("a", run(seen, "a", 1)), cohort("b", run(others, "b", 2)))
    assert found.comparisons[0].rows_needed is None


def test_groups_are_those_of_the_newest_model_so_that_no_row_counts_twice(seen):
    three = compare(cohort("a", *(run(seen, "rows", m) for m in range(3))))
    one = compare(cohort("a", run(seen, "rows", 2)))
    assert three.fairness == one.fairness
    assert max(test.n[0] for test in one.fairness["a"].tests) < 3000


def test_cohorts_are_homogeneous_by_one_model_that_all_hold():
    rng = np.random.default_rng(5)
    sets = [people(rng, 500) for _ in range(3)]
    both = [
        cohort(f"c{i}", run(s, f"{i}", 1, noise=3.0), run(s, f"{i}", 2)) for i, s in enumerate(sets)
    ]
    alone = [cohort(f"c{i}", run(s, f"{i}", 2)) for i, s in enumerate(sets)]
    assert compare(*both).homogeneity == compare(*alone).homogeneity


# --- percentiles are no probabilities ---------------------------------------------------------


def test_percentiles_are_compared_as_scores_and_decisions_only(seen, others):
    sides = [
        cohort("a", run(seen, "a", 1, calibrated=False)),
        cohort("b", run(others, "b", 1, calibrated=False)),
    ]
    found = compare(*sides)
    effects = {e.name for e in found.comparisons[0].effects}
    assert effects == {"accuracy", "recall", "false_positive_rate", "score_distribution"}
    tests = {t.metric for t in found.comparisons[0].tests}
    assert not tests & {"brier", "calibration_line"}
    told = document(found, report_id="r", at=datetime(2026, 1, 2, tzinfo=UTC))
    metrics = told["cohorts"]["a"]["metrics"]
    assert metrics["accuracy"]["value"] > 0.8
    of_probabilities = ("ece", "ece_debiased", "brier", "calibration_slope")
    assert {metrics[name]["value"] for name in of_probabilities} == {None}


def test_percentiles_without_labels_estimate_nothing_by_themselves(seen, others):
    blind = cohort("b", run(unlabelled(others), "b", 1, calibrated=False))
    labelled = cohort("a", run(seen, "a", 1, calibrated=False))
    also_blind = cohort("a", run(unlabelled(seen), "a", 1, calibrated=False))
    assert compare(also_blind, blind).comparisons[0].estimated == {}
    estimated = (
        compare(labelled, blind).comparisons[0].estimated
    )  # the reference says what they mean
    assert estimated["estimated_accuracy"] == pytest.approx(0.87, abs=0.03)
