"""How far two people who decide the same cases agree: raw, and beyond chance.

Where few cases are positive, chance alone agrees on almost all, so the raw share says little and
alpha is low even for careful people, while AC1 is not; the three stand together.

Reference:
    Krippendorff 2004 (nominal alpha); Gwet 2008 (AC1); Perks 1947 (the prior of the intervals).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nethical.metrics.intervals import Interval, clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["RaterAgreement", "alpha_and_ac1", "rater_agreement"]

LEVEL = 0.95
DRAWS = 4000
CELLS = 4


@dataclass(frozen=True)
class RaterAgreement:
    """Agreement of pairs of answers.

    Args:
        n: Cases that two people decided; those in which one was unsure are not among them.
        raw: Share that both decided alike, with 95 % bounds (two-sided).
        alpha: Krippendorff's, likewise; 1 is full agreement, 0 what chance gives; all NaN of one
            case, and where every answer is of one class.
        ac1: Gwet's, likewise.
    """

    n: int
    raw: Interval
    alpha: Interval
    ac1: Interval


def alpha_and_ac1(cells: Floats, n: float) -> tuple[Floats, Floats]:
    """Return Krippendorff's nominal alpha and Gwet's AC1 of two classes.

    Args:
        cells: Share of cases that the two answered (0, 0), (0, 1), (1, 0), (1, 1), shape (..., 4).
        n: Cases.

    Returns:
        Two arrays of shape (...); NaN for alpha where every answer is of one class.

    Example:
        >>> [round(float(x), 3) for x in alpha_and_ac1(np.array([0.4, 0.1, 0.1, 0.4]), 5)]
        [0.64, 0.6]
    """
    differ = cells[..., 1] + cells[..., 2]
    positive = cells[..., 3] + differ / 2
    both = 2 * positive * (1 - positive)  # chance that two answers drawn at random differ
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = 1 - differ * (1 - 1 / (2 * n)) / both
    return alpha, np.asarray(1 - differ / (1 - both))


def rater_agreement(
    first: NDArray[np.bool_], second: NDArray[np.bool_], rng: np.random.Generator
) -> RaterAgreement | None:
    """Return how far two answers a case agree, None without a case.

    The bounds of alpha and AC1 are of the cells' posterior with one case of prior in all, so a
    few cases that all agree do not look certain.

    Args:
        first: One answer to each case, shape (n,): whether it is positive.
        second: The other one, shape (n,).
        rng: Draws the cells.
    """
    n = len(first)
    if n == 0:
        return None
    counts = np.bincount(2 * first.astype(np.int64) + second, minlength=CELLS).astype(np.float64)
    alike = float(counts[0] + counts[3])
    tail = (1 - LEVEL) / 2
    exact = clopper_pearson(alike, n, level=1 - tail)
    alpha, ac1 = alpha_and_ac1(counts / n, n)
    drawn = alpha_and_ac1(rng.dirichlet(counts + 1 / CELLS, size=DRAWS), n)
    told = float(alpha) if n > 1 else np.nan  # of one case every answer differs, or none
    return RaterAgreement(n, exact, _interval(told, drawn[0]), _interval(float(ac1), drawn[1]))


def _interval(estimate: float, drawn: Floats) -> Interval:
    """Return an estimate with the bounds of its draws, which hold it; all NaN if it is unknown."""
    if np.isnan(estimate):
        return Interval(np.nan, np.nan, np.nan)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))
