"""Values of windows in order of time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from nethical.charts.paper import (
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
    line,
    marks,
    strokes,
    touched,
    width_of,
    words,
)
from nethical.charts.scales import decimals, interval_text, round_scale, tick_text, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nethical.charts.paper import Place

__all__ = ["Point", "timeline"]

HEIGHT = 220
LARGEST_RADIUS, SMALLEST_RADIUS = 5.0, 3.4
LEAST_PITCH = 9
LONGEST_LABEL = 110
MOST_TOLD = 24
SAMPLE = 26
FURTHEST = 412


@dataclass(frozen=True)
class Point:
    """The value of one window.

    Args:
        label: When the window was, or what it is called.
        estimate: The value; None or NaN if unknown.
        low: Lower bound; None or not finite if there is none.
        high: Upper bound, likewise.
        mark: Whether the window raised an alarm.
    """

    label: str
    estimate: Number
    low: Number = None
    high: Number = None
    mark: bool = False


@dataclass(frozen=True)
class _Level:
    """A level line: what it is called, where it lies and how it is drawn."""

    name: str
    value: float
    ink: str
    dash: str

    def drawn(self, left: float, right: float, y: float) -> str:
        """Return the line, or a sample of it."""
        return line(left, y, right, y, self.ink, width=1.8, dash=self.dash)


def timeline(
    points: Sequence[Point],
    *,
    title: str,
    limit: Number = None,
    reference: Number = None,
    reference_name: str = "reference",
) -> str:
    """Return the values of windows in order of time, with their intervals.

    Args:
        points: The windows, the earliest first; drawn at equal distances.
        title: What was measured.
        limit: A value that is not to be exceeded, or None.
        reference: A value to compare with, or None.
        reference_name: What that is called, from anywhere.

    Returns:
        An SVG document.

    Example:
        >>> weeks = [Point("week 1", 0.11, 0.09, 0.13), Point("week 2", 0.19, 0.16, 0.22, True)]
        >>> "week 2: 0.190 [0.160, 0.220], alarm" in timeline(weeks, title="Share of alerts")
        True
    """
    levels = _levels(limit, reference, reference_name)
    low, high, step = _scale(points, levels)
    top = 52 + 22 * len(levels)
    plane = Plane(62, 404, top, top + HEIGHT, 0, max(len(points), 1), low, high)
    places = decimals(step)
    told = [_told(point, places) for point in points]
    course = _Course(plane, points, told)
    elements = [
        *_keys(levels, places),
        course.band(),
        *_beside(plane, step),
        *_below(plane, points),
        *(level.drawn(plane.left, plane.right, plane.y(level.value)) for level in levels),
        *(course.many() if course.is_dense else course.few()),
    ]
    if not course.runs():
        elements.append(words(233, plane.y(low) - 70, "nothing was measured", anchor="middle"))
    bottom, notes = plane.bottom + 48, _notes(points, is_dense=course.is_dense)
    elements += [words(20, bottom + 22 * k, note, "muted") for k, note in enumerate(notes)]
    description = _description(points, told, levels, places)
    return document(title, "", description, bottom - 6 + 22 * len(notes), elements)


def _notes(points: Sequence[Point], *, is_dense: bool) -> list[str]:
    """Return what the marks mean, in words."""
    if not points:
        return []
    notes = [
        "Line: the windows. Shaded: intervals." if is_dense else "Dot: one window. Bar: interval."
    ]
    alarms = sum(bool(point.mark) for point in points)
    if alarms:
        notes.append(f"Diamond: raised an alarm ({alarms:,} of {len(points):,}).")
    return notes


def _levels(limit: Number, reference: Number, reference_name: str) -> list[_Level]:
    known = ((reference_name, reference, "ink", "5 4"), ("limit", limit, "limit", ""))
    return [
        _Level(name, value, ink, dash)
        for name, given, ink, dash in known
        if (value := finite(given)) is not None
    ]


def _scale(points: Sequence[Point], levels: Sequence[_Level]) -> tuple[float, float, float]:
    every = [v for point in points for v in (point.estimate, point.low, point.high)]
    values = [value for value in map(finite, every) if value is not None]
    values += [level.value for level in levels]
    return round_scale(min(values, default=0.0), max(values, default=1.0))


def _keys(levels: Sequence[_Level], places: int) -> list[str]:
    """Return the name and value of each level line, behind a sample of it."""
    parts = []
    for place, level in enumerate(levels):
        baseline = 54 + 22 * place
        value = f": {interval_text(level.value, None, None, places)}"
        name = fit(level.name, 400 - 54 - width_of(value))
        parts += [level.drawn(20, 20 + SAMPLE, baseline - 5), words(54, baseline, name + value)]
    return parts


def _beside(plane: Plane, step: float) -> list[str]:
    every = ticks(plane.y_low, plane.y_high, step)
    numbers = [(plane.left - 8, plane.y(t) + 5, tick_text(t, step)) for t in every]
    return [
        strokes([[(plane.left, plane.y(t)), (plane.right, plane.y(t))] for t in every], "grid"),
        letters(numbers, "muted", "end", SMALL_SIZE),
    ]


def _below(plane: Plane, points: Sequence[Point]) -> list[str]:
    """Return the labels of as many windows as there is room for, evenly spread."""
    if not points:
        return []
    labels = [fit(point.label, LONGEST_LABEL, SMALL_SIZE) for point in points]
    widest = max(width_of(label, SMALL_SIZE) for label in labels)
    last, pitch = len(points) - 1, (plane.right - plane.left) / len(points)
    moved = max(plane.x(last + 0.5) + widest / 2 - FURTHEST, 0)
    least = math.ceil((widest + 12 + moved) / pitch)
    # A stride from the first to the last if there is one, else back from the last, which counts.
    stride = next((s for s in range(least, least * 3 // 2 + 1) if last % s == 0), least)
    shown = range(last, -1, -stride)
    texts = []
    for k in shown:
        half = width_of(labels[k], SMALL_SIZE) / 2
        x = min(max(plane.x(k + 0.5), WIDTH - FURTHEST + half), FURTHEST - half)
        texts.append((x, plane.bottom + 21, labels[k]))
    edge = [[(plane.x(k + 0.5), plane.bottom), (plane.x(k + 0.5), plane.bottom + 5)] for k in shown]
    return [strokes(edge, "muted"), letters(texts, "muted", "middle", SMALL_SIZE)]


class _Course:
    """The windows on the paper.

    Args:
        plane: Where they lie.
        points: The windows.
        told: What each tells.
    """

    def __init__(self, plane: Plane, points: Sequence[Point], told: Sequence[str]) -> None:
        self.plane, self.points, self.told = plane, points, told
        self.pitch = (plane.right - plane.left) / max(len(points), 1)
        self.places = [
            (plane.x(k + 0.5), None if value is None else plane.y(value))
            for k, value in enumerate(finite(point.estimate) for point in points)
        ]
        self.bars = [
            self._bar(x, finite(point.low), finite(point.high))
            for (x, _), point in zip(self.places, points, strict=True)
        ]

    def _bar(self, x: float, low: Number, high: Number) -> tuple[Place, Place] | None:
        """Return both ends of an interval; one that is missing lies at the edge of the plane."""
        if low is None and high is None:
            return None
        plane = self.plane
        return (
            (x, plane.bottom if low is None else plane.y(low)),
            (x, plane.top if high is None else plane.y(high)),
        )

    @property
    def is_dense(self) -> bool:
        """Whether marks would run into each other."""
        return self.pitch < LEAST_PITCH

    def runs(self) -> list[list[Place]]:
        """Return the places of neighbouring windows whose values are known."""
        return [
            [(x, y) for x, y in run if y is not None]
            for known, run in groupby(self.places, lambda place: place[1] is not None)
            if known
        ]

    def alarms(self, told: Sequence[str]) -> str:
        """Return the marks of the windows that raised one."""
        places = zip(self.places, self.points, told, strict=True)
        size = max(min(self.pitch * 0.4, LARGEST_RADIUS), SMALLEST_RADIUS) + 0.8
        return marks(
            "diamond",
            [(x, y, size, what) for (x, y), point, what in places if point.mark and y is not None],
            "limit",
        )

    def few(self) -> list[str]:
        """Return a mark and a bar for each window, and the line through them."""
        size = min(self.pitch * 0.4, LARGEST_RADIUS)
        quiet = [
            (x, y, size, what)
            for (x, y), point, what in zip(self.places, self.points, self.told, strict=True)
            if not point.mark and y is not None
        ]
        bars = [bar for bar in self.bars if bar is not None]
        return [
            strokes([run for run in self.runs() if len(run) > 1], "muted", width=1.2),
            strokes(bars, "negative", width=2),
            marks("circle", quiet, "negative"),
            self.alarms(self.told),
        ]

    def band(self) -> str:
        """Return the intervals of many windows as one area, which reaches half a window around."""
        outlines, half = [], self.pitch / 2
        for known, run in groupby(self.bars, lambda bar: bar is not None):
            bars = [bar for bar in run if bar is not None]
            if known and self.is_dense:
                sides = []
                for end in (0, 1):
                    edge = [bar[end] for bar in bars]
                    (first, y_first), (last, y_last) = edge[0], edge[-1]
                    sides.append([(first - half, y_first), *edge, (last + half, y_last)])
                outlines.append([*sides[0], *reversed(sides[1])])
        return areas(outlines, "grid")

    def many(self) -> list[str]:
        """Return one line through the windows, their alarms, and columns that tell of each."""
        runs = self.runs()
        alone = [(*run[0], SMALLEST_RADIUS, "") for run in runs if len(run) == 1]
        sides = [self.plane.x(k) for k in range(len(self.points) + 1)]
        return [
            strokes([run for run in runs if len(run) > 1], "negative", width=1.8),
            marks("circle", alone, "negative"),
            self.alarms([""] * len(self.points)),
            touched(self.plane, list(zip(sides[:-1], sides[1:], self.told, strict=True))),
        ]


def _told(point: Point, places: int) -> str:
    value = interval_text(point.estimate, point.low, point.high, places)
    return f"{clean(point.label, 60)}: {value}{', alarm' if point.mark else ''}"


def _description(
    points: Sequence[Point], told: Sequence[str], levels: Sequence[_Level], places: int
) -> str:
    """Return every window in words, or of many the first, the last and those with an alarm."""
    parts = [f"{len(points):,} windows, the earliest first"]
    if len(points) <= MOST_TOLD:
        parts += told
    else:
        alarms = [text for text, point in zip(told[1:-1], points[1:-1], strict=True) if point.mark]
        parts += [f"first {told[0]}", *alarms[:MOST_TOLD], f"last {told[-1]}"]
        if len(alarms) > MOST_TOLD:
            parts.append(f"{len(alarms) - MOST_TOLD:,} more alarms")
    parts += [
        f"{clean(level.name, 60)} {interval_text(level.value, None, None, places)}"
        for level in levels
    ]
    return "; ".join(parts) + "."
