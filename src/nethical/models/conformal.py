"""How rare a score is among normal rows that were kept out of learning.

A raw score means nothing by itself. Beside n held-out normals it has a conformal p-value, the
share of them (itself included) that look at least as abnormal; -log10 of that is the risk: 1 is
one normal in ten, 2 one in a hundred. At a held-out score the risk is exact; in between it is
interpolated, which never claims more than the exact p-value would. Above all of them p is
1 / (n + 1), and from there falls like 1 / (1 + excess): that is no measured frequency, it keeps
abnormal rows in order.

Reference:
    Vovk, Gammerman and Shafer 2005; Laxhammar and Falkman 2011 (conformal anomaly detection).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Conformal"]

MOST_KNOTS = 512
TAIL_SHARE = 0.1
LN_10 = float(np.log(10))


@dataclass(frozen=True)
class Conformal:
    """Turns raw scores into risks.

    Args:
        knots: Scores of held-out normals, increasing, shape (k,), at most MOST_KNOTS of them.
        risks: -log10 of the p-value at each knot, shape (k,).
        beyond: The risk just above the last knot: of a p-value of 1 / (n + 1).
        scale: How far beyond the last knot p has fallen by half.
    """

    knots: Floats
    risks: Floats
    beyond: float
    scale: float

    @classmethod
    def fit(cls, scores: Floats) -> Conformal:
        """Learn from the scores of held-out normals, shape (n,), n at least 1."""
        ordered = np.sort(scores)
        n = len(ordered)
        knots, first = np.unique(ordered, return_index=True)
        p = (1 + n - first) / (n + 1)
        if len(knots) > MOST_KNOTS:  # the rarer a score, the finer
            wanted = np.linspace(np.log(p[0]), np.log(p[-1]), MOST_KNOTS)
            places = np.unique(np.searchsorted(-np.log(p), -wanted))
            knots, p = knots[places], p[places]
        return cls(knots, -np.log10(p), float(np.log10(n + 1)), _excess(ordered))

    def risk(self, scores: Floats) -> Floats:
        """Return the risk of each score, shape (n,), at least 0, rising with the score."""
        risks = np.interp(scores, self.knots, self.risks)
        excess = np.maximum(scores - self.knots[-1], 0.0)
        above = self.beyond + np.log1p(excess / self.scale) / LN_10
        return np.where(excess > 0, above, risks)


def _excess(ordered: Floats) -> float:
    """Return how far the most abnormal tenth goes on average beyond its least, above 0."""
    tail = ordered[-max(int(len(ordered) * TAIL_SHARE), 1) :]
    spreads = (float(np.mean(tail - tail[0])), float(ordered[-1] - np.median(ordered)))
    return next((s for s in spreads if s > 1e-9 * abs(ordered[-1])), abs(float(ordered[-1])) or 1.0)
