"""What was logged of a run beside what was derived again: equal, close, different, or neither."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeGuard

__all__ = ["Agreement", "Item", "Recomputed", "compared", "underivable"]

RELATIVE = 1e-9
NEAR_ZERO = 1e-12
UNKNOWN = "unknown"


class Agreement(StrEnum):
    """How a derived value does beside the logged one.

    ``CLOSE``: every number within 1e-9 of itself, or 1e-12 where it is about 0, as another
    processor may round; all else equal.
    """

    EXACT = "exact"
    CLOSE = "within 1e-9"
    DIFFERENT = "different"
    UNDERIVABLE = "not derivable"


_FROM_BEST = (Agreement.EXACT, Agreement.CLOSE, Agreement.DIFFERENT)


@dataclass(frozen=True)
class Item:
    """One thing that was logged, and what it is by the model's own scores.

    Args:
        name: What it is.
        logged: What the log says, a JSON value; None where it says nothing.
        derived: What was derived; None where nothing is.
        agreement: How the two do.
        reason: Why it cannot be derived, or what a reader should know.
    """

    name: str
    logged: Any
    derived: Any
    agreement: Agreement
    reason: str = ""

    def row(self) -> tuple[str, str, str, str]:
        """Return name, logged, derived and agreement as text; where they differ, in full."""
        logged, derived = self.logged, self.derived
        if self.agreement == Agreement.DIFFERENT:
            logged, derived = _differing(logged, derived)
        full = self.agreement == Agreement.DIFFERENT
        there = "" if self.agreement == Agreement.UNDERIVABLE else _told(derived, full=full)
        agreement = f"{self.agreement}: {self.reason}" if self.reason else str(self.agreement)
        return self.name, _told(logged, full=full), there, agreement


@dataclass(frozen=True)
class Recomputed:
    """The outcome of deriving a run's numbers again.

    Args:
        run_id: The run.
        model_id: Its model.
        items: Each thing that was logged, and what became of it.
    """

    run_id: str
    model_id: str
    items: tuple[Item, ...]

    @property
    def equal(self) -> bool:
        """Whether all that can be derived is as it was logged."""
        return not self.having(Agreement.DIFFERENT)

    def having(self, agreement: Agreement) -> tuple[Item, ...]:
        """Return the items that do so."""
        return tuple(item for item in self.items if item.agreement == agreement)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return the items as text, in order: name, logged, derived, agreement."""
        return [item.row() for item in self.items]

    def to_document(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        items = [{**asdict(item), "agreement": item.agreement.value} for item in self.items]
        counts = {a.value: len(self.having(a)) for a in Agreement}
        return {
            "run_id": self.run_id,
            "model_id": self.model_id,
            "equal": self.equal,
            "counts": counts,
            "items": items,
        }


def compared(name: str, logged: Any, derived: Any, reason: str = "") -> Item:  # noqa: ANN401 - JSON
    """Return an item whose two JSON values were compared, member by member."""
    return Item(name, logged, derived, _agreement(logged, derived), reason)


def underivable(name: str, logged: Any, reason: str) -> Item:  # noqa: ANN401 - JSON
    """Return an item that cannot be derived, and why not."""
    return Item(name, logged, None, Agreement.UNDERIVABLE, reason)


def _agreement(logged: object, derived: object) -> Agreement:
    if isinstance(logged, Mapping) and isinstance(derived, Mapping):
        if logged.keys() != derived.keys():
            return Agreement.DIFFERENT
        members = [_agreement(logged[key], derived[key]) for key in logged]
        return max(members, key=_FROM_BEST.index, default=Agreement.EXACT)
    if _is_number(logged) and _is_number(derived):
        if logged == derived:
            return Agreement.EXACT
        close = math.isclose(logged, derived, rel_tol=RELATIVE, abs_tol=NEAR_ZERO)
        return Agreement.CLOSE if close else Agreement.DIFFERENT
    same = type(logged) is type(derived) and logged == derived
    return Agreement.EXACT if same else Agreement.DIFFERENT


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _differing(logged: object, derived: object) -> tuple[object, object]:
    """Return of two mappings the members that differ, of other values both."""
    if not isinstance(logged, Mapping) or not isinstance(derived, Mapping):
        return logged, derived
    same = {
        key
        for key in logged.keys() & derived.keys()
        if _agreement(logged[key], derived[key]) != Agreement.DIFFERENT
    }
    return (
        {key: value for key, value in logged.items() if key not in same},
        {key: value for key, value in derived.items() if key not in same},
    )


def _told(value: object, *, full: bool) -> str:
    """Return a JSON value as a line, the usual ones as people write them."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return repr(value) if full else f"{value:.6g}"
    if not isinstance(value, Mapping):
        return str(value)
    told = {key: _told(member, full=full) for key, member in value.items()}
    if not full and told.keys() == {"estimate", "low", "high"}:
        bounds = f" [{told['low']}, {told['high']}]"
        return told["estimate"] + bounds * (value["low"] is not None or value["high"] is not None)
    if not full and {"verdict", "bound"} <= told.keys():
        return told["verdict"] + f", bound {told['bound']}" * (value["bound"] is not None)
    return ", ".join(f"{key} {member}" for key, member in told.items()) or "nothing"
