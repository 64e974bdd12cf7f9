"""The trials of a search: what each finds, against what each calls wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.charts.paper import Plane, document, finite, letters, marks, strokes, words
from nethical.charts.scales import round_scale, tick_text, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Tried", "scatter"]

HEIGHT = 260
TOP = 76
RADIUS = 6.0


@dataclass(frozen=True)
class Tried:
    """A trial that is done.

    Args:
        number: Which it is.
        recall: In [0, 1].
        false_positive_rate: In [0, 1].
        is_best: Whether the search chose it.
    """

    number: int
    recall: float
    false_positive_rate: float
    is_best: bool = False


def scatter(trials: Sequence[Tried], *, title: str) -> str:
    """Return the trials as dots: recall upward, false positive rate to the right.

    Args:
        trials: Those whose numbers are known; the best is a diamond.
        title: What was searched.

    Returns:
        An SVG document.
    """
    shown = [
        one for one in trials if None not in (finite(one.recall), finite(one.false_positive_rate))
    ]
    x_low, x_high, x_step = _scale([one.false_positive_rate for one in shown])
    y_low, y_high, y_step = _scale([one.recall for one in shown])
    plane = Plane(58, 386, TOP, TOP + HEIGHT, x_low, x_high, y_low, y_high)
    across, upward = ticks(x_low, x_high, x_step), ticks(y_low, y_high, y_step)
    grid = [[(plane.left, plane.y(v)), (plane.right, plane.y(v))] for v in upward]
    grid += [[(plane.x(v), plane.top), (plane.x(v), plane.bottom)] for v in across]
    best = [one for one in shown if one.is_best]
    others = [one for one in shown if not one.is_best]
    beside = [(plane.left - 8, plane.y(v) + 5, tick_text(v, y_step)) for v in upward]
    below = [(plane.x(v), plane.bottom + 21, tick_text(v, x_step)) for v in across]
    elements = [
        strokes(grid, "grid"),
        letters(beside, "muted", "end"),
        letters(below, "muted", "middle"),
        words(
            (plane.left + plane.right) / 2,
            plane.bottom + 44,
            "false positive rate",
            anchor="middle",
        ),
        marks("circle", [_mark(plane, one, RADIUS) for one in others], "negative"),
        marks("diamond", [_mark(plane, one, RADIUS + 2) for one in best], "positive"),
    ]
    if best:
        elements += [
            marks("diamond", [(plane.right - 76, 49, RADIUS + 1, "")], "positive"),
            words(plane.right - 62, 54, "best"),
        ]
    told = f"{len(shown)} trials; the table below tells the numbers of each."
    return document(title, "recall", told, plane.bottom + 58, elements)


def _scale(values: list[float]) -> tuple[float, float, float]:
    low, high, step = round_scale(min(values, default=0.0), max(values, default=1.0))
    return max(low, 0.0) if low > -step else low, high, step


def _mark(plane: Plane, one: Tried, radius: float) -> tuple[float, float, float, str]:
    rate = f"false positive rate {one.false_positive_rate:.3f}"
    what = f"trial {one.number}: recall {one.recall:.3f}, {rate}"
    return plane.x(one.false_positive_rate), plane.y(one.recall), radius, what
