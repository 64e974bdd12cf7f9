"""A report as GitHub's Markdown; charts are left out, for tables tell the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nethical import markdown as md
from nethical.reports.blocks import (
    LONGEST,
    Bullets,
    Callout,
    Code,
    Command,
    Facts,
    Figure,
    Folded,
    Gallery,
    Heading,
    Paragraph,
    Said,
    Strong,
    Table,
    Verbatim,
)

if TYPE_CHECKING:
    from nethical.reports.blocks import Block, Report, Words

__all__ = ["to_markdown"]


def to_markdown(report: Report) -> str:
    """Return the report as one Markdown document."""
    badges = " · ".join(f"**{text}**" for text, _ in report.badges)
    blocks = [f"# {_words(report.title)}", badges, _words(report.opening)]
    for section in report.sections:
        blocks += [f"## {_words(section.title)}", *map(_block, section.blocks)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _block(block: Block) -> str:  # noqa: PLR0911 - one for each kind of block
    match block:
        case Paragraph(words):
            return _words(words)
        case Callout(words):
            return f"> {_words(words)}"
        case Facts(rows):
            return md.table(("Fact", "Value"), [(_words(n), _words(v)) for n, v in rows], "ll")
        case Table(head, rows, align):
            return md.table(head, [tuple(map(_words, row)) for row in rows], align)
        case Bullets(items, numbered):
            lines = [_words(item) for item in items]
            if numbered:
                return "\n".join(f"{place}. {line}" for place, line in enumerate(lines, 1))
            return md.bullets(lines)
        case Verbatim(text):
            return _fenced(text)
        case Figure() | Gallery():
            return ""
        case Heading(words):
            return f"### {_words(words)}"
        case Folded(title, inner):
            told = [f"### {title}", *map(_block, inner)]
            return "\n\n".join(text for text in told if text)


def _fenced(text: str) -> str:
    """Return lines in a fence that none of them can close."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}\n{text.rstrip(chr(10))}\n{fence}"


def _words(words: Words) -> str:
    if isinstance(words, tuple):
        return "".join(map(_words, words))
    match words:
        case Said(text):
            return md.say(text, LONGEST)
        case Code(text):
            return md.code(text, LONGEST)
        case Command(text):
            return f" {md.code(text, LONGEST)} "
        case Strong(inner):
            return f"**{_words(inner)}**"
        case _:
            return words
