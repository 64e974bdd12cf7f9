"""What a log says of each event's past, as columns: their names, meanings and formulas.

Everything is counted among strictly earlier events, in windows that reach back from the event,
and labels only once their delay is over. What has no past is NaN. Amounts are whole numbers of
2**-20 between -2**32 and 2**32 here, their signed roots whole numbers of 2**-20, times of day
are told by the minute, so that every sum is exact.

Reference:
    Le Borgne et al. 2022, Reproducible Machine Learning for Credit Card Fraud Detection
    (windows and delayed labels); Song 2001 (varentropy); Mardia and Jupp 2000, 2.3 (mean
    resultant length).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nethical.data.windows import Past, Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nethical.data.events import EventLog
    from nethical.data.windows import Window

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["DAY", "LEGACY", "Coded", "columns", "described", "fixed_amounts", "microseconds"]

DAY = 86_400_000_000
MINUTE = 60_000_000
HOUR = 60 * MINUTE
MINUTES = 24 * 60
MONDAY = 3  # the first of January 1970 was a Thursday
SATURDAY = 5
RESOLUTION = 1 << 20
LARGEST_AMOUNT = 1 << 32
MISSING_AMOUNT = np.iinfo(np.int64).min
FEWEST_AMOUNTS = 3  # below that nothing is usual yet
SMALLEST_SPREAD = 2.0**-10
SPREAD_SHARE = 0.05
UNUSUAL = 3.0
PRIOR_LABELS = 5.0
PRIOR_POSITIVES = 0.05
LEGACY = (
    "agent_count",
    "action_rate",
    "entropy_variance",
    "time_correlation",
    "payload_similarity",
)


def microseconds(days: float) -> int:
    """Return days in microseconds."""
    return round(days * DAY)


def fixed_amounts(amounts: Floats) -> Ints:
    """Return amounts in whole numbers of 2**-20, clipped to 2**32 either way.

    Example:
        >>> fixed_amounts(np.array([1.5, -1e300])).tolist()
        [1572864, -4503599627370496]
    """
    clipped = np.clip(amounts, -LARGEST_AMOUNT, LARGEST_AMOUNT)
    missing = np.isnan(clipped)
    whole = np.rint(np.where(missing, 0.0, clipped) * RESOLUTION).astype(np.int64)
    return np.where(missing, MISSING_AMOUNT, whole)


@dataclass(frozen=True)
class Coded:
    """Events in order of time: those that are remembered, then those that ask.

    Args:
        time: Microseconds, ascending, shape (n,).
        agent: Code of the agent, shape (n,); negative for none.
        resource: Code of the resource, shape (n,); negative for none.
        amount: As ``fixed_amounts`` gives them, shape (n,).
        label: 1, 0, or -1 for unknown, shape (n,).
        unusual: Whether the amount was unusual for its agent, shape (remembered,).
    """

    time: Ints
    agent: Ints
    resource: Ints
    amount: Ints
    label: NDArray[np.int8]
    unusual: Flags

    @cached_property
    def whole(self) -> Flags:
        """Which events have an agent and a resource, and so are part of the past of others."""
        return (self.agent >= 0) & (self.resource >= 0)


def described(log: EventLog) -> dict[str, str]:
    """Return the meaning of each column that a log derives, in order, by its name."""
    has_amount = log.amount is not None
    middle = log.middle_days
    longest = f"{log.windows_days[-1]:g}"
    found = {
        "event_hour": "hour of the day, in UTC",
        "event_weekend": "1 on Saturdays and Sundays",
    }
    for who in ("agent", "resource"):
        for days in log.windows_days:
            tag, ago = f"{days:g}d", f"in the {days:g} days before"
            found[f"{who}_events_{tag}"] = f"events of the {who} {ago}"
            if has_amount:
                found[f"{who}_mean_{tag}"] = f"mean amount of the {who} {ago}"
                found[f"{who}_unusual_{tag}"] = (
                    f"events of the {who} {ago} whose amount was unusual for their own agent"
                )
            if who == "resource" and has_amount:
                found[f"{who}_unusual_share_{tag}"] = f"share of these among its events {ago}"
            if who == "resource" and days != middle:
                found[f"{who}_agents_{tag}"] = f"distinct agents on the resource {ago}"
            found[f"{who}_risk_{tag}"] = (
                f"share of positives among the labels of the {who} {ago} that were known by "
                "then, with five labels of a share of 1 % added"
            )
        found[f"{who}_days_since"] = f"days since the last event of the {who}"
    if has_amount:
        found["agent_amount_ratio"] = (
            f"amount by the mean size of the agent's amounts in the {longest} days before"
        )
        found["agent_amount_z"] = (
            "root of the amount less the agent's mean root, in standard deviations, by the "
            f"{longest} days before"
        )
    found["agent_time_surprise"] = (
        "how far the time of day is from the agent's own: 0 for always the same, 2 for opposite"
    )
    found["pair_events"] = f"events of the agent on the resource in the {longest} days before"
    found["pair_days_since"] = "days since the last event of the agent on the resource"
    found["pair_new"] = f"1 if the agent did not use the resource in the {longest} days before"
    found["resource_new"] = f"1 if nobody used the resource in the {longest} days before"
    lately = f"on the resource in the {middle:g} days before"
    found["agent_count"] = f"distinct agents {lately}"
    found["action_rate"] = f"events a day {lately}, since the first of them, at least an hour ago"
    found["entropy_variance"] = (
        f"variance of the agents' surprisal (log2 of their share) over the events {lately}"
    )
    found["time_correlation"] = (
        f"how much the times of day agree of events {lately}: their mean resultant length"
    )
    if has_amount:
        found["payload_similarity"] = (
            f"how alike the amounts are {lately}: squared mean root by mean size, 1 if equal"
        )
    return found


def columns(log: EventLog, events: Coded) -> tuple[dict[str, Floats], Flags]:
    """Return the columns of the events that ask, and whether each event is unusual.

    Args:
        log: Which columns, and over which windows.
        events: What is remembered, and what asks.

    Returns:
        Columns by name, each of shape (asking,), and flags of all events, shape (n,).
    """
    return _Derivation(log, events).run()


class _Derivation:
    """One pass over the events of a log."""

    def __init__(self, log: EventLog, events: Coded) -> None:
        self._log = log
        self._events = events
        self._remembered = len(events.unusual)
        self._asks = np.arange(len(events.time)) >= self._remembered
        self._timeline = Timeline(events.time)
        self._longest = microseconds(log.windows_days[-1])
        self._middle = microseconds(log.middle_days)
        self._delay = microseconds(log.label_delay_days)
        self._minute = (events.time % DAY) // MINUTE
        self._unusual = np.zeros(len(events.time), dtype=bool)
        self._unusual[: self._remembered] = events.unusual
        self._found: dict[str, Floats] = {}

    def run(self) -> tuple[dict[str, Floats], Flags]:
        asking = self._events.time[self._remembered :]
        self._found["event_hour"] = (asking % DAY) / HOUR
        self._found["event_weekend"] = ((asking // DAY + MONDAY) % 7 >= SATURDAY).astype(float)
        self._agent()
        self._resource()
        self._pair()
        return self._found, self._unusual

    def _past(self, code: Ints) -> Past:
        return Past(code, self._timeline, self._events.whole, self._asks)

    def _put(self, name: str, past: Past, values: NDArray[np.number]) -> None:
        """Keep a column, NaN for the events that lack the key."""
        column = np.full(len(self._asks) - self._remembered, np.nan)
        column[past.rows - self._remembered] = values
        self._found[name] = column

    def _agent(self) -> None:
        past = self._past(self._events.agent)
        if self._log.amount is not None:
            self._relative(past)
        self._common("agent", past)
        window = past.window(self._longest)
        cosine, sine = self._direction(past, window)
        table = _clock()
        minute = self._minute[past.rows]
        alike = (cosine * table[0, minute] + sine * table[1, minute]) / RESOLUTION
        self._put("agent_time_surprise", past, np.maximum(1 - alike, 0.0))

    def _resource(self) -> None:
        past = self._past(self._events.resource)
        self._common("resource", past)
        self._put("resource_new", past, past.window(self._longest).count == 0)
        following = self._of_pair.following()
        for days in self._log.windows_days:
            is_middle = days == self._log.middle_days
            name = "agent_count" if is_middle else f"resource_agents_{days:g}d"
            self._put(name, past, past.distinct(following, microseconds(days)))
        self._lately(past)

    def _pair(self) -> None:
        past = self._of_pair
        window = past.window(self._longest)
        self._put("pair_events", past, window.count)
        self._put("pair_new", past, window.count == 0)
        self._put("pair_days_since", past, self._days_since(past))

    @cached_property
    def _pairs(self) -> Ints:
        """The code of agent and resource together, from 0; -1 where one is missing."""
        events, bits = self._events, self._timeline.bits
        code = np.full(len(events.time), -1, dtype=np.int64)
        whole = np.flatnonzero(events.whole)
        joint = (events.agent[whole] << bits) | events.resource[whole]
        order = np.argsort(joint)
        ordered = joint[order]
        is_new = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
        code[whole[order]] = np.cumsum(is_new) - 1
        return code

    @cached_property
    def _of_pair(self) -> Past:
        return self._past(self._pairs)

    def _common(self, who: str, past: Past) -> None:
        """Keep what agents and resources have in common, over each window."""
        events = self._events
        known = past.sums(events.label >= 0)
        positive = past.sums(events.label == 1)
        for days in self._log.windows_days:
            tag, reach = f"{days:g}d", microseconds(days)
            self._put(f"{who}_events_{tag}", past, past.window(reach).count)
            judged = past.window(reach, delay=self._delay)
            risk = (positive.within(judged) + PRIOR_POSITIVES) / (
                known.within(judged) + PRIOR_LABELS
            )
            self._put(f"{who}_risk_{tag}", past, risk)
        self._put(f"{who}_days_since", past, self._days_since(past))
        if self._log.amount is not None:
            self._amounts(who, past)

    def _amounts(self, who: str, past: Past) -> None:
        present = self._events.amount != MISSING_AMOUNT
        presents = past.sums(present)
        amounts = past.sums(np.where(present, self._events.amount, 0))
        unusual = past.sums(self._unusual)
        for days in self._log.windows_days:
            tag, window = f"{days:g}d", past.window(microseconds(days))
            mean = _ratio(amounts.within(window), presents.within(window)) / RESOLUTION
            self._put(f"{who}_mean_{tag}", past, mean)
            odd = unusual.within(window)
            self._put(f"{who}_unusual_{tag}", past, odd)
            if who == "resource":
                self._put(f"{who}_unusual_share_{tag}", past, _ratio(odd, window.count))

    def _days_since(self, past: Past) -> Floats:
        """Return the days since the last event of the longest window, shape (rows,)."""
        window = past.window(self._longest)
        last = past.times(window.end - 1)
        days = (self._events.time[past.rows] - last) / DAY
        return np.where(window.count > 0, days, np.nan)

    def _relative(self, past: Past) -> None:
        """Keep how amounts compare with their own agent's, and which of them are unusual."""
        amount = self._events.amount
        present = amount != MISSING_AMOUNT
        amount = np.where(present, amount, 0)
        size = np.abs(amount)
        root = _signed_root(amount)
        window = past.window(self._longest)
        count = past.sums(present).within(window)
        mean_size = _ratio(past.sums(size).within(window), count) / RESOLUTION
        mean_root = _ratio(past.sums(root).within(window), count) / RESOLUTION
        spread = np.sqrt(np.maximum(mean_size - mean_root * mean_root, 0.0))
        spread = np.maximum(spread, np.maximum(SPREAD_SHARE * np.abs(mean_root), SMALLEST_SPREAD))
        rows = past.rows
        z = (root[rows] / RESOLUTION - mean_root) / spread
        usual = present[rows] & (count >= FEWEST_AMOUNTS)
        z = np.where(usual, z, np.nan)
        ratio = np.where(present[rows], _ratio(amount[rows] / RESOLUTION, mean_size), np.nan)
        self._put("agent_amount_ratio", past, ratio)
        self._put("agent_amount_z", past, z)
        self._unusual[rows] = usual & (z > UNUSUAL)

    def _direction(self, past: Past, window: Window) -> tuple[Floats, Floats]:
        """Return the mean cosine and sine of the times of day in a window, shape (rows,)."""
        table = _clock()
        count = window.count
        means = [_ratio(past.sums(part[self._minute]).within(window), count) for part in table]
        return means[0] / RESOLUTION, means[1] / RESOLUTION

    def _lately(self, past: Past) -> None:
        """Keep the ancestor's numbers: how the resource was used over the middle window."""
        window = past.window(self._middle)
        count = window.count
        elapsed = self._events.time[past.rows] - past.times(window.start)
        rate = count / (np.maximum(elapsed, HOUR) / DAY)
        self._put("action_rate", past, np.where(count > 0, rate, np.nan))
        self._put("entropy_variance", past, self._varentropy(past, count))
        cosine, sine = self._direction(past, window)
        self._put("time_correlation", past, np.sqrt(cosine * cosine + sine * sine))
        if self._log.amount is None:
            return
        present = self._events.amount != MISSING_AMOUNT
        size = np.abs(np.where(present, self._events.amount, 0))
        mean_size = past.sums(size).within(window)
        mean_root = past.sums(_signed_root(size)).within(window)
        presents = past.sums(present).within(window)
        alike = _ratio(mean_root / RESOLUTION * mean_root, mean_size * presents)
        self._put("payload_similarity", past, alike)

    def _varentropy(self, past: Past, count: Ints) -> Floats:
        """Return the variance of log2 of each event's agent's share in the window."""
        pairs = self._pairs[past.order]
        most = int(np.bincount(pairs, minlength=1).max())
        counts = np.arange(1, most + 1, dtype=np.float64)
        logs = np.log2(counts)
        weights = [
            np.append(0, np.rint(counts * power * RESOLUTION).astype(np.int64))
            for power in (logs, logs * logs)
        ]
        sums = past.shared(self._pairs, self._middle, weights)
        mean, square = (_ratio(total / RESOLUTION, count) for total in sums)
        return np.maximum(square - mean * mean, 0.0)


def _ratio(total: NDArray[np.number], count: NDArray[np.number]) -> Floats:
    """Return the quotient, NaN where nothing is divided by nothing."""
    empty = count == 0
    return np.where(empty, np.nan, total / np.where(empty, 1, count))


def _signed_root(amount: Ints) -> Ints:
    """Return sign(amount) times its root, both in whole numbers of 2**-20."""
    root: Ints = np.rint(np.sqrt(np.abs(amount) / RESOLUTION) * RESOLUTION).astype(np.int64)
    return np.where(amount < 0, -root, root)


def _clock() -> Ints:
    """Return cosine and sine of each minute of the day in 2**-20, shape (2, 1440)."""
    angles = [2 * math.pi * minute / MINUTES for minute in range(MINUTES)]
    parts = [[round(part(angle) * RESOLUTION) for angle in angles] for part in (math.cos, math.sin)]
    return np.array(parts, dtype=np.int64)
