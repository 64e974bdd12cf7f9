"""Spans of time: which day, week or month a row belongs to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from nethical.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["WIDTHS", "check_width", "in_order", "windows"]

WIDTHS = ("day", "week", "month")
DAY = 86_400_000_000
FIRST_DAY, LAST_DAY = -719_162, 2_932_896  # the years 1 to 9999, from 1970
NO_TIME = "(no time)"


def check_width(width: str) -> None:
    """Refuse a width that there is not.

    Raises:
        UsageError: There is no such width.
    """
    if width not in WIDTHS:
        raise UsageError(f"there is no window {width!r}", mend=f"choose one of {', '.join(WIDTHS)}")


def windows(column: pa.ChunkedArray, name: str, width: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return the span of time of each row, as codes of shape (n,), and the names of the spans.

    Args:
        column: Instants, as timestamps, as texts (``YYYY-MM-DD HH:MM:SS``, in UTC unless all
            tell a zone), or as numbers, which count seconds since 1970.
        name: What the column is called.
        width: ``day`` (2018-06-10), ``week`` (ISO 8601, 2018-W23) or ``month`` (2018-06); in UTC.

    Raises:
        DataError: A value is no instant.
        UsageError: There is no such width.
    """
    check_width(width)
    days, missing = _days(column, name)
    found, codes = np.unique(days[~missing], return_inverse=True)
    names = [_name(int(day), width) for day in found]
    distinct = sorted(set(names))
    place = {text: code for code, text in enumerate(distinct)}
    coded = np.full(len(days), len(distinct), dtype=np.int64)
    coded[~missing] = np.array([place[text] for text in names], dtype=np.int64)[codes]
    if missing.any():
        distinct.append(NO_TIME)
    return coded, distinct


def _days(column: pa.ChunkedArray, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    import pyarrow as pa

    try:
        if pa.types.is_large_string(column.type) or pa.types.is_string(column.type):
            column = _instants(column)
        is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if is_number:
            values = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
            missing = ~np.isfinite(values)
            days = np.floor(np.where(missing, 0, values) / (DAY // 1_000_000))
        else:
            micros = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
            missing = micros.is_null().to_numpy()
            days = micros.fill_null(0).to_numpy() // DAY
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"time column {name!r} cannot be read: {str(error).splitlines()[0]}",
            mend="write times as YYYY-MM-DD HH:MM:SS, or as numbers of seconds",
        ) from error
    if len(days) and not FIRST_DAY <= days.min() <= days.max() <= LAST_DAY:
        raise DataError(
            f"time column {name!r} holds instants before the year 1 or beyond 9999; numbers count "
            "seconds",
            mend="divide milliseconds by 1000, or write times as YYYY-MM-DD HH:MM:SS",
        )
    return days.astype(np.int64), np.asarray(missing, dtype=bool)


def _instants(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts as instants; where all tell their zone, as ``Z`` or ``+02:00``, in UTC."""
    import pyarrow as pa

    try:
        return texts.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        try:
            return texts.cast(pa.timestamp("us", tz="UTC"))
        except pa.ArrowInvalid:
            pass
        raise


def _name(day: int, width: str) -> str:
    date = datetime.fromtimestamp(0, UTC).date()
    date = date.fromordinal(date.toordinal() + day)
    if width == "day":
        return date.isoformat()
    if width == "month":
        return f"{date.year:04d}-{date.month:02d}"
    year, week, _ = date.isocalendar()
    return f"{year:04d}-W{week:02d}"


def in_order(names: Sequence[str]) -> list[str]:
    """Return the names of spans in the order of time, what has none last."""
    return sorted(names, key=lambda text: (text == NO_TIME, text))
