"""Whether probabilities mean what they say.

The plain expected calibration error is biased upwards: a perfectly calibrated model exceeds
.08 in most samples of 100 rows. The debiased error subtracts what noise alone adds in each
bin, and its bounds are what verdicts read.

Reference:
    Kumar, Liang and Ma 2019 (debiasing); Cox 1958 (slope and intercept); Hosmer and Lemeshow
    1980 (the chi-square over bins).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.metrics.intervals import Interval, cluster_sums, quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[Any]
    Groups = NDArray[np.int64] | None

__all__ = [
    "Bins",
    "CalibrationError",
    "calibration_error",
    "calibration_line",
    "ece",
    "ece_debiased",
    "fit_line",
    "reliability",
    "shrunken_error",
]

N_BINS = 10
HOSMER_LEMESHOW_ALPHA = 0.05
MOST_STEPS = 100
SMALLEST_STEP = 1e-9


@dataclass(frozen=True)
class Bins:
    """Rows by probability in equal-width bins, each array of shape (n_bins,).

    Args:
        n: Rows in the bin.
        mean_proba: Mean probability, NaN if empty.
        share: Share of positives, NaN if empty.
        error: Standard error of share - mean_proba, NaN if empty.
    """

    n: NDArray[np.int64]
    mean_proba: Floats
    share: Floats
    error: Floats


def _bin_codes(y_proba: Floats, n_bins: int) -> NDArray[np.int64]:
    return np.minimum((y_proba * n_bins).astype(np.int64), n_bins - 1)


def reliability(
    y_true: Labels, y_proba: Floats, groups: Groups = None, *, n_bins: int = N_BINS
) -> Bins:
    """Return the reliability of each bin.

    The error of a bin uses a share shrunk by one row towards its mean probability, so that a
    bin whose rows all agree is not taken for certain; with groups it is cluster-robust and at
    least as large.
    """
    codes = _bin_codes(y_proba, n_bins)
    n = np.bincount(codes, minlength=n_bins)
    proba = np.bincount(codes, weights=y_proba, minlength=n_bins)
    hits = np.bincount(codes, weights=y_true, minlength=n_bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_proba, share = proba / n, hits / n
        variance = shrunken_error(n, mean_proba, hits) ** 2
        if groups is not None:
            residual = (y_true - y_proba) - (share - mean_proba)[codes]
            _, group = np.unique(groups, return_inverse=True)
            n_groups = int(group.max()) + 1
            sums = np.bincount(
                codes * n_groups + group, weights=residual, minlength=n_bins * n_groups
            ).reshape(n_bins, n_groups)
            robust = n_groups / max(n_groups - 1, 1) * (sums**2).sum(axis=1) / n**2
            variance = np.maximum(variance, robust)
        return Bins(n, mean_proba, share, np.sqrt(variance))


def shrunken_error(n: NDArray[Any], mean_proba: Floats, hits: NDArray[Any]) -> Floats:
    """Return the standard error of each bin's share, shrunk by one row towards its mean."""
    shrunk = (hits + mean_proba) / (n + 1)
    return np.asarray(np.sqrt(shrunk * (1 - shrunk) / n), dtype=np.float64)


def ece(y_true: Labels, y_proba: Floats, *, n_bins: int = N_BINS) -> float:
    """Return the expected calibration error over equal-width bins, in [0, 1]; NaN if no rows.

    Each bin compares the mean probability with the share of positives.

    Example:
        >>> ece(np.array([0, 0, 0, 0, 1]), np.full(5, 0.2))
        0.0
    """
    if len(y_true) == 0 or not np.all(np.isfinite(y_proba)):
        return math.nan
    codes = _bin_codes(y_proba, n_bins)
    gaps = np.bincount(codes, weights=y_true - y_proba, minlength=n_bins)
    return float(np.round(np.sum(np.abs(gaps)) / len(y_true), 15))


def ece_debiased(
    y_true: Labels,
    y_proba: Floats,
    groups: Groups = None,
    *,
    level: float = 0.975,
    n_bins: int = N_BINS,
) -> Interval:
    """Return the calibration error less what noise adds, and its bounds.

    The estimate is clipped to [0, 1]; its bounds each hold with ``level``, and the lower one
    is 0 unless the Hosmer-Lemeshow chi-square says at .05 that there is any error.

    Args:
        y_true: Labels, shape (n,).
        y_proba: Probability of class 1, shape (n,).
        groups: Codes of rows that belong together, or None.
        level: One-sided confidence of each bound, in (.5, 1).
        n_bins: Number of equal-width bins.
    """
    if len(y_true) == 0 or not np.all(np.isfinite(y_proba)):
        return Interval(math.nan, math.nan, math.nan)
    bins = reliability(y_true, y_proba, groups, n_bins=n_bins)
    spread: Floats = np.bincount(
        _bin_codes(y_proba, n_bins), weights=y_proba * (1 - y_proba), minlength=n_bins
    ).astype(np.float64)
    clusters = None if groups is None else len(np.unique(groups))
    found = calibration_error(
        bins, spread, _total_error(y_true, y_proba, groups, bins), clusters=clusters
    )
    return found.interval(level)


