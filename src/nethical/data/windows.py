"""Sliding windows over events: sorts, running sums and binary searches, in whole numbers.

Whole numbers are summed without rounding, so what a window holds does not depend on where the
running sum began; a log may be cut anywhere in time and gives the same sums. A window reaches
from its first instant, inclusive, to its end, exclusive: events of one instant do not see each
other. All arrays are of shape (n,), one entry an event, unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["MOST_EVENTS", "Past", "Sums", "Timeline", "Window", "packed_order"]

MOST_EVENTS = 1 << 26  # so that a key and an instant, or the limbs of a sum, fit one word
LIMB_BITS = 26
SAFE_SUM = 1 << 62


def packed_order(key: Ints, bits: int) -> Ints:
    """Return the stable order of small keys, by sorting keys and places in one word each.

    Args:
        key: From 0 to below 2 ** (63 - bits).
        bits: Of the number of events.
    """
    packed = (key << bits) | np.arange(len(key))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


class Timeline:
    """The distinct instants of events, which are told by their rank on it.

    Args:
        time: Of each event, ascending, microseconds.
    """

    def __init__(self, time: Ints) -> None:
        is_new = np.append(True, time[1:] != time[:-1])[: len(time)]
        self.instants = time[is_new]
        self.rank: Ints = np.cumsum(is_new) - 1
        self.bits = max(len(time).bit_length(), 1)

    def __len__(self) -> int:
        return len(self.instants)

    def first(self, ago: int) -> Ints:
        """Return for each instant the rank of the first one at or after instant - ago."""
        rank: Ints = np.searchsorted(self.instants, self.instants - ago)
        return rank

    def beyond(self, ahead: int) -> Ints:
        """Return for each instant the rank of the first one after instant + ahead."""
        rank: Ints = np.searchsorted(self.instants, self.instants + ahead, side="right")
        return rank


@dataclass(frozen=True)
class Window:
    """Consecutive events of one key for each row that asks.

    Args:
        start: Place of the first one, shape (rows,).
        end: Place behind the last one, shape (rows,).
    """

    start: Ints
    end: Ints

    @property
    def count(self) -> Ints:
        """The number of events in it."""
        return self.end - self.start


class Sums:
    """Running sums of whole numbers that fit 53 bits.

    Args:
        values: In the order of a key.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        values = values.astype(np.int64, copy=False)
        largest = max(int(values.max(initial=0)), -int(values.min(initial=0)))
        self._high = None
        if largest * len(values) >= SAFE_SUM:
            self._high = _running(values >> LIMB_BITS)
            values = values & ((1 << LIMB_BITS) - 1)
        self._low = _running(values)

    def within(self, window: Window) -> Floats:
        """Return the sum over each window, rounded once, shape (rows,)."""
        total = (self._low[window.end] - self._low[window.start]).astype(np.float64)
        if self._high is not None:
            high = self._high[window.end] - self._high[window.start]
            total += high.astype(np.float64) * (1 << LIMB_BITS)
        return total


def _running(values: Ints) -> Ints:
    total = np.empty(len(values) + 1, dtype=np.int64)
    total[0] = 0
    np.cumsum(values, out=total[1:])
    return total


