import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nethical.canonical import canonical_json, digest
from nethical.drift import fairness, process
from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import Cohort, CohortRun
from nethical.drift.compare import analyse, choose_reference
from nethical.drift.effects import EffectVerdict, Settings, Verdict
from nethical.drift.questions import Kind
from nethical.drift.statistics import holm
from nethical.errors import UsageError
from nethical.record import scored_rows_file

SETTINGS = Settings()


def rows(seed, n, *, separation=2.2, labels=True):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.5).astype(np.int8)
    p = 1 / (1 + np.exp(-2.2 * rng.normal((y - 0.5) * separation)))
    return p, y if labels else np.full(n, -1, np.int8)


def run(name, scored, *, model="model", way="way", rows="", **more):
    """A run; its rows are its own unless they are named."""
    cells = summarise(Scored(*scored, 0.5, **more))
    return CohortRun(
        name, model, model, way, rows or f"rows of {name}", "", cells, {"threshold": 0.5}
    )


def cohort(name, *runs, at="2026-01-01T00:00:00.000000Z"):
    return Cohort(name, name, at, runs)


def compare(reference, *others, folder=Path(), settings=SETTINGS):
    return analyse(
        (reference, *others), folder=folder, settings=settings, reference=reference.cohort_id
    )


def plain(name, seed, n=2000, **more):
    """A cohort of one run by the one model."""
    return cohort(name, run(name, rows(seed, n, **more)))


# --- which question --------------------------------------------------------------------------


def test_one_model_on_other_rows_is_judged():
    found = compare(plain("a", 1, 20_000), plain("b", 2, 20_000)).comparisons[0]
    assert (found.kind, found.verdict) == (Kind.OTHER_ROWS, Verdict.NO_DRIFT)
    assert {e.verdict for e in found.effects} == {EffectVerdict.WITHIN}
    worse = compare(plain("a", 1, 20_000), plain("b", 2, 20_000, separation=1.4))
    assert worse.verdict == worse.comparisons[0].verdict == Verdict.DRIFT
    assert "accuracy fell by" in worse.message
    assert compare(plain("a", 1, 300), plain("b", 2, 300)).verdict == Verdict.INCONCLUSIVE


def test_the_same_model_on_the_same_rows_is_nothing_new():
    one = run("a", rows(1, 5000), rows="the rows")
    found = compare(cohort("a", one), cohort("b", one)).comparisons[0]
    assert (found.kind, found.verdict) == (Kind.NOTHING_NEW, Verdict.INCONCLUSIVE)
    assert not found.is_attributable
    assert "nothing to compare" in found.message


@pytest.mark.parametrize("separation", [2.2, 0.0])
@pytest.mark.parametrize("same_rows", [False, True])
def test_a_single_retrain_is_never_called_drift_however_different(separation, same_rows):
    a = run("a", rows(1, 5000), rows="the rows")
    b = run(
        "b",
        rows(2, 5000, separation=separation),
        model="another",
        rows="the rows" if same_rows else "",
    )
    found = compare(cohort("a", a), cohort("b", b))
    one = found.comparisons[0]
    assert (one.kind, one.verdict, found.verdict) == (
        Kind.RETRAIN,
        Verdict.INCONCLUSIVE,
        Verdict.INCONCLUSIVE,
    )
    assert not one.is_attributable
    assert "not attributable" in one.message
    beyond = [e for e in one.effects if e.verdict == EffectVerdict.BEYOND]
    assert bool(beyond) == (separation == 0.0)  # it is told all the same


def trained(name, seed, k, *, separation=2.2):
    return cohort(
        name,
        *(
            run(f"{name}{i}", rows(seed + i, 2000, separation=separation), model=f"{name}{i}")
            for i in range(k)
        ),
    )


@pytest.mark.parametrize(("k_a", "k_b"), [(1, 3), (3, 1), (2, 2), (2, 5)])
def test_a_process_needs_three_models_a_side(k_a, k_b):
    found = compare(trained("a", 10, k_a), trained("b", 20, k_b, separation=0.0))
    assert found.comparisons[0].kind == Kind.RETRAIN
    assert found.verdict == Verdict.INCONCLUSIVE


def test_three_models_a_side_are_a_process_and_are_compared_by_runs():
    found = compare(trained("a", 10, 3), trained("b", 20, 4, separation=0.0)).comparisons[0]
    assert (found.kind, found.verdict) == (Kind.PROCESS, Verdict.DRIFT)
    assert {t.n for t in found.tests} == {(3, 4)}
    honest = compare(trained("a", 10, 3), trained("b", 20, 4))
    assert honest.verdict != Verdict.DRIFT


