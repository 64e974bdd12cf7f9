"""Decision thresholds need no search: they are solved exactly on scored rows.

Rows are sorted once by probability; what any threshold decides is then a difference of prefix
sums. A million configurations are counted in a second, and the best one under limits is found
among all that differ.

Reference:
    Clopper and Pearson 1934; Bates, Angelopoulos, Lei, Malik and Jordan 2021 (risk-controlling
    prediction sets: why a monotone risk may be bounded cut by cut).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.decisions import CONFIDENCE, DEFAULT_BLOCK, Thresholds
from nethical.errors import UsageError
from nethical.metrics.intervals import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Curve", "GrayZone", "Outcomes", "solve"]

MISS_LIMIT = 0.05
FALSE_BLOCK_LIMIT = 0.05
GUARANTEE = 0.95
LOWEST, HIGHEST = 1e-6, 1 - 1e-6


@dataclass(frozen=True)
class Outcomes:
    """What configurations decide, each array of shape (k,).

    Args:
        tp: Positives called positive, from the block threshold on.
        fp: Negatives called positive.
        fn: Positives called negative.
        tn: Negatives called negative.
        missed: Positives that are allowed: below the gray zone.
        wrongly_blocked: Negatives that are blocked: above the gray zone.
        reviewed: Rows in the gray zone.
        queued: Rows outside it whose decision is not sure enough and is reviewed later.
    """

    tp: Ints
    fp: Ints
    fn: Ints
    tn: Ints
    missed: Ints
    wrongly_blocked: Ints
    reviewed: Ints
    queued: Ints


@dataclass(frozen=True)
class GrayZone:
    """Where people review, so that what is decided without them keeps two limits.

    Args:
        low: Rows below it are allowed.
        high: Rows above it are blocked.
        miss_bound: Upper bound of the share of positives that are allowed.
        false_block_bound: Upper bound of the share of negatives that are blocked.
        review_share: Share of rows that are reviewed.
        n: Positives and negatives that it rests on.
    """

    low: float
    high: float
    miss_bound: float
    false_block_bound: float
    review_share: float
    n: tuple[int, int]


class Curve:
    """Scored rows, sorted once.

    Args:
        y_true: Labels, shape (n,), 0 or 1.
        y_proba: Probability of class 1, shape (n,).

    Raises:
        UsageError: There is no row of one class.
    """

    def __init__(self, y_true: NDArray[Any], y_proba: Floats) -> None:
        order = np.argsort(y_proba, kind="stable")
        self.proba = np.ascontiguousarray(y_proba[order])
        positive = np.concatenate([[0], np.cumsum(y_true[order], dtype=np.int64)])
        self.n = len(y_proba)
        self.positives = int(positive[-1])
        self.negatives = self.n - self.positives
        if not self.positives or not self.negatives:
            raise UsageError(
                "thresholds cannot be solved on rows of one class",
                mend="give rows of both classes, or set --threshold",
            )
        self._positive = positive

    def below(self, cut: Floats, *, side: str = "left") -> tuple[Ints, Ints]:
        """Return positives and negatives below each cut, or up to it with ``side="right"``."""
        place = np.searchsorted(self.proba, cut, side=side)  # type: ignore[call-overload]
        positive = self._positive[place]
        return positive, place - positive

    def outcomes(
        self, block: Floats, gray_low: Floats, gray_high: Floats, confidence: Floats
    ) -> Outcomes:
        """Return what each configuration decides; arrays of shape (k,)."""
        fn, tn = self.below(block)
        low_pos, low_neg = self.below(gray_low)
        high_pos, high_neg = self.below(gray_high, side="right")
        lower_edge = self._total(self.below(1 - confidence, side="right"))
        upper_edge = self._total(self.below(confidence))
        allowed, not_blocked = low_pos + low_neg, high_pos + high_neg
        unsure = np.maximum(upper_edge - lower_edge, 0)
        inside = np.maximum(
            np.minimum(upper_edge, not_blocked) - np.maximum(lower_edge, allowed), 0
        )
        return Outcomes(
            tp=self.positives - fn,
            fp=self.negatives - tn,
            fn=fn,
            tn=tn,
            missed=low_pos,
            wrongly_blocked=self.negatives - high_neg,
            reviewed=np.maximum(not_blocked - allowed, 0),
            queued=unsure - inside,
        )

    @staticmethod
    def _total(counts: tuple[Ints, Ints]) -> Ints:
        return counts[0] + counts[1]

    def cuts(self) -> Floats:
        """Return one threshold for each way to part the rows that leaves both sides some."""
        values = np.unique(self.proba)
        between = (values[:-1] + values[1:]) / 2
        return np.where(between > values[:-1], between, values[1:])  # of neighbours the upper

    def most_recall(self, *, max_false_positive_rate: float) -> float | None:
        """Return the block threshold of most recall whose false positive rate keeps a limit.

        Of several with the same recall the highest. None if none finds any positive.

        Args:
            max_false_positive_rate: In [0, 1].
        """
        cuts = self.cuts()
        fn, tn = self.below(cuts)
        most = math.floor(max_false_positive_rate * self.negatives + 1e-9)
        allowed = (self.negatives - tn) <= most
        found = np.where(allowed, self.positives - fn, 0)
        if not len(cuts) or found.max() == 0:
            return None
        best = np.flatnonzero(found == found.max())[-1]
        return float(np.clip(cuts[best], LOWEST, HIGHEST))

    def gray_zone(self, block: float) -> GrayZone:
        """Return the smallest gray zone around a threshold that keeps both limits.

        With 95 % probability over the rows, each: at most 5 % of positives are allowed, and at
        most 5 % of negatives blocked.
        """
        cuts = self.cuts()
        missed, _ = self.below(cuts)
        low_cuts = cuts[(missed <= _most(self.positives, MISS_LIMIT)) & (cuts <= block)]
        low = float(low_cuts[-1]) if len(low_cuts) else LOWEST
        _, kept = self.below(cuts, side="right")
        blocked = self.negatives - kept
        high_cuts = cuts[(blocked <= _most(self.negatives, FALSE_BLOCK_LIMIT)) & (cuts >= block)]
        high = float(high_cuts[0]) if len(high_cuts) else HIGHEST
        found = self.outcomes(*(np.array([cut]) for cut in (block, low, high, CONFIDENCE)))
        return GrayZone(
            low,
            high,
            _upper(int(found.missed[0]), self.positives),
            _upper(int(found.wrongly_blocked[0]), self.negatives),
            float(found.reviewed[0]) / self.n,
            (self.positives, self.negatives),
        )


def _upper(k: int, n: int) -> float:
    """Return the exact 95 % upper bound of a share of which k of n were seen."""
    return clopper_pearson(k, n, level=GUARANTEE).high


def _most(n: int, limit: float) -> int:
    """Return how many of n may be seen so that the bound keeps a limit; -1 if none may."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _upper(middle, n) <= limit else (low, middle)
    return low


def solve(
    y_true: NDArray[Any], y_proba: Floats, *, max_false_positive_rate: float
) -> tuple[Thresholds, GrayZone]:
    """Return the thresholds of most recall under a limit, and the gray zone around them.

    Args:
        y_true: Labels, shape (n,), 0 or 1.
        y_proba: Probability of class 1, shape (n,).
        max_false_positive_rate: The limit, in [0, 1].

    Raises:
        UsageError: There is no row of one class.
    """
    curve = Curve(y_true, y_proba)
    block = curve.most_recall(max_false_positive_rate=max_false_positive_rate)
    rule = f"most recall at a false positive rate of at most {max_false_positive_rate:.4g}"
    if block is None:
        block, rule = DEFAULT_BLOCK, "the default: no cut finds a positive within the limit"
    zone = curve.gray_zone(block)
    return Thresholds(block, zone.low, zone.high, CONFIDENCE, rule), zone
