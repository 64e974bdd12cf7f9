from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from nethical.data.roles import ColumnRole, Role, Roles
from nethical.data.table import Table, normalise
from nethical.models.outliers import (
    FEWEST_LEAF_ROWS,
    MOST_KNOTS,
    Outliers,
    Prototypes,
    Rarity,
    Tails,
    halves,
)

NAN = float("nan")


def texts(values):
    return pa.array(values, pa.large_string())


def table(columns):
    frame = normalise(pa.table(columns))
    kinds = {
        name: Role.NUMERIC
        if pa.types.is_floating(frame.schema.field(name).type)
        else Role.CATEGORICAL
        for name in frame.column_names
    }
    return Table(frame, Roles(tuple(ColumnRole(n, k, k, "test") for n, k in kinds.items()), None))


def fit(columns, seed=0):
    return Outliers.fit(table(columns), np.random.default_rng(seed))


def test_tails_are_the_two_sided_shares_of_ecod():
    tails = Tails.fit(np.array([1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))
    # P(X <= 1) = (1 + 1) / 10, P(X <= 2) = (3 + 1) / 10, P(X >= 8) = (1 + 1) / 10, twice each
    nats = tails.cells(np.array([1.0, 2.0, 4.0, 8.0])).nats
    assert nats == pytest.approx([-np.log(0.4), -np.log(0.8), 0, -np.log(0.4)])


def test_beyond_all_normals_the_tail_is_one_in_n_plus_one():
    tails = Tails.fit(np.arange(9.0))
    assert tails.cells(np.array([-0.1, 8.1, 1e308])).nats == pytest.approx(-np.log(2 / 10))


def test_a_gap_is_as_surprising_as_gaps_are_rare_and_a_value_among_gaps_too():
    tails = Tails.fit(np.array([NAN] * 8 + [1.0] * 90))
    gap, filled = tails.cells(np.array([NAN, 1.0])).nats
    assert gap == pytest.approx(-np.log(9 / 99))
    assert filled == pytest.approx(-np.log(91 / 99))
    assert tails.cells(np.array([NAN, 1.0])).gaps == pytest.approx([-np.log(9 / 99), 0])
    assert Tails.fit(np.full(20, NAN)).cells(np.array([5.0, NAN])).nats == pytest.approx(
        [-np.log(1 / 21), 0]
    )


def test_normal_scores_are_those_of_the_mid_ranks_scaled_to_the_normals():
    values = np.array([1.0, 2.0, 2.0, 5.0])
    normal = NormalDist()
    plain = np.array([normal.inv_cdf(p) for p in (1 / 8, 1 / 2, 1 / 2, 7 / 8)])
    spread = np.sqrt(np.mean(plain**2))
    assert Tails.fit(values).cells(values).places[:, 0] == pytest.approx(plain / spread)
    assert Tails.fit(values).cells(np.array([NAN])).places[:, 0].tolist() == [0]


def test_normal_scores_rise_with_the_value_and_go_on_rising_beyond_all_normals():
    tails = Tails.fit(np.random.default_rng(0).exponential(size=5000))
    scores = tails.cells(np.array([-1e6, -1.0, 0.0, 0.5, 1.0, 5.0, 20.0, 1e6, 1e300])).places[:, 0]
    assert (np.diff(scores) > 0).all()
    assert np.isfinite(scores).all()


def test_a_sketch_of_many_values_is_small_and_close():
    values = np.sort(np.random.default_rng(1).lognormal(size=50_000))
    tails = Tails.fit(values)
    assert len(tails.knots) <= MOST_KNOTS
    assert tails.median == pytest.approx(np.median(values), rel=0.02)
    below = np.arange(1, 50_001)
    exact = -np.log(np.minimum(2 * np.minimum(below + 1, 50_002 - below) / 50_001, 1))
    assert np.abs(tails.cells(values).nats - exact).max() < 0.07


finite = st.floats(allow_nan=True, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(finite, min_size=1, max_size=30), st.lists(finite, min_size=1, max_size=10))
def test_numbers_of_any_size_give_finite_figures(learnt, met):
    tails = Tails.fit(np.array(learnt))
    values = np.array(met)
    cells = tails.cells(values)
    for figures in (cells.nats, cells.values, cells.places, cells.gaps):
        assert np.isfinite(figures).all()
    assert (cells.nats >= 0).all()


def test_a_level_is_as_surprising_as_levels_that_rare():
    rarity = Rarity.fit(texts(["a"] * 5 + ["b"] * 3 + ["c"] * 2))
    codes = rarity.levels.encode(texts(["a", "b", "c", "new", None]))
    shares = np.array([11, 6, 3, 1, 1]) / 11
    assert rarity.nats[codes] == pytest.approx(-np.log(shares))


def test_an_unseen_level_is_rarer_than_the_rarest_unless_new_levels_are_common():
    rare = Rarity.fit(texts(["a"] * 50 + ["b"] * 2))
    assert rare.nats[-2] > rare.nats[1] > rare.nats[0] == 0
    common = Rarity.fit(texts(["a"] * 50 + [f"once {i}" for i in range(50)] + ["b"] * 2))
    assert common.nats[-2] == pytest.approx(-np.log(51 / 103))
    assert common.nats[-2] > common.nats[1]


def test_levels_that_stand_once_are_not_kept():
    rarity = Rarity.fit(texts(["a"] * 9 + ["secret"]))
    assert rarity.levels.levels == ("a",)


def test_frequent_levels_others_and_gaps_have_a_place_each():
    rarity = Rarity.fit(texts([f"l{i:02d}" for i in range(20) for _ in range(2)]))
    hot = rarity.one_hot(rarity.levels.encode(texts(["l00", "l19", "new", None])))
    assert hot.shape == (4, 18)
    assert hot.argmax(axis=1).tolist() == [0, 16, 16, 17]
    assert (hot.sum(axis=1) == 1).all()


def test_every_prototype_is_the_mean_of_several_near_rows():
    rng = np.random.default_rng(2)
    places = np.vstack([rng.normal(size=(203, 3)), rng.normal(size=(100, 3)) + 50])
    groups = list(halves(places, FEWEST_LEAF_ROWS))
    assert sorted(np.concatenate(groups).tolist()) == list(range(303))
    assert min(map(len, groups)) >= FEWEST_LEAF_ROWS
    centres = Prototypes.fit(places).centres
    assert len(centres) == len(groups)
    assert not (cdist(places, centres) < 1e-9).any()


def test_the_distance_is_the_mean_of_that_to_the_four_nearest_prototypes():
    rng = np.random.default_rng(3)
    prototypes = Prototypes(rng.normal(size=(40, 5)))
    places = rng.normal(size=(60, 5))
    exact = np.sort(cdist(places, prototypes.centres), axis=1)[:, :4].mean(axis=1)
    assert prototypes.distance(places) == pytest.approx(exact)
    assert Prototypes(np.zeros((1, 2))).distance(np.array([[3.0, 4.0]])).tolist() == [5]


def test_prototypes_rank_like_the_fifth_nearest_normal_row():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(3000, 4)) @ rng.normal(size=(4, 4))
    new = 2 * rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4))
    exact = np.sort(cdist(new, rows), axis=1)[:, 4]
    ranks = [np.argsort(np.argsort(d)) for d in (exact, Prototypes.fit(rows).distance(new))]
    assert np.corrcoef(*ranks)[0, 1] > 0.97


