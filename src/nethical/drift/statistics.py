"""How two cohorts, or several, differ: differences with their bounds, tests, distances.

Side a is the reference and side b what is compared with it: a difference is b - a. ``level``
is the one-sided confidence of each bound, in (.5, 1); ``alpha`` and every p are two-sided, so
that bounds of level 1 - alpha / 2 go with tests at alpha. What cannot be said is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.metrics.intervals import Interval, normal_quantile, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[Any]

__all__ = [
    "Homogeneity",
    "holm",
    "homogeneity",
    "largest_gap",
    "mean_difference",
    "rate_difference",
    "rate_test",
    "scaled_psi",
    "shrunken",
    "wasserstein",
    "welch",
]

FEWEST_EXPECTED = 5
FEWEST_POOLED = 10
TIE = 1 + 1e-7


@dataclass(frozen=True)
class Homogeneity:
    """A chi-square test of whether rows share one distribution; NaN where there is none."""

    statistic: float
    df: int
    p: float


def rate_difference(
    hits_a: float, n_a: float, hits_b: float, n_b: float, *, level: float, groups: int | None = None
) -> Interval:
    """Return the difference of two independent rates and its bounds, in [-1, 1].

    Args:
        hits_a: Hits of the reference; may be fractional after a design effect.
        n_a: Its trials; undefined if 0.
        hits_b: Hits of the other side.
        n_b: Its trials.
        level: One-sided confidence of each bound.
        groups: Clusters of the side with fewer, for Student's quantile; None if independent.

    Reference:
        Newcombe 1998 (two independent proportions), method 10.

    Example:
        >>> difference = rate_difference(48, 80, 56, 70, level=0.975)
        >>> round(difference.low, 4), round(difference.high, 4)
        (0.0524, 0.3339)
    """
    a = wilson(hits_a, n_a, level=level, groups=groups)
    b = wilson(hits_b, n_b, level=level, groups=groups)
    estimate = b.estimate - a.estimate
    return Interval(
        estimate,
        estimate - math.hypot(b.estimate - b.low, a.high - a.estimate),
        estimate + math.hypot(b.high - b.estimate, a.estimate - a.low),
    )


def rate_test(  # noqa: PLR0913 - two rates are two times two numbers, with what clusters cost each
    hits_a: float,
    n_a: float,
    hits_b: float,
    n_b: float,
    *,
    effect_a: float = 1.0,
    effect_b: float = 1.0,
    groups: int | None = None,
) -> float:
    """Return p of equal rates by the pooled score test; NaN without rows.

    The design effect of a side divides its hits and trials first. Where fewer than 5 hits or
    misses are expected on a side it is Fisher's exact test, of counts rounded to whole ones.
    A design effect is itself estimated, from as many values as there are clusters: with
    ``groups`` (clusters of the side with fewer) p is by Student's law, and never below it.

    Reference:
        Fisher 1934; the score test is Pearson's chi-square without correction.

    Example:
        >>> round(rate_test(150, 1000, 200, 1000), 4)
        0.0033
    """
    if n_a <= 0 or n_b <= 0:
        return math.nan
    hits_a, n_a, hits_b, n_b = hits_a / effect_a, n_a / effect_a, hits_b / effect_b, n_b / effect_b
    rate = (hits_a + hits_b) / (n_a + n_b)
    error = math.sqrt(rate * max(1 - rate, 0.0) * (1 / n_a + 1 / n_b))
    z = abs(hits_b / n_b - hits_a / n_a) / error if error else 0.0
    if min(n_a, n_b) * min(rate, 1 - rate) < FEWEST_EXPECTED:
        p = _fisher(round(hits_a), round(n_a), round(hits_b), round(n_b))
    else:
        p = math.erfc(z / math.sqrt(2))
    if groups is None:
        return p
    from scipy.special import stdtr

    return max(p, 2 * float(stdtr(max(groups - 1, 1), -z)))


def _fisher(hits_a: int, n_a: int, hits_b: int, n_b: int) -> float:
    """Return Fisher's p: the weight of all tables no likelier than this one."""
    hits = hits_a + hits_b
    first = max(0, hits - n_b)
    k = np.arange(first, min(n_a, hits), dtype=np.float64)
    # Ratios of neighbours keep their digits where log-factorials of large counts lose them.
    steps = np.log((hits - k) * (n_a - k) / ((k + 1) * (n_b - hits + k + 1)))
    weight = np.concatenate([[0.0], np.cumsum(steps)])
    weight = np.exp(weight - weight.max())
    unlikely = weight <= weight[hits_a - first] * TIE
    return float(min(weight[unlikely].sum() / weight.sum(), 1.0))


