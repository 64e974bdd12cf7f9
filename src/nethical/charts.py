"""Small SVG charts as text, for cards, reports and pages.

Each is one self-contained image without script: a title and a description for those who do not
see it, light colours as plain attributes so that every viewer shows them on their own paper, and
dark ones behind ``prefers-color-scheme``. Letters stay legible when the image is as wide as a
phone. The same values give the same bytes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    Number = float | None

__all__ = ["Measured", "forest", "histogram", "reliability"]

WIDTH = 420
SHOWN_WIDTH = 480
TEXT_SIZE = 15
TITLE_SIZE = 17
LETTER_WIDTH = 0.56
LARGEST_RADIUS = 12.0
SMALLEST_RADIUS = 4.0
Z95 = 1.959963984540054
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',Arial,sans-serif"
INKS = {
    "paper": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "muted": ("#59636e", "#9ba5b0"),
    "grid": ("#e4e7eb", "#262c34"),
    "band": ("#eff1f3", "#1c222a"),
    "positive": ("#b34700", "#f0975a"),
    "negative": ("#0a5cad", "#6cb0f5"),
    "limit": ("#a40e26", "#ff8a8f"),
}
DARK = "".join(
    f".nethical-chart .{name}{{fill:{dark}}}.nethical-chart .{name}-line{{stroke:{dark}}}"
    for name, (_, dark) in INKS.items()
)
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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


@dataclass(frozen=True)
class _Plane:
    """Where values lie on the paper, in the image's own units."""

    left: float
    right: float
    top: float
    bottom: float
    x_low: float = 0.0
    x_high: float = 1.0
    y_low: float = 0.0
    y_high: float = 1.0

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return self.left + share * (self.right - self.left)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return self.bottom - share * (self.bottom - self.top)


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
    plane = _Plane(left=52, right=400, top=70, bottom=410)
    largest = max(n, default=0)
    marks, told = [], []
    for rows, proba, positives, spread in zip(n, mean_proba, share, error, strict=True):
        p, y, e = _finite(proba), _finite(positives), _finite(spread)
        if rows <= 0 or p is None or y is None:
            continue
        margin = Z95 * (e or 0.0)
        low, high = max(y - margin, 0.0), min(y + margin, 1.0)
        what = f"{rows:,} rows predicted {p:.3f}, {y:.3f} positive ({low:.3f} to {high:.3f})"
        told.append(what)
        radius = max(LARGEST_RADIUS * math.sqrt(rows / largest), SMALLEST_RADIUS)
        marks += [
            _line(plane.x(p), plane.y(low), plane.x(p), plane.y(high), "negative", width=1.6),
            _dot(plane.x(p), plane.y(y), radius, what),
        ]
    elements = [
        *_square_grid(plane),
        _line(plane.x(0), plane.y(0), plane.x(1), plane.y(1), "muted", width=1.4, dash="5 4"),
        *marks,
        _words(plane.x(0.5), 456, "mean probability of the bin", anchor="middle"),
        _words(20, 484, "Dot: one bin, its area shows the rows. Bar: 95 %.", ink="muted"),
        _words(20, 506, "Above the dashed line: risk is understated.", ink="muted"),
    ]
    if not told:
        elements.append(_words(plane.x(0.5), plane.y(0.7), "no rows", anchor="middle"))
    description = "Bins, from the lowest probability up: " + ("; ".join(told) or "no rows") + "."
    return _document("Reliability", "share of positives in the bin", description, 522, elements)


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
    up, n_positive = _shares(positive)
    down, n_negative = _shares(negative)
    top = _round_up(max([*up, *down], default=0.0))
    plane = _Plane(52, 400, 104, 364, edges[0], edges[-1], -top, top)
    bars = []
    for sign, shares, ink in ((1, up, "positive"), (-1, down, "negative")):
        for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True):
            if share > 0:
                bars.append(_bar(plane, (left, right), sign * share, ink))
    keys = [
        _arrow(20, 43, "positive", up=True),
        _words(38, 54, f"positives: {n_positive:,}"),
        _arrow(204, 43, "negative", up=False),
        _words(222, 54, f"negatives: {n_negative:,}"),
    ]
    if not is_labelled:
        keys = [
            _arrow(20, 43, "negative", up=False),
            _words(38, 54, f"rows without a label: {n_negative:,}"),
        ]
    axis = "probability" if is_labelled else "percentile"
    elements = [
        *keys,
        *_zones(plane, _finite(gray_low), _finite(gray_high)),
        *_share_grid(plane, top),
        *bars,
        _line(plane.left, plane.y(0), plane.right, plane.y(0), "ink"),
        *_threshold(plane, _finite(threshold)),
        *_ticks_below(plane),
        _words(plane.left + 174, 408, axis, anchor="middle"),
        *_keys(_finite(threshold), _finite(gray_low), _finite(gray_high)),
    ]
    if n_positive + n_negative == 0:
        elements.append(_words(plane.left + 174, plane.y(top / 4), "no rows", anchor="middle"))
    description = (
        f"Share of each class by probability. {n_positive:,} positives: {_told(edges, up)}. "
        f"{n_negative:,} negatives: {_told(edges, down)}."
        if is_labelled
        else f"Share of {n_negative:,} rows without a label by percentile: {_told(edges, down)}."
    )
    title = f"Scores, as shares of {'each class' if is_labelled else 'the rows'}"
    return _document(title, "", description, 474, elements)


