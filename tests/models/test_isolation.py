import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from nethical.models.isolation import Forest, average_path

EULER = 0.5772156649


def fit(X, seed=0):
    return Forest.fit(X, np.random.default_rng(seed))


def test_the_average_path_is_c_of_n_of_the_paper():
    n = np.array([1, 2, 256])
    exact = [2 * sum(1 / i for i in range(1, k)) - 2 * (k - 1) / k for k in n.tolist()]
    assert average_path(n) == pytest.approx(exact)
    assert average_path(n)[2] == pytest.approx(2 * (np.log(255) + EULER) - 2 * 255 / 256, abs=0.01)


def test_two_rows_are_set_apart_by_one_cut():
    forest = fit(np.array([[0.0], [1.0]]))
    assert forest.paths.tolist() == [[1.0, 1.0]] * 100
    assert forest.score(np.array([[0.0], [1.0]])).tolist() == [0.5, 0.5]
    assert ((forest.cuts >= 0) & (forest.cuts < 1)).all()


def test_rows_that_are_all_alike_cannot_be_cut_and_score_an_average_row():
    forest = fit(np.ones((300, 3)))
    assert np.isinf(forest.cuts).all()
    assert forest.score(np.array([[1.0, 1, 1], [5, 5, 5]])) == pytest.approx(0.5)


def test_a_row_far_from_the_others_has_the_shortest_path():
    rng = np.random.default_rng(1)
    forest = fit(rng.normal(size=(1000, 4)))
    inside, outside = forest.score(np.vstack([np.zeros(4), np.full(4, 9.0)]))
    assert outside > 0.7
    assert inside < 0.5


def test_it_ranks_as_well_as_that_of_scikit_learn():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(3000, 6)) @ rng.normal(size=(6, 6))
    new = np.vstack([X[:1000] + 0.01, 2.2 * X[1000:1200]])
    y = np.repeat([0, 1], [1000, 200])
    theirs = IsolationForest(n_estimators=100, random_state=0).fit(X)
    ours = fit(X).score(new)
    reference = -theirs.score_samples(new)
    assert roc_auc_score(y, ours) == pytest.approx(roc_auc_score(y, reference), abs=0.02)
    assert np.corrcoef(ours, reference)[0, 1] > 0.97


def test_a_row_scores_the_same_alone_and_in_any_block():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(4000, 5))
    forest = fit(X)
    scores = forest.score(X)
    for rows in (slice(7, 8), slice(5, 8), slice(100, 1100), slice(2000, 4000)):
        assert (forest.score(X[rows]) == scores[rows]).all()


def test_wide_tables_are_grown_a_few_trees_at_a_time():
    X = np.random.default_rng(4).normal(size=(300, 2000))
    forest = fit(X)
    assert forest.columns.shape == (100, 255)
    assert len(np.unique(forest.columns)) > 1000
