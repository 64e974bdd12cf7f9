"""A model card as part of a page: the Markdown that cards are written in, and no other HTML.

Everything is escaped first; what becomes an element is only what is recognised here. An image
is one of the charts that are handed in, or its description.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from nethical.web.rendering import chart, readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Card", "card_html"]

FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IMAGE = re.compile(r"!\[([^\]]*)\]\(([\w.]+)\)")
TOKEN = re.compile(
    r"\\(?P<said>[\\`*_{}\[\]()#|~$!:.])|`(?P<code>[^`]*)`|(?P<bold>\*\*)|"
    r"(?P<rest>[^\\`*]+|.)",
    re.DOTALL,
)
CELL = re.compile(r"(?<!\\)\|")
RIGHT = "--:"
LONG = 32
OPENED, CLOSED = Markup("<strong>"), Markup("</strong>")
CODE, LONG_CODE = Markup("<code>{}</code>"), Markup('<code class="long">{}</code>')


@dataclass(frozen=True)
class Card:
    """A card as HTML, with the titles of its parts, each of which has an id of its place."""

    contents: tuple[str, ...]
    html: Markup


def card_html(text: str, figures: Mapping[str, str]) -> Card:
    """Return a card without its title.

    Args:
        text: The card, in the Markdown that ``nethical.card`` writes.
        figures: Charts by file name, each an SVG document of ours.
    """
    parts: list[Markup] = []
    contents: list[str] = []
    for place, piece in enumerate(FENCE.split(text)):
        if place % 2:
            parts.append(Markup("<pre>{}</pre>\n").format(readable(piece.rstrip("\n"))))
            continue
        for block in re.split(r"\n{2,}", piece.strip("\n")):
            if block.startswith("## "):
                contents.append(_plain(block[3:]))
                title = _inline(block[3:])
                parts.append(Markup('<h2 id="s{}">{}</h2>\n').format(len(contents), title))
            elif not block.startswith("# "):
                parts.append(_block(block, figures))
    return Card(tuple(contents), Markup("").join(parts))


def _block(block: str, figures: Mapping[str, str]) -> Markup:
    """Return one block that is no title of a part."""
    if block.startswith("### "):
        return Markup("<h3>{}</h3>\n").format(_inline(block[4:]))
    if block.startswith("> "):
        return Markup('<p class="callout plain">{}</p>\n').format(_inline(block[2:]))
    if block.startswith("- "):
        items = Markup("").join(
            Markup("<li>{}</li>").format(_inline(line.removeprefix("- ")))
            for line in block.split("\n")
        )
        return Markup("<ul>{}</ul>\n").format(items)
    if block.startswith("| "):
        return _table(block.split("\n"))
    image = IMAGE.fullmatch(block)
    if image and image[2] in figures:
        return Markup("<figure>{}</figure>\n").format(chart(figures[image[2]]))
    if not block:
        return Markup("")
    return Markup("<p>{}</p>\n").format(_inline(image[1] if image else block))


def _table(lines: list[str]) -> Markup:
    rows = [[cell.strip() for cell in CELL.split(line.strip())[1:-1]] for line in lines]
    names = [_plain(cell) for cell in rows[0]]
    sides = rows[1] if len(rows) > 1 else []
    kinds = ["r" if side == RIGHT else "l" for side in sides] + ["l"] * len(names)
    top = Markup("").join(
        Markup('<th scope="col" class="{}">{}</th>').format(kind, _inline(cell))
        for cell, kind in zip(rows[0], kinds, strict=False)
    )
    body = Markup("").join(_row(row, names, kinds) for row in rows[2:])
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>\n").format(top, body)


def _row(row: list[str], names: list[str], kinds: list[str]) -> Markup:
    cells = Markup("").join(
        Markup('<td data-label="{}" class="{}"><span>{}</span></td>').format(
            readable(name), kind, _inline(cell)
        )
        for cell, name, kind in zip(row, names, kinds, strict=False)
    )
    return Markup("<tr>{}</tr>\n").format(cells)


def _plain(text: str) -> str:
    """Return inline Markdown without its marks."""
    return "".join(piece for kind, piece in _pieces(text) if kind != "bold")


def _inline(text: str) -> Markup:
    """Return a line of Markdown as HTML."""
    parts, is_bold = [], False
    for kind, piece in _pieces(text):
        if kind == "bold":
            is_bold = not is_bold
            parts.append(OPENED if is_bold else CLOSED)
        elif kind == "code":
            parts.append((LONG_CODE if len(piece) > LONG else CODE).format(readable(piece)))
        else:
            parts.append(escape(readable(piece)))
    if is_bold:
        parts.append(CLOSED)
    return Markup("").join(parts)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Give the pieces of a line, each with its kind; entities are text again."""
    for found in TOKEN.finditer(text):
        kind = str(found.lastgroup)
        yield kind, unescape(found[kind]) if kind == "rest" else found[kind]
