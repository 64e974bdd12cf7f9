"""Estimates with their intervals, one below the other on one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.charts.paper import (
    SMALL_SIZE,
    WIDTH,
    Number,
    Plane,
    clean,
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
from nethical.charts.scales import interval_text, round_scale, tick_text, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Measured", "forest", "groups"]

PITCH = 46
FIRST_TRACK = 79


@dataclass(frozen=True)
class Measured:
    """One row of a forest plot.

    Args:
        label: What was measured.
        estimate: The value; None or NaN if unknown.
        low: Lower bound; None or not finite if there is none.
        high: Upper bound, likewise.
        limit: What it is held against, or None.
    """

    label: str
    estimate: Number
    low: Number = None
    high: Number = None
    limit: Number = None


def forest(rows: Sequence[Measured], *, title: str) -> str:
    """Return estimates with their intervals and limits, one below the other on one scale.

    Args:
        rows: What was measured; the scale is 0 to 1 if all of it lies there.
        title: What the rows have in common.

    Returns:
        An SVG document.
    """
    values = [*_values(rows), 0.0]
    low, high, step = (0.0, 1.0, 0.25)
    if min(values) < 0 or max(values) > 1:
        low, high, step = round_scale(min(values), max(values))
    plane = _plane(rows, low, high)
    every, elements = ticks(low, high, step), []
    for place, row in enumerate(rows):
        track = FIRST_TRACK + PITCH * place
        elements += [
            *(line(plane.x(t), track - 5, plane.x(t), track + 5, "grid") for t in every),
            *_row(plane, row, track),
        ]
    elements += [
        words(plane.x(t), plane.bottom + 20, f"{round(t, 9):g}", "muted", "middle") for t in every
    ]
    return _forest(rows, title, plane, elements, [])


def groups(rows: Sequence[Measured], *, title: str, whole: Number) -> str:
    """Return the same measure of each group, beside its value over all rows together.

    Args:
        rows: The groups; the scale ends around what they reach, so it need not begin at 0.
        title: What was measured.
        whole: Its value over all rows together; None or NaN if unknown.

    Returns:
        An SVG document.
    """
    together = finite(whole)
    values = [*_values(rows), *([] if together is None else [together])] or [0.0, 1.0]
    low, high, step = round_scale(min(values), max(values))
    plane, every = _plane(rows, low, high), ticks(low, high, step)
    tracks = [FIRST_TRACK + PITCH * place for place in range(len(rows))]
    around = [[(plane.x(t), y - 5), (plane.x(t), y + 5)] for y in tracks for t in every]
    elements = [strokes(around, "grid")]
    if together is not None:
        x = plane.x(together)
        elements.append(strokes([[(x, y - 8), (x, y + 11)] for y in tracks], "ink", width=1.4))
    elements += _rows(plane, list(zip(tracks, rows, strict=True)))
    numbers = [(plane.x(t), plane.bottom + 20, tick_text(t, step)) for t in every]
    elements.append(letters(numbers, "muted", "middle", SMALL_SIZE))
    notes = []
    if together is not None:
        notes = [f"Upright line: all rows together, {interval_text(together, None, None)}."]
    return _forest(rows, title, plane, elements, notes)


def _plane(rows: Sequence[Measured], low: float, high: float) -> Plane:
    return Plane(24, 396, 44, 52 + PITCH * max(len(rows), 1), low, high)


def _values(rows: Sequence[Measured]) -> list[float]:
    """Return every number that has to lie on the scale."""
    every = [v for row in rows for v in (row.estimate, row.low, row.high, row.limit)]
    return [value for value in map(finite, every) if value is not None]


def _row(plane: Plane, row: Measured, track: float) -> list[str]:
    """Return one row: a line of words, and its interval beneath."""
    estimate, low, high, limit = map(finite, (row.estimate, row.low, row.high, row.limit))
    value = interval_text(estimate, low, high)
    room = plane.right - plane.left - width_of(value) - 8
    parts = [
        words(plane.left, track - 15, fit(row.label, room)),
        words(plane.right, track - 15, value, "muted", "end"),
        line(plane.left, track, plane.right, track, "grid"),
    ]
    if low is not None or high is not None:
        start = plane.left if low is None else plane.x(low)
        end = plane.right if high is None else plane.x(high)
        parts.append(line(start, track, end, track, "negative", width=3))
    if limit is not None:
        parts.append(line(plane.x(limit), track - 8, plane.x(limit), track + 8, "limit", width=2.4))
    if estimate is not None:
        parts.append(dot(plane.x(estimate), track, 5, ""))
    return parts


def _rows(plane: Plane, placed: Sequence[tuple[float, Measured]]) -> list[str]:
    """Return many rows as ``_row`` draws each, in fewer bytes: what is drawn alike together."""
    names, values, tracks, lines, dots = [], [], [], [], []
    for track, row in placed:
        estimate, low, high = map(finite, (row.estimate, row.low, row.high))
        value = interval_text(estimate, low, high)
        room = plane.right - plane.left - width_of(value) - 8
        names.append((plane.left, track - 15, fit(row.label, room)))
        values.append((plane.right, track - 15, value))
        tracks.append([(plane.left, track), (plane.right, track)])
        if low is not None or high is not None:
            start = plane.left if low is None else plane.x(low)
            end = plane.right if high is None else plane.x(high)
            lines.append([(start, track), (end, track)])
        if estimate is not None:
            dots.append((plane.x(estimate), track, 5.0, ""))
    return [
        letters(names),
        letters(values, "muted", "end"),
        strokes(tracks, "grid"),
        strokes(lines, "negative", width=3),
        marks("circle", dots, "negative"),
    ]


def _forest(
    rows: Sequence[Measured], title: str, plane: Plane, elements: list[str], notes: list[str]
) -> str:
    """Return the document around the rows: what they show, in words."""
    note, told = "Dot: estimate. Line: interval.", []
    if any(finite(row.limit) is not None for row in rows):
        note += " Red mark: limit."
    for row in rows:
        limit = finite(row.limit)
        held = "" if limit is None else f", limit {limit:g}"
        value = interval_text(row.estimate, row.low, row.high)
        told.append(f"{clean(row.label, 80)}: {value}{held}")
    if not rows:
        elements.append(words(WIDTH / 2, 72, "nothing was measured", anchor="middle"))
    below = [
        words(20, plane.bottom + 48 + 22 * place, text, "muted")
        for place, text in enumerate([note, *notes])
    ]
    parts = [*told, *(each.removesuffix(".") for each in notes)]
    description = ("; ".join(parts) or "Nothing was measured") + "."
    height = plane.bottom + 64 + 22 * len(notes)
    return document(title, "", description, height, [*elements, *below])
