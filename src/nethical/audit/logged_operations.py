"""What people did beside runs, as a log tells it: each operation from its begin to its end.

An operation is two entries: one before anything is done, and one that names the first by its
index and says what came of it. A begin without an end is of one that is going on, or was killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.audit.runs import events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nethical.audit.reading import LogReader
    from nethical.audit.runs import Event

__all__ = ["LoggedOperation", "OperationPairs", "all_operations"]

OPERATION = "operation"
BESIDE = ("key_rotated", "recovered")
_SAME = ("command", "arguments", "by")


@dataclass(frozen=True)
class LoggedOperation:
    """One operation, or what the log noted of itself: that its key was rotated, or it was healed.

    Args:
        begun: The entry before it was done.
        ended: The entry that says what came of it, None while there is none.
    """

    begun: Event
    ended: Event | None = None

    @property
    def command(self) -> str:
        """Return what was done."""
        return str(self.begun.document.get("command", self.begun.event_type))

    @property
    def by(self) -> str:
        """Return who did it, as the system named them."""
        return str(self.begun.document.get("by", "-"))

    @property
    def outcome(self) -> str:
        """Return ``done``, ``failed`` or ``not ended``; ``-`` for what the log noted of itself."""
        if self.begun.event_type != OPERATION:
            return "-"
        return "not ended" if self.ended is None else str(self.ended.document.get("phase"))


class OperationPairs:
    """Finds the end of each operation, while the entries of a log go by."""

    def __init__(self) -> None:
        self.count = 0
        self.open: dict[int, Event] = {}

    def take(self, event: Event) -> LoggedOperation | str | None:
        """Return the operation that an event ends, what is wrong with it, or None."""
        if event.document.get("phase") == "begun":
            self.count += 1
            self.open[event.index] = event
            return None
        index = event.document.get("begun_index")
        begun = self.open.pop(index, None) if isinstance(index, int) else None
        if begun is None:
            return f"an operation ends here that did not begin at entry {str(index)[:20]}"
        if any(begun.document.get(key) != event.document.get(key) for key in _SAME):
            return f"it is not the end of the operation that began at entry {index}"
        return LoggedOperation(begun, event)


def operation_events(entries: Iterable[bytes], first: int) -> Iterable[Event]:
    """Give the entries that begin or end an operation."""
    found = events(entries, first, holding=[b'"event_type":"operation"'])
    return (event for event in found if event.event_type == OPERATION)


def all_operations(reader: LogReader) -> list[LoggedOperation]:
    """Return what a log tells beside runs, by where it began; reads the log once."""
    pairs = OperationPairs()
    found = []
    for event in events(reader.entries(), 0, holding=[b'"event_type":']):
        if event.event_type in BESIDE:
            found.append(LoggedOperation(event))
        elif event.event_type == OPERATION:
            told = pairs.take(event)
            if isinstance(told, LoggedOperation):
                found.append(told)
    found += [LoggedOperation(begun) for begun in pairs.open.values()]
    return sorted(found, key=lambda each: each.begun.index)
