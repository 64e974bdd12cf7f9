"""What cells say of a model: rates, calibration, and estimates where labels are missing.

Every measure comes with its standard error and, where rows are clustered, with a design effect:
by how much the clustering multiplies the variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.drift import cells as of
from nethical.metrics import calibration
from nethical.metrics.intervals import UNDEFINED, Interval, quantile, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nethical.drift.cells import Cells
    from nethical.metrics.calibration import Bins, CalibrationError

    Floats = NDArray[np.float64]

__all__ = [
    "RATES",
    "Line",
    "Rate",
    "brier",
    "calibration_error",
    "estimated",
    "line",
    "measured",
    "rate",
    "reliability",
    "score_effect",
]

TP, FP, FN, TN = "tp", "fp", "fn", "tn"
OUTCOMES = (TP, FP, FN, TN)
RATES = {
    "accuracy": ((TP, TN), OUTCOMES),
    "recall": ((TP,), (TP, FN)),
    "false_positive_rate": ((FP,), (FP, TN)),
    "precision": ((TP,), (TP, FP)),
    "prevalence": ((TP, FN), OUTCOMES),
}
LEVEL = 0.975
SCORES = slice(of.SCORE, of.SCORE + of.N_SCORES)
LABELLED = slice(of.LABELLED, of.LABELLED + 10)
RESIDUAL = slice(of.RESIDUAL, of.RESIDUAL + 10)


@dataclass(frozen=True)
class Rate:
    """A share of rows.

    Args:
        hits: Rows that have it.
        n: Rows that could.
        effect: The design effect, at least 1; 1 where rows are independent.
        clusters: Number of clusters, or None.
    """

    hits: int
    n: int
    effect: float
    clusters: int | None

    @property
    def value(self) -> float:
        """The share; NaN without rows."""
        return self.hits / self.n if self.n else math.nan

    def interval(self, level: float) -> Interval:
        """Return Wilson's interval, each bound holding with ``level``."""
        if not self.n:
            return UNDEFINED
        effect = self.effect
        return wilson(self.hits / effect, self.n / effect, level=level, groups=self.clusters)


def rate(cells: Cells, name: str) -> Rate:
    """Return a rate by name: one of ``RATES``, or ``flag_rate``, which needs no labels."""
    if name == "flag_rate":
        return _flag_rate(cells)
    numerator, denominator = RATES[name]
    counts = dict(zip(OUTCOMES, cells.confusion, strict=True))
    hits, n = (sum(counts[one] for one in part) for part in (numerator, denominator))
    influence = np.zeros(of.N_FEATURES)
    for place, one in enumerate(OUTCOMES):
        share = hits / n if n else 0.0
        influence[place] = (one in numerator) - share * (one in denominator)
    return Rate(hits, n, _design_effect(cells, influence, hits, n), cells.clusters)


def _flag_rate(cells: Cells) -> Rate:
    """Return the share of rows called positive, labelled or not.

    The scatter knows which labelled rows were called; without any label the bins on both sides
    of the threshold stand for it, and the design effect is that of the whole distribution.
    """
    hits, n = cells.flagged, cells.rows
    if cells.clusters is None or cells.labelled < n:
        return Rate(hits, n, score_effect(cells), cells.clusters)
    share = hits / n
    influence = np.zeros(of.N_FEATURES)
    influence[[of.TP, of.FP]] = 1 - share
    influence[[of.FN, of.TN]] = -share
    return Rate(hits, n, _design_effect(cells, influence, hits, n), cells.clusters)


def _design_effect(cells: Cells, influence: Floats, hits: int, n: int) -> float:
    if cells.clusters is None or n == 0:
        return 1.0
    binomial = hits * (n - hits) / n
    if binomial == 0:  # all alike: each cluster is one observation
        return max(n / cells.clusters, 1.0)
    return max(cells.variance(influence) / binomial, 1.0)


def score_effect(cells: Cells) -> float:
    """Return the largest design effect of a share of rows below any of 19 scores."""
    if cells.clusters is None:
        return 1.0
    n, below = cells.rows, np.cumsum(cells.scores(of.N_SCORES))
    effects = [1.0]
    for place, hits in enumerate(below[:-1].tolist()):
        if 0 < hits < n:
            influence = np.zeros(of.N_FEATURES)
            influence[SCORES] = (np.arange(of.N_SCORES) <= place) - hits / n
            effects.append(_design_effect(cells, influence, hits, n))
    return max(effects)


