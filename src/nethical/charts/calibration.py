"""Whether probabilities can be taken literally: what was predicted, against what came."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.charts.paper import (
    Plane,
    document,
    dot,
    finite,
    fit,
    letters,
    line,
    marks,
    strokes,
    width_of,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nethical.charts.paper import Number

__all__ = ["Bins", "reliability", "two_reliabilities"]

LARGEST_RADIUS = 12.0
LARGEST_OF_TWO = 9.0
SMALLEST_RADIUS = 4.0
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Bins:
    """What was predicted and what came, in bins of the probability.

    Args:
        n: Rows of each bin, shape (n_bins,).
        mean_proba: Mean probability of class 1 in the bin; None or NaN if empty.
        share: Share of positives in the bin, likewise.
        error: Standard error of the share, likewise; bars reach 1.96 of them.
    """

    n: Sequence[int]
    mean_proba: Sequence[Number]
    share: Sequence[Number]
    error: Sequence[Number]


@dataclass(frozen=True)
class _Seen:
    """A bin that holds rows, as it is drawn."""

    proba: float
    share: float
    low: float
    high: float
    radius: float
    what: str


def reliability(
    n: Sequence[int],
    mean_proba: Sequence[Number],
    share: Sequence[Number],
    error: Sequence[Number],
) -> str:
    """Return the reliability diagram: what share was positive, against what was predicted.

    Args:
        n: Rows of each bin, shape (n_bins,).
        mean_proba: Mean probability of class 1 in the bin; None or NaN if empty.
        share: Share of positives in the bin, likewise.
        error: Standard error of the share, likewise; bars reach 1.96 of them.

    Returns:
        An SVG document.
    """
    plane = Plane(left=52, right=400, top=70, bottom=410)
    seen = _seen(Bins(n, mean_proba, share, error), LARGEST_RADIUS)
    elements = _square(plane)
    for each in seen:
        x = plane.x(each.proba)
        elements += [
            line(x, plane.y(each.low), x, plane.y(each.high), "negative", width=1.6),
            dot(x, plane.y(each.share), each.radius, each.what),
        ]
    elements += [
        words(20, 484, "Dot: one bin, its area shows the rows. Bar: 95 %.", ink="muted"),
        words(20, 506, "Above the dashed line: risk is understated.", ink="muted"),
    ]
    if not seen:
        elements.append(words(plane.x(0.5), plane.y(0.7), "no rows", anchor="middle"))
    told = "; ".join(each.what for each in seen) or "no rows"
    description = f"Bins, from the lowest probability up: {told}."
    return document("Reliability", "share of positives in the bin", description, 522, elements)


def two_reliabilities(
    reference: Bins,
    current: Bins,
    *,
    reference_name: str = "reference",
    current_name: str = "current",
) -> str:
    """Return the reliability of two cohorts in one square, squares for the first of them.

    Args:
        reference: Bins of the cohort that is compared with.
        current: Bins of the cohort that is looked at.
        reference_name: What the first is called, from anywhere.
        current_name: What the second is called.

    Returns:
        An SVG document.
    """
    plane = Plane(left=52, right=400, top=114, bottom=454)
    keys: list[str] = []
    bars: list[str] = []
    dots: list[str] = []
    told = []
    cohorts = (
        ("square", "muted", reference, reference_name),
        ("circle", "negative", current, current_name),
    )
    for place, (shape, ink, bins, name) in enumerate(cohorts):
        seen, baseline = _seen(bins, LARGEST_OF_TWO), 54 + 22 * place
        rows = f": {sum(bins.n):,} rows"
        shown = fit(name, 362 - width_of(rows))
        ends = [[(plane.x(b.proba), plane.y(y)) for y in (b.low, b.high)] for b in seen]
        placed = [(plane.x(b.proba), plane.y(b.share), b.radius, b.what) for b in seen]
        keys += [
            marks(shape, [(27, baseline - 5, 6, "")], ink),
            words(40, baseline, shown + rows),
        ]
        bars.append(strokes(ends, ink, width=1.6))
        dots.append(marks(shape, placed, ink))
        told.append(f"{shown}: " + ("; ".join(each.what for each in seen) or "no rows"))
    elements = [
        *keys,
        *_square(plane),
        words(20, 102, "share of positives in the bin", "muted"),
        *bars,
        *dots,
        words(20, 528, "Mark: one bin, its area shows the rows. Bar: 95 %.", "muted"),
        words(20, 550, "Above the dashed line: risk is understated.", "muted"),
    ]
    description = f"Bins, from the lowest probability up. {'. '.join(told)}."
    return document("Reliability of two cohorts", "", description, 566, elements)


def _seen(bins: Bins, largest_radius: float) -> list[_Seen]:
    """Return the bins that hold rows, each with its bar and with an area by its rows."""
    largest = max(bins.n, default=0)
    seen = []
    columns = (bins.n, bins.mean_proba, bins.share, bins.error)
    for rows, proba, positives, spread in zip(*columns, strict=True):
        p, y, e = finite(proba), finite(positives), finite(spread)
        if rows <= 0 or p is None or y is None:
            continue
        margin = Z95 * (e or 0.0)
        low, high = max(y - margin, 0.0), min(y + margin, 1.0)
        what = f"{rows:,} rows predicted {p:.3f}, {y:.3f} positive ({low:.3f} to {high:.3f})"
        radius = max(largest_radius * math.sqrt(rows / largest), SMALLEST_RADIUS)
        seen.append(_Seen(p, y, low, high, radius, what))
    return seen


def _square(plane: Plane) -> list[str]:
    """Return grid, numbers and diagonal of a plane whose two sides are both 0 to 1."""
    fifths = [fifth / 5 for fifth in range(6)]
    return [
        strokes([[(plane.x(v), plane.top), (plane.x(v), plane.bottom)] for v in fifths], "grid"),
        strokes([[(plane.left, plane.y(v)), (plane.right, plane.y(v))] for v in fifths], "grid"),
        letters([(plane.x(v), plane.bottom + 25, f"{v:g}") for v in fifths], "muted", "middle"),
        letters([(plane.left - 14, plane.y(v) + 5, f"{v:g}") for v in fifths], "muted", "end"),
        line(plane.x(0), plane.y(0), plane.x(1), plane.y(1), "muted", width=1.4, dash="5 4"),
        words(plane.x(0.5), plane.bottom + 46, "mean probability of the bin", anchor="middle"),
    ]
