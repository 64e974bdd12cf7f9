"""Two sets of rows by one model: the effects, and the tests that two sides are alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nethical.drift import cells as of
from nethical.drift import measures, statistics
from nethical.drift.effects import (
    FEWEST_CLUSTERS,
    FEWEST_IN_DENOMINATOR,
    FEWEST_ROWS,
    Effect,
    Gap,
    Settings,
    Test,
    effect,
)
from nethical.metrics.intervals import Interval

if TYPE_CHECKING:
    from nethical.drift.cells import Cells

__all__ = [
    "TESTED_RATES",
    "effects",
    "fewest_rows",
    "line_test",
    "score_gap",
    "scores_test",
    "tests",
]

JUDGED_RATES = ("accuracy", "recall", "false_positive_rate")
TESTED_RATES = (*JUDGED_RATES, "precision", "prevalence", "flag_rate")
UNDEFINED = Interval(math.nan, math.nan, math.nan)


def fewest_rows(*sides: Cells) -> float:
    """Return how many rows a rate needs: no number is enough where a side is too small."""
    enough = all(
        side.rows >= FEWEST_ROWS and (side.clusters is None or side.clusters >= FEWEST_CLUSTERS)
        for side in sides
    )
    return FEWEST_IN_DENOMINATOR if enough else math.inf


def effects(reference: Cells, current: Cells, settings: Settings) -> list[Effect]:
    """Return the effects, current less reference."""
    fewest, rows = fewest_rows(reference, current), (reference.rows, current.rows)
    found = []
    for name in JUDGED_RATES:
        gap = _rate_gap(reference, current, name, settings.level(name))
        found.append(effect(name, gap, settings, fewest=fewest, rows=rows))
    for name, measure in (
        ("ece", _calibration_gap),
        ("brier", _loss_gap),
        ("score_distribution", score_gap),
    ):
        gap = measure(reference, current, settings.level(name))
        found.append(effect(name, gap, settings, fewest=max(fewest, FEWEST_ROWS), rows=rows))
    return found


def _rate_gap(reference: Cells, current: Cells, name: str, level: float) -> Gap:
    a, b = measures.rate(reference, name), measures.rate(current, name)
    difference = statistics.rate_difference(
        a.hits / a.effect,
        a.n / a.effect,
        b.hits / b.effect,
        b.n / b.effect,
        level=level,
        groups=_fewer(reference, current),
    )
    return Gap(a.value, b.value, difference, (a.n, b.n))


def _fewer(reference: Cells, current: Cells) -> int | None:
    """Return the number of clusters of the side with fewer, None where neither has any."""
    counts = [c.clusters for c in (reference, current) if c.clusters is not None]
    return min(counts) if counts else None


def _degrees(cells: Cells) -> float:
    return math.inf if cells.clusters is None else max(cells.clusters - 1, 1)


def _calibration_gap(reference: Cells, current: Cells, level: float) -> Gap:
    a, b = measures.calibration_error(reference), measures.calibration_error(current)
    n = (reference.labelled, current.labelled)
    if a is None or b is None:
        return Gap(math.nan, math.nan, UNDEFINED, n)
    difference, _ = statistics.mean_difference(
        *(a.estimate, a.error, _degrees(reference)),
        *(b.estimate, b.error, _degrees(current)),
        level=level,
    )
    return Gap(max(a.estimate, 0.0), max(b.estimate, 0.0), difference, n)


def _loss_gap(reference: Cells, current: Cells, level: float) -> Gap:
    """Return the difference of the mean Brier losses."""
    (a, error_a), (b, error_b) = measures.brier(reference), measures.brier(current)
    difference, _ = statistics.mean_difference(
        *(a, error_a, _mean_degrees(reference)),
        *(b, error_b, _mean_degrees(current)),
        level=level,
    )
    return Gap(a, b, difference, (reference.labelled, current.labelled))


def score_gap(reference: Cells, current: Cells, level: float) -> Gap:
    """Return the largest gap of the two score distributions; it has no value on either side."""
    gap = statistics.largest_gap(
        reference.scores(),
        current.scores(),
        level=level,
        effect_a=measures.score_effect(reference),
        effect_b=measures.score_effect(current),
    )
    return Gap(math.nan, math.nan, gap, (reference.rows, current.rows))


def tests(reference: Cells, current: Cells) -> list[Test]:
    """Return the tests that both sides are alike, not yet adjusted for their number."""
    labelled = (reference.labelled, current.labelled)
    found = []
    for name in TESTED_RATES:
        a, b = measures.rate(reference, name), measures.rate(current, name)
        p = statistics.rate_test(
            a.hits,
            a.n,
            b.hits,
            b.n,
            effect_a=a.effect,
            effect_b=b.effect,
            groups=_fewer(reference, current),
        )
        found.append(Test(name, "score test", p, (a.n, b.n)))
    a_mean, a_error = measures.brier(reference)
    b_mean, b_error = measures.brier(current)
    _, p = statistics.mean_difference(
        *(a_mean, a_error, _mean_degrees(reference)),
        *(b_mean, b_error, _mean_degrees(current)),
        level=0.975,
    )
    found.append(Test("brier", "Welch's t", p, labelled))
    found.append(
        Test("calibration_line", "Wald chi-square", line_test(reference, current), labelled)
    )
    found.append(
        Test(
            "score_distribution",
            "chi-square",
            scores_test([reference, current]),
            (reference.rows, current.rows),
        )
    )
    return found


def _mean_degrees(cells: Cells) -> float:
    return float(max((cells.clusters or cells.labelled) - 1, 1))


def line_test(reference: Cells, current: Cells) -> float:
    """Return p of one recalibration line for both sides; NaN where a side has none.

    Reference:
        Cox 1958.
    """
    a, b = measures.line(reference), measures.line(current)
    if a is None or b is None:
        return math.nan
    from scipy.special import chdtrc, fdtrc

    gap, covariance = b.beta - a.beta, a.covariance + b.covariance
    if not np.all(np.isfinite(covariance)) or np.linalg.cond(covariance) > 1e14:  # noqa: PLR2004
        return math.nan
    statistic = float(gap @ np.linalg.solve(covariance, gap))
    clusters = _fewer(reference, current)
    if clusters is None:
        return float(chdtrc(2, statistic))
    return float(fdtrc(2, max(clusters - 1, 1), statistic / 2))


def scores_test(sides: list[Cells]) -> float:
    """Return p of one score distribution for all sides, counts less their design effects.

    NaN where a side has so few clusters that its design effects say little.
    """
    if any(s.clusters is not None and s.clusters < FEWEST_CLUSTERS for s in sides):
        return math.nan
    counts = [s.scores(of.N_SCORES) / measures.score_effect(s) for s in sides]
    return statistics.homogeneity(np.stack(counts), ordered=True).p