def reliability(cells: Cells) -> Bins:
    """Return the reliability of ten equal bins, as of the rows themselves."""
    n, proba, hits, _ = cells.bins()
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_proba, share = proba / n, hits / n
        error = calibration.shrunken_error(n, mean_proba, hits)
        if cells.clusters is not None:
            gap = np.nan_to_num(share - mean_proba)
            robust = np.array([_residual_variance(cells, gap, b) for b in range(len(n))])
            error = np.fmax(error, np.sqrt(robust) / n)
    return calibration.Bins(n, mean_proba, share, error)


def _residual_variance(cells: Cells, gap: Floats, place: int) -> float:
    influence = np.zeros(of.N_FEATURES)
    influence[of.RESIDUAL + place] = 1.0
    influence[of.LABELLED + place] = -gap[place]
    return cells.variance(influence)


def calibration_error(cells: Cells) -> CalibrationError | None:
    """Return the debiased calibration error over ten equal bins; None without labels.

    It is ``nethical.metrics.calibration.ece_debiased`` of the rows, from their sums.
    """
    if cells.labelled == 0:
        return None
    bins = reliability(cells)
    n, proba, _, square = cells.bins()
    total = cells.labelled
    used = n > 0
    gap = np.where(used, np.nan_to_num(bins.share - bins.mean_proba), 0.0)
    mean = float(np.sum(np.abs(gap) * n)) / total
    if cells.clusters is None:
        squared = _squared_residuals(cells) - total * mean**2
        robust = total / max(total - 1, 1) * squared / total**2
    else:
        influence = np.zeros(of.N_FEATURES)
        influence[RESIDUAL] = np.sign(gap) / total
        influence[LABELLED] = -mean / total
        robust = cells.variance(influence)
    given = float(np.nansum((n / total * bins.error) ** 2))
    error = math.sqrt(max(given, robust))
    return calibration.calibration_error(bins, proba - square, error, clusters=cells.clusters)


def _squared_residuals(cells: Cells) -> float:
    """Return the sum of (y - p)^2 over labelled rows."""
    labelled = cells.sums[:, : of.UNKNOWN].sum(axis=(0, 2))
    square = labelled[:, of.SQUARE].sum() / of.UNIT
    positives = labelled[of.POSITIVE]
    return float(square - 2 * positives[of.PROBA] / of.UNIT + positives[of.ROWS])


def brier(cells: Cells) -> tuple[float, float]:
    """Return the mean squared gap between probability and label, and its standard error."""
    n = cells.labelled
    if n < 2:  # noqa: PLR2004 - no spread in one row
        return math.nan, math.nan
    mean = _squared_residuals(cells) / n
    if cells.clusters is not None:
        influence = np.zeros(of.N_FEATURES)
        influence[of.LOSS] = 1 / n
        influence[LABELLED] = -mean / n
        return mean, math.sqrt(cells.variance(influence))
    second = float(cells.sums[:, : of.UNKNOWN, :, of.LOSS2].sum()) / of.UNIT / n
    return mean, math.sqrt(max(second - mean**2, 0.0) / (n - 1))


@dataclass(frozen=True)
class Line:
    """The logistic recalibration line: slope and intercept, with their covariance, (2, 2)."""

    beta: Floats
    covariance: Floats
    clusters: int | None

    def intervals(self, level: float) -> tuple[Interval, Interval]:
        """Return Wald intervals of slope and intercept."""
        margins = quantile(level, self.clusters) * np.sqrt(np.diag(self.covariance))
        slope, intercept = (
            Interval(float(b), float(b - m), float(b + m))
            for b, m in zip(self.beta, margins, strict=True)
        )
        return slope, intercept