class Past:
    """The events of each key in order of time, and the rows that ask for theirs.

    Args:
        code: The key of each event, from 0 to below the number of events; negative for none.
        timeline: When the events were.
        seen: Which events others see.
        asks: Which events ask.
    """

    def __init__(self, code: Ints, timeline: Timeline, seen: Flags, asks: Flags) -> None:
        self.timeline = timeline
        self.code = code
        self.order = self._ordered(seen)
        self.rows = self.order if np.array_equal(seen, asks) else self._ordered(asks)
        self._place = (code[self.order] << timeline.bits) | timeline.rank[self.order]
        self._key = code[self.rows] << timeline.bits
        self._rank = timeline.rank[self.rows]
        self._places: dict[int, Ints] = {}

    def _ordered(self, chosen: Flags) -> Ints:
        """Return the chosen events that have a key, by key and time."""
        events = np.flatnonzero(chosen & (self.code >= 0))
        return events[packed_order(self.code[events], self.timeline.bits)]

    def window(self, reach: int, *, delay: int = 0) -> Window:
        """Return the events of each row's key in [t - reach - delay, t - delay).

        Args:
            reach: Microseconds.
            delay: Microseconds.
        """
        return Window(self._until(reach + delay), self._until(delay))

    def _until(self, ago: int) -> Ints:
        """Return how many places are before the key's first event at or after t - ago."""
        if ago not in self._places:
            rank = self.timeline.first(ago) if ago else None
            at = self._rank if rank is None else rank[self._rank]
            self._places[ago] = np.searchsorted(self._place, self._key | at)
        return self._places[ago]

    def times(self, place: Ints) -> Ints:
        """Return when the events at some places were; any time for places out of range."""
        if len(self.order) == 0:
            return np.zeros(len(place), dtype=np.int64)
        rank = self.timeline.rank[self.order[np.clip(place, 0, len(self.order) - 1)]]
        instants: Ints = self.timeline.instants[rank]
        return instants

    def sums(self, values: NDArray[Any]) -> Sums:
        """Return running sums of a value of each event."""
        return Sums(values[self.order])

    def following(self) -> Ints:
        """Return the rank of the next event of the same key, shape (events,).

        It is the number of instants where there is none.
        """
        found = np.full(len(self.code), len(self.timeline), dtype=np.int64)
        same = self._place[1:] >> self.timeline.bits == self._place[:-1] >> self.timeline.bits
        found[self.order[:-1][same]] = self.timeline.rank[self.order[1:][same]]
        return found

    def distinct(self, following: Ints, reach: int) -> Ints:
        """Return how many distinct values the events of each row's window have, shape (rows,).

        An event stands for its value until the next event of that value, or until it leaves
        the window: rows see as many values as events have begun and not ended to stand.

        Args:
            following: Rank of the next event of the same key and value, shape (events,).
            reach: Of the window, microseconds.
        """
        left = self.timeline.beyond(reach)[self.timeline.rank[self.order]]
        ends = np.minimum(following[self.order] + 1, left)
        place = (self.code[self.order] << self.timeline.bits) | ends
        place.sort()
        return self._until(0) - np.searchsorted(place, self._key | self._rank, side="right")

    def shared(self, value: Ints, reach: int, weights: Sequence[Ints]) -> list[Ints]:
        """Return sums over the values in each row's window, each of a weight of its count.

        Whenever an event enters or leaves a window, the count of its value changes, and the
        sum by the difference of two weights: a running sum of these differences is the sum.

        Args:
            value: Code of key and value together of each event, shape (events,).
            reach: Of the window, microseconds.
            weights: Whole numbers by count, from that of 0, which is 0.

        Returns:
            One array of shape (rows,) for each of the weights.
        """
        bits = self.timeline.bits
        rank = self.timeline.rank[self.order]
        value = value[self.order]
        enters = (value << (bits + 1)) | ((rank + 1) << 1)
        leaves = (value << (bits + 1)) | (self.timeline.beyond(reach)[rank] << 1) | 1
        changes = np.concatenate([enters, leaves])
        changes.sort()
        step = 1 - 2 * (changes & 1)
        count = np.cumsum(step)
        key_of_value = np.zeros(int(value.max(initial=-1)) + 1, dtype=np.int64)
        key_of_value[value] = self.code[self.order]
        place = (key_of_value[changes >> (bits + 1)] << bits) | ((changes >> 1) & ((1 << bits) - 1))
        by_key = np.argsort(place)
        until = np.searchsorted(place[by_key], self._key | self._rank, side="right")
        return [
            _running((weight[count] - weight[count - step])[by_key])[until] for weight in weights
        ]