def mean_difference(  # noqa: PLR0913 - two means are two times three numbers
    mean_a: float,
    error_a: float,
    df_a: float,
    mean_b: float,
    error_b: float,
    df_b: float,
    *,
    level: float,
) -> tuple[Interval, float]:
    """Return the difference of two independent means with its bounds, and p of none.

    Without spread on both sides the interval has no width, and p is 1 if the means are equal
    and 0 otherwise; with an unknown (infinite) error the bounds are infinite and p is NaN.

    Args:
        mean_a: Mean of the reference.
        error_a: Its standard error.
        df_a: Degrees of freedom of that error, above 0; ``math.inf`` for the normal law.
        mean_b: Mean of the other side.
        error_b: Its standard error.
        df_b: Degrees of freedom of that error.
        level: One-sided confidence of each bound.

    Reference:
        Welch 1947; Satterthwaite 1946.

    Example:
        >>> difference, p = mean_difference(0.0, 3.0, math.inf, 10.0, 4.0, math.inf, level=0.975)
        >>> round(difference.low, 1), round(difference.high, 1), round(p, 4)
        (0.2, 19.8, 0.0455)
    """
    difference, error = mean_b - mean_a, math.hypot(error_a, error_b)
    if not math.isfinite(error) or math.isnan(difference):
        return Interval(difference, difference - math.inf, difference + math.inf), math.nan
    if error == 0.0:
        return Interval(difference, difference, difference), float(difference == 0.0)
    t = abs(difference) / error
    uncertain = (error_a / error) ** 4 / df_a + (error_b / error) ** 4 / df_b
    if uncertain == 0.0:
        margin, p = normal_quantile(level) * error, math.erfc(t / math.sqrt(2))
    else:
        from scipy.special import stdtr, stdtrit

        margin = float(stdtrit(1 / uncertain, level)) * error
        p = min(2 * float(stdtr(1 / uncertain, -t)), 1.0)
    return Interval(difference, difference - margin, difference + margin), p


def welch(values_a: Floats, values_b: Floats, *, level: float) -> tuple[Interval, float]:
    """Return the difference of the means of two samples with its bounds, and p of none.

    A sample of one value has no known error: then the bounds are infinite and p is NaN.

    Args:
        values_a: Values of the reference, shape (n_a,).
        values_b: Values of the other side, shape (n_b,).
        level: One-sided confidence of each bound.

    Reference:
        Welch 1947.

    Example:
        >>> difference, p = welch(np.array([1.0, 2, 3]), np.array([4.0, 5, 9]), level=0.975)
        >>> round(difference.estimate, 6), round(p, 4)
        (4.0, 0.1064)
    """
    return mean_difference(*_mean_of(values_a), *_mean_of(values_b), level=level)


def _mean_of(values: Floats) -> tuple[float, float, float]:
    n = len(values)
    if n < 2:  # noqa: PLR2004 - no spread in one value
        return (float(values[0]) if n else math.nan), math.inf, 1.0
    if np.ptp(values) == 0:  # a mean in floating point would leave a spread of its own
        return float(values[0]), 0.0, n - 1.0
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(n), n - 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number; NaN stays NaN and is none of the family.

    Reference:
        Holm 1979.

    Example:
        >>> holm([0.01, math.nan, 0.04, 0.03])
        [0.03, nan, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(p), math.nan)
    order = np.argsort(p, kind="stable")[: int(np.sum(~np.isnan(p)))]  # NaN is sorted last
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]