def forest(rows: Sequence[Measured], *, title: str) -> str:
    """Return estimates with their intervals and limits, one below the other on one scale.

    Args:
        rows: What was measured; the scale is 0 to 1 if all of it lies there.
        title: What the rows have in common.

    Returns:
        An SVG document.
    """
    low, high, step = _scale(rows)
    bottom = 52 + 46 * max(len(rows), 1)
    plane = _Plane(24, 396, 44, bottom, low, high)
    ticks = [low + place * step for place in range(round((high - low) / step) + 1)]
    elements, told = [], []
    for place, row in enumerate(rows):
        value = _interval_text(row)
        limit = _finite(row.limit)
        held = "" if limit is None else f", limit {limit:g}"
        told.append(f"{_clean(row.label, 80)}: {value}{held}")
        track = 79 + 46 * place
        elements += [
            *(_line(plane.x(t), track - 5, plane.x(t), track + 5, "grid") for t in ticks),
            *_forest_row(plane, row, track, value),
        ]
    elements += [
        _words(plane.x(t), bottom + 20, f"{round(t, 9):g}", "muted", "middle") for t in ticks
    ]
    if not rows:
        elements.append(_words(WIDTH / 2, 72, "nothing was measured", anchor="middle"))
    note = "Dot: estimate. Line: interval."
    if any(_finite(row.limit) is not None for row in rows):
        note += " Red mark: limit."
    elements.append(_words(20, bottom + 48, note, ink="muted"))
    description = ("; ".join(told) or "Nothing was measured") + "."
    return _document(title, "", description, bottom + 64, elements)


def _forest_row(plane: _Plane, row: Measured, track: float, value: str) -> list[str]:
    """Return one row: a line of words, and its interval beneath."""
    estimate, low, high, limit = map(_finite, (row.estimate, row.low, row.high, row.limit))
    room = int((plane.right - plane.left) / (TEXT_SIZE * LETTER_WIDTH) - len(value) - 1)
    parts = [
        _words(plane.left, track - 15, _clean(row.label, max(room, 8))),
        _words(plane.right, track - 15, value, "muted", "end"),
        _line(plane.left, track, plane.right, track, "grid"),
    ]
    if low is not None or high is not None:
        start = plane.left if low is None else plane.x(low)
        end = plane.right if high is None else plane.x(high)
        parts.append(_line(start, track, end, track, "negative", width=3))
    if limit is not None:
        parts.append(
            _line(plane.x(limit), track - 8, plane.x(limit), track + 8, "limit", width=2.4)
        )
    if estimate is not None:
        parts.append(_dot(plane.x(estimate), track, 5, ""))
    return parts


