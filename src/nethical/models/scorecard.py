"""A scorecard as one JSON table, scored with nothing but the standard library.

The table can be read, printed and checked by hand, and this file can be copied next to it into
any Python program. A card is ``{"terms": [...]}``; each term names its ``column`` and gives

* ``"kind": "bins"``: ``edges`` (increasing) and ``points`` (one more than edges): a value gets
  the points of the number of edges that are at most the value; ``missing`` otherwise;
* ``"kind": "levels"``: ``points`` by value as text, ``other`` and ``missing``.

Terms of ``"kind": "tokens"`` give pairs of an n-gram and its points; they need the tokeniser
and are not scored here.
"""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["point_counter", "value_text"]

LEAST_DECIMAL = 6
MOST_DECIMAL = 10


def point_counter(card: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], int]:
    """Return a function that counts the points of one row.

    Args:
        card: The JSON table, of bins and levels.

    Example:
        >>> bins = {"kind": "bins", "column": "x", "edges": [0.5], "points": [0, 7], "missing": 2}
        >>> count = point_counter({"terms": [bins]})
        >>> count({"x": 0.5}), count({"x": 0.1}), count({})
        (7, 0, 2)
    """
    bins = [
        (t["column"], t["edges"], t["points"], t["missing"])
        for t in card["terms"]
        if t["kind"] == "bins"
    ]
    levels = [
        (t["column"], t["points"], t["other"], t["missing"])
        for t in card["terms"]
        if t["kind"] == "levels"
    ]

    def count(row: Mapping[str, Any]) -> int:
        total = 0
        for column, edges, points, missing in bins:
            value = row.get(column)
            if value is None or value - value != 0:
                total += missing
            else:
                total += points[bisect_right(edges, value)]
        for column, by_level, other, missing in levels:
            value = row.get(column)
            if value is None or value == "" or value != value:  # noqa: PLR0124 - NaN is missing
                total += missing
            else:
                total += by_level.get(value_text(value), other)
        return total

    return count


def value_text(value: object) -> str:
    """Return a value as the card's levels spell it: shortest digits, as in columnar files.

    Example:
        >>> value_text(True), value_text(2.0), value_text(0.00001), value_text(2e-7)
        ('true', '2', '0.00001', '2e-7')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return str(value)
    if value.is_integer():
        return str(int(value))
    if value - value != 0:
        return repr(value)
    exact = Decimal(repr(float(value)))
    if -LEAST_DECIMAL <= exact.adjusted() < MOST_DECIMAL:
        return f"{exact:f}"
    digits, exponent = "".join(map(str, exact.as_tuple().digits)), exact.adjusted()
    fraction = f".{digits[1:]}" if digits[1:] else ""
    return f"{'-' if value < 0 else ''}{digits[0]}{fraction}e{exponent:+d}"