def homogeneity(
    table: Counts, *, ordered: bool = False, fewest: float = FEWEST_POOLED
) -> Homogeneity:
    """Return the chi-square test of whether all rows have the same distribution over columns.

    Columns are pooled by their totals until each expected count is at least ``fewest``; rows
    and columns without counts are left out. NaN if fewer than two of either remain.

    Args:
        table: Counts, shape (k, m): cohorts or groups by bins or categories.
        ordered: Pool neighbours (bins of a score); otherwise all rare columns become one.
        fewest: Smallest expected count; one very small row makes all columns pool.

    Reference:
        Pearson 1900; Cochran 1954 (expected counts).

    Example:
        >>> test = homogeneity(np.array([[30, 70], [50, 50]]))
        >>> round(test.statistic, 3), test.df, round(test.p, 5)
        (8.333, 1, 0.00389)
    """
    from scipy.special import chdtrc

    counts = np.asarray(table, dtype=np.float64)
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if counts.size:
        needed = fewest * counts.sum() / counts.sum(axis=1).min()
        codes = (_neighbours if ordered else _rare)(counts.sum(axis=0), needed)
        counts = np.stack([counts[:, codes == c].sum(axis=1) for c in np.unique(codes)], axis=1)
    if min(counts.shape) < 2:  # noqa: PLR2004 - one distribution differs from none
        return Homogeneity(math.nan, 0, math.nan)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    statistic = float(np.sum((counts - expected) ** 2 / expected))
    df = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    return Homogeneity(statistic, df, float(chdtrc(df, statistic)))


def _neighbours(totals: Floats, needed: float) -> NDArray[np.int64]:
    """Return codes that join columns, from the left, until each total is what is needed."""
    codes = np.zeros(len(totals), dtype=np.int64)
    code, total = 0, 0.0
    for column, count in enumerate(totals):
        codes[column] = code
        total += count
        if total >= needed:
            code, total = code + 1, 0.0
    return np.minimum(codes, max(code - 1, 0))  # what is left over joins the last full one


def _rare(totals: Floats, needed: float) -> NDArray[np.int64]:
    """Return codes that join all rare columns, and the next rarest while they are too few."""
    order = np.argsort(totals, kind="stable")
    n_rare = int(np.sum(totals < needed))
    while 0 < n_rare < len(totals) and totals[order[:n_rare]].sum() < needed:
        n_rare += 1
    codes = np.arange(len(totals))
    codes[order[:n_rare]] = -1
    return codes


def largest_gap(
    counts_a: Counts,
    counts_b: Counts,
    *,
    level: float,
    effect_a: float = 1.0,
    effect_b: float = 1.0,
) -> Interval:
    """Return the largest difference of two distributions at any bin edge, in [0, 1].

    For bins of a score it is the largest change of the flag rate at any threshold. Each bound
    holds with ``level``: the lower one is the largest of all edges, which hold together (at high
    and low scores far above that of Dvoretzky, Kiefer and Wolfowitz); the upper one is that of
    the normal law at the true largest gap.

    Args:
        counts_a: Counts of the reference by bin, shape (n_bins,); undefined if all are 0.
        counts_b: Counts of the other side in the same bins.
        level: One-sided confidence of each bound.
        effect_a: Design effect by which the rows of the reference are divided.
        effect_b: Design effect of the other side.

    Reference:
        Newcombe 1998, method 10, at each edge; Bonferroni's inequality over edges.

    Example:
        >>> gap = largest_gap(np.array([500, 500]), np.array([400, 600]), level=0.975)
        >>> round(gap.low, 3), round(gap.estimate, 3), round(gap.high, 3)
        (0.05, 0.1, 0.144)
    """
    n_a, n_b = float(np.sum(counts_a)) / effect_a, float(np.sum(counts_b)) / effect_b
    if n_a <= 0 or n_b <= 0:
        return Interval(math.nan, math.nan, math.nan)
    used = (np.asarray(counts_a) + counts_b) > 0  # no two edges then say the same
    z = normal_quantile(1 - (1 - level) / (2 * max(int(used.sum()) - 1, 1)))
    a, low_a, high_a = _below(np.asarray(counts_a)[used], n_a, z)
    b, low_b, high_b = _below(np.asarray(counts_b)[used], n_b, z)
    rises, falls = b - a - np.hypot(b - low_b, high_a - a), a - b - np.hypot(high_b - b, a - low_a)
    gap, lows = float(np.abs(b - a).max(initial=0.0)), np.maximum(rises, falls)
    high = gap + math.sqrt(1 / n_a + 1 / n_b) * normal_quantile(level) / 2
    return Interval(gap, float(lows.max(initial=0.0)), min(high, 1.0))


def _below(counts: Counts, n: float, z: float) -> tuple[Floats, Floats, Floats]:
    """Return the share below each edge between bins, and Wilson's bounds for n rows."""
    share = np.cumsum(counts)[:-1] / np.sum(counts)
    spread = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    middle, whole = share + z * z / (2 * n), 1 + z * z / n
    return share, (middle - spread) / whole, (middle + spread) / whole


