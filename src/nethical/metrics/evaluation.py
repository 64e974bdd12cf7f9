"""All metrics of one scored set, each with its 95 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.metrics import calibration, classification
from nethical.metrics.intervals import UNDEFINED, Interval, mean_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[Any]
    Groups = NDArray[np.int64] | None

__all__ = ["METRICS", "Evaluation", "base_rate_gain", "brier_skill", "evaluate", "unknown"]

METRICS = (
    *("precision", "recall", "accuracy", "f1", "ece", "ece_debiased", "false_positive_rate"),
    *("roc_auc", "average_precision", "brier", "brier_skill", "log_loss"),
    *("calibration_slope", "calibration_intercept", "recall_at_budget"),
)


@dataclass(frozen=True)
class Evaluation:
    """Metrics by name, with their two-sided 95 % intervals.

    Args:
        intervals: Estimate and bounds by metric; NaN where a metric is undefined.
        rows: Number of rows measured.
    """

    intervals: dict[str, Interval]
    rows: int

    def metrics_document(self) -> dict[str, float | None]:
        """Return the estimates as JSON values, None where undefined."""
        return {name: _finite(i.estimate) for name, i in self.intervals.items()}

    def intervals_document(self) -> dict[str, list[float | None]]:
        """Return the bounds as JSON values, None where undefined."""
        return {name: [_finite(i.low), _finite(i.high)] for name, i in self.intervals.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def base_rate_gain(y_true: Labels, y_proba: Floats) -> Floats:
    """Return each row's Brier loss of the constant base rate less the model's, shape (n,)."""
    base = _base_rate(y_true)
    return np.asarray((base - y_true) ** 2 - (y_proba - y_true) ** 2, dtype=np.float64)


def brier_skill(
    y_true: Labels, y_proba: Floats, groups: Groups = None, *, level: float
) -> Interval:
    """Return the share of the base rate's Brier loss that the model removes, and its bounds.

    Args:
        y_true: Labels, shape (n,), 0 or 1.
        y_proba: Probability of class 1, shape (n,).
        groups: Codes of rows that belong together, or None.
        level: One-sided confidence of each bound, in (.5, 1).

    Returns:
        At most 1; 0 is no better than the base rate; NaN where all labels agree.

    Reference:
        Murphy 1973.
    """
    base = _base_rate(y_true)
    loss = base * (1 - base)
    if not loss > 0:
        return UNDEFINED
    gain = mean_interval(base_rate_gain(y_true, y_proba), groups, level=level)
    high = min(gain.high / loss, 1.0)  # no model removes more than the whole loss
    return Interval(gain.estimate / loss, gain.low / loss, high)


def _base_rate(y_true: Labels) -> float:
    return float(np.mean(y_true)) if len(y_true) else math.nan


def unknown(rows: int) -> Evaluation:
    """Return the evaluation of rows of which nothing is known: no metric has a value."""
    return Evaluation(dict.fromkeys(METRICS, UNDEFINED), rows)


def evaluate(
    y_true: Labels,
    y_proba: Floats,
    groups: Groups = None,
    *,
    threshold: float,
    budget: float = 0.01,
) -> Evaluation:
    """Return every metric of a scored set.

    Args:
        y_true: Labels, shape (n,), 0 or 1.
        y_proba: Probability of class 1, shape (n,), in [0, 1].
        groups: Codes of rows that belong together, shape (n,), or None.
        threshold: A row is called positive from this probability on.
        budget: Share of rows that may be alerted, for the recall at the alert budget.
    """
    y_pred = y_proba >= threshold
    metric = classification
    loss = metric.log_loss(y_true, y_proba)
    slope, intercept = calibration.calibration_line(y_true, y_proba, groups)
    plain = calibration.ece(y_true, y_proba)
    debiased = calibration.ece_debiased(y_true, y_proba, groups)
    squared = (y_proba - y_true) ** 2
    intervals = {
        "precision": metric.precision(y_true, y_pred, groups),
        "recall": metric.recall(y_true, y_pred, groups),
        "accuracy": metric.accuracy(y_true, y_pred, groups),
        "f1": metric.f1_score(y_true, y_pred, groups),
        "ece": Interval(plain, debiased.low, debiased.high),
        "ece_debiased": debiased,
        "false_positive_rate": metric.false_positive_rate(y_true, y_pred, groups),
        "roc_auc": metric.roc_auc(y_true, y_proba, groups),
        "average_precision": metric.average_precision(y_true, y_proba, groups),
        "brier": mean_interval(squared, groups, level=0.975),
        "brier_skill": brier_skill(y_true, y_proba, groups, level=0.975),
        "log_loss": mean_interval(loss, groups, level=0.975),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "recall_at_budget": metric.recall_at_budget(y_true, y_proba, groups, budget=budget),
    }
    return Evaluation(intervals, len(y_true))
