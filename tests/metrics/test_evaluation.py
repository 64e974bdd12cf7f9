import json
import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as oracle

from nethical.metrics import classification
from nethical.metrics.calibration import ece, ece_debiased
from nethical.metrics.evaluation import base_rate_gain, evaluate

RNG = np.random.default_rng(0)
P = RNG.beta(1, 2, 400)
Y = (RNG.random(400) < P).astype(int)
GROUPS = np.arange(400) // 8
NAMES = [
    "precision",
    "recall",
    "accuracy",
    "f1",
    "ece",
    "ece_debiased",
    "false_positive_rate",
    "roc_auc",
    "average_precision",
    "brier",
    "brier_skill",
    "log_loss",
    "calibration_slope",
    "calibration_intercept",
    "recall_at_budget",
]


def test_every_metric_has_its_peers_value():
    measured = evaluate(Y, P, threshold=0.4)
    call = P >= 0.4
    expected = {
        "precision": oracle.precision_score(Y, call),
        "recall": oracle.recall_score(Y, call),
        "accuracy": oracle.accuracy_score(Y, call),
        "f1": oracle.f1_score(Y, call),
        "ece": ece(Y, P),
        "ece_debiased": ece_debiased(Y, P).estimate,
        "false_positive_rate": call[Y == 0].mean(),
        "roc_auc": oracle.roc_auc_score(Y, P),
        "average_precision": oracle.average_precision_score(Y, P),
        "brier": oracle.brier_score_loss(Y, P),
        "brier_skill": 1 - oracle.brier_score_loss(Y, P) / (Y.mean() * (1 - Y.mean())),
        "log_loss": oracle.log_loss(Y, P),
        "recall_at_budget": classification.recall_at_budget(Y, P, budget=0.01).estimate,
    }
    found = measured.metrics_document()
    assert list(found) == NAMES
    assert measured.rows == 400
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_every_metric_lies_within_its_bounds(groups):
    for name, interval in evaluate(Y, P, groups, threshold=0.4).intervals.items():
        if name != "ece":  # the bounds beside it are those of the debiased one
            assert interval.low <= interval.estimate <= interval.high, name
        assert interval.low < interval.high, name


def test_groups_widen_the_bounds_of_every_metric():
    y, p = np.repeat(Y, 8), np.repeat(P, 8)
    groups = np.repeat(np.arange(400), 8)
    blind = evaluate(y, p, threshold=0.4).intervals
    clustered = evaluate(y, p, groups, threshold=0.4).intervals
    for name in NAMES:
        width = clustered[name].high - clustered[name].low
        assert width > 1.5 * (blind[name].high - blind[name].low), name


def test_the_threshold_itself_is_called_positive():
    y, p = np.array([1, 0, 1, 0]), np.array([0.5, 0.4, 0.6, 0.1])
    assert evaluate(y, p, threshold=0.5).intervals["recall"].estimate == 1.0
    assert evaluate(y, p, threshold=0.51).intervals["recall"].estimate == 0.5


def test_the_budget_reaches_its_recall():
    tight, wide = (
        evaluate(Y, P, threshold=0.5, budget=budget).intervals["recall_at_budget"].estimate
        for budget in (0.01, 0.5)
    )
    assert tight < wide


def test_unknown_values_are_none_in_documents():
    measured = evaluate(np.zeros(5, dtype=int), np.linspace(0.1, 0.3, 5), threshold=0.5)
    metrics, intervals = measured.metrics_document(), measured.intervals_document()
    json.dumps([metrics, intervals], allow_nan=False)
    unknown = {name for name, value in metrics.items() if value is None}
    assert {"precision", "recall", "f1", "roc_auc", "average_precision", "brier_skill"} <= unknown
    assert metrics["accuracy"] == 1.0
    assert intervals["roc_auc"] == [None, None]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_fewest_rows_are_measured_without_a_word(n):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured = evaluate(np.arange(n) % 2, np.full(n, 0.5), threshold=0.5)
    json.dumps([measured.metrics_document(), measured.intervals_document()], allow_nan=False)
    assert measured.rows == n


def test_the_gain_is_each_rows_brier_loss_of_the_base_rate_less_the_models():
    gain = base_rate_gain(Y, P)
    expected = [(Y.mean() - y) ** 2 - (p - y) ** 2 for y, p in zip(Y, P, strict=True)]
    assert gain == pytest.approx(expected)
    assert base_rate_gain(Y, np.full(400, Y.mean())) == pytest.approx(0)
    assert base_rate_gain(Y, np.full(400, 0.9)).mean() < 0
    assert math.isclose(base_rate_gain(Y, Y * 1.0).mean(), Y.mean() * (1 - Y.mean()))
