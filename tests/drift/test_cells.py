"""Cells are exact: they add up, survive storage, and say what the rows say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical.drift import cells as of
from nethical.drift import measures
from nethical.drift.cells import Scored, Summary, merged, summarise
from nethical.errors import DataError, IntegrityError
from nethical.metrics.calibration import calibration_line, ece_debiased
from nethical.metrics.evaluation import evaluate
from nethical.metrics.intervals import effective_rows, mean_interval


def draw(rng: np.random.Generator, n: int, **more: object) -> Scored:
    p = rng.beta(0.4, 0.8, n)
    y = (rng.random(n) < p).astype(np.int8)
    return Scored(p, y, 0.5, **more)  # type: ignore[arg-type]


def everything(rng: np.random.Generator, n: int) -> Scored:
    found = draw(
        rng,
        n,
        clusters=rng.integers(0, n // 10 + 1, n),
        fairness={
            "region": (rng.integers(0, 3, n), ["north", "south", "west"]),
            "tool": (rng.integers(0, 2, n), ["mail", "web"]),
        },
        windows=(rng.integers(0, 4, n), ["w1", "w2", "w3", "w4"]),
    )
    found.y_true[rng.random(n) < 0.2] = -1
    return found


def part(scored: Scored, rows: slice) -> Scored:
    return Scored(
        scored.y_proba[rows],
        scored.y_true[rows],
        scored.threshold,
        None if scored.clusters is None else scored.clusters[rows],
        {n: (codes[rows], values) for n, (codes, values) in scored.fairness.items()},
        None if scored.windows is None else (scored.windows[0][rows], scored.windows[1]),
    )


def test_the_edges_hold_every_equal_bin_of_the_metrics():
    assert len(of.EDGES) == 49
    assert set(np.arange(11) / 10) <= set(of.EDGES.tolist())
    assert {0.25, 0.75} <= set(of.EDGES.tolist())
    assert np.all(np.diff(of.EDGES) > 0)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.integers(0, 60),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_merging_the_cells_of_parts_gives_the_cells_of_the_whole_to_the_bit(values, cut, seed):
    rng = np.random.default_rng(seed)
    n = len(values)
    scored = Scored(
        np.array(values),
        rng.integers(-1, 2, n).astype(np.int8),
        0.4,
        fairness={"kind": (rng.integers(0, 2, n), ["a", "b"])},
        windows=(rng.integers(0, 3, n), ["x", "y", "z"]),
    )
    cut = min(max(cut, 1), n - 1)
    whole = summarise(scored)
    if n == 1:
        return
    parts = [summarise(part(scored, slice(0, cut))), summarise(part(scored, slice(cut, n)))]
    assert merged(parts).to_bytes() == whole.to_bytes()
    assert merged(parts[::-1]).to_bytes() == whole.to_bytes()


def test_scatters_of_disjoint_clusters_add_up():
    rng = np.random.default_rng(3)
    scored = everything(rng, 4000)
    assert scored.clusters is not None
    order = np.argsort(scored.clusters, kind="stable")
    ordered = Scored(scored.y_proba[order], scored.y_true[order], 0.5, np.sort(scored.clusters))
    cut = int(np.searchsorted(ordered.clusters, 200))
    both = merged([summarise(part(ordered, s)) for s in (slice(0, cut), slice(cut, 4000))])
    whole = summarise(ordered)
    assert both.whole.clusters == whole.whole.clusters == len(np.unique(scored.clusters))
    np.testing.assert_allclose(both.whole.scatter, whole.whole.scatter, rtol=1e-12, atol=1e-9)


def test_a_long_table_is_summed_in_pieces_without_a_trace(monkeypatch):
    scored = everything(np.random.default_rng(5), 5000)
    whole = summarise(scored)
    monkeypatch.setattr(of, "CHUNK", 700)
    monkeypatch.setattr(of, "PAIRS_AT_ONCE", 64)
    pieces = summarise(scored)
    np.testing.assert_array_equal(pieces.whole.sums, whole.whole.sums)
    np.testing.assert_allclose(pieces.whole.scatter, whole.whole.scatter, rtol=1e-12, atol=1e-9)


def test_a_summary_survives_its_bytes():
    summary = summarise(everything(np.random.default_rng(7), 3000))
    content = summary.to_bytes()
    again = Summary.from_bytes(content)
    assert again.to_bytes() == content
    assert set(again.groups) == set(summary.groups)
    assert list(again.windows) == ["w1", "w2", "w3", "w4"]
    np.testing.assert_array_equal(again.whole.scatter, summary.whole.scatter)


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_bytes_that_are_no_summary_are_refused(cut):
    content = summarise(draw(np.random.default_rng(1), 100)).to_bytes()
    with pytest.raises(IntegrityError, match="cannot be read"):
        Summary.from_bytes(content[:cut])


def test_a_cohort_takes_about_four_thousand_bytes():
    summary = summarise(draw(np.random.default_rng(1), 100_000))
    assert len(summary.to_bytes()) < 6000


@pytest.mark.parametrize("value", [np.nan, -0.01, 1.01, np.inf])
def test_a_probability_outside_its_range_is_named_with_its_row(value):
    with pytest.raises(DataError, match="row 3: the probability is"):
        Scored(np.array([0.1, 0.2, value]), np.zeros(3, np.int8), 0.5)


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="no scored rows"):
        Scored(np.array([]), np.array([], np.int8), 0.5)


def test_rates_and_calibration_are_those_of_the_rows():
    scored = draw(np.random.default_rng(11), 5000)
    cells = summarise(scored).whole
    found = measures.measured(cells)
    rows = evaluate(scored.y_true, scored.y_proba, threshold=0.5).intervals
    for name in ("accuracy", "recall", "precision", "false_positive_rate"):
        assert found[name].estimate == pytest.approx(rows[name].estimate, abs=1e-12)
        assert found[name].low == pytest.approx(rows[name].low, abs=1e-12)
    for name in ("ece", "ece_debiased", "brier"):
        assert found[name].estimate == pytest.approx(rows[name].estimate, abs=1e-9)
        assert found[name].low == pytest.approx(rows[name].low, abs=1e-4)
        assert found[name].high == pytest.approx(rows[name].high, abs=1e-4)
    for name in ("calibration_slope", "calibration_intercept"):
        assert found[name].estimate == pytest.approx(rows[name].estimate, abs=0.01)
        assert found[name].high == pytest.approx(rows[name].high, abs=0.02)


def test_clustered_measures_are_those_of_the_rows():
    rng = np.random.default_rng(13)
    clusters = np.repeat(np.arange(300), 20)
    shift = rng.normal(0, 1, 300)[clusters]
    p = 1 / (1 + np.exp(-rng.normal(0, 1.5, 6000)))
    y = (rng.random(6000) < 1 / (1 + np.exp(-(np.log(p / (1 - p)) + shift)))).astype(np.int8)
    cells = summarise(Scored(p, y, 0.5, clusters)).whole
    called = p >= 0.5
    for name, hits, rows in (
        ("accuracy", called == (y == 1), slice(None)),
        ("recall", called, y == 1),
        ("false_positive_rate", called, y == 0),
    ):
        successes, n, _ = effective_rows(hits[rows].astype(float), clusters[rows])
        found = measures.rate(cells, name)
        assert found.value == pytest.approx(successes / n, abs=1e-12)
        assert found.n / found.effect == pytest.approx(n, rel=0.01)
    row = ece_debiased(y, p, clusters)
    error = measures.calibration_error(cells)
    assert error is not None
    assert error.interval(0.975).estimate == pytest.approx(row.estimate, abs=1e-9)
    assert error.interval(0.975).high == pytest.approx(row.high, abs=1e-4)
    brier, spread = measures.brier(cells)
    by_rows = mean_interval((p - y) ** 2, clusters, level=0.975)
    assert brier == pytest.approx(by_rows.estimate, abs=1e-9)
    assert spread * 1.968 == pytest.approx(by_rows.high - by_rows.estimate, rel=0.01)
    slope, _ = calibration_line(y, p, clusters)
    found_line = measures.line(cells)
    assert found_line is not None
    assert found_line.intervals(0.975)[0].high == pytest.approx(slope.high, rel=0.06)


def test_the_design_effect_of_scores_is_seen():
    rng = np.random.default_rng(17)
    clusters = np.repeat(np.arange(200), 25)
    p = 1 / (1 + np.exp(-(rng.normal(0, 1, 200)[clusters] + rng.normal(0, 0.5, 5000))))
    y = (rng.random(5000) < p).astype(np.int8)
    assert measures.score_effect(summarise(Scored(p, y, 0.5, clusters)).whole) > 5
    shuffled = rng.permutation(clusters)
    assert measures.score_effect(summarise(Scored(p, y, 0.5, shuffled)).whole) < 2


def test_estimates_without_labels_hold_where_only_the_mix_of_rows_changed():
    rng = np.random.default_rng(19)
    reference = summarise(draw(rng, 50_000)).whole
    p = rng.beta(0.8, 0.6, 50_000)
    y = (rng.random(50_000) < p).astype(np.int8)
    blind = summarise(Scored(p, np.full(50_000, -1, np.int8), 0.5)).whole
    truth = summarise(Scored(p, y, 0.5)).whole
    found = measures.estimated(blind, reference)
    for name in ("accuracy", "recall", "false_positive_rate"):
        assert found[f"estimated_{name}"] == pytest.approx(
            measures.rate(truth, name).value, abs=0.01
        )
    assert measures.calibration_error(blind) is None
    assert np.isnan(measures.measured(blind)["recall"].estimate)


def test_estimates_are_recalibrated_on_the_reference():
    rng = np.random.default_rng(23)
    p = rng.beta(1, 1, 50_000)
    truth = 1 / (1 + np.exp(-0.4 * np.log(p / (1 - p))))  # over-confident
    y = (rng.random(50_000) < truth).astype(np.int8)
    cells = summarise(Scored(p, y, 0.5)).whole
    real = measures.rate(cells, "accuracy").value
    assert measures.estimated(cells)["estimated_accuracy"] > real + 0.1
    assert measures.estimated(cells, cells)["estimated_accuracy"] == pytest.approx(real, abs=0.01)


def test_a_column_of_many_values_keeps_the_frequent_ones():
    rng = np.random.default_rng(29)
    codes = np.minimum(rng.geometric(0.05, 5000) - 1, 119)
    scored = draw(rng, 5000, fairness={"tool": (codes, [f"t{k}" for k in range(120)])})
    groups = summarise(scored).groups
    assert (("tool", "(other)"),) in groups
    assert len(groups) == 51
    assert sum(cells.rows for cells in groups.values()) == 5000
