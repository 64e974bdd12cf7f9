"""What a report consists of, whatever it is rendered as: sections of a few kinds of blocks.

Text is of two kinds, and a renderer never mixes them up. A plain ``str`` is ours: a literal of
this project, or a number that it formatted. What came from data (names, paths, messages of
errors) is ``Said`` or ``Code``, and each renderer shows it as it is, escaped and on one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nethical import markdown as md

__all__ = [
    "Block",
    "Bullets",
    "Callout",
    "Code",
    "Command",
    "Facts",
    "Figure",
    "Folded",
    "Gallery",
    "Heading",
    "Paragraph",
    "Piece",
    "Reading",
    "Report",
    "Said",
    "Section",
    "Strong",
    "Table",
    "Tone",
    "Verbatim",
    "Words",
    "marked",
    "moment",
    "plain",
    "seconds_between",
    "shown",
]

LONGEST = 2000
MOST_LISTED = 40


@dataclass(frozen=True)
class Said:
    """Text from data, shown as it is."""

    text: object


@dataclass(frozen=True)
class Code:
    """A name, a digest or a path from data, shown as code."""

    text: object


@dataclass(frozen=True)
class Command:
    """A command to be typed."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Words that weigh more."""

    words: str | Said


Piece = str | Said | Code | Command | Strong
Words = Piece | tuple[Piece, ...]


class Tone:
    """How a callout or a badge is meant; always said in words as well."""

    GOOD = "good"
    BAD = "bad"
    OPEN = "open"
    PLAIN = "plain"


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    words: Words


@dataclass(frozen=True)
class Callout:
    """A paragraph that nobody should miss."""

    words: Words
    tone: str = Tone.OPEN


@dataclass(frozen=True)
class Facts:
    """Names of ours, each with what is known of it."""

    rows: tuple[tuple[Words, Words], ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; ``align`` holds l or r for each column."""

    head: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]
    align: str


@dataclass(frozen=True)
class Bullets:
    """A list; ``numbered`` where its order matters."""

    items: tuple[Words, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Verbatim:
    """Lines that are shown byte for byte."""

    text: str


@dataclass(frozen=True)
class Figure:
    """A chart, as an SVG document; what it shows is told in a table as well.

    Args:
        svg: The document.
        rank: Where a page has to stay small, charts of a higher rank go first.
    """

    svg: str
    rank: int = 0


@dataclass(frozen=True)
class Gallery:
    """Charts beside each other where there is room."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Heading:
    """A title within a section."""

    words: Words


@dataclass(frozen=True)
class Folded:
    """Blocks that few readers want: a page shows their title until somebody opens it."""

    title: str
    blocks: tuple[Block, ...]


Block = (
    Paragraph | Callout | Facts | Table | Bullets | Verbatim | Figure | Gallery | Heading | Folded
)


@dataclass(frozen=True)
class Section:
    """Blocks under a title; without blocks it is left out."""

    title: Words
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A title, badges (each a text and a tone), a paragraph on what it is, and the sections."""

    title: Words
    badges: tuple[tuple[str, str], ...]
    opening: Words
    sections: tuple[Section, ...]


class Reading:
    """A JSON object, read without trust in its shape: what is not there is unknown.

    Args:
        document: Any value; what is no object has no members.
    """

    def __init__(self, document: object = None) -> None:
        self.document: Mapping[str, Any] = document if isinstance(document, Mapping) else {}

    def __bool__(self) -> bool:
        return bool(self.document)

    def get(self, key: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return a member, None where there is none."""
        return self.document.get(key)

    def part(self, key: str) -> Reading:
        """Return a member that is an object; an empty one where it is none."""
        return Reading(self.get(key))

    def values(self, key: str) -> list[Any]:
        """Return a member that is a list; an empty one where it is none."""
        found = self.get(key)
        return list(found) if isinstance(found, list | tuple) else []

    def parts(self, key: str) -> list[Reading]:
        """Return the objects of a member that is a list of them."""
        return [Reading(each) for each in self.values(key) if isinstance(each, Mapping)]


def marked(text: str) -> tuple[Piece, ...]:
    """Return words of ours in which what stands between backticks is code."""
    return tuple(
        Code(piece) if place % 2 else piece for place, piece in enumerate(text.split("`")) if piece
    )


def shown(value: object) -> Words:
    """Return any JSON value as words."""
    if value is None:
        return md.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return md.given(value)
    if isinstance(value, Mapping):
        return Said(", ".join(f"{k} {plain(v)}" for k, v in value.items()) or "none")
    if isinstance(value, list | tuple):
        told = ", ".join(plain(each) for each in value[:MOST_LISTED])
        more = f", and {len(value) - MOST_LISTED:,} more" if len(value) > MOST_LISTED else ""
        return Said(told + more or "none")
    return Code(value)


def plain(value: object) -> str:
    """Return a JSON value as text without marks, which is from data."""
    if value is None:
        return md.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(plain, value))
    return md.given(value) if isinstance(value, int | float) else str(value)


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def moment(text: str) -> str:
    """Return a time, given in ISO 8601, to the second in UTC, or that it is unknown."""
    found = _instant(text)
    return f"{found:%Y-%m-%d %H:%M:%S} UTC" if found else md.UNKNOWN


def seconds_between(begin: str, end: str) -> float | None:
    """Return the seconds between two such times, None where one is unknown."""
    first, last = _instant(begin), _instant(end)
    return None if first is None or last is None else (last - first).total_seconds()
