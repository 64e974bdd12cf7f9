"""Scales that end on round numbers, and numbers with as many decimals as they deserve."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nethical.charts.paper import Number, finite

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["decimals", "interval_text", "number_text", "round_scale", "tick_text", "ticks"]

MANY_DIGITS = 1e7
MOST_DECIMALS = 6


def round_scale(low: float, high: float) -> tuple[float, float, float]:
    """Return the ends of a scale that holds two values, and the step between its ticks.

    Ends and step are round numbers, and at most five steps lie between the ends. Values that are
    all alike get a scale around them.

    Example:
        >>> round_scale(-0.02, 0.004)
        (-0.02, 0.01, 0.01)
    """
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        spread = abs(low) / 2 or 0.5
        low, high = low - spread, high + spread
    raw = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if raw <= unit * factor * (1 + 1e-9))
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def ticks(low: float, high: float, step: float) -> list[float]:
    """Return the places from one end of a scale to the other."""
    return [low + place * step for place in range(round((high - low) / step) + 1)]


def decimals(unit: float) -> int:
    """Return how many decimals tell differences of about a tenth of a unit, at least 3 below 10.

    Example:
        >>> [decimals(unit) for unit in (2000.0, 15.0, 1.0, 0.05, 0.002)]
        [0, 2, 3, 3, 4]
    """
    if unit <= 0:
        return 3
    size = math.floor(math.log10(unit) + 1e-9)
    return min(max(min(3 - size, 3), 1 - size, 0), MOST_DECIMALS)


def number_text(value: float, places: int) -> str:
    """Return a value with so many decimals, and without a negative zero."""
    if abs(value) >= MANY_DIGITS:
        return f"{value:.3g}"
    return f"{round(value, places) + 0.0:,.{places}f}"


def interval_text(estimate: Number, low: Number, high: Number, places: int = 3) -> str:
    """Return an estimate with its bounds; "?" for a bound that is not there.

    Example:
        >>> interval_text(-0.031, -0.052, -0.01), interval_text(0.5, None, 0.7)
        ('-0.031 [-0.052, -0.010]', '0.500 [?, 0.700]')
    """
    value, ends = finite(estimate), [finite(low), finite(high)]
    if value is None:
        return "unknown"
    if ends == [None, None]:
        return number_text(value, places)
    told: Sequence[str] = ["?" if end is None else number_text(end, places) for end in ends]
    return f"{number_text(value, places)} [{', '.join(told)}]"


def tick_text(value: float, step: float) -> str:
    """Return a number of a scale with the decimals that its step needs.

    Example:
        >>> tick_text(0.30000000000000004, 0.1), tick_text(1500.0, 500.0)
        ('0.3', '1,500')
    """
    places = max(-math.floor(math.log10(step) + 1e-9), 0)
    return number_text(value, min(places, MOST_DECIMALS))
