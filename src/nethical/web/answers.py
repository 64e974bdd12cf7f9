"""An answer as it comes from a form, and a case as it is laid out for somebody who reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nethical.errors import UsageError
from nethical.governance.reviews import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nethical.web.access import Visit

__all__ = ["Layout", "answer_of", "laid_out", "typed"]

LONG = 60
LARGEST_SHOWN = 50_000


@dataclass(frozen=True)
class Text:
    """A value that is read, not looked up.

    Args:
        name: Its column.
        shown: As much as is shown.
        left_out: How many characters are not.
    """

    name: str
    shown: str
    left_out: int


@dataclass(frozen=True)
class Layout:
    """The values of a case: the texts, which are set large, and the others as a table."""

    texts: tuple[Text, ...]
    cells: tuple[tuple[str, Any], ...]


def laid_out(features: Mapping[str, Any] | None, *, whole: bool) -> Layout:
    """Return the values of a case as they are laid out.

    Args:
        features: By column; None where they are deleted.
        whole: Whether long texts are shown to their end.
    """
    texts, cells = [], []
    for name, value in (features or {}).items():
        if isinstance(value, str) and (len(value) > LONG or "\n" in value):
            shown = value if whole else value[:LARGEST_SHOWN]
            texts.append(Text(name, shown, len(value) - len(shown)))
        else:
            cells.append((name, value))
    return Layout(tuple(texts), tuple(cells))


def typed(visit: Visit) -> dict[str, Any]:
    """Return what was typed into the form of an answer, to be shown in it again."""
    return {
        "decision": visit.field("decision"),
        "tags": visit.form.get("tags", []),
        "rationale": visit.field("rationale"),
        "confidence": visit.field("confidence"),
    }


def answer_of(visit: Visit) -> Answer:
    """Return the answer that a form holds.

    Raises:
        UsageError: A value is missing, or is not one of those that may be.
    """
    decision = visit.field("decision")
    if not decision:
        raise UsageError("no decision is chosen", mend="choose allow, block or unsure")
    tags = tuple(tag for tag in visit.form.get("tags", []) if tag)
    confidence = _confidence(visit.field("confidence"))
    return Answer(decision, tags, visit.field("rationale").strip(), confidence)


def _confidence(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"the confidence is {text[:20]!r}", mend="give a number from 0 to 1")
    return value