def _scale(rows: Sequence[Measured]) -> tuple[float, float, float]:
    """Return the ends of a scale that holds every value, and the step between its ticks."""
    every = [v for row in rows for v in (row.estimate, row.low, row.high, row.limit)]
    values = [value for value in map(_finite, every) if value is not None]
    low, high = min([*values, 0.0]), max([*values, 0.0])
    if low >= 0 and high <= 1:
        return 0.0, 1.0, 0.25
    raw = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if raw <= unit * factor * (1 + 1e-9))
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def _interval_text(row: Measured) -> str:
    estimate, low, high = map(_finite, (row.estimate, row.low, row.high))
    if estimate is None:
        return "unknown"
    if low is None and high is None:
        return f"{estimate:.3f}"
    ends = ["?" if end is None else f"{end:.3f}" for end in (low, high)]
    return f"{estimate:.3f} [{', '.join(ends)}]"


def _square_grid(plane: _Plane) -> list[str]:
    """Return grid and numbers of a plane whose two sides are both 0 to 1."""
    parts = []
    for fifth in range(6):
        value, text = fifth / 5, f"{fifth / 5:g}"
        parts += [
            _line(plane.x(value), plane.top, plane.x(value), plane.bottom, "grid"),
            _line(plane.left, plane.y(value), plane.right, plane.y(value), "grid"),
            _words(plane.x(value), plane.bottom + 25, text, "muted", "middle"),
            _words(plane.left - 14, plane.y(value) + 5, text, "muted", "end"),
        ]
    return parts


def _share_grid(plane: _Plane, top: float) -> list[str]:
    parts = []
    for share in (-top, -top / 2, 0.0, top / 2, top):
        y = plane.y(share)
        parts += [
            _line(plane.left, y, plane.right, y, "grid"),
            _words(plane.left - 7, y + 5, f"{abs(share) * 100:g} %", "muted", "end", 13),
        ]
    return parts


def _ticks_below(plane: _Plane) -> list[str]:
    values = [plane.x_low + fifth / 5 * (plane.x_high - plane.x_low) for fifth in range(6)]
    return [
        _words(plane.x(value), plane.bottom + 21, f"{round(value, 9):g}", "muted", "middle")
        for value in values
    ]


def _zones(plane: _Plane, low: Number, high: Number) -> list[str]:
    """Return the gray zone, and the name of each decision where its zone has room for it."""
    if low is None or high is None:
        return []
    start, end = (min(max(plane.x(v), plane.left), plane.right) for v in (low, high))
    parts = [_box(start, plane.top, end - start, plane.bottom - plane.top, "band")]
    spans = (
        ("allow", plane.left, start),
        ("review", start - 4, end + 4),
        ("block", end, plane.right),
    )
    for word, left, right in spans:
        if right - left >= len(word) * TEXT_SIZE * LETTER_WIDTH:
            parts.append(_words((left + right) / 2, plane.top - 8, word, "muted", "middle"))
    return parts


def _threshold(plane: _Plane, threshold: Number) -> list[str]:
    if threshold is None or not plane.x_low <= threshold <= plane.x_high:
        return []
    x = plane.x(threshold)
    return [_line(x, plane.top, x, plane.bottom, "ink", width=1.4, dash="5 4")]


def _keys(threshold: Number, low: Number, high: Number) -> list[str]:
    """Return what the dashed line and the band mean, in words."""
    keys = []
    if threshold is not None:
        keys.append(f"Dashed: counted as positive from {threshold:.3g} on.")
    if low is not None and high is not None:
        keys.append(f"Shaded: reviewed by people, {low:.3g} to {high:.3g}.")
    return [_words(20, 438 + 22 * place, key, ink="muted") for place, key in enumerate(keys)]


def _bar(plane: _Plane, ends: tuple[float, float], share: float, ink: str) -> str:
    left, right = plane.x(ends[0]) + 0.8, plane.x(ends[1]) - 0.8
    top, bottom = sorted((plane.y(0), plane.y(share)))
    height = max(bottom - top, 1.0)  # a bin that holds rows stays visible
    what = f"{ends[0]:.3g} to {ends[1]:.3g}: {abs(share):.1%}"
    return _box(left, top if share > 0 else bottom - height, right - left, height, ink, what)


