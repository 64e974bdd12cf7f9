"""Where the scores of two kinds of rows lie: those of one upward, those of the other downward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.charts.paper import (
    LETTER_WIDTH,
    SMALL_SIZE,
    TEXT_SIZE,
    Plane,
    areas,
    arrow,
    box,
    document,
    finite,
    fit,
    letters,
    line,
    strokes,
    touched,
    width_of,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nethical.charts.paper import Number

__all__ = ["histogram", "two_scores"]

HEIGHT = 260
LEAST_BAR = 1.0


@dataclass(frozen=True)
class _Bar:
    """A bar on the paper, and the share of the rows that it stands for."""

    left: float
    top: float
    width: float
    height: float
    what: str


class _Mirror:
    """Two histograms over the same bins, one above the other.

    Args:
        edges: Of the bins, shape (n_bins + 1,), increasing.
        up: Rows of each bin that are drawn upward, shape (n_bins,).
        down: Rows of each bin that are drawn downward, shape (n_bins,).
        top: Where the plane begins.
    """

    def __init__(
        self, edges: Sequence[float], up: Sequence[Number], down: Sequence[Number], top: float
    ) -> None:
        self.edges = edges
        self.up, self.n_up = _shares(up)
        self.down, self.n_down = _shares(down)
        self.most = _round_up(max([*self.up, *self.down], default=0.0))
        self.plane = Plane(52, 400, top, top + HEIGHT, edges[0], edges[-1], -self.most, self.most)

    def bars(self, shares: Sequence[float], sign: int) -> list[_Bar]:
        """Return the bars of the bins that hold rows; ``sign`` is 1 for upward, -1 for downward."""
        plane, bars = self.plane, []
        for left, right, share in zip(self.edges[:-1], self.edges[1:], shares, strict=True):
            if share <= 0:
                continue
            top, bottom = sorted((plane.y(0), plane.y(sign * share)))
            height = max(bottom - top, LEAST_BAR)  # a bin that holds rows stays visible
            x, what = plane.x(left) + 0.8, f"{left:.3g} to {right:.3g}: {share:.1%}"
            width = plane.x(right) - 0.8 - x
            bars.append(_Bar(x, top if sign > 0 else bottom - height, width, height, what))
        return bars

    def behind(self) -> list[str]:
        """Return the grid, and the numbers beside and below it."""
        plane = self.plane
        shares = (-self.most, -self.most / 2, 0.0, self.most / 2, self.most)
        values = [plane.x_low + fifth / 5 * (plane.x_high - plane.x_low) for fifth in range(6)]
        below = [(plane.x(v), plane.bottom + 21, f"{round(v, 9):g}") for v in values]
        beside = [(plane.left - 7, plane.y(s) + 5, f"{abs(s) * 100:g} %") for s in shares]
        return [
            strokes(
                [[(plane.left, plane.y(s)), (plane.right, plane.y(s))] for s in shares], "grid"
            ),
            letters(beside, "muted", "end", SMALL_SIZE),
            letters(below, "muted", "middle"),
        ]

    def before(self, threshold: Number, axis: str) -> list[str]:
        """Return the line that parts the two, the threshold and the name of the axis."""
        plane, middle = self.plane, self.plane.left + 174
        parts = [line(plane.left, plane.y(0), plane.right, plane.y(0), "ink")]
        if threshold is not None and plane.x_low <= threshold <= plane.x_high:
            x = plane.x(threshold)
            parts.append(line(x, plane.top, x, plane.bottom, "ink", width=1.4, dash="5 4"))
        parts.append(words(middle, plane.bottom + 44, axis, anchor="middle"))
        if self.n_up + self.n_down == 0:
            parts.append(words(middle, plane.y(self.most / 4), "no rows", anchor="middle"))
        return parts


def histogram(  # noqa: PLR0913 - counts, and where decisions change
    edges: Sequence[float],
    positive: Sequence[Number],
    negative: Sequence[Number],
    *,
    threshold: Number = None,
    gray_low: Number = None,
    gray_high: Number = None,
    is_labelled: bool = True,
) -> str:
    """Return the scores of each class, positives upward and negatives downward.

    Bars are shares of their own class, so that a rare class is as visible as a common one.

    Args:
        edges: Of the bins, shape (n_bins + 1,), increasing.
        positive: Rows of class 1 in each bin, shape (n_bins,).
        negative: Rows of class 0 in each bin, shape (n_bins,).
        threshold: A row counts as positive from this probability on; None if unknown.
        gray_low: Lower end of the zone that people review, or None.
        gray_high: Upper end, likewise.
        is_labelled: Whether classes are known; else ``negative`` counts all rows.

    Returns:
        An SVG document.
    """
    mirror = _Mirror(edges, positive, negative, 104)
    cut = (finite(threshold), finite(gray_low), finite(gray_high))
    elements = [
        *_class_keys(mirror, is_labelled=is_labelled),
        *_zones(mirror.plane, *cut[1:]),
        *mirror.behind(),
        *(_box(bar, "positive") for bar in mirror.bars(mirror.up, 1)),
        *(_box(bar, "negative") for bar in mirror.bars(mirror.down, -1)),
        *mirror.before(cut[0], "probability" if is_labelled else "percentile"),
        *(words(20, 438 + 22 * k, key, "muted") for k, key in enumerate(_cut_keys(*cut))),
    ]
    description = (
        f"Share of each class by probability. {mirror.n_up:,} positives: "
        f"{_told(edges, mirror.up)}. {mirror.n_down:,} negatives: {_told(edges, mirror.down)}."
        if is_labelled
        else f"Share of {mirror.n_down:,} rows without a label by percentile: "
        f"{_told(edges, mirror.down)}."
    )
    title = f"Scores, as shares of {'each class' if is_labelled else 'the rows'}"
    return document(title, "", description, 474, elements)


def two_scores(
    edges: Sequence[float],
    reference: Sequence[Number],
    current: Sequence[Number],
    *,
    reference_name: str,
    current_name: str,
    threshold: Number = None,
) -> str:
    """Return the scores of two cohorts, the reference upward and the current one downward.

    Bars are shares of their own cohort, so that cohorts of unlike size can be compared.

    Args:
        edges: Of the bins, shape (n_bins + 1,), increasing.
        reference: Rows of the reference in each bin, shape (n_bins,).
        current: Rows of the current cohort in each bin, shape (n_bins,).
        reference_name: What the reference is called, from anywhere.
        current_name: What the current cohort is called, likewise.
        threshold: A row counts as positive from this score on; None if unknown.

    Returns:
        An SVG document.
    """
    mirror = _Mirror(edges, reference, current, 96)
    plane, cut = mirror.plane, finite(threshold)
    elements = [*mirror.behind()]
    cohorts = (
        (reference_name, mirror.n_up, mirror.up, 1, "muted"),
        (current_name, mirror.n_down, mirror.down, -1, "negative"),
    )
    names = []
    for place, (name, n, shares, sign, ink) in enumerate(cohorts):
        rows = f": {n:,} rows"
        names.append(fit(name, 362 - width_of(rows)))
        outlines = [_outline(bar) for bar in mirror.bars(shares, sign)]
        elements += [
            arrow(20, 43 + 22 * place, ink, up=sign > 0),
            words(38, 54 + 22 * place, names[-1] + rows),
            areas(outlines, ink),
        ]
    told, columns = [], []
    for left, right, up, down in zip(edges[:-1], edges[1:], mirror.up, mirror.down, strict=True):
        told.append(f"{left:.3g} to {right:.3g}: {up:.1%} and {down:.1%}")
        columns.append((plane.x(left), plane.x(right), told[-1]))
    elements += [
        *mirror.before(cut, "score"),
        *(words(20, plane.bottom + 74, key, "muted") for key in _cut_keys(cut, None, None)),
        touched(plane, columns),
    ]
    description = (
        f"Share of each cohort by score, {names[0]} with {mirror.n_up:,} rows and {names[1]} with "
        f"{mirror.n_down:,}: {', '.join(told)}."
    )
    height = plane.bottom + (62 if cut is None else 90)
    return document("Scores, as shares of each cohort", "", description, height, elements)


def _class_keys(mirror: _Mirror, *, is_labelled: bool) -> list[str]:
    if not is_labelled:
        return [
            arrow(20, 43, "negative", up=False),
            words(38, 54, f"rows without a label: {mirror.n_down:,}"),
        ]
    return [
        arrow(20, 43, "positive", up=True),
        words(38, 54, f"positives: {mirror.n_up:,}"),
        arrow(204, 43, "negative", up=False),
        words(222, 54, f"negatives: {mirror.n_down:,}"),
    ]


def _zones(plane: Plane, low: Number, high: Number) -> list[str]:
    """Return the gray zone, and the name of each decision where its zone has room for it."""
    if low is None or high is None:
        return []
    start, end = (min(max(plane.x(v), plane.left), plane.right) for v in (low, high))
    parts = [box(start, plane.top, end - start, plane.bottom - plane.top, "band")]
    spans = (
        ("allow", plane.left, start),
        ("review", start - 4, end + 4),
        ("block", end, plane.right),
    )
    for word, left, right in spans:
        if right - left >= len(word) * TEXT_SIZE * LETTER_WIDTH:
            parts.append(words((left + right) / 2, plane.top - 8, word, "muted", "middle"))
    return parts


def _cut_keys(threshold: Number, low: Number, high: Number) -> list[str]:
    """Return what the dashed line and the band mean, in words."""
    keys = []
    if threshold is not None:
        keys.append(f"Dashed: counted as positive from {threshold:.3g} on.")
    if low is not None and high is not None:
        keys.append(f"Shaded: reviewed by people, {low:.3g} to {high:.3g}.")
    return keys


def _box(bar: _Bar, ink: str) -> str:
    return box(bar.left, bar.top, bar.width, bar.height, ink, bar.what)


def _outline(bar: _Bar) -> list[tuple[float, float]]:
    left, right, top, bottom = bar.left, bar.left + bar.width, bar.top, bar.top + bar.height
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _told(edges: Sequence[float], shares: Sequence[float]) -> str:
    parts = [
        f"{share:.1%} from {left:.3g} to {right:.3g}"
        for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True)
        if share > 0
    ]
    return ", ".join(parts) or "none"


def _shares(counts: Sequence[Number]) -> tuple[list[float], int]:
    """Return each bin's share of all rows, and how many rows there are."""
    known = [max(finite(count) or 0.0, 0.0) for count in counts]
    total = sum(known)
    return [count / total if total else 0.0 for count in known], round(total)


def _round_up(share: float) -> float:
    """Return a round number that is not below the share and halves into a round one."""
    return next((top for top in (0.1, 0.2, 0.4, 0.6, 0.8) if share <= top), 1.0)
