"""Event logs: an agent acts on a resource at a time; each event gets columns of its past.

The columns are derived before a table is split, so that everything after sees plain numbers.
Nothing looks ahead: an event sees strictly earlier ones, and a label only when its delay is
over. Derived in pieces with the state between them, or all at once: the columns are the same,
bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.event_columns import MISSING_AMOUNT, Coded, columns, described
from nethical.data.event_reading import read_events
from nethical.data.event_state import EventState, remembered_from
from nethical.data.roles import ColumnRole, Role, Roles
from nethical.data.windows import MOST_EVENTS
from nethical.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.event_reading import Read

    Ints = NDArray[np.int64]

__all__ = ["EventLog", "EventState"]


@dataclass(frozen=True)
class EventLog:
    """How the columns of an event's past are made.

    Args:
        agent: Column of who acted.
        resource: Column of what it acted on.
        time: Column of when; numbers count seconds.
        amount: Column of how much, or None.
        windows_days: How far windows reach back, ascending.
        label_delay_days: Days after which the label of an event is known.
    """

    agent: str
    resource: str
    time: str
    amount: str | None = None
    windows_days: tuple[float, ...] = (1.0, 7.0, 30.0)
    label_delay_days: float = 7.0

    def __post_init__(self) -> None:
        windows = self.windows_days
        labels = [f"{days:g}" for days in windows]
        if (
            not windows
            or list(windows) != sorted(windows)
            or not all(0 < days < float("inf") for days in windows)
            or len(set(labels)) < len(labels)
            or not 0 <= self.label_delay_days < float("inf")
        ):
            raise DataError(
                f"windows of {', '.join(labels) or 'no'} days and a label delay of "
                f"{self.label_delay_days:g} days make no sense",
                mend="give distinct positive windows, and a delay of at least 0",
            )

    @classmethod
    def of(
        cls,
        roles: Roles,
        *,
        windows_days: Sequence[float] = (1.0, 7.0, 30.0),
        label_delay_days: float = 7.0,
    ) -> EventLog | None:
        """Return the log that these roles describe, or None without agent, resource and time."""
        agent, resource, time = (roles.one(role) for role in (Role.AGENT, Role.RESOURCE, Role.TIME))
        if agent is None or resource is None or time is None:
            return None
        windows = tuple(sorted({float(days) for days in windows_days}))
        amount = roles.one(Role.AMOUNT)
        return cls(agent, resource, time, amount, windows, float(label_delay_days))

    @property
    def keys(self) -> tuple[str, str]:
        """The columns that name agents and resources."""
        return self.agent, self.resource

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that events are read from."""
        amount = () if self.amount is None else (self.amount,)
        return (self.agent, self.resource, self.time, *amount)

    @property
    def middle_days(self) -> float:
        """The window of the ancestor's five numbers."""
        return self.windows_days[len(self.windows_days) // 2]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns that are derived, in order."""
        return tuple(described(self))

    def derived_roles(self, roles: Roles) -> Roles:
        """Return the roles with those of the derived columns."""
        derived = tuple(
            ColumnRole(name, Role.NUMERIC, Role.NUMERIC, why, derived=True)
            for name, why in described(self).items()
        )
        return Roles((*roles.columns, *derived), roles.labelling)

    def derive(
        self, frame: pa.Table, labels: NDArray[np.int8], state: EventState
    ) -> tuple[pa.Table, EventState]:
        """Return a table with the columns of each event's past, and the state for later events.

        Args:
            frame: A normalised table; its events may be in any order.
            labels: 1, 0, or -1 for unknown, shape (n,).
            state: What is known of earlier events.

        Returns:
            The table in its own order with the columns ``names``, and the new state.

        Raises:
            DataError: A column is missing, has the name of a derived one, or cannot be read, a
                time is missing, events are older than the state, or the state is of another log.
        """
        import pyarrow as pa

        self._check(frame, state)
        read = read_events(frame, self)
        order = _in_time(read.time)
        time = read.time[order]
        older = 0 if state.clock is None else int(np.searchsorted(time, state.clock))
        if older:
            raise DataError(
                f"{older:,} of {len(time):,} events are older than the newest one seen before",
                mend="sort the data by time, and give later data later",
            )
        events, agents, resources = _joined(read, order, labels, state)
        if len(events.time) > MOST_EVENTS:
            raise DataError(
                f"{len(events.time):,} events at once are more than {MOST_EVENTS:,}",
                mend="give the data in pieces, the earlier ones first",
            )
        found, unusual = columns(self, events)
        for name in self.names:
            column = found.pop(name)
            if not isinstance(order, slice):
                placed = np.empty_like(column)
                placed[order] = column
                column = placed
            frame = frame.append_column(name, pa.array(column))
        clock = int(time[-1]) if len(time) else state.clock
        return frame, self._after(events, unusual, clock, (agents, resources))

    def _check(self, frame: pa.Table, state: EventState) -> None:
        state.check_log(self)
        taken = [name for name in self.names if name in frame.column_names]
        if taken:
            raise DataError(
                f"the table has a column {taken[0]!r} already, which the event log would derive",
                mend="rename that column, or leave it out",
            )

    def _after(
        self,
        events: Coded,
        unusual: NDArray[np.bool_],
        clock: int | None,
        names: tuple[pa.LargeStringArray, pa.LargeStringArray],
    ) -> EventState:
        """Return what events from the clock on will need."""
        if clock is None:
            return replace(EventState.empty(), log=self.to_document())
        first = np.searchsorted(events.time, remembered_from(self, clock))
        kept = first + np.flatnonzero(events.whole[first:])
        agent, agents = _compact(events.agent[kept], names[0])
        resource, resources = _compact(events.resource[kept], names[1])
        return EventState(
            self.to_document(),
            clock,
            agents,
            resources,
            events.time[kept],
            agent,
            resource,
            events.amount[kept],
            events.label[kept],
            unusual[kept],
        )

    def to_document(self) -> dict[str, Any]:
        """Return the log as JSON values."""
        return {
            "agent": self.agent,
            "resource": self.resource,
            "time": self.time,
            "amount": self.amount,
            "windows_days": list(self.windows_days),
            "label_delay_days": self.label_delay_days,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> EventLog:
        """Return the log that ``to_document`` wrote."""
        return cls(
            document["agent"],
            document["resource"],
            document["time"],
            document["amount"],
            tuple(float(days) for days in document["windows_days"]),
            float(document["label_delay_days"]),
        )


def _in_time(time: Ints) -> Ints | slice:
    """Return the stable order by time; all as they are where they are in order."""
    if (time[1:] >= time[:-1]).all():
        return slice(None)
    return np.argsort(time, kind="stable")


def _joined(
    read: Read, order: Ints | slice, labels: NDArray[np.int8], state: EventState
) -> tuple[Coded, pa.LargeStringArray, pa.LargeStringArray]:
    """Return remembered and new events together, and the names of agents and resources."""
    agent, agents = read.agent.within(state.agents)
    resource, resources = read.resource.within(state.resources)
    amount = read.amount
    if amount is None:
        amount = np.full(len(read.time), MISSING_AMOUNT)
    events = Coded(
        np.concatenate([state.time, read.time[order]]),
        np.concatenate([state.agent, agent[order]]),
        np.concatenate([state.resource, resource[order]]),
        np.concatenate([state.amount, amount[order]]),
        np.concatenate([state.label, labels[order].astype(np.int8)]),
        state.unusual,
    )
    return events, agents, resources


def _compact(
    codes: Ints, names: pa.LargeStringArray
) -> tuple[NDArray[np.int32], pa.LargeStringArray]:
    """Return codes and names without the names that are not used, in order of appearance."""
    import pyarrow as pa

    encoded = pa.array(codes).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int32), names.take(encoded.dictionary)
