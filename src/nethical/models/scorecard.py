"""A scorecard as one JSON table, scored with nothing but the standard library.

The table can be read, printed and checked by hand, and this file can be copied next to it into
any Python program. A card is ``{"terms": [...]}``; each term names its ``column`` and gives

* ``"kind": "bins"``: ``edges`` (increasing) and ``points`` (one more than edges): a value gets
  the points of the number of edges that are at most the value; ``missing`` otherwise;
* ``"kind": "levels"``: ``points`` by value as text, ``other`` and ``missing``.

Terms on ``"kind": "tokens"`` need the tokeniser and are not scored here.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["point_counter"]


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
            if value is None or value != value:  # noqa: PLR0124 - NaN is missing
                total += missing
            else:
                total += by_level.get(_text(value), other)
        return total

    return count


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