def test_prototypes_stay_within_their_limit(monkeypatch):
    monkeypatch.setattr("nethical.models.outliers.MOST_PROTOTYPES", 16)
    places = np.random.default_rng(5).normal(size=(1000, 2))
    assert len(Prototypes.fit(places).centres) <= 16


def normals(n=600, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return {
        "x": x,
        "twice": 2 * x + rng.normal(size=n) / 20,
        "level": rng.choice(["low", "high"], n, p=[0.9, 0.1]),
    }


def test_each_kind_of_oddness_is_seen_by_the_detector_that_can_see_it():
    outliers = fit(normals())
    odd = {
        "x": [0.0, 5.0, 1.0, 0.0, None],
        "twice": [0.0, 10.0, -2.0, 0.0, 0.0],
        "level": ["low", "low", "low", "new", "low"],
    }
    tails, forest, distance = outliers.scores(outliers.read(table(odd)))
    usual = outliers.scores(outliers.read(table(normals(2000, 1))))
    limits = [np.quantile(score, 0.99) for score in usual]
    assert tails[1] > limits[0]
    assert forest[1] > limits[1]
    assert distance[1] > limits[2]
    assert distance[2] > limits[2]  # each number is usual by itself, not the two together
    assert tails[2] < limits[0]
    assert tails[3] > limits[0]
    assert tails[4] > limits[0]
    assert all(
        score[0] < limit for score, limit in zip((tails, forest, distance), limits, strict=True)
    )


def test_a_typical_cell_is_the_median_the_most_frequent_level_or_a_gap():
    columns = normals() | {"mostly missing": np.where(np.arange(600) % 3, NAN, 1.0)}
    outliers = fit(columns)
    assert outliers.columns == ("x", "twice", "mostly missing", "level")
    cells = [outliers.typical(place) for place in range(4)]
    assert cells[0].values[0] == pytest.approx(np.median(columns["x"]), abs=0.05)
    assert cells[2].gaps[0] > 0
    assert cells[3].nats[0] == 0


def test_a_row_scores_the_same_alone_and_through_parts():
    outliers = fit(normals())
    rows = table(normals(300, 1))
    scores = outliers.scores(outliers.read(rows))
    again = Outliers.from_parts(outliers.to_parts())
    for i in (0, 17, 299):
        for whole, part in zip(scores, again.scores(again.read(rows.slice(i, 1))), strict=True):
            assert whole[i] == part[0]


def test_large_tables_are_read_in_part_by_forest_and_prototypes(monkeypatch):
    monkeypatch.setattr("nethical.models.outliers.MOST_ROWS_READ", 100)
    outliers = fit(normals())
    assert outliers.forest.sample_rows == 100
    assert len(outliers.prototypes.centres) <= 20
    assert outliers.numbers["x"].n == 600
