"""How sure an estimate is: bounds for proportions and means, rows clustered or not.

Rows that belong together (a session, a scenario) carry less evidence than as many independent
rows. Every bound here takes the groups and uses the linearised cluster-robust variance; for
proportions it enters as a design effect, that is, as the number of independent rows with the
same variance.

Reference:
    Wilson 1927; Clopper and Pearson 1934; Kish 1965 (design effect); Liang and Zeger 1986.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Groups = NDArray[np.int64] | None

__all__ = [
    "Interval",
    "clopper_pearson",
    "cluster_sums",
    "effective_rows",
    "logit_interval",
    "mean_interval",
    "normal_quantile",
    "quantile",
    "wilson",
]


@dataclass(frozen=True)
class Interval:
    """An estimate between two bounds; NaN where it is undefined."""

    estimate: float
    low: float
    high: float


UNDEFINED = Interval(math.nan, math.nan, math.nan)


def normal_quantile(level: float) -> float:
    """Return the standard normal quantile.

    Example:
        >>> round(normal_quantile(0.95), 4)
        1.6449
    """
    from scipy.special import ndtri

    return float(ndtri(level))


def quantile(level: float, groups: int | None = None) -> float:
    """Return the normal quantile, or Student's with ``groups - 1`` degrees of freedom."""
    if groups is None:
        return normal_quantile(level)
    from scipy.special import stdtrit

    return float(stdtrit(max(groups - 1, 1), level))


def wilson(successes: float, n: float, *, level: float, groups: int | None = None) -> Interval:
    """Return the Wilson score interval of a proportion.

    Args:
        successes: Number of successes; may be fractional after a design effect.
        n: Number of trials; NaN bounds if it is 0.
        level: One-sided confidence of each bound, in (.5, 1): .95 gives bounds that each hold
            with 95 %, .975 a two-sided 95 % interval.
        groups: Number of clusters, for Student's quantile.

    Reference:
        Wilson 1927.

    Example:
        >>> interval = wilson(8, 10, level=0.975)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.49, 0.943)
    """
    if n <= 0:
        return UNDEFINED
    z = quantile(level, groups)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes <= 0 else max(0.0, middle - half)
    high = 1.0 if successes >= n else min(1.0, middle + half)
    return Interval(share, low, high)


def clopper_pearson(successes: float, n: float, *, level: float) -> Interval:
    """Return the exact interval of a proportion; each bound holds with ``level``.

    Counts may be fractional after a design effect.

    Reference:
        Clopper and Pearson 1934.

    Example:
        >>> round(clopper_pearson(0, 59, level=0.95).high, 3)
        0.05
    """
    if n <= 0:
        return UNDEFINED
    from scipy.special import betaincinv

    alpha = 1 - level
    low = 0.0 if successes <= 0 else float(betaincinv(successes, n - successes + 1, alpha))
    high = 1.0 if successes >= n else float(betaincinv(successes + 1, n - successes, level))
    return Interval(successes / n, low, high)


def cluster_sums(values: Floats, groups: Groups) -> Floats:
    """Return the sum of values over each group that occurs; the values if there are no groups.

    Args:
        values: Shape (n,).
        groups: Codes, shape (n,), or None.
    """
    if groups is None:
        return values
    _, codes = np.unique(groups, return_inverse=True)
    return np.asarray(np.bincount(codes, weights=values), dtype=np.float64)


def effective_rows(hits: NDArray[Any], groups: Groups) -> tuple[float, float, int | None]:
    """Return successes and trials after the design effect, and the number of groups.

    Args:
        hits: 0 or 1 for each row, shape (n,).
        groups: Codes, shape (n,), or None.
    """
    n = len(hits)
    successes = float(np.sum(hits))
    if groups is None or n == 0:
        return successes, float(n), None
    share = successes / n
    sums = cluster_sums(hits - share, groups)
    binomial = share * (1 - share) / n
    if binomial == 0.0:
        effect = n / len(sums)  # all alike: each group is one observation
    else:
        correction = len(sums) / max(len(sums) - 1, 1)
        effect = max(correction * float(np.sum(sums**2)) / n**2 / binomial, 1.0)
    return successes / effect, n / effect, len(sums)


def mean_interval(values: Floats, groups: Groups = None, *, level: float) -> Interval:
    """Return the mean and its bounds, each holding with ``level``; NaN below two rows.

    Args:
        values: Shape (n,).
        groups: Codes, shape (n,), or None.
        level: One-sided confidence, in (.5, 1).

    Example:
        >>> mean_interval(np.array([0.0, 1.0, 0.0, 1.0]), level=0.95).estimate
        0.5
    """
    n = len(values)
    if n < 2:  # noqa: PLR2004 - no spread in one value
        return Interval(float(values[0]), -math.inf, math.inf) if n else UNDEFINED
    mean = float(np.mean(values))
    sums = cluster_sums(values - mean, groups)
    if len(sums) < 2:  # noqa: PLR2004 - no spread in one group
        return Interval(mean, -math.inf, math.inf)
    error = math.sqrt(len(sums) / (len(sums) - 1) * float(np.sum(sums**2))) / n
    margin = quantile(level, len(sums)) * error
    return Interval(mean, mean - margin, mean + margin)


def logit_interval(estimate: float, error: float, *, level: float, units: float = 0.0) -> Interval:
    """Return bounds of a quantity in (0, 1) that is normal on the logit scale.

    Args:
        estimate: In [0, 1].
        error: Standard error of the estimate itself.
        level: One-sided confidence, in (.5, 1).
        units: Independent observations behind the estimate. At 0 and 1, where no spread can
            be measured, the bounds are Wilson's for that many trials that all agree.
    """
    if estimate in {0.0, 1.0} and units > 0:
        return wilson(estimate * units, units, level=level)
    if not 0 < estimate < 1 or not math.isfinite(error):
        return Interval(estimate, math.nan, math.nan)
    centre = math.log(estimate / (1 - estimate))
    margin = normal_quantile(level) * error / (estimate * (1 - estimate))
    from scipy.special import expit

    return Interval(estimate, float(expit(centre - margin)), float(expit(centre + margin)))