def _told(edges: Sequence[float], shares: Sequence[float]) -> str:
    parts = [
        f"{share:.1%} from {left:.3g} to {right:.3g}"
        for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True)
        if share > 0
    ]
    return ", ".join(parts) or "none"


def _shares(counts: Sequence[Number]) -> tuple[list[float], int]:
    """Return each bin's share of all rows, and how many rows there are."""
    known = [max(_finite(count) or 0.0, 0.0) for count in counts]
    total = sum(known)
    return [count / total if total else 0.0 for count in known], round(total)


def _round_up(share: float) -> float:
    """Return a round number that is not below the share and halves into a round one."""
    return next((top for top in (0.1, 0.2, 0.4, 0.6, 0.8) if share <= top), 1.0)


def _finite(value: Number) -> Number:
    return float(value) if value is not None and math.isfinite(value) else None


def _clean(text: object, longest: int) -> str:
    """Return one line of text that XML can hold, cut if it is long."""
    line = " ".join(NOT_XML.sub("\ufffd", str(text)).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def _at(value: float) -> str:
    """Return a coordinate with one decimal, without a negative zero."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def _words(  # noqa: PLR0913 - a place, a text and how it is set
    x: float,
    y: float,
    text: str,
    ink: str = "ink",
    anchor: str = "start",
    size: int = TEXT_SIZE,
    *,
    bold: bool = False,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{_at(x)}" y="{_at(y)}" font-size="{size}" text-anchor="{anchor}"{weight} '
        f'class="{ink}" fill="{INKS[ink][0]}">{escape(text)}</text>'
    )


def _line(  # noqa: PLR0913 - two points and how they are joined
    x1: float, y1: float, x2: float, y2: float, ink: str, *, width: float = 1, dash: str = ""
) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{_at(x1)}" y1="{_at(y1)}" x2="{_at(x2)}" y2="{_at(y2)}" '
        f'class="{ink}-line" stroke="{INKS[ink][0]}" stroke-width="{width:g}"{dashes}/>'
    )


def _box(x: float, y: float, width: float, height: float, ink: str, what: str = "") -> str:
    return (
        f'<rect x="{_at(x)}" y="{_at(y)}" width="{_at(width)}" height="{_at(height)}" '
        f'class="{ink}" fill="{INKS[ink][0]}"><title>{escape(what)}</title></rect>'
    ).replace("<title></title>", "")


def _arrow(x: float, y: float, ink: str, *, up: bool) -> str:
    """Return a triangle, 12 wide, that points the way the bars of a class go."""
    tip, base = (y, y + 11) if up else (y + 11, y)
    points = f"{_at(x)},{_at(base)} {_at(x + 12)},{_at(base)} {_at(x + 6)},{_at(tip)}"
    return f'<polygon points="{points}" class="{ink}" fill="{INKS[ink][0]}"/>'


def _dot(x: float, y: float, radius: float, what: str) -> str:
    return (
        f'<circle cx="{_at(x)}" cy="{_at(y)}" r="{_at(radius)}" class="negative paper-line" '
        f'fill="{INKS["negative"][0]}" stroke="{INKS["paper"][0]}" stroke-width="1.5">'
        f"<title>{escape(what)}</title></circle>"
    ).replace("<title></title>", "")


def _document(
    title: str, subtitle: str, description: str, height: float, elements: list[str]
) -> str:
    """Return the whole image on its own paper."""
    name = _clean(title, 44)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="nethical-chart" role="img" '
        f'viewBox="0 0 {WIDTH} {_at(height)}" width="{SHOWN_WIDTH}" '
        f'height="{_at(height * SHOWN_WIDTH / WIDTH)}" font-family="{FONT}">'
    )
    head = [
        opening,
        f"<title>{escape(name)}</title>",
        f"<desc>{escape(description)}</desc>",
        f"<style>@media (prefers-color-scheme:dark){{{DARK}}}</style>",
        _box(0, 0, WIDTH, height, "paper"),
        _words(20, 28, name, size=TITLE_SIZE, bold=True),
    ]
    below = [_words(20, 54, subtitle)] if subtitle else []
    return "\n".join([*head, *below, *elements, "</svg>"]) + "\n"