def test_a_model_that_ran_twice_is_one_run_of_a_process():
    twice = [run(f"x{i}", rows(i, 2000), model=f"m{i % 2}") for i in range(6)]
    found = compare(cohort("a", *twice), trained("b", 20, 3)).comparisons[0]
    assert found.kind == Kind.RETRAIN
    third = run("x6", rows(9, 2000), model="m9")
    found = compare(cohort("a", *twice, third), trained("b", 20, 3)).comparisons[0]
    assert found.kind == Kind.PROCESS
    assert {t.n for t in found.tests} == {(3, 3)}
    wanted = process.effects(
        [r.summary.whole for r in (twice[0], twice[1], third)],
        [r.summary.whole for r in trained("b", 20, 3).runs],
        SETTINGS,
    )
    for one, other in zip(found.effects, wanted, strict=True):
        assert one.gap.difference.estimate == pytest.approx(other.gap.difference.estimate)


def two_ways(folder, n=5000, *, kept=True):
    """Two cohorts of two ways of training, scored on the same rows."""
    rng = np.random.default_rng(3)
    y = (rng.random(n) < 0.5).astype(np.int8)
    seen = rng.normal((y - 0.5) * 2.2)
    ids = rng.integers(0, 2**63, (n, 2)).astype(np.uint64)
    found = []
    for name, noise in (("a", 0.0), ("b", 1.2)):
        p = 1 / (1 + np.exp(-2.2 * (seen + noise * rng.normal(size=n))))
        content = scored_rows_file(ids, p, y)
        if kept:
            (folder / f"{name}.parquet").write_bytes(content)
        cells = summarise(Scored(p, y, 0.5))
        details = {"threshold": 0.5, "rows_file": digest(content)}
        one = CohortRun(
            name, name, name, f"way {name}", "the rows", f"{name}.parquet", cells, details
        )
        found.append(cohort(name, one))
    return found


def test_two_ways_on_the_same_rows_are_compared_row_by_row(tmp_path):
    found = compare(*two_ways(tmp_path), folder=tmp_path).comparisons[0]
    assert (found.kind, found.verdict) == (Kind.SAME_ROWS, Verdict.DRIFT)
    assert "McNemar's test" in {t.name for t in found.tests}
    assert "paired t" in {t.name for t in found.tests}


def test_two_ways_whose_rows_are_not_kept_are_not_judged(tmp_path):
    found = compare(*two_ways(tmp_path, kept=False), folder=tmp_path).comparisons[0]
    assert (found.kind, found.verdict) == (Kind.RETRAIN, Verdict.INCONCLUSIVE)
    assert "not kept" in found.message


# --- what is told ----------------------------------------------------------------------------


def test_a_cohort_without_labels_gives_estimates_and_never_no_drift():
    blind = plain("b", 2, 20_000, labels=False)
    found = compare(plain("a", 1, 20_000), blind).comparisons[0]
    assert found.verdict == Verdict.INCONCLUSIVE
    assert set(found.estimated) == {
        "estimated_accuracy",
        "estimated_recall",
        "estimated_false_positive_rate",
    }
    truth = stats.norm.cdf(1.1)
    assert found.estimated["estimated_accuracy"] == pytest.approx(truth, abs=0.01)
    assert found.estimated["estimated_recall"] == pytest.approx(truth, abs=0.015)
    assert compare(plain("a", 1), plain("b", 2)).comparisons[0].estimated == {}


def test_scores_alone_can_drift():
    p, y = rows(2, 5000, labels=False)
    shifted = cohort("b", run("b", (np.sqrt(p), y)))
    found = compare(plain("a", 1, 5000), shifted)
    assert found.verdict == Verdict.DRIFT
    assert "score distribution differs by" in found.message


def test_many_cohorts_share_alpha():
    others = [plain(f"c{i}", 10 + i) for i in range(5)]
    reference = plain("a", 1)
    alone = compare(reference, others[0]).comparisons[0]
    found = compare(reference, *others)
    assert found.settings.comparisons == 5
    together = found.comparisons[0]
    z = [stats.norm.ppf(1 - 0.01 * 0.2 / 2 / k) for k in (1, 5)]
    for one, other in zip(alone.effects, together.effects, strict=True):
        assert other.gap.difference.estimate == one.gap.difference.estimate
        assert other.gap.difference.high > one.gap.difference.high
    wide, narrow = (
        e.gap.difference.high - e.gap.difference.low
        for e in (together.effects[0], alone.effects[0])
    )
    assert wide / narrow == pytest.approx(z[1] / z[0], rel=0.02)
    every = [t for one in found.comparisons for t in one.tests]
    assert [t.p_adjusted for t in every] == pytest.approx(holm([t.p for t in every]))
    assert len(every) == 45


