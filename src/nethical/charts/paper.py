"""The paper that charts are drawn on: places, words, lines and marks, and the document around them.

What is drawn once is an element of its own. What is drawn many times alike (the words of an axis,
a grid, the bars of a histogram) is one element, so that a chart stays a few kilobytes.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

Number = float | None
Place = tuple[float, float]

__all__ = [
    "BOLDER",
    "FONT",
    "INKS",
    "LETTER_WIDTH",
    "SMALL_SIZE",
    "TEXT_SIZE",
    "WIDTH",
    "Number",
    "Plane",
    "areas",
    "arrow",
    "at",
    "box",
    "clean",
    "document",
    "dot",
    "finite",
    "fit",
    "letters",
    "line",
    "marks",
    "strokes",
    "touched",
    "width_of",
    "words",
]

WIDTH = 420
SHOWN_WIDTH = 480
TEXT_SIZE = 15
TITLE_SIZE = 17
SMALL_SIZE = 13
LETTER_WIDTH = 0.56
BROAD_LETTER_WIDTH = 0.78
FULL_LETTER_WIDTH = 1.05
BOLDER = 1.1
BROAD = frozenset("ABCDEFGHKNOPQRSUVXYZw&")
FULL = frozenset("MWm@%…")
LARGEST = 1e15
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
UNSEEN = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


@dataclass(frozen=True)
class Plane:
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
        """Return how far from the left a value lies."""
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return self.left + share * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return how far from the top a value lies."""
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return self.bottom - share * (self.bottom - self.top)


def finite(value: Number) -> Number:
    """Return a value that can be drawn, None for one that is unknown, not finite or beyond 1e15."""
    return float(value) if value is not None and abs(value) <= LARGEST else None


def clean(text: object, longest: int) -> str:
    """Return one line of text that XML can hold and that hides nothing, cut if it is long."""
    line = " ".join(NOT_XML.sub("\ufffd", UNSEEN.sub(" ", str(text))).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def _letter_width(letter: str) -> float:
    """Return about how wide a letter is, in units of its size; rather too much than too little."""
    if letter in FULL or unicodedata.east_asian_width(letter) in "WF":
        return FULL_LETTER_WIDTH
    return BROAD_LETTER_WIDTH if letter in BROAD else LETTER_WIDTH


def width_of(text: str, size: int = TEXT_SIZE) -> float:
    """Return about how wide a line is, in the image's own units."""
    return size * sum(map(_letter_width, text))


def fit(text: object, room: float, size: int = TEXT_SIZE) -> str:
    """Return one line that is no wider than the room there is, cut where it is."""
    line = clean(text, 200)
    if width_of(line, size) <= room:
        return line
    wide, kept = width_of("…", size), 0
    while kept < len(line) and wide + width_of(line[kept], size) <= room:
        wide += width_of(line[kept], size)
        kept += 1
    return line[:kept].rstrip() + "…"


def at(value: float) -> str:
    """Return a coordinate with one decimal, without a negative zero."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def words(  # noqa: PLR0913 - a place, a text and how it is set
    x: float,
    y: float,
    text: str,
    ink: str = "ink",
    anchor: str = "start",
    size: int = TEXT_SIZE,
    *,
    bold: bool = False,
) -> str:
    """Return one line of words; ``y`` is where the letters stand."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{at(x)}" y="{at(y)}" font-size="{size}" text-anchor="{anchor}"{weight} '
        f'class="{ink}" fill="{INKS[ink][0]}">{escape(text)}</text>'
    )


