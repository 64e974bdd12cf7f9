"""Two models on the same rows: each row is compared with itself.

Reference:
    McNemar 1947; Tango 1998.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.drift import measures
from nethical.drift.cells import Scored, summarise
from nethical.drift.effects import FEWEST_ROWS, Effect, Gap, Settings, Test, effect
from nethical.drift.unpaired import fewest_rows, score_gap
from nethical.metrics.calibration import reliability
from nethical.metrics.intervals import Interval, mean_interval
from nethical.metrics.paired import mcnemar, paired_rate_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nethical.drift.cells import Cells
    from nethical.drift.rows import RowSet

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["PairedSides", "effects", "tests"]

SMALLEST = 1e-12


class PairedSides:
    """Labelled rows that two models scored.

    Args:
        reference: Scores of the one, its rows in order.
        current: Scores of the other, of the same rows.
        thresholds: From which probability on either calls a row positive.
    """

    def __init__(self, reference: RowSet, current: RowSet, thresholds: tuple[float, float]) -> None:
        known = reference.y_true >= 0
        self.y = reference.y_true[known]
        clusters = current.clusters if reference.clusters is None else reference.clusters
        self.clusters = None if clusters is None else clusters[known]
        self.p = (reference.y_proba[known], current.y_proba[known])
        self.called = (self.p[0] >= thresholds[0], self.p[1] >= thresholds[1])
        self.cells = (_cells(reference, thresholds[0]), _cells(current, thresholds[1]))

    def hits(self, name: str) -> tuple[Mask, Mask]:
        """Return on which of its rows each side has what a rate counts."""
        a, b = self.called
        if name == "accuracy":
            return a == (self.y == 1), b == (self.y == 1)
        if name == "flag_rate":
            return a, b
        rows = self.y == (1 if name == "recall" else 0)
        return a[rows], b[rows]

    def groups(self, name: str) -> NDArray[np.int64] | None:
        """Return the clusters of the rows of a rate."""
        if self.clusters is None or name in {"accuracy", "flag_rate"}:
            return self.clusters
        rows = self.y == (1 if name == "recall" else 0)
        return np.asarray(self.clusters[rows])


def _cells(side: RowSet, threshold: float) -> Cells:
    return summarise(Scored(side.y_proba, side.y_true, threshold, side.clusters)).whole


def effects(sides: PairedSides, settings: Settings) -> list[Effect]:
    """Return the effects, current less reference."""
    fewest = fewest_rows(*sides.cells)
    rows = (sides.cells[0].rows, sides.cells[1].rows)
    found = []
    for name in ("accuracy", "recall", "false_positive_rate"):
        a, b = sides.hits(name)
        difference = _rate_difference(a, b, sides.groups(name), settings.level(name))
        gap = Gap(_mean(a), _mean(b), difference, (len(a), len(b)))
        found.append(effect(name, gap, settings, fewest=fewest, rows=rows))
    for name, gap in (
        ("ece", _calibration_gap(sides, settings.level("ece"))),
        ("brier", _loss_gap(sides, settings.level("brier"))),
        ("score_distribution", score_gap(*sides.cells, settings.level("score_distribution"))),
    ):
        found.append(effect(name, gap, settings, fewest=max(fewest, FEWEST_ROWS), rows=rows))
    return found


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _rate_difference(
    a: Mask, b: Mask, clusters: NDArray[np.int64] | None, level: float
) -> Interval:
    if clusters is not None:
        return mean_interval(b.astype(np.float64) - a, clusters, level=level)
    both, only_a, only_b = int(np.sum(a & b)), int(np.sum(a & ~b)), int(np.sum(b & ~a))
    neither = len(a) - both - only_a - only_b
    return paired_rate_difference(both, only_a, only_b, neither, level=level)


def _calibration_gap(sides: PairedSides, level: float) -> Gap:
    """Return both calibration errors and their difference, by the signed residual of each row."""
    n = len(sides.y)
    a, b = (measures.calibration_error(cells) for cells in sides.cells)
    if a is None or b is None:
        return Gap(math.nan, math.nan, Interval(math.nan, math.nan, math.nan), (n, n))
    before, after = (_signed(sides.y, p) for p in sides.p)
    noise = mean_interval(after - before, sides.clusters, level=level)
    estimate, margin = b.estimate - a.estimate, noise.high - noise.estimate
    difference = Interval(estimate, estimate - margin, estimate + margin)
    return Gap(max(a.estimate, 0.0), max(b.estimate, 0.0), difference, (n, n))


def _loss_gap(sides: PairedSides, level: float) -> Gap:
    before, after = (_squared(sides.y, p) for p in sides.p)
    difference = mean_interval(after - before, sides.clusters, level=level)
    n = len(sides.y)
    return Gap(_mean(before), _mean(after), difference, (n, n))


def _signed(y: NDArray[np.int8], p: Floats) -> Floats:
    """Return each row's residual, signed as the gap of its bin is."""
    bins = reliability(y, p)
    gap = np.nan_to_num(bins.share - bins.mean_proba)
    codes = np.minimum((p * len(gap)).astype(np.int64), len(gap) - 1)
    return np.asarray(np.sign(gap)[codes] * (y - p), dtype=np.float64)


def tests(sides: PairedSides) -> list[Test]:
    """Return the tests that both models do alike, not yet adjusted for their number."""
    found = []
    for name in ("accuracy", "recall", "false_positive_rate", "flag_rate"):
        a, b = sides.hits(name)
        clusters = sides.groups(name)
        n = (len(a), len(b))
        if clusters is None:
            p = mcnemar(int(np.sum(a & ~b)), int(np.sum(b & ~a)))
            found.append(Test(name, "McNemar's test", p if len(a) else math.nan, n))
        else:
            gap = b.astype(np.float64) - a
            found.append(Test(name, "clustered paired t", _paired_p(gap, clusters), n))
    for name, losses in (("brier", _squared), ("log_loss", _log_loss)):
        gap = losses(sides.y, sides.p[1]) - losses(sides.y, sides.p[0])
        n = (len(gap), len(gap))
        found.append(Test(name, "paired t", _paired_p(gap, sides.clusters), n))
    return found


def _squared(y: NDArray[np.int8], p: Floats) -> Floats:
    return np.asarray((p - y) ** 2, dtype=np.float64)


def _log_loss(y: NDArray[np.int8], p: Floats) -> Floats:
    clipped = np.clip(p, SMALLEST, 1 - SMALLEST)
    return -np.log(np.where(y == 1, clipped, 1 - clipped))


def _paired_p(gap: Floats, clusters: NDArray[np.int64] | None) -> float:
    """Return p of a mean of 0, by Student's t over rows or clusters."""
    if len(gap) < 2:  # noqa: PLR2004 - no spread in one row
        return math.nan
    from scipy.special import stdtr, stdtrit

    n = len(gap) if clusters is None else len(np.unique(clusters))
    if n < 2:  # noqa: PLR2004 - no spread in one cluster
        return math.nan
    level = 0.975
    interval = mean_interval(gap, clusters, level=level)
    error = (interval.high - interval.estimate) / float(stdtrit(n - 1, level))
    if error == 0.0:
        return float(interval.estimate == 0.0)
    return float(2 * stdtr(n - 1, -abs(interval.estimate) / error))