def test_one_cohort_that_drifts_among_many_is_named():
    others = [plain(f"c{i}", 10 + i, 40_000) for i in range(3)]
    bad = plain("bad", 30, 20_000, separation=1.2)
    found = compare(plain("a", 1, 40_000), *others, bad)
    assert found.verdict == Verdict.DRIFT
    assert [one.verdict == Verdict.DRIFT for one in found.comparisons] == [False] * 3 + [True]
    assert "bad: " in found.message
    assert "c1: " not in found.message
    assert found.homogeneity["accuracy"] < 1e-6
    assert set(found.homogeneity) >= {"accuracy", "recall", "score_distribution"}
    fine = compare(plain("a", 1, 40_000), *others)
    assert fine.verdict == Verdict.NO_DRIFT
    assert min(fine.homogeneity.values()) > 1e-3
    assert compare(plain("a", 1), others[0]).homogeneity == {}


def test_groups_are_compared_in_each_cohort_and_with_the_reference():
    group = (np.arange(4000) % 3, ("x", "y", "z"))
    sides = [
        cohort(n, run(n, rows(s, 4000), fairness={"team": group})) for n, s in (("a", 1), ("b", 2))
    ]
    found = compare(*sides)
    assert set(found.fairness) == {"a", "b"}
    assert len(found.fairness["a"].tests) == 12
    wanted = fairness.changes(sides[0].summary, sides[1].summary, alpha=0.01)
    assert [t.p for t in found.comparisons[0].groups] == [t.p for t in wanted]


def test_distances_of_scores_are_small_for_one_law_and_none_for_the_same_rows():
    one = run("a", rows(1, 5000), rows="r")
    same = compare(cohort("a", one), cohort("b", one)).comparisons[0].distances
    assert (same["wasserstein"], same["psi"], same["psi_p"]) == (0.0, 0.0, 1.0)
    p_a, p_b = rows(1, 5000)[0], rows(2, 5000, separation=1.0)[0]
    found = compare(plain("a", 1, 5000), plain("b", 2, 5000, separation=1.0)).comparisons[0]
    theirs = stats.wasserstein_distance(p_a, p_b)
    assert found.distances["wasserstein"] == pytest.approx(theirs, abs=0.002)


def test_a_document_is_canonical_and_the_same_each_time():
    def told():
        found = compare(plain("a", 1, 500), plain("b", 2, 90, labels=False))
        return canonical_json(found.comparisons[0].to_document(0.01))

    assert told() == told()
    assert b"NaN" not in told()


def test_rows_needed_are_those_of_the_widest_undecided_effect():
    found = compare(plain("a", 1, 1000), plain("b", 2, 1000)).comparisons[0]
    undecided = [e.rows_needed for e in found.effects if e.verdict == EffectVerdict.UNDECIDED]
    assert found.rows_needed == max(undecided) > 1000
    n = found.rows_needed
    decided = [
        compare(plain("a", 10 + 2 * s, n), plain("b", 11 + 2 * s, n)).verdict for s in range(10)
    ]
    assert decided.count(Verdict.NO_DRIFT) >= 7


# --- the reference ---------------------------------------------------------------------------


def test_the_reference_is_the_named_one_else_the_oldest_else_the_largest():
    old = cohort("old", run("o", rows(1, 200)), at="2025-01-01T00:00:00.000000Z")
    small, large = plain("small", 2, 200), plain("large", 3, 400)
    assert choose_reference([small, old, large]) is old
    assert choose_reference([small, large]) is large
    assert choose_reference([small, old, large], "small") is small
    with pytest.raises(UsageError, match="'none' is no cohort"):
        choose_reference([small], "none")
    found = analyse([small, old, large], folder=Path(), settings=SETTINGS)
    assert [c.cohort_id for c in found.cohorts] == ["old", "small", "large"]
    assert found.reference is old


def test_one_cohort_is_insufficient_and_none_an_error_of_use():
    found = compare(plain("a", 1))
    assert found.verdict == Verdict.INCONCLUSIVE
    assert found.comparisons == ()
    assert found.message == "Insufficient cohorts for drift analysis"
    with pytest.raises(UsageError, match="no cohort yet"):
        analyse([], folder=Path(), settings=SETTINGS)


def test_rows_that_were_added_twice_do_not_make_the_intervals_narrower():
    one = run("a", rows(1, 1000), rows="r")
    again = CohortRun(**{**vars(one), "run_id": "again"})
    other = plain("b", 2, 1000)
    once, twice = (
        compare(c, other).comparisons[0].effects[0].gap
        for c in (cohort("a", one), cohort("a", one, again))
    )
    assert once == twice
    assert not math.isnan(once.difference.low)


def test_what_is_said_of_many_cohorts_is_said_once():
    others = [plain(f"c{i}", 10 + i, 50) for i in range(8)]
    message = compare(plain("a", 1, 50), *others).message
    assert "c0, c1, c2, c3, c4 and 3 more: not assessable" in message
    assert message.count("not assessable") == 1
