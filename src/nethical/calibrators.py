"""From scores to probabilities: a sigmoid for few rows, isotonic steps for many.

Both are monotone, so ranking is kept, and learn from the calibrate part only.

Reference:
    Platt 1999 (sigmoid, with his smoothed targets); Zadrozny and Elkan 2002 (isotonic).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[Any]

__all__ = ["Calibrator", "Isotonic", "Sigmoid", "fit", "from_document"]

ISOTONIC_FROM = 1000
LARGEST_LOGIT = 700.0
HIGHEST_LOGIT = 36.0  # the next one's probability would be rounded to 1


class Calibrator(Protocol):
    """Turns scores of any scale (higher is riskier) into probabilities."""

    @property
    def method(self) -> str:
        """Sigmoid or isotonic."""

    def predict(self, scores: Floats) -> Floats:
        """Return probabilities of class 1, shape (n,), strictly in (0, 1)."""

    def predict_one(self, score: float) -> float:
        """Return the probability of one score, as ``predict`` does, without arrays."""

    def to_document(self) -> dict[str, Any]:
        """Return the calibrator as JSON values."""


@dataclass(frozen=True)
class Sigmoid:
    """1 / (1 + exp(-(slope x score + intercept)))."""

    slope: float
    intercept: float
    method = "sigmoid"

    def predict(self, scores: Floats) -> Floats:
        """Return probabilities of class 1, shape (n,)."""
        logits = np.clip(self.slope * scores + self.intercept, -LARGEST_LOGIT, HIGHEST_LOGIT)
        return np.asarray(1 / (1 + np.exp(-logits)))

    def predict_one(self, score: float) -> float:
        """Return the probability of one score."""
        logit = self.slope * score + self.intercept
        return 1 / (1 + math.exp(-min(max(logit, -LARGEST_LOGIT), HIGHEST_LOGIT)))

    def to_document(self) -> dict[str, Any]:
        """Return the calibrator as JSON values."""
        return {"method": self.method, "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True)
class Isotonic:
    """Straight lines between the middles of isotonic blocks.

    Args:
        scores: Knots, strictly increasing.
        probabilities: Their probabilities, increasing, strictly in (0, 1).
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    method = "isotonic"

    def predict(self, scores: Floats) -> Floats:
        """Return probabilities of class 1, shape (n,)."""
        return np.asarray(np.interp(scores, self.scores, self.probabilities))

    def predict_one(self, score: float) -> float:
        """Return the probability of one score."""
        knots, values = self.scores, self.probabilities
        right = bisect_right(knots, score)
        if right == 0:
            return values[0]
        if right == len(knots):
            return values[-1]
        left = right - 1
        slope = (values[right] - values[left]) / (knots[right] - knots[left])
        return slope * (score - knots[left]) + values[left]

    def to_document(self) -> dict[str, Any]:
        """Return the calibrator as JSON values."""
        return {
            "method": self.method,
            "scores": list(self.scores),
            "probabilities": list(self.probabilities),
        }


def from_document(document: Mapping[str, Any]) -> Calibrator:
    """Return the calibrator that ``to_document`` wrote."""
    if document["method"] == "sigmoid":
        return Sigmoid(document["slope"], document["intercept"])
    return Isotonic(tuple(document["scores"]), tuple(document["probabilities"]))


def fit(scores: Floats, y: Labels, weights: Floats | None = None) -> Calibrator:
    """Return the calibrator of the calibrate part: isotonic from 1,000 rows on, else sigmoid.

    Args:
        scores: Shape (n,), finite, higher is riskier.
        y: Labels, shape (n,), 0 or 1, both present.
        weights: Of the rows, shape (n,), or None.
    """
    weights = np.ones(len(y)) if weights is None else weights
    if len(y) >= ISOTONIC_FROM and np.ptp(scores) > 0:
        return _fit_isotonic(scores, y, weights)
    return _fit_sigmoid(scores, y, weights)


def _fit_sigmoid(scores: Floats, y: Labels, weights: Floats) -> Sigmoid:
    """Fit by Newton steps with halving, on targets drawn one row towards the other class."""
    positives = float(weights[y == 1].sum())
    negatives = float(weights.sum()) - positives
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre = float(np.average(scores, weights=weights))
    spread = float(np.sqrt(np.average((scores - centre) ** 2, weights=weights))) or 1.0
    x = np.column_stack([(scores - centre) / spread, np.ones(len(y))])
    beta = np.array([0.0, math.log((positives + 1) / (negatives + 1))])

    def loss(b: Floats) -> float:
        z = x @ b
        return float(np.sum(weights * (np.logaddexp(0, z) - target * z)))

    value = loss(beta)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -LARGEST_LOGIT, LARGEST_LOGIT)))
        gradient = x.T @ (weights * (p - target))
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + 1e-10 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-8 and loss(beta - size * step) > value:  # noqa: PLR2004
            size /= 2
        beta = beta - size * step
        previous, value = value, loss(beta)
        if previous - value < 1e-12 * (1 + abs(value)):
            break
    slope = max(float(beta[0]), 0.0)  # a score that ranks backwards carries no evidence
    intercept = float(beta[1])
    if slope == 0.0:
        intercept = math.log((positives + 1) / (negatives + 1))
    return Sigmoid(slope / spread, intercept - slope * centre / spread)


def _fit_isotonic(scores: Floats, y: Labels, weights: Floats) -> Isotonic:
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    mass = np.add.reduceat(weights[order], starts)
    hits = np.add.reduceat((weights * y)[order], starts)
    blocks = _pool(hits.tolist(), mass.tolist())
    sizes = np.array([block[2] for block in blocks])
    last = np.cumsum(sizes)
    first = last - sizes
    total = np.add.reduceat(mass * ordered[starts], first)
    n = np.array([block[1] for block in blocks])
    middles = total / n
    shares = np.array([block[0] for block in blocks]) / n
    edge = 1 / (len(y) + 2)
    clipped = np.clip(shares, edge, 1 - edge)
    keep = np.append(True, np.diff(middles) > 0)
    return Isotonic(tuple(middles[keep].tolist()), tuple(clipped[keep].tolist()))


def _pool(hits: list[float], mass: list[float]) -> list[tuple[float, float, int]]:
    """Pool adjacent violators; return (hits, mass, number of score values) of each block.

    Reference:
        Barlow et al. 1972; linear in the number of values.
    """
    blocks: list[tuple[float, float, int]] = []
    for h, m in zip(hits, mass, strict=True):
        hit, weight, size = h, m, 1
        while blocks and blocks[-1][0] * weight >= hit * blocks[-1][1]:
            previous = blocks.pop()
            hit, weight, size = hit + previous[0], weight + previous[1], size + previous[2]
        blocks.append((hit, weight, size))
    return blocks
