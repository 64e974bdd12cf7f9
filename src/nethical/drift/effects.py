"""Effects and their margins: how a verdict follows from intervals.

Six effects are judged: accuracy, recall, false positive rate, calibration error, Brier loss and
the score distribution. Their intervals hold together with probability 1 - alpha, over all
comparisons of a report, by Bonferroni's inequality. An effect is beyond its margin when its
whole interval is, and within when its whole interval is. Everything else is reported, never
judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nethical.errors import UsageError
from nethical.metrics.intervals import Interval, normal_quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "MARGINS",
    "Effect",
    "EffectVerdict",
    "Gap",
    "Settings",
    "Test",
    "Verdict",
    "effect",
    "verdict_of",
]

MARGINS = {
    "accuracy": 0.02,
    "recall": 0.05,
    "false_positive_rate": 0.02,
    "ece": 0.02,
    "brier": 0.01,
    "score_distribution": 0.10,
}
# How the error rate is shared: the loss sees most changes first, so it gets most; calibration
# and scores see what leaves the decisions as they were.
SHARES = {
    "accuracy": 0.1,
    "recall": 0.05,
    "false_positive_rate": 0.05,
    "ece": 0.2,
    "brier": 0.4,
    "score_distribution": 0.2,
}
ALPHA = 0.01
POWER = 0.8
FEWEST_ROWS = 100
FEWEST_IN_DENOMINATOR = 10
FEWEST_CLUSTERS = 5  # of fewer the spread is hardly known: false alarms rise to three times alpha
MOST_ROWS = 10**12


class Verdict(StrEnum):
    """What a comparison says."""

    DRIFT = "drift"
    NO_DRIFT = "no_drift"
    INCONCLUSIVE = "inconclusive"


class EffectVerdict(StrEnum):
    """What the interval of one effect says of its margin."""

    BEYOND = "beyond"
    WITHIN = "within"
    UNDECIDED = "undecided"
    NOT_ASSESSABLE = "not_assessable"


@dataclass(frozen=True)
class Settings:
    """How a report judges.

    Args:
        alpha: Probability of any false verdict of drift in the whole report, in (0, 1); as large,
            each, is that of any false alarm about groups that differ, and about groups that
            changed.
        margins: The largest change that does not matter, by effect, each in (0, 1).
        comparisons: How many comparisons share alpha.

    Raises:
        UsageError: Something is out of its range, or a margin names no effect.
    """

    alpha: float = ALPHA
    margins: Mapping[str, float] = field(default_factory=lambda: dict(MARGINS))
    comparisons: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha is {self.alpha}", mend="give a number between 0 and 1")
        for name, margin in self.margins.items():
            if name not in MARGINS:
                raise UsageError(
                    f"there is no effect {name!r}", mend=f"choose one of {', '.join(MARGINS)}"
                )
            if not 0 < margin < 1:
                raise UsageError(
                    f"the margin of {name} is {margin}", mend="give a number between 0 and 1"
                )

    def level(self, name: str) -> float:
        """Return the one-sided confidence of each bound of an effect."""
        return 1 - self.alpha * SHARES[name] / (2 * self.comparisons)

    def margin(self, name: str) -> float:
        """Return the margin of an effect."""
        return self.margins.get(name, MARGINS[name])


@dataclass(frozen=True)
class Gap:
    """What lies between a value in the reference and in what is compared.

    Args:
        reference: Its value in the reference; NaN where it has none, as a distribution.
        current: In what is compared.
        difference: Current less reference.
        n: Rows (or runs) behind the value on either side.
    """

    reference: float
    current: float
    difference: Interval
    n: tuple[int, int]


@dataclass(frozen=True)
class Effect:
    """A gap against its margin.

    Args:
        name: One of the six.
        gap: The difference, with simultaneous bounds.
        margin: What does not matter.
        verdict: What the interval says.
        rows_needed: Rows of each side from which on no change would be seen to be none, with
            80 % power; None where it cannot be told.
        detectable: The smallest change that these rows would show to be beyond the margin, with
            80 % power.
    """

    name: str
    gap: Gap
    margin: float
    verdict: EffectVerdict
    rows_needed: int | None = None
    detectable: float = math.nan

    def to_document(self) -> dict[str, Any]:
        """Return the effect as JSON values, None where unknown."""
        difference = self.gap.difference
        return {
            "metric": self.name,
            "reference": known(self.gap.reference),
            "current": known(self.gap.current),
            "effect": known(difference.estimate),
            "ci": [known(difference.low), known(difference.high)],
            "margin": self.margin,
            "n": list(self.gap.n),
            "verdict": self.verdict.value,
            "rows_needed": self.rows_needed,
            "detectable_effect": known(self.detectable),
        }


@dataclass(frozen=True)
class Test:
    """A test that two sides are alike; p is adjusted over all tests of the report."""

    metric: str
    name: str
    p: float
    n: tuple[int, int]
    p_adjusted: float = math.nan

    __test__ = False  # no test case of pytest

    def to_document(self) -> dict[str, Any]:
        """Return the test as JSON values, None where it is undefined."""
        return {
            "metric": self.metric,
            "test": self.name,
            "p": known(self.p),
            "p_adjusted": known(self.p_adjusted),
            "n": list(self.n),
        }


def known(value: float) -> float | None:
    """Return a number as a JSON value, None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def effect(
    name: str,
    gap: Gap,
    settings: Settings,
    *,
    fewest: float = FEWEST_IN_DENOMINATOR,
    rows: tuple[int, int] | None = None,
) -> Effect:
    """Return an effect with its verdict.

    Args:
        name: One of the six.
        gap: With bounds at ``settings.level(name)``.
        settings: Margins.
        fewest: Fewer rows than these on a side say nothing.
        rows: All rows of either side, of which those behind the gap are a part; None if they
            are all.
    """
    margin, found = settings.margin(name), gap.difference
    half = max(found.high - found.estimate, found.estimate - found.low)
    if min(gap.n) < fewest or not math.isfinite(half):
        return Effect(name, gap, margin, EffectVerdict.NOT_ASSESSABLE)
    if found.low > margin or found.high < -margin:
        verdict = EffectVerdict.BEYOND
    elif -margin < found.low and found.high < margin:
        verdict = EffectVerdict.WITHIN
    else:
        verdict = EffectVerdict.UNDECIDED
    z = normal_quantile(settings.level(name))
    found_from = margin + half * (1 + normal_quantile(POWER) / z)
    # Both bounds must lie within, and sides of one size vary as sides of their harmonic mean.
    wide = half * (1 + normal_quantile((1 + POWER) / 2) / z)
    a, b = gap.n if rows is None else rows
    needed = math.ceil(2 / (1 / a + 1 / b) * (wide / margin) ** 2)
    told = needed if needed <= MOST_ROWS else None
    return Effect(name, gap, margin, verdict, told, found_from)


def verdict_of(effects: Sequence[Effect]) -> Verdict:
    """Return drift if any effect is beyond its margin, no drift if all are within."""
    found = [one.verdict for one in effects]
    if EffectVerdict.BEYOND in found:
        return Verdict.DRIFT
    if found and all(one == EffectVerdict.WITHIN for one in found):
        return Verdict.NO_DRIFT
    return Verdict.INCONCLUSIVE
