"""What a comparison can find: rows that it needs, changes too small for it, alpha of each look.

``alpha`` is two-sided; a power is the probability of finding the change that is asked for.
"""

from __future__ import annotations

import math

from nethical.errors import UsageError
from nethical.metrics.intervals import normal_quantile

__all__ = ["rows_for_interval", "rows_for_rate_change", "smallest_change", "spent"]


def spent(alpha: float, horizon: int, look: int) -> float:
    """Return the alpha of one look, so that all looks up to the horizon spend ``alpha``.

    Args:
        alpha: Two-sided error of the whole series, in (0, 1).
        horizon: Number of looks that share it, at least 1.
        look: Which look this is, from 1; after the horizon nothing is left to spend.

    Raises:
        UsageError: If the horizon or the look is below 1.

    Reference:
        Lan and DeMets 1983; equal parts by Bonferroni.

    Example:
        >>> spent(0.01, 50, 1), spent(0.01, 50, 51)
        (0.0002, 0.0)
    """
    if horizon < 1:
        raise UsageError(f"a horizon of {horizon} looks is none", mend="give at least 1")
    if look < 1:
        raise UsageError(f"there is no look {look}", mend="count looks from 1")
    return alpha / horizon if look <= horizon else 0.0


def rows_for_rate_change(rate: float, change: float, *, alpha: float, power: float = 0.8) -> int:
    """Return the rows per cohort, of two equal ones, that find a change of a rate.

    Args:
        rate: Rate of the reference, in [0, 1].
        change: What is added to it, not 0; negative for a fall.
        alpha: Two-sided error of the test, in (0, 1).
        power: Probability of finding the change, in (0, 1).

    Raises:
        UsageError: If there is no change, or it leaves [0, 1].

    Reference:
        Chow, Shao and Wang 2008, chapter 4 (each rate's own variance, no correction).

    Example:
        >>> rows_for_rate_change(0.85, -0.05, alpha=0.002)
        1778
    """
    other = rate + change
    if change == 0 or not 0 <= other <= 1:
        raise UsageError(
            f"a rate of {rate} cannot change by {change}", mend="name a change that can happen"
        )
    variance = rate * (1 - rate) + other * (1 - other)
    return max(1, math.ceil(_signal(alpha, power) * variance / change**2))


def rows_for_interval(half_width_now: float, n_now: float, wanted: float) -> int | None:
    """Return the rows after which a half-width that shrinks with 1 / sqrt(n) is ``wanted``.

    Args:
        half_width_now: Half-width of the interval now.
        n_now: Rows behind it.
        wanted: Half-width to reach.

    Returns:
        All rows, not those still missing; None if no number of rows gives that width.

    Example:
        >>> rows_for_interval(0.04, 500, 0.02)
        2000
    """
    if wanted <= 0 or not math.isfinite(half_width_now):
        return None
    return math.ceil(round(n_now * (half_width_now / wanted) ** 2, 6))


def smallest_change(
    rate: float, n_a: float, n_b: float, *, alpha: float, power: float = 0.8
) -> float:
    """Return the smallest change of a rate that would be found with this power.

    It is the change towards one half, which is the harder one to see; NaN if there are no rows,
    or so few that not even the largest change would be found.

    Args:
        rate: Rate of the reference, in [0, 1].
        n_a: Rows of the reference.
        n_b: Rows of the other side.
        alpha: Two-sided error of the test, in (0, 1).
        power: Probability of finding the change, in (0, 1).

    Reference:
        The formula of ``rows_for_rate_change``, solved for the change.

    Example:
        >>> round(smallest_change(0.85, 1778, 1778, alpha=0.002), 4)
        0.05
    """
    if not (n_a > 0 and n_b > 0 and 0 <= rate <= 1):
        return math.nan
    signal = _signal(alpha, power)
    square = 1 + signal / n_b
    half = signal * abs(1 - 2 * rate) / (2 * n_b)
    constant = signal * rate * (1 - rate) * (1 / n_a + 1 / n_b)
    change = (half + math.sqrt(half**2 + square * constant)) / square
    return change if change <= max(rate, 1 - rate) else math.nan


def _signal(alpha: float, power: float) -> float:
    """Return the squared distance, in standard errors, that a test finds with this power."""
    return (normal_quantile(1 - alpha / 2) + normal_quantile(power)) ** 2
