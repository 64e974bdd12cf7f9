"""Differences around 0, each in units of the margin that it is judged by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.charts.paper import (
    BOLDER,
    SMALL_SIZE,
    WIDTH,
    Number,
    Plane,
    areas,
    clean,
    document,
    finite,
    fit,
    letters,
    marks,
    strokes,
    width_of,
    words,
)
from nethical.charts.scales import decimals, interval_text, round_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Effect", "effects"]

PITCH = 68
MOST = 3.0
LEFT, RIGHT = 20, 400
LONGEST_VERDICT = 220
BAND = 8
DOT = 5.0


@dataclass(frozen=True)
class Effect:
    """One row: a difference, and what follows from it.

    Args:
        label: What differs.
        estimate: The difference; None or NaN if unknown.
        low: Lower bound; None or not finite if there is none.
        high: Upper bound, likewise.
        margin: The largest difference that is tolerated, above 0; None if nothing is judged.
        verdict: What follows, in words.
        mark: Whether it raised an alarm.
    """

    label: str
    estimate: Number
    low: Number
    high: Number
    margin: Number
    verdict: str
    mark: bool = False


class _Row:
    """An effect on the paper: where its track lies, and what its scale is measured in."""

    def __init__(self, effect: Effect, top: float) -> None:
        self.effect, self.top, self.track = effect, top, top + 54
        self.estimate, self.low, self.high = map(finite, (effect.estimate, effect.low, effect.high))
        margin = finite(effect.margin)
        self.margin = margin if margin is not None and margin > 0 else None
        # What has no margin gets a scale of its own, whose end is told beside it.
        self.unit = self.margin or self._reach() / MOST

    def _reach(self) -> float:
        known = (self.estimate, self.low, self.high)
        return round_scale(0.0, max((abs(value) for value in known if value), default=1.0))[1]

    @property
    def span(self) -> tuple[float, float] | None:
        """The interval in units of the scale, None if there is none; a missing end is far away."""
        if self.low is None and self.high is None:
            return None
        low, high = self.low, self.high
        return (
            -math.inf if low is None else low / self.unit,
            math.inf if high is None else high / self.unit,
        )

    @property
    def sides(self) -> list[int]:
        """On which sides the row goes on beyond the scale."""
        estimate = [] if self.estimate is None else [self.estimate / self.unit]
        reached = [*(self.span or ()), *estimate]
        return [s for s in (-1, 1) if any(s * value > MOST * (1 + 1e-9) for value in reached)]

    @property
    def numbers(self) -> str:
        effect, places = self.effect, decimals(self.margin or self.unit * MOST)
        return interval_text(effect.estimate, effect.low, effect.high, places)

    @property
    def scale(self) -> str:
        if self.margin is not None:
            return f"margin {self.margin:.3g}"
        return f"own scale, ±{self.unit * MOST:.3g}"

    @property
    def told(self) -> str:
        scale = "no margin" if self.margin is None else self.scale
        label, verdict = clean(self.effect.label, 80), clean(self.effect.verdict, 80)
        return f"{label}: {self.numbers}, {scale}, {verdict}"


def effects(rows: Sequence[Effect], *, title: str) -> str:
    """Return differences with their intervals, one below the other, around 0.

    A row is drawn in units of its own margin, so that the margins of all rows lie at the same
    two places, and goes no further than 3 of them; an arrow head shows that it would. A row
    without a margin has a scale of its own.

    Args:
        rows: The differences.
        title: What the rows have in common.

    Returns:
        An SVG document.

    Example:
        >>> recall = Effect("Recall", -0.031, -0.052, -0.010, 0.05, "within the margin")
        >>> "-0.031 [-0.052, -0.010]" in effects([recall], title="Since the reference")
        True
    """
    bottom = 44 + PITCH * max(len(rows), 1)
    plane = Plane(36, 384, 44, bottom, -MOST, MOST)
    placed = [_Row(effect, 44 + PITCH * place) for place, effect in enumerate(rows)]
    elements = [*_behind(plane, placed), *_intervals(plane, placed), *_said(placed)]
    notes = ["Dot: estimate. Line: interval."] if rows else []
    if any(row.margin for row in placed):
        whole = range(-round(MOST), round(MOST) + 1)
        numbers = [(plane.x(unit), bottom + 18, f"{unit}") for unit in whole]
        elements.append(letters(numbers, "muted", "middle"))
        elements.append(words(plane.x(0), bottom + 39, "margins", "muted", "middle"))
        notes = [notes[0] + " Shaded: margin."]
        bottom += 46
    if any(row.sides for row in placed):
        notes.append("Arrow head: it goes on beyond the scale.")
    if any(row.effect.mark for row in placed):
        notes.append("Diamond: it raised an alarm.")
    if not rows:
        elements.append(words(WIDTH / 2, 72, "nothing was compared", anchor="middle"))
    below = [words(20, bottom + 26 + 22 * k, note, "muted") for k, note in enumerate(notes)]
    description = ("; ".join(row.told for row in placed) or "Nothing was compared") + "."
    height = bottom + 20 + 22 * len(notes)
    return document(title, "", description, height, [*elements, *below])


def _behind(plane: Plane, rows: Sequence[_Row]) -> list[str]:
    """Return tracks, margins and the line at 0."""
    judged = [row.track for row in rows if row.margin]
    left, right = plane.x(-1), plane.x(1)
    further = [plane.x(unit) for unit in (-3, -2, 2, 3)]
    bands = [
        [(left, y - BAND), (right, y - BAND), (right, y + BAND), (left, y + BAND)] for y in judged
    ]
    return [
        areas(bands, "band"),
        strokes([[(plane.left, row.track), (plane.right, row.track)] for row in rows], "grid"),
        strokes(_upright(further, judged, 4), "grid"),
        strokes(_upright([left, right], judged, BAND), "muted"),
        strokes(_upright([plane.x(0)], [row.track for row in rows], BAND), "ink", width=1.4),
    ]


def _upright(
    places: Sequence[float], tracks: Sequence[float], reach: float
) -> list[list[tuple[float, float]]]:
    return [[(x, track - reach), (x, track + reach)] for track in tracks for x in places]


def _intervals(plane: Plane, rows: Sequence[_Row]) -> list[str]:
    """Return the interval of each row, what shows that it goes on, and its estimate."""
    lines, heads = [], []
    dots: dict[bool, list[tuple[float, float, float, str]]] = {False: [], True: []}
    for row in rows:
        if row.span is not None:
            ends = [plane.x(min(max(end, -MOST), MOST)) for end in row.span]
            lines.append([(x, row.track) for x in ends])
        units = None if row.estimate is None else row.estimate / row.unit
        for side in row.sides:
            is_covered = units is not None and side * units >= MOST
            x = plane.x(side * MOST) + side * (DOT + 1 if is_covered else 0)
            heads.append([(x, row.track - 6), (x + side * 10, row.track), (x, row.track + 6)])
        if units is not None:
            what = f"{units:.3g} margins" if row.margin else row.numbers
            place = (plane.x(min(max(units, -MOST), MOST)), row.track, DOT, what)
            dots[bool(row.effect.mark)].append(place)
    return [
        strokes(lines, "negative", width=3),
        areas(heads, "negative"),
        marks("circle", dots[False], "negative"),
        marks("diamond", dots[True], "limit"),
    ]


def _said(rows: Sequence[_Row]) -> list[str]:
    """Return the words of each row: its label and verdict, and below them scale and numbers."""
    names, scales, numbers = [], [], []
    verdicts: dict[bool, list[tuple[float, float, str]]] = {False: [], True: []}
    for row in rows:
        verdict = fit(row.effect.verdict, LONGEST_VERDICT)
        label = fit(row.effect.label, RIGHT - LEFT - BOLDER * width_of(verdict) - 10)
        names.append((LEFT, row.top + 18, label))
        verdicts[bool(row.effect.mark)].append((RIGHT, row.top + 18, verdict))
        scales.append((LEFT, row.top + 37, row.scale))
        numbers.append((RIGHT, row.top + 37, row.numbers))
    return [
        letters(names),
        letters(verdicts[False], anchor="end"),
        letters(verdicts[True], anchor="end", bold=True),
        letters(scales, "muted", size=SMALL_SIZE),
        letters(numbers, "muted", "end"),
    ]