@dataclass(frozen=True)
class CalibrationError:
    """The debiased calibration error, before it is cut to what is possible.

    Args:
        estimate: May be a little below 0.
        error: Its standard error.
        is_wrong: Whether the Hosmer-Lemeshow chi-square says at .05 that there is any.
        clusters: Number of clusters, None where rows are independent.
    """

    estimate: float
    error: float
    is_wrong: bool
    clusters: int | None

    def interval(self, level: float) -> Interval:
        """Return the estimate in [0, 1] and bounds that each hold with ``level``."""
        margin = quantile(level, self.clusters) * self.error
        low = max(0.0, self.estimate - margin) if self.is_wrong else 0.0
        estimate = max(self.estimate, 0.0)
        return Interval(min(estimate, 1.0), low, min(estimate + margin, 1.0))


def calibration_error(
    bins: Bins, spread: Floats, error: float, *, clusters: int | None
) -> CalibrationError:
    """Return the calibration error of binned rows, less what noise adds.

    Args:
        bins: The bins.
        spread: Sum of p (1 - p) in each bin, the variance of a calibrated model's count, shape
            (n_bins,). The bins' own errors would make the chi-square too large: a bin without
            positives looks too certain.
        error: Standard error of the weighted sum of absolute gaps.
        clusters: Number of clusters, or None.
    """
    from scipy.special import chdtrc, ndtr

    used = bins.n > 0
    weight = bins.n[used] / bins.n.sum()
    gap = np.abs(bins.share[used] - bins.mean_proba[used])
    spread_of = np.maximum(bins.error[used], 1e-12)
    noisy = spread_of * math.sqrt(2 / math.pi) * np.exp(-((gap / spread_of) ** 2) / 2) + gap * (
        1 - 2 * ndtr(-gap / spread_of)
    )
    variance = (spread[used] / bins.n[used] ** 2).clip(1e-24)
    if clusters is not None:
        variance = np.maximum(variance, bins.error[used] ** 2)
    chi_square = float(np.sum(gap**2 / variance))
    is_wrong = bool(chdtrc(int(used.sum()), chi_square) < HOSMER_LEMESHOW_ALPHA)
    return CalibrationError(float(np.sum(weight * (2 * gap - noisy))), error, is_wrong, clusters)


def _total_error(y_true: Labels, y_proba: Floats, groups: Groups, bins: Bins) -> float:
    """Return the standard error of the weighted sum of absolute gaps.

    How many rows fall into a bin varies from sample to sample too: the error is that of the
    mean of signed residuals over rows (or groups), and no less than with bin sizes given.
    """
    n = len(y_true)
    given = float(np.nansum((bins.n / n * bins.error) ** 2))
    gap = (bins.share - bins.mean_proba)[_bin_codes(y_proba, len(bins.n))]
    signed = np.sign(gap) * (y_true - y_proba)
    sums = cluster_sums((signed - signed.mean()) / n, groups)
    robust = len(sums) / max(len(sums) - 1, 1) * float(np.sum(sums**2))
    return math.sqrt(max(given, robust))


def calibration_line(
    y_true: Labels, y_proba: Floats, groups: Groups = None, *, level: float = 0.975
) -> tuple[Interval, Interval]:
    """Return slope and intercept of the logistic recalibration line, with Wald bounds.

    A slope below 1 says over-confident; an intercept above 0 (at slope 1) too low.

    Reference:
        Cox 1958; sandwich variance of Liang and Zeger 1986.
    """
    unknown = Interval(math.nan, math.nan, math.nan)
    clipped = np.clip(y_proba, 1e-12, 1 - 1e-12)
    x = np.log(clipped / (1 - clipped))
    fitted = fit_line(x, y_true, np.ones_like(x))
    if fitted is None:
        return unknown, unknown
    beta, inverse = fitted
    design = np.column_stack([x, np.ones_like(x)])
    p = 1 / (1 + np.exp(-np.clip(design @ beta, -500, 500)))
    scores = design * (y_true - p)[:, None]
    sums = np.column_stack([cluster_sums(scores[:, k], groups) for k in (0, 1)])
    covariance = inverse @ (sums.T @ sums) @ inverse
    z = quantile(level, None if groups is None else len(sums))
    slope, intercept = (
        Interval(float(b), float(b - z * e), float(b + z * e))
        for b, e in zip(beta, np.sqrt(np.diag(covariance)), strict=True)
    )
    return slope, intercept


def fit_line(
    x: Floats, y: NDArray[Any], weight: NDArray[Any]
) -> tuple[Floats, NDArray[np.float64]] | None:
    """Return slope and intercept of a logistic line, and the inverse of its information.

    None where no line is best: one class only, no spread in ``x``, or classes that a cut parts.

    Args:
        x: Log odds that were predicted, shape (n,).
        y: Labels, shape (n,), 0 or 1.
        weight: How many rows each stands for, shape (n,).
    """
    if len(x) < 3 or np.ptp(x) == 0 or np.min(y) == np.max(y):  # noqa: PLR2004
        return None
    design = np.column_stack([x, np.ones_like(x)])
    beta = np.zeros(2)
    for _ in range(MOST_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -500, 500)))
        gradient = design.T @ (weight * (y - p))
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design
        if not np.all(np.isfinite(hessian)) or np.linalg.cond(hessian) > 1e14:  # noqa: PLR2004
            return None
        step = np.linalg.solve(hessian, gradient)
        beta = beta + step
        if np.abs(step).max() < SMALLEST_STEP * (1 + np.abs(beta).max()):
            return beta, np.asarray(np.linalg.inv(hessian), dtype=np.float64)
    return None
