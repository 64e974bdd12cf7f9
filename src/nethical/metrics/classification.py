"""Metrics of decisions and of ranking.

Labels are 0 or 1, probabilities are of class 1, both of shape (n,). A metric whose denominator
is empty is NaN: unknown, not zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.metrics.intervals import (
    UNDEFINED,
    Interval,
    cluster_sums,
    effective_rows,
    logit_interval,
    wilson,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[Any]
    Groups = NDArray[np.int64] | None

__all__ = [
    "Confusion",
    "accuracy",
    "average_precision",
    "brier_score",
    "confusion",
    "f1_score",
    "false_positive_rate",
    "log_loss",
    "precision",
    "recall",
    "recall_at_budget",
    "roc_auc",
]

SMALLEST_PROBABILITY = 1e-15


@dataclass(frozen=True)
class Confusion:
    """Counts of decisions: true and false positives, true and false negatives."""

    tp: int
    fp: int
    tn: int
    fn: int


def confusion(y_true: Labels, y_pred: NDArray[np.bool_]) -> Confusion:
    """Return the counts of decisions.

    Example:
        >>> confusion(np.array([1, 0, 0]), np.array([True, True, False]))
        Confusion(tp=1, fp=1, tn=1, fn=0)
    """
    positive = y_true == 1
    tp = int(np.sum(positive & y_pred))
    fp = int(np.sum(~positive & y_pred))
    fn = int(np.sum(positive & ~y_pred))
    return Confusion(tp, fp, len(y_true) - tp - fp - fn, fn)


def _share(hits: Labels, among: NDArray[np.bool_], groups: Groups, level: float) -> Interval:
    chosen = None if groups is None else groups[among]
    successes, n, clusters = effective_rows(hits[among], chosen)
    return wilson(successes, n, level=level, groups=clusters)


def accuracy(
    y_true: Labels, y_pred: NDArray[np.bool_], groups: Groups = None, *, level: float = 0.975
) -> Interval:
    """Return the share of right decisions and its Wilson interval."""
    right = (y_true == 1) == y_pred
    return _share(right, np.ones(len(y_true), dtype=bool), groups, level)


def precision(
    y_true: Labels, y_pred: NDArray[np.bool_], groups: Groups = None, *, level: float = 0.975
) -> Interval:
    """Return TP / (TP + FP) and its Wilson interval."""
    return _share(y_true == 1, y_pred, groups, level)


def recall(
    y_true: Labels, y_pred: NDArray[np.bool_], groups: Groups = None, *, level: float = 0.975
) -> Interval:
    """Return TP / (TP + FN) and its Wilson interval."""
    return _share(y_pred, y_true == 1, groups, level)


def false_positive_rate(
    y_true: Labels, y_pred: NDArray[np.bool_], groups: Groups = None, *, level: float = 0.975
) -> Interval:
    """Return FP / (FP + TN) and its Wilson interval; this is not 1 - precision."""
    return _share(y_pred, y_true == 0, groups, level)


def f1_score(
    y_true: Labels, y_pred: NDArray[np.bool_], groups: Groups = None, *, level: float = 0.975
) -> Interval:
    """Return 2 TP / (2 TP + FP + FN) and its interval by linearisation on the logit scale."""
    counts = confusion(y_true, y_pred)
    total = 2 * counts.tp + counts.fp + counts.fn
    if total == 0:
        return UNDEFINED
    f1 = 2 * counts.tp / total
    hits = 2.0 * ((y_true == 1) & y_pred)
    misses = ((y_true == 1) != y_pred).astype(np.float64)
    sums = cluster_sums((hits - f1 * (hits + misses)) / total, groups)
    units = min(len(sums), counts.tp + counts.fp + counts.fn)
    return logit_interval(f1, float(np.sqrt(np.sum(sums**2))), level=level, units=units)


def roc_auc(
    y_true: Labels, y_proba: Floats, groups: Groups = None, *, level: float = 0.975
) -> Interval:
    """Return the area under the ROC curve, ties counted half, and its DeLong interval.

    Reference:
        DeLong, DeLong and Clarke-Pearson 1988; Obuchowski 1997 for clustered rows.
    """
    positive = y_true == 1
    n_pos = int(positive.sum())
    n_neg = len(y_true) - n_pos
    if n_pos == 0 or n_neg == 0:
        return UNDEFINED
    placement = _placement(positive, y_proba)
    area = float(placement[positive].mean())
    influence = np.where(positive, (placement - area) / n_pos, (placement - area) / n_neg)
    if groups is None:
        free = np.where(positive, n_pos - 1, n_neg - 1) / np.where(positive, n_pos, n_neg)
        error = np.sqrt(np.sum(influence**2 / free)) if free.all() else math.nan
    else:
        sums = cluster_sums(influence, groups)
        error = np.sqrt(len(sums) / max(len(sums) - 1, 1) * np.sum(sums**2))
    units = min(n_pos, n_neg) if groups is None else _fewest_groups(positive, groups)
    return logit_interval(area, float(error), level=level, units=units)


def _fewest_groups(positive: NDArray[np.bool_], groups: NDArray[np.int64]) -> int:
    """Return the number of groups that hold a class, of the class that fewer groups hold."""
    return min(len(np.unique(groups[positive])), len(np.unique(groups[~positive])))


def _placement(positive: NDArray[np.bool_], y_proba: Floats) -> Floats:
    """Return for each row the share of the other class that it is ranked right against."""
    order = np.argsort(y_proba, kind="stable")
    ordered = y_proba[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sizes = np.diff(np.append(starts, len(ordered)))
    pos_in = np.add.reduceat(positive[order].astype(np.float64), starts)
    neg_in = sizes - pos_in
    neg_below = np.cumsum(neg_in) - neg_in / 2
    pos_above = pos_in.sum() - np.cumsum(pos_in) + pos_in / 2
    tie = np.repeat(np.arange(len(starts)), sizes)
    placement = np.empty(len(ordered))
    is_positive = positive[order]
    placement[order] = np.where(
        is_positive, (neg_below / neg_in.sum())[tie], (pos_above / pos_in.sum())[tie]
    )
    return placement


def average_precision(
    y_true: Labels, y_proba: Floats, groups: Groups = None, *, level: float = 0.975
) -> Interval:
    """Return the area under the precision-recall steps and its logit interval.

    Reference:
        Boyd, Eng and Page 2013, section 3.2; with groups, those that hold positives count.
    """
    positive = y_true == 1
    n_pos = int(positive.sum())
    if n_pos == 0:
        return UNDEFINED
    order = np.argsort(-y_proba, kind="stable")
    ordered = y_proba[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    hits = np.cumsum(positive[order])[ends]
    steps = np.diff(np.append(0, hits)) / n_pos
    estimate = min(float(np.sum(steps * hits / (ends + 1))), 1.0)
    units = n_pos if groups is None else len(np.unique(groups[positive]))
    error = math.sqrt(estimate * (1 - estimate) / units)
    return logit_interval(estimate, error, level=level, units=units)


def recall_at_budget(
    y_true: Labels,
    y_proba: Floats,
    groups: Groups = None,
    *,
    budget: float = 0.01,
    level: float = 0.975,
) -> Interval:
    """Return the recall when only the riskiest share of rows may be alerted.

    Args:
        y_true: Labels, shape (n,).
        y_proba: Probability of class 1, shape (n,).
        groups: Codes of rows that belong together, or None.
        budget: Share of rows alerted, in (0, 1); of a tie at the cut as many are alerted as
            the budget allows, drawn at random, which counts by its expectation.
        level: One-sided confidence of each bound.
    """
    if len(y_true) == 0:
        return UNDEFINED
    allowed = max(int(budget * len(y_true)), 1)
    cut = np.partition(y_proba, -allowed)[-allowed]
    above, tied = y_proba > cut, y_proba == cut
    alerted = above + tied * ((allowed - above.sum()) / tied.sum())
    return _share(alerted, y_true == 1, groups, level)


def brier_score(y_true: Labels, y_proba: Floats) -> float:
    """Return the mean squared gap between probability and outcome, in [0, 1].

    Reference:
        Brier 1950, eq. 2.

    Example:
        >>> brier_score(np.array([0, 1]), np.array([0.0, 0.5]))
        0.125
    """
    return float(np.mean((y_proba - y_true) ** 2))


def log_loss(y_true: Labels, y_proba: Floats) -> Floats:
    """Return the negative log-likelihood of each row in nats, shape (n,).

    Probabilities are kept 1e-15 away from 0 and 1.
    """
    clipped = np.clip(y_proba, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.asarray(-np.log(np.where(y_true == 1, clipped, 1 - clipped)))
