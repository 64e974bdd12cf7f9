"""Groups of rows: whether a model treats them alike, and in whom something changed.

Each group is tested against all other rows; p is adjusted by Holm over groups and metrics, so
that the probability of any false alarm stays below alpha however many groups there are. A gap
of point estimates proves nothing: ten equal groups of 100 rows differ by .15 by chance alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.drift import measures, power, statistics
from nethical.drift.effects import FEWEST_IN_DENOMINATOR, known
from nethical.metrics.intervals import Interval

if TYPE_CHECKING:
    from nethical.drift.cells import Slice, Summary
    from nethical.drift.measures import Rate

__all__ = ["Fairness", "GroupTest", "changes", "disparities", "group_name"]

COMPARED = ("accuracy", "recall", "false_positive_rate", "flag_rate")
CHANGED = ("accuracy", "recall", "false_positive_rate")
UNDEFINED = Interval(math.nan, math.nan, math.nan)


def group_name(group: Slice) -> str:
    """Return how a group is called: ``column = value``, joined by ``and``.

    Example:
        >>> group_name((("region", "north"), ("tool", "mail")))
        'region = north and tool = mail'
    """
    return " and ".join(f"{column} = {value}" for column, value in group)


@dataclass(frozen=True)
class GroupTest:
    """One rate of one group beside that of others.

    Args:
        group: The group.
        metric: The rate.
        value: In the group.
        other: In what it is compared with.
        difference: Group less other, with bounds that hold together over all tests.
        p: Of equal rates.
        p_adjusted: By Holm; NaN where it was not assessed.
        n: Rows behind the value in the group, and in what it is compared with.
        shrunken: The rate of the group drawn towards that of all, for reading.
        detectable: The smallest difference that would be found with 80 % power.
        is_alarm: Whether the adjusted p is below alpha.
    """

    group: Slice
    metric: str
    value: float
    other: float
    difference: Interval
    p: float
    n: tuple[int, int]
    p_adjusted: float = math.nan
    shrunken: float = math.nan
    detectable: float = math.nan
    is_alarm: bool = False

    def to_document(self) -> dict[str, Any]:
        """Return the test as JSON values, None where unknown."""
        return {
            "group": dict(self.group),
            "metric": self.metric,
            "value": known(self.value),
            "other": known(self.other),
            "effect": known(self.difference.estimate),
            "ci": [known(self.difference.low), known(self.difference.high)],
            "p": known(self.p),
            "p_adjusted": known(self.p_adjusted),
            "n": list(self.n),
            "shrunken": known(self.shrunken),
            "detectable_effect": known(self.detectable),
            "alarm": self.is_alarm,
        }


@dataclass(frozen=True)
class Fairness:
    """How the groups of a cohort compare with each other.

    Args:
        tests: Every group and rate that could be assessed.
        not_assessable: The others, for lack of rows.
        omnibus: By column and rate, p of all its values having one rate.
    """

    tests: tuple[GroupTest, ...]
    not_assessable: tuple[GroupTest, ...]
    omnibus: dict[tuple[str, str], float]

    @property
    def alarms(self) -> tuple[GroupTest, ...]:
        """The tests that raised an alarm."""
        return tuple(test for test in self.tests if test.is_alarm)


@dataclass(frozen=True)
class _Pair:
    """A rate of a group and of what it is compared with."""

    group: Slice
    metric: str
    own: Rate
    other: Rate

    @property
    def n(self) -> tuple[int, int]:
        return self.own.n, self.other.n

    @property
    def clusters(self) -> int | None:
        """Clusters of the side with fewer; None where neither has any."""
        counts = [c for c in (self.own.clusters, self.other.clusters) if c is not None]
        return min(counts) if counts else None


def disparities(summary: Summary, *, alpha: float) -> Fairness:
    """Return each group beside all other rows of the same cohort.

    Args:
        summary: The cohort.
        alpha: Probability of any false alarm, in (0, 1).
    """
    pairs = []
    for group, cells in summary.groups.items():
        rest = summary.whole - cells
        for metric in COMPARED:
            whole = measures.rate(summary.whole, metric)
            other = replace(
                measures.rate(rest, metric), effect=whole.effect, clusters=whole.clusters
            )
            pairs.append(_Pair(group, metric, measures.rate(cells, metric), other))
    assessable = [pair for pair in pairs if min(pair.n) >= FEWEST_IN_DENOMINATOR]
    few = [pair for pair in pairs if min(pair.n) < FEWEST_IN_DENOMINATOR]
    tests = _with_shrunken(_tested(assessable, alpha))
    return Fairness(tests, tuple(_untested(pair) for pair in few), _omnibus(summary))


def changes(reference: Summary, current: Summary, *, alpha: float) -> tuple[GroupTest, ...]:
    """Return each group of a cohort beside the same group of the reference: in whom it changed.

    Args:
        reference: The reference.
        current: What is compared with it.
        alpha: Probability of any false alarm, in (0, 1).
    """
    pairs = [
        _Pair(
            group,
            metric,
            measures.rate(cells, metric),
            measures.rate(reference.groups[group], metric),
        )
        for group, cells in current.groups.items()
        if group in reference.groups
        for metric in CHANGED
    ]
    return _tested([pair for pair in pairs if min(pair.n) >= FEWEST_IN_DENOMINATOR], alpha)


def _untested(pair: _Pair) -> GroupTest:
    own, other = pair.own.value, pair.other.value
    return GroupTest(pair.group, pair.metric, own, other, UNDEFINED, math.nan, pair.n)


def _tested(pairs: list[_Pair], alpha: float) -> tuple[GroupTest, ...]:
    """Return a test of each pair, adjusted for how many there are."""
    p_values = [
        statistics.rate_test(
            pair.other.hits,
            pair.other.n,
            pair.own.hits,
            pair.own.n,
            effect_a=pair.other.effect,
            effect_b=pair.own.effect,
            groups=pair.clusters,
        )
        for pair in pairs
    ]
    each = alpha / max(len(pairs), 1)
    found = []
    for pair, p, adjusted in zip(pairs, p_values, statistics.holm(p_values), strict=True):
        own, other = pair.own, pair.other
        difference = statistics.rate_difference(
            other.hits / other.effect,
            other.n / other.effect,
            own.hits / own.effect,
            own.n / own.effect,
            level=1 - each / 2,
            groups=pair.clusters,
        )
        detectable = power.smallest_change(
            other.value, other.n / other.effect, own.n / own.effect, alpha=each
        )
        found.append(
            GroupTest(
                pair.group,
                pair.metric,
                own.value,
                other.value,
                difference,
                p,
                pair.n,
                adjusted,
                detectable=detectable,
                is_alarm=adjusted < alpha,
            )
        )
    return tuple(found)


def _with_shrunken(tests: tuple[GroupTest, ...]) -> tuple[GroupTest, ...]:
    """Return the tests with the rates of the groups of each column drawn towards their mean."""
    kinds: dict[tuple[tuple[str, ...], str], list[int]] = {}
    for place, test in enumerate(tests):
        columns = tuple(column for column, _ in test.group)
        kinds.setdefault((columns, test.metric), []).append(place)
    shrunken = np.full(len(tests), math.nan)
    for places in kinds.values():
        n = np.array([tests[place].n[0] for place in places], dtype=np.float64)
        hits = np.array([tests[place].value for place in places]) * n
        shrunken[places] = statistics.shrunken(hits, n)
    return tuple(
        replace(test, shrunken=float(value)) for test, value in zip(tests, shrunken, strict=True)
    )


def _omnibus(summary: Summary) -> dict[tuple[str, str], float]:
    """Return p of one rate in all values of a column, by column and rate."""
    found = {}
    for column in dict.fromkeys(group[0][0] for group in summary.groups if len(group) == 1):
        values = [
            cells
            for group, cells in summary.groups.items()
            if len(group) == 1 and group[0][0] == column
        ]
        for metric in COMPARED:
            rates = [measures.rate(cells, metric) for cells in values]
            table = np.array(
                [[r.hits / r.effect, (r.n - r.hits) / r.effect] for r in rates if r.n]
            ).reshape(-1, 2)
            found[column, metric] = statistics.homogeneity(table).p
    return found