def line(cells: Cells) -> Line | None:
    """Return the recalibration line, each cell's rows at their mean log odds.

    None where no line is best (one class, or one score).

    Reference:
        Cox 1958.
    """
    held = cells.sums[:, : of.UNKNOWN]
    n = held[..., of.ROWS]
    used = n > 0
    x = held[..., of.LOGIT][used] / of.LOGIT_UNIT / n[used]
    y = np.broadcast_to(np.array([0.0, 1.0])[None, :, None], n.shape)[used]
    weight = n[used].astype(np.float64)
    fitted = calibration.fit_line(x, y, weight)
    if fitted is None:
        return None
    beta, inverse = fitted
    residual = y - 1 / (1 + np.exp(-np.clip(beta[0] * x + beta[1], -500, 500)))
    if cells.clusters is None or cells.scatter is None:
        scores = np.column_stack([x, np.ones_like(x)]) * residual[:, None]
        meat = (scores * weight[:, None]).T @ scores
    else:  # at the probabilities as they were given: a little too wide where these are wrong
        ones = np.zeros((2, of.N_FEATURES))
        ones[0, of.SLOPE] = 1.0
        ones[1, RESIDUAL] = 1.0
        meat = cells.clusters / max(cells.clusters - 1, 1) * ones @ cells.scatter @ ones.T
    return Line(beta, inverse @ meat @ inverse, cells.clusters)


def measured(cells: Cells) -> dict[str, Interval]:
    """Return every measure with its two-sided 95 % interval; NaN where it is undefined."""
    found = {name: rate(cells, name).interval(LEVEL) for name in (*RATES, "flag_rate")}
    error = calibration_error(cells)
    n, proba, hits, _ = cells.bins()
    plain = float(np.sum(np.abs(hits - proba)) / n.sum()) if n.sum() else math.nan
    debiased = UNDEFINED if error is None else error.interval(LEVEL)
    fitted = line(cells)
    slope, intercept = (UNDEFINED, UNDEFINED) if fitted is None else fitted.intervals(LEVEL)
    mean, spread = brier(cells)
    margin = quantile(LEVEL, cells.clusters) * spread
    return {
        **found,
        "ece": Interval(plain, debiased.low, debiased.high),
        "ece_debiased": debiased,
        "brier": Interval(mean, mean - margin, mean + margin),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
    }


def estimated(cells: Cells, reference: Cells | None = None) -> dict[str, float]:
    """Return what accuracy, recall and false positive rate would be if probabilities held.

    Assumes that only the mix of rows changed: a row of some score is positive as often as in
    the reference. Probabilities are recalibrated on the reference first, where it has labels.
    Under any other change the estimates are wrong, and nothing here can tell.

    Args:
        cells: Rows, labelled or not; labels are not looked at.
        reference: Labelled rows of the same model, or None.

    Returns:
        ``estimated_accuracy``, ``estimated_recall``, ``estimated_false_positive_rate``; NaN
        where undefined.

    Reference:
        Confidence-based performance estimation: Guo et al. 2017 (calibration), Guillory et al.
        2021 (average confidence).
    """
    held = cells.sums.sum(axis=1)
    n = held[..., of.ROWS].astype(np.float64)
    used = n > 0
    x = np.zeros_like(n)
    x[used] = held[..., of.LOGIT][used] / of.LOGIT_UNIT / n[used]
    fitted = None if reference is None else line(reference)
    p = np.zeros_like(n)
    if fitted is None:
        p[used] = held[..., of.PROBA][used] / of.UNIT / n[used]
    else:
        p = 1 / (1 + np.exp(-np.clip(fitted.beta[0] * x + fitted.beta[1], -500, 500)))
    tp, fp = float(np.sum((n * p)[:, 1])), float(np.sum((n * (1 - p))[:, 1]))
    fn, tn = float(np.sum((n * p)[:, 0])), float(np.sum((n * (1 - p))[:, 0]))
    return {
        "estimated_accuracy": _share(tp + tn, tp + fp + fn + tn),
        "estimated_recall": _share(tp, tp + fn),
        "estimated_false_positive_rate": _share(fp, fp + tn),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def document(intervals: dict[str, Interval]) -> dict[str, Any]:
    """Return measures as JSON values, None where undefined."""
    return {
        name: {"value": _known(i.estimate), "ci": [_known(i.low), _known(i.high)]}
        for name, i in intervals.items()
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
