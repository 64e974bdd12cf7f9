"""Whether people would decide as a configuration does, from cases that they reviewed.

A queue of uncertain cases says nothing of the certain ones: on such cases alone agreement was
misjudged by .14. Each case therefore carries the probability at which it entered the sample,
and counts for as many decisions as it stands for.

Reference:
    Horvitz and Thompson 1952; Hajek 1971 (the ratio); the variance is that of the linearised
    ratio within strata, which takes strata of few cases for what they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nethical.metrics.intervals import Interval, clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Agreement", "agreement"]

LEVEL = 0.95


@dataclass(frozen=True)
class Agreement:
    """Agreement with people.

    Args:
        interval: The share of decisions, with bounds that each hold with 95 %.
        n: Reviewed cases that it rests on.
        left_out: Cases that the configuration learnt from.
    """

    interval: Interval
    n: int
    left_out: int = 0


def agreement(
    agrees: NDArray[np.bool_],
    inclusion_probability: NDArray[np.float64],
    strata: Sequence[str],
    *,
    left_out: int = 0,
) -> Agreement | None:
    """Return the agreement over all decisions, None without a case.

    Args:
        agrees: Whether the configuration decides a case as people did, shape (n,).
        inclusion_probability: At which each case entered the sample, shape (n,), in (0, 1].
        strata: The stratum of each case, shape (n,).
        left_out: Cases that it learnt from, for the record.
    """
    n = len(agrees)
    if n == 0:
        return None
    weight = 1 / inclusion_probability
    estimate = float(np.sum(weight * agrees) / np.sum(weight))
    influence = weight * (agrees - estimate) / np.sum(weight)
    variance = 0.0
    names = np.asarray(strata)
    for stratum in np.unique(names):
        part = influence[names == stratum]
        if len(part) == 1:  # nothing is known of its spread: it may be all of it
            variance += float(part[0] ** 2 + (weight[names == stratum][0] / np.sum(weight)) ** 2)
        else:
            variance += len(part) / (len(part) - 1) * float(np.sum((part - part.mean()) ** 2))
    units = n if variance <= 0 else min(estimate * (1 - estimate) / variance, n)
    units = max(units, 1.0) if math.isfinite(units) else float(n)
    exact = clopper_pearson(estimate * units, units, level=LEVEL)
    return Agreement(Interval(estimate, exact.low, exact.high), n, left_out)
