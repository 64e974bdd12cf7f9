"""From a probability to a decision: allow, review or block.

A row is called positive from the block threshold on. Around it lies the gray zone, where people
review; a decision outside it whose probability is not sure enough stands and is queued.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["DECISIONS", "Thresholds", "choose", "decide", "within_budget"]

DECISIONS = ("allow", "review", "block")
DEFAULT_BLOCK = 0.5
GRAY_HALF_WIDTH = 0.1
CONFIDENCE = 0.7
FEWEST_RECALL = 0.5
BLOCKED_SHARE_OF_BUDGET = 0.1


@dataclass(frozen=True)
class Thresholds:
    """Where decisions change.

    Args:
        block: A row is called positive from this probability on.
        gray_low: Below it rows are allowed.
        gray_high: Above it rows are blocked; between the two they are reviewed.
        confidence: A decision whose max(p, 1 - p) is below it is queued for review.
        rule: How ``block`` was set, for people.
    """

    block: float
    gray_low: float
    gray_high: float
    confidence: float
    rule: str

    @classmethod
    def around(cls, block: float, rule: str) -> Thresholds:
        """Return thresholds with the default gray zone around a block threshold."""
        low = max(block - GRAY_HALF_WIDTH, 0.0)
        high = min(block + GRAY_HALF_WIDTH, 1.0)
        return cls(block, round(low, 12), round(high, 12), CONFIDENCE, rule)

    @classmethod
    def configured(cls, values: Mapping[str, float]) -> Thresholds:
        """Return thresholds that a configuration sets, all of them.

        Args:
            values: block, gray_low, gray_high and confidence, by name.

        Raises:
            UsageError: One is missing or unknown, or they do not lie in order.

        Example:
            >>> values = {"block": 0.3, "gray_low": 0.2, "gray_high": 0.5, "confidence": 0.7}
            >>> Thresholds.configured(values).rule
            'as configured'
        """
        names = ("block", "gray_low", "gray_high", "confidence")
        if set(values) != set(names):
            raise UsageError(
                f"thresholds are given for {', '.join(map(str, values)) or 'nothing'}",
                mend=f"give each of {', '.join(names)} once, and nothing else",
            )
        block, low, high, confidence = (float(values[name]) for name in names)
        if not (0 < low <= block <= high < 1 and 0 < confidence < 1):
            raise UsageError(
                f"thresholds are block {block:g}, gray zone {low:g} to {high:g}, "
                f"confidence {confidence:g}",
                mend="give 0 < gray_low <= block <= gray_high < 1 and 0 < confidence < 1",
            )
        return cls(block, low, high, confidence, "as configured")

    def to_document(self) -> dict[str, Any]:
        """Return the thresholds as JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Thresholds:
        """Return the thresholds that ``to_document`` wrote."""
        return cls(**document)


def choose(
    y: NDArray[Any], y_proba: Floats, *, min_accuracy: float, given: float | None = None
) -> Thresholds:
    """Return the thresholds for a calibrate part.

    Block at .5, unless recall there is below .5: then at the cut that maximises F1 among those
    that reach the accuracy floor, if there is one.

    Args:
        y: Labels, shape (n,).
        y_proba: Probability of class 1, shape (n,).
        min_accuracy: The gate's accuracy floor.
        given: A block threshold that the user set.
    """
    if given is not None:
        return Thresholds.around(given, "as given")
    positives = int(y.sum())
    if positives == 0 or np.mean(y_proba[y == 1] >= DEFAULT_BLOCK) >= FEWEST_RECALL:
        return Thresholds.around(DEFAULT_BLOCK, "the default")
    order = np.argsort(-y_proba, kind="stable")
    ordered = y_proba[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    tp = np.cumsum(y[order])[ends]
    flagged = ends + 1
    accuracy = (tp + (len(y) - positives) - (flagged - tp)) / len(y)
    f1 = np.where(accuracy >= min_accuracy, 2 * tp / (flagged + positives), -1.0)
    best = int(np.argmax(f1))
    if f1[best] <= 0:
        return Thresholds.around(DEFAULT_BLOCK, "the default: no cut reaches the accuracy floor")
    last = int(ends[best])
    below = float(ordered[last + 1]) if last + 1 < len(ordered) else 0.0
    cut = _between(below, float(ordered[last]))
    return Thresholds.around(cut, "largest F1 at the accuracy floor, as recall at .5 is below .5")


def within_budget(normals: Floats, budget: float) -> Thresholds:
    """Return thresholds at which no more than the budgeted share of normal rows is alerted.

    Rows from the block threshold on are alerts: people review them, and those are blocked that
    lie where a tenth of the budget is left.

    Args:
        normals: Probabilities of normal rows, the most recent that there are, shape (n,).
        budget: Share of them that may be alerted, in (0, 1).
    """
    ordered = np.sort(normals)[::-1]
    block, high = (
        _cut_above(ordered, int(share * len(ordered)))
        for share in (budget, budget * BLOCKED_SHARE_OF_BUDGET)
    )
    rule = f"alert budget of {budget:.4g} on {len(ordered):,} normal rows"
    return Thresholds(block, block, max(block, high), CONFIDENCE, rule)


def _cut_above(ordered: Floats, most: int) -> float:
    """Return a cut that at most so many of falling probabilities reach."""
    if len(ordered) == 0:
        return DEFAULT_BLOCK
    kept_out = float(ordered[min(most, len(ordered) - 1)])
    reached = ordered[ordered > kept_out]
    return _between(kept_out, float(reached[-1])) if len(reached) else math.nextafter(kept_out, 1.0)


def _between(below: float, above: float) -> float:
    """Return a cut that the upper of two probabilities reaches and the lower does not."""
    cut = (below + above) / 2
    return cut if cut > below else above  # the two are neighbours


def decide(y_proba: Floats, thresholds: Thresholds) -> NDArray[np.int8]:
    """Return each row's decision as a place in DECISIONS, shape (n,)."""
    codes = np.ones(len(y_proba), dtype=np.int8)
    codes[y_proba < thresholds.gray_low] = 0
    codes[y_proba > thresholds.gray_high] = 2
    return codes
