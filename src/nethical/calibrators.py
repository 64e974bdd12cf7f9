"""From scores to probabilities: a sigmoid for few rows, isotonic steps for many.

Both are monotone, so ranking is kept, and learn from the calibrate part only. Without a
positive row there is no probability to learn: a score then becomes its percentile among normal
rows, which orders alerts and keeps to a budget but promises no share of positives.

Reference:
    Platt 1999 (sigmoid); Gelman et al. 2008 (Cauchy priors for logistic regression, here
    around the identity); Zadrozny and Elkan 2002 (isotonic); Vovk, Gammerman and Shafer 2005
    (conformal p-values, of which the percentile is the complement).
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

__all__ = [
    "Calibrator",
    "Isotonic",
    "Percentile",
    "Sigmoid",
    "fit",
    "fit_to_normals",
    "from_document",
]

ISOTONIC_FROM = 1000
PRIOR_CENTRE = np.array([1.0, 0.0])
PRIOR_SCALE = 0.5
MOST_STEPS = 200
POOLING_ROUNDS = 6
SMALLEST_STEP = 1e-10
LARGEST_LOGIT = 700.0
HIGHEST_LOGIT = 36.0  # the next one's probability would be rounded to 1
HIGHEST = 1 - 2.0**-53
LEVELS = np.concatenate([np.arange(90) / 100, 0.9 + np.arange(401) / 4000])
TAIL_SHARE = 0.1


class Calibrator(Protocol):
    """Turns scores of any scale (higher is riskier) into probabilities."""

    @property
    def method(self) -> str:
        """Sigmoid, isotonic or percentile."""

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


@dataclass(frozen=True)
class Percentile:
    """Share of normal rows that score lower, and beyond the highest an exponential tail.

    Args:
        scores: Knots, strictly increasing; the last is the highest normal score.
        shares: Share of normal rows below each knot, increasing, strictly in (0, 1).
        tail: Mean excess of the highest normal scores over the rest, above 0: the scale on
            which what is left of 1 shrinks, so that rows beyond all normal ones stay in order.
    """

    scores: tuple[float, ...]
    shares: tuple[float, ...]
    tail: float
    method = "percentile"

    def predict(self, scores: Floats) -> Floats:
        """Return percentiles, shape (n,), strictly in (0, 1)."""
        inside = np.interp(scores, self.scores, self.shares)
        beyond = np.maximum(scores - self.scores[-1], 0.0) / self.tail
        return np.asarray(np.minimum(1 - (1 - inside) * np.exp(-beyond), HIGHEST))

    def predict_one(self, score: float) -> float:
        """Return the percentile of one score."""
        return float(self.predict(np.array([score]))[0])

    def to_document(self) -> dict[str, Any]:
        """Return the calibrator as JSON values."""
        return {
            "method": self.method,
            "scores": list(self.scores),
            "shares": list(self.shares),
            "tail": self.tail,
        }


def from_document(document: Mapping[str, Any]) -> Calibrator:
    """Return the calibrator that ``to_document`` wrote."""
    if document["method"] == "sigmoid":
        return Sigmoid(document["slope"], document["intercept"])
    if document["method"] == "percentile":
        return Percentile(
            tuple(document["scores"]), tuple(document["shares"]), float(document["tail"])
        )
    return Isotonic(tuple(document["scores"]), tuple(document["probabilities"]))


def fit_to_normals(scores: Floats) -> Percentile:
    """Return the percentile calibrator of normal rows.

    Args:
        scores: Of normal rows, shape (n,), n at least 1, finite.
    """
    ordered = np.sort(scores)
    places = np.ceil(LEVELS * (len(ordered) - 1)).astype(np.int64)
    knots = np.unique(ordered[places])
    below = np.searchsorted(ordered, knots, side="left")
    upto = np.searchsorted(ordered, knots, side="right")
    shares = ((below + upto) / 2 + 0.5) / (len(ordered) + 1)
    start = ordered[int((1 - TAIL_SHARE) * (len(ordered) - 1))]
    excess = ordered[ordered > start] - start
    tail = float(excess.mean()) if len(excess) else 1.0
    return Percentile(tuple(knots.tolist()), tuple(shares.tolist()), tail)


def fit(
    scores: Floats, y: Labels, weights: Floats | None = None, *, strict: bool = False
) -> Calibrator:
    """Return the calibrator of the calibrate part: isotonic from 1,000 rows on, else sigmoid.

    Args:
        scores: Shape (n,), finite, higher is riskier.
        y: Labels, shape (n,), 0 or 1, both present.
        weights: Of the rows, shape (n,), or None.
        strict: Whether higher scores must have higher probabilities throughout, so that an
            alert budget can be kept to the row; the sigmoid is the one that does.
    """
    weights = np.ones(len(y)) if weights is None else weights
    if len(y) >= ISOTONIC_FROM and np.ptp(scores) > 0 and not strict:
        return _fit_isotonic(scores, y, weights)
    return _fit_sigmoid(scores, y, weights)


def _fit_sigmoid(scores: Floats, y: Labels, weights: Floats) -> Sigmoid:
    """Return the sigmoid of largest posterior, drawn towards taking scores for log-odds.

    The prior has heavy tails, so a model whose scores are not log-odds is followed where its
    rows say, and separable rows still give a finite slope. The posterior may have two modes,
    so it is climbed from two starts: log-odds, and scores of unit spread.
    """
    spread = float(np.std(scores)) or 1.0
    centre = float(np.average(scores, weights=weights))
    starts = (np.array([1.0, 0.0]), np.array([1.0 / spread, -centre / spread]))
    found = [_climb(start, scores, y, weights) for start in starts]
    slope, intercept = min(found, key=lambda pair: pair[1])[0].tolist()
    if slope <= 0.0:  # scores that rank backwards carry no evidence
        share = float(np.average(y, weights=weights))
        return Sigmoid(0.0, math.log(share / (1 - share)))
    return Sigmoid(slope, intercept)


def _climb(beta: Floats, scores: Floats, y: Labels, weights: Floats) -> tuple[Floats, float]:
    """Return the mode that Newton steps with halving reach, and its loss."""
    x = np.column_stack([scores, np.ones(len(y))])

    def loss(b: Floats) -> float:
        z = x @ b
        prior = np.log1p(((b - PRIOR_CENTRE) / PRIOR_SCALE) ** 2)
        return float(np.sum(weights * (np.logaddexp(0, z) - y * z)) + np.sum(prior))

    value = loss(beta)
    for _ in range(MOST_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -LARGEST_LOGIT, LARGEST_LOGIT)))
        # The quadratic that touches the Cauchy prior from above (majorise, then minimise).
        pull = 2 / (PRIOR_SCALE**2 + (beta - PRIOR_CENTRE) ** 2)
        gradient = x.T @ (weights * (p - y)) + pull * (beta - PRIOR_CENTRE)
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + np.diag(pull)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > SMALLEST_STEP and loss(beta - size * step) > value:
            size /= 2
        beta = beta - size * step
        previous, value = value, loss(beta)
        if previous - value < SMALLEST_STEP * (1 + abs(value)):
            break
    return beta, value


def _fit_isotonic(scores: Floats, y: Labels, weights: Floats) -> Isotonic:
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    mass = np.add.reduceat(weights[order], starts)
    hits = np.add.reduceat((weights * y)[order], starts)
    blocks = _pool(*(values.tolist() for values in _runs(hits, mass)))
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


def _runs(hits: Floats, mass: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Pool whole runs of shares that do not rise, as pooling one by one would in the end.

    Returns:
        Hits, mass and the number of score values of each block; few enough to go on by hand.
    """
    sizes = np.ones(len(hits), dtype=np.int64)
    for _ in range(POOLING_ROUNDS):
        rises = hits[1:] * mass[:-1] > hits[:-1] * mass[1:]
        starts = np.flatnonzero(np.append(True, rises))
        hits, mass = np.add.reduceat(hits, starts), np.add.reduceat(mass, starts)
        sizes = np.add.reduceat(sizes, starts)
    return hits, mass, sizes


def _pool(hits: list[float], mass: list[float], sizes: list[int]) -> list[tuple[float, float, int]]:
    """Pool adjacent violators; return (hits, mass, number of score values) of each block.

    Reference:
        Barlow et al. 1972; linear in the number of values.
    """
    blocks: list[tuple[float, float, int]] = []
    for h, m, s in zip(hits, mass, sizes, strict=True):
        hit, weight, size = h, m, s
        while blocks and blocks[-1][0] * weight >= hit * blocks[-1][1]:
            previous = blocks.pop()
            hit, weight, size = hit + previous[0], weight + previous[1], size + previous[2]
        blocks.append((hit, weight, size))
    return blocks