def line(  # noqa: PLR0913 - two points and how they are joined
    x1: float, y1: float, x2: float, y2: float, ink: str, *, width: float = 1, dash: str = ""
) -> str:
    """Return a straight line."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{at(x1)}" y1="{at(y1)}" x2="{at(x2)}" y2="{at(y2)}" '
        f'class="{ink}-line" stroke="{INKS[ink][0]}" stroke-width="{width:g}"{dashes}/>'
    )


def box(x: float, y: float, width: float, height: float, ink: str, what: str = "") -> str:
    """Return a rectangle, which tells what it stands for."""
    return (
        f'<rect x="{at(x)}" y="{at(y)}" width="{at(width)}" height="{at(height)}" '
        f'class="{ink}" fill="{INKS[ink][0]}"><title>{escape(what)}</title></rect>'
    ).replace("<title></title>", "")


def arrow(x: float, y: float, ink: str, *, up: bool) -> str:
    """Return a triangle, 12 wide, that points the way the bars of a class go."""
    tip, base = (y, y + 11) if up else (y + 11, y)
    points = f"{at(x)},{at(base)} {at(x + 12)},{at(base)} {at(x + 6)},{at(tip)}"
    return f'<polygon points="{points}" class="{ink}" fill="{INKS[ink][0]}"/>'


def dot(x: float, y: float, radius: float, what: str) -> str:
    """Return a disc, which tells what it stands for."""
    return (
        f'<circle cx="{at(x)}" cy="{at(y)}" r="{at(radius)}" class="negative paper-line" '
        f'fill="{INKS["negative"][0]}" stroke="{INKS["paper"][0]}" stroke-width="1.5">'
        f"<title>{escape(what)}</title></circle>"
    ).replace("<title></title>", "")


def letters(
    texts: Sequence[tuple[float, float, str]],
    ink: str = "ink",
    anchor: str = "start",
    size: int = TEXT_SIZE,
    *,
    bold: bool = False,
) -> str:
    """Return words that are set alike, each with its place before it."""
    weight = ' font-weight="600"' if bold else ""
    inner = "".join(f'<text x="{at(x)}" y="{at(y)}">{escape(text)}</text>' for x, y, text in texts)
    return _group(
        inner,
        f'class="{ink}" fill="{INKS[ink][0]}" font-size="{size}" text-anchor="{anchor}"{weight}',
    )


def strokes(lines: Sequence[Sequence[Place]], ink: str, *, width: float = 1, dash: str = "") -> str:
    """Return lines that are drawn alike, each through two places or more."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    way = "".join(map(_way, lines))
    return way and (
        f'<path d="{way}" fill="none" class="{ink}-line" stroke="{INKS[ink][0]}" '
        f'stroke-width="{width:g}"{dashes}/>'
    )


def areas(outlines: Sequence[Sequence[Place]], ink: str) -> str:
    """Return areas that are filled alike, each within three places or more."""
    way = "".join(f"{_way(outline)}z" for outline in outlines)
    return way and f'<path d="{way}" class="{ink}" fill="{INKS[ink][0]}"/>'


def marks(shape: str, places: Sequence[tuple[float, float, float, str]], ink: str) -> str:
    """Return marks of one shape, parted from what lies beneath by a rim of paper.

    Args:
        shape: circle, square or diamond.
        places: Of each its x, its y, the radius of a circle as large, and what it tells.
        ink: What they are filled with.
    """
    inner = "".join(_mark(shape, *place) for place in places)
    return _group(
        inner,
        f'class="{ink} paper-line" fill="{INKS[ink][0]}" stroke="{INKS["paper"][0]}" '
        'stroke-width="1.5"',
    )


def touched(plane: Plane, columns: Sequence[tuple[float, float, str]]) -> str:
    """Return unseen columns of a plane, each with its two sides, that tell what they stand for."""
    top, bottom = at(plane.top), at(plane.bottom)
    inner = "".join(
        f'<path d="M{at(left)} {top}H{at(right)}V{bottom}H{at(left)}z">'
        f"<title>{escape(what)}</title></path>"
        for left, right, what in columns
    )
    return _group(inner, 'fill-opacity="0"')


def _mark(shape: str, x: float, y: float, radius: float, what: str) -> str:
    told = f"<title>{escape(what)}</title>" if what else ""
    if shape == "circle":
        return f'<circle cx="{at(x)}" cy="{at(y)}" r="{at(radius)}">{told}</circle>'
    if shape == "square":
        half = radius * math.sqrt(math.pi) / 2
        corners = [(x - half, y - half), (x + half, y - half), (x + half, y + half)]
        corners.append((x - half, y + half))
    else:
        half = radius * math.sqrt(math.pi / 2)
        corners = [(x - half, y), (x, y - half), (x + half, y), (x, y + half)]
    points = " ".join(f"{at(a)},{at(b)}" for a, b in corners)
    return f'<polygon points="{points}">{told}</polygon>'


def _way(places: Sequence[Place]) -> str:
    return "M" + " ".join(f"{at(x)} {at(y)}" for x, y in places)


def _group(inner: str, attributes: str) -> str:
    return inner and f"<g {attributes}>{inner}</g>"


def document(
    title: str, subtitle: str, description: str, height: float, elements: list[str]
) -> str:
    """Return the whole image on its own paper."""
    name = fit(title, (WIDTH - 30) / BOLDER, TITLE_SIZE)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="nethical-chart" role="img" '
        f'viewBox="0 0 {WIDTH} {at(height)}" width="{SHOWN_WIDTH}" '
        f'height="{at(height * SHOWN_WIDTH / WIDTH)}" font-family="{FONT}">'
    )
    head = [
        opening,
        f"<title>{escape(name)}</title>",
        f"<desc>{escape(description)}</desc>",
        f"<style>@media (prefers-color-scheme:dark){{{DARK}}}</style>",
        box(0, 0, WIDTH, height, "paper"),
        words(20, 28, name, size=TITLE_SIZE, bold=True),
    ]
    below = [words(20, 54, subtitle)] if subtitle else []
    return "\n".join(filter(None, [*head, *below, *elements, "</svg>"])) + "\n"
