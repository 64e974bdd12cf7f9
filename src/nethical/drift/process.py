"""Two ways of training, each tried several times: the runs vary, not only the rows.

Two honest trainings on other samples or seeds give models that differ; tests over rows call
that drift in 10 to 99 of 100 cases. Only the spread between runs says what is usual.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nethical.drift import measures, statistics
from nethical.drift.effects import Effect, Gap, Settings, Test, effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nethical.drift.cells import Cells

__all__ = ["FEWEST_RUNS", "effects", "tests"]

FEWEST_RUNS = 3
TESTED = ("accuracy", "recall", "false_positive_rate", "ece", "brier", "score_distribution")


def _value(cells: Cells, name: str) -> float:
    """Return the value of a run; the mean probability stands for its score distribution."""
    if name == "score_distribution":
        return cells.mean_proba
    if name == "ece":
        error = measures.calibration_error(cells)
        return math.nan if error is None else error.estimate
    if name == "brier":
        return measures.brier(cells)[0]
    return measures.rate(cells, name).value


def _values(runs: Sequence[Cells], name: str) -> NDArray[np.float64]:
    values = np.array([_value(cells, name) for cells in runs])
    return np.asarray(values[np.isfinite(values)])


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def effects(
    reference: Sequence[Cells], current: Sequence[Cells], settings: Settings
) -> list[Effect]:
    """Return the effects as differences of means over runs, current less reference."""
    found = []
    for name in TESTED:
        a, b = _values(reference, name), _values(current, name)
        difference, _ = statistics.welch(a, b, level=settings.level(name))
        gap = Gap(_mean(a), _mean(b), difference, (len(a), len(b)))
        found.append(effect(name, gap, settings, fewest=FEWEST_RUNS))
    return found


def tests(reference: Sequence[Cells], current: Sequence[Cells]) -> list[Test]:
    """Return Welch's test of each effect, not yet adjusted for their number."""
    found = []
    for name in TESTED:
        a, b = _values(reference, name), _values(current, name)
        _, p = statistics.welch(a, b, level=0.975)
        found.append(Test(name, "Welch's t over runs", p, (len(a), len(b))))
    return found
