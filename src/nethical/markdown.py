"""Markdown that shows text from data as it is: escaped, on one line, of bounded length."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

__all__ = [
    "LONGEST_NAME",
    "LONGEST_TEXT",
    "UNKNOWN",
    "any_value",
    "bullets",
    "code",
    "codes",
    "count",
    "finite",
    "given",
    "interval",
    "moment",
    "number",
    "one_line",
    "say",
    "table",
]

UNKNOWN = "unknown"
LONGEST_NAME = 80
LONGEST_TEXT = 600
PLAIN = re.compile(r"[\w.:/@+=,~%-]+(?: [\w.:/@+=,~%-]+)*")
MARKS = re.compile(r"([\\`*_{}\[\]()#|~$!])")
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def bullets(says: Sequence[str]) -> str:
    """Return lines of Markdown as a list."""
    return "\n".join(f"- {text}" for text in says)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], align: str) -> str:
    """Return a table of Markdown cells; ``align`` holds l or r for each column."""
    rule = tuple("--:" if side == "r" else "---" for side in align)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def say(value: object, longest: int = LONGEST_TEXT) -> str:
    """Return text from data as one line that Markdown and HTML show as it is."""
    line = MARKS.sub(r"\\\1", one_line(value, longest).translate(ENTITIES))
    return line.replace("://", "\\://").replace("www.", "www\\.") or UNKNOWN


def code(value: object, longest: int = LONGEST_NAME) -> str:
    """Return a name from data as code if nothing in it can end the code, else as text."""
    line = one_line(value, longest)
    return f"`{line}`" if PLAIN.fullmatch(line) else say(line, longest)


def codes(values: object) -> str:
    """Return up to ten names from data, joined by "or"."""
    return " or ".join(map(code, (values if isinstance(values, list) else [])[:10])) or UNKNOWN


def one_line(value: object, longest: int) -> str:
    """Return a value as one line, empty if there is none, cut if it is long."""
    line = "" if value is None else " ".join(UNSEEN.sub(" ", str(value)).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def any_value(value: object) -> str:
    """Return any JSON value as one line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and not any(
        isinstance(v, Mapping | list) for v in value.values()
    ):
        return say(
            ", ".join(f"{k} {UNKNOWN if v is None else v}" for k, v in value.items()) or "none"
        )
    if isinstance(value, Mapping | list | tuple):
        return say(json.dumps(value, ensure_ascii=False, default=str))
    return code(value, LONGEST_TEXT)


def finite(value: object) -> float | None:
    """Return a finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def number(value: object, *, whole: bool = False) -> str:
    """Return a number with three decimals, more if they would hide that it is not 0 or 1."""
    number = finite(value)
    if number is None:
        return UNKNOWN
    if whole and number == int(number):
        return f"{int(number):,}"
    text = f"{number:,.3f}"
    is_hidden = text.lstrip("-") in {"0.000", "1.000"} and number not in {-1, 0, 1}
    return f"{number:.4g}" if is_hidden else text


def given(value: object) -> str:
    """Return a number that somebody set, as they would write it."""
    number = finite(value)
    return UNKNOWN if number is None else f"{number:.6g}"


def count(value: object) -> str:
    """Return a whole number with thousands set apart."""
    number = finite(value)
    return UNKNOWN if number is None else f"{round(number):,}"


def interval(bounds: object) -> str:
    """Return two bounds, kept on one line."""
    ends = [finite(bound) for bound in (bounds if isinstance(bounds, list) else [])]
    known = any(end is not None for end in ends)
    return "\u00a0to\u00a0".join(map(number, ends)) if known else UNKNOWN


def moment(value: object) -> str:
    """Return a time as people write it, in UTC if its zone is known."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return "at an unknown time"
    if moment.tzinfo is None:
        return f"{moment:%Y-%m-%d %H:%M}"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
