"""The columns of an event log as whole numbers: instants, coded names, amounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.event_columns import fixed_amounts
from nethical.data.roles import Roles
from nethical.data.split import instants
from nethical.data.table import LabelledTable, Table
from nethical.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.events import EventLog

    Ints = NDArray[np.int64]

__all__ = ["Keys", "Read", "read_events"]

NO_ROLES = Roles((), None)
FURTHEST = 253_402_300_800_000_000  # microseconds: the year 10,000, beyond any time stamp
SECOND = 1_000_000


@dataclass(frozen=True)
class Keys:
    """Who acted, or on what.

    Args:
        codes: Places in ``texts``, shape (n,); -1 for a missing one.
        texts: The distinct names, a ``pyarrow.LargeStringArray``.
    """

    codes: Ints
    texts: Any

    def within(self, known: pa.LargeStringArray) -> tuple[Ints, pa.LargeStringArray]:
        """Return the codes in a longer list of names, and that list: first those known."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if len(known) == 0:
            return self.codes, self.texts
        places = pc.index_in(self.texts, value_set=known)
        fresh = places.is_null().to_numpy(zero_copy_only=False)
        mapped = places.fill_null(0).to_numpy().astype(np.int64)
        mapped[fresh] = len(known) + np.arange(int(fresh.sum()))
        everyone = pa.concat_arrays([known, self.texts.filter(pa.array(fresh))])
        return np.append(mapped, -1)[self.codes], everyone


@dataclass(frozen=True)
class Read:
    """Events in the order of their table.

    Args:
        time: Microseconds, shape (n,).
        agent: Who acted.
        resource: On what.
        amount: As ``fixed_amounts`` gives them, shape (n,); None where there is no such column.
    """

    time: Ints
    agent: Keys
    resource: Keys
    amount: Ints | None


def read_events(frame: pa.Table, log: EventLog, *, amount_needed: bool = True) -> Read:
    """Return the events of a normalised table.

    Raises:
        DataError: A column of the log is missing, or a time is, or one cannot be read.
    """
    for name in log.reads if amount_needed else (log.agent, log.resource, log.time):
        if name not in frame.column_names:
            raise DataError(
                f"column {name!r} of the event log is missing; "
                f"found: {', '.join(frame.column_names[:30])}",
                mend="give the rows the columns that the event log was made of",
            )
    has_amount = log.amount is not None and log.amount in frame.column_names
    return Read(
        _times(frame, log.time),
        _keys(frame, log.agent),
        _keys(frame, log.resource),
        _amounts(frame, log.amount) if log.amount is not None and has_amount else None,
    )


def _times(frame: pa.Table, name: str) -> Ints:
    """Return instants in microseconds; numbers count seconds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = frame.column(name)
    missing = pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0
    if missing:
        raise DataError(
            f"time column {name!r} is missing in {missing:,} of {len(column):,} rows",
            mend="fill the times in, or leave these rows out",
        )
    if len(column) == 0:
        return np.empty(0, dtype=np.int64)
    values = instants(LabelledTable.unlabelled(frame, NO_ROLES), name)
    counts_seconds = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if np.abs(values.astype(np.float64)).max() * (SECOND if counts_seconds else 1) > FURTHEST:
        raise DataError(
            f"time column {name!r} holds instants beyond the year 9999; numbers count seconds",
            mend="divide milliseconds by 1000, or write times as YYYY-MM-DD HH:MM:SS",
        )
    if counts_seconds:
        values = np.rint(values * SECOND)
    return np.asarray(values, dtype=np.int64)


def _keys(frame: pa.Table, name: str) -> Keys:
    import pyarrow as pa

    column = frame.column(name)
    if not (pa.types.is_integer(column.type) or pa.types.is_large_string(column.type)):
        column = pa.chunked_array([Table(frame, NO_ROLES).texts(name)])
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    return Keys(codes, encoded.dictionary.cast(pa.large_string()))


def _amounts(frame: pa.Table, name: str) -> Ints:
    import pyarrow as pa

    try:
        return fixed_amounts(Table(frame, NO_ROLES).numeric(name))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"amount column {name!r} should hold numbers: {str(error).splitlines()[0]}",
            mend="give it numbers, or another role",
        ) from error
