"""How much longer one model takes for a decision than another, beyond what the clock does.

Calls of both models, and a second series of the baseline, are made in random order on the same
rows and timed by the CPU time of this thread. The baseline against itself says what the method
cannot see: without that, a busy machine made a model 11 ms slower than itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.metrics.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Row = Mapping[str, Any]
    Floats = NDArray[np.float64]

__all__ = ["LatencyComparison", "compare_latency"]

WARM_UP = 20
CALLS = 200
RESAMPLES = 2000
LEVEL = 0.95
FLOOR_LEVEL = 0.975


@dataclass(frozen=True)
class LatencyComparison:
    """Latency of two models, in milliseconds of CPU for one row.

    Args:
        p50: Median of the candidate less that of the baseline, with 95 % bounds each.
        p95: The same of the 95th percentiles.
        floor_ms: How far the baseline lies from itself, at most: smaller differences say nothing.
        baseline_ms: Median of the baseline.
        candidate_ms: Median of the candidate.
        calls: Calls of each series.
    """

    p50: Interval
    p95: Interval
    floor_ms: float
    baseline_ms: float
    candidate_ms: float
    calls: int


def compare_latency(
    baseline: Callable[[Row], float],
    candidate: Callable[[Row], float],
    rows: Sequence[Row],
    *,
    rng: np.random.Generator,
    clock: Callable[[], int] = time.thread_time_ns,
    calls: int = CALLS,
) -> LatencyComparison:
    """Return how much longer the candidate takes.

    Args:
        baseline: Scores one row.
        candidate: Scores one row.
        rows: To be scored, at least one.
        rng: Draws rows and orders.
        clock: Returns the CPU time of this thread, in nanoseconds.
        calls: How many of each series.
    """
    series = (baseline, baseline, candidate)
    for call in series:
        for place in range(WARM_UP):
            call(rows[place % len(rows)])
    times = np.empty((3, calls))
    picked = rng.integers(0, len(rows), calls)
    for place in range(calls):
        row = rows[picked[place]]
        for which in rng.permutation(3):
            call = series[which]
            began = clock()
            call(row)
            times[which, place] = (clock() - began) / 1e6
    drawn = rng.integers(0, calls, (RESAMPLES, calls))
    p50, again50 = _gap(times, drawn, 0.5)
    p95, again95 = _gap(times, drawn, 0.95)
    floor = max(_largest(again50), _largest(again95))
    first, _, other = np.median(times, axis=1)
    return LatencyComparison(p50, p95, floor, float(first), float(other), calls)


def _gap(times: Floats, drawn: NDArray[np.int64], level: float) -> tuple[Interval, Floats]:
    """Return a quantile of the candidate less the baseline's, and resamples of a baseline's own.

    Rows are resampled with all their calls, so what a row costs cancels out.
    """
    now = np.quantile(times, level, axis=1)
    resampled = np.quantile(times[:, drawn], level, axis=2)
    gaps = resampled[2] - resampled[0]
    own = resampled[1] - resampled[0]
    low, high = np.quantile(gaps, (1 - LEVEL, LEVEL))
    return Interval(float(now[2] - now[0]), float(low), float(high)), own


def _largest(own: Floats) -> float:
    return float(np.quantile(np.abs(own), FLOOR_LEVEL))