def wasserstein(counts_a: Counts, counts_b: Counts, edges: Floats) -> float:
    """Return how far counts must move on average for one histogram to become the other.

    Counts are spread evenly within their bin; NaN without counts on a side.

    Args:
        counts_a: Counts by bin, shape (n_bins,).
        counts_b: Counts in the same bins.
        edges: Increasing, shape (n_bins + 1,); the distance has their unit.

    Reference:
        Vallender 1974.

    Example:
        >>> wasserstein(np.array([8, 0]), np.array([0, 8]), np.array([0.0, 0.5, 1.0]))
        0.5
    """
    if np.sum(counts_a) <= 0 or np.sum(counts_b) <= 0:
        return math.nan
    share_a, share_b = np.asarray(counts_a) / np.sum(counts_a), counts_b / np.sum(counts_b)
    gaps = np.concatenate([[0.0], np.cumsum(share_b - share_a)])
    left, right = gaps[:-1], gaps[1:]
    sides = np.abs(left) + np.abs(right)
    crossing = left * right < 0
    height = sides / 2
    height[crossing] = (left**2 + right**2)[crossing] / (2 * sides[crossing])  # two triangles
    return float(np.sum(np.diff(edges) * height))


def scaled_psi(counts_a: Counts, counts_b: Counts) -> tuple[float, float]:
    """Return the population stability index, and p of none by its own scale.

    Half a count is added to each bin that occurs. Fixed limits (.1, .25) are not needed: chance
    alone gives an index of about (n_bins - 1) (1 / n_a + 1 / n_b).

    Args:
        counts_a: Counts of the reference by bin, shape (n_bins,).
        counts_b: Counts of the other side in the same bins.

    Returns:
        The index, 0 or more (NaN without rows), and p (NaN also if only one bin occurs).

    Reference:
        Yurdakul and Naranjo 2020.

    Example:
        >>> psi, p = scaled_psi(np.array([500, 500]), np.array([400, 600]))
        >>> round(psi, 3), round(p, 6)
        (0.04, 7e-06)
    """
    n_a, n_b = float(np.sum(counts_a)), float(np.sum(counts_b))
    if n_a <= 0 or n_b <= 0:
        return math.nan, math.nan
    from scipy.special import chdtrc

    used = (np.asarray(counts_a) + counts_b) > 0
    a, b = np.asarray(counts_a)[used] + 0.5, np.asarray(counts_b)[used] + 0.5
    a, b = a / a.sum(), b / b.sum()
    psi = float(np.sum((b - a) * np.log(b / a)))
    df = len(a) - 1
    return psi, float(chdtrc(df, psi / (1 / n_a + 1 / n_b))) if df else math.nan


def shrunken(hits: Counts, n: Counts) -> Floats:
    """Return the rates of groups, each drawn towards the pooled rate as far as it is noise.

    The more groups differ beyond chance, the less they are drawn; a small group more than a
    large one. No value lies beyond the group's own rate and the pooled one.

    Args:
        hits: Hits of each group, shape (k,).
        n: Trials of each group, shape (k,); a group without any gets the pooled rate.

    Returns:
        Shape (k,), in [0, 1]; NaN if no group has trials.

    Reference:
        Kleinman 1973 (moments of the beta-binomial law).

    Example:
        >>> shrunken(np.array([90, 60, 2]), np.array([100, 100, 2])).round(3).tolist()
        [0.895, 0.605, 0.844]
    """
    hits, n = np.asarray(hits, dtype=np.float64), np.asarray(n, dtype=np.float64)
    total = n.sum()
    if total <= 0:
        return np.full(len(n), math.nan)
    pooled = hits.sum() / total
    rates = np.divide(hits, n, out=np.full(len(n), pooled), where=n > 0)
    spare = np.sum(n > 0) - 1
    room = total - np.sum(n**2) / total - spare
    if pooled in {0.0, 1.0} or room <= 0:  # nothing tells groups apart
        return np.full(len(n), pooled)
    excess = np.sum(n * (rates - pooled) ** 2) / (pooled * (1 - pooled)) - spare
    alike = min(max(float(excess / room), 0.0), 1.0)  # correlation of rows of one group
    own = n * alike
    weight = np.divide(own, own + 1 - alike, out=np.zeros(len(n)), where=n > 0)
    return np.asarray(pooled + weight * (rates - pooled), dtype=np.float64)
