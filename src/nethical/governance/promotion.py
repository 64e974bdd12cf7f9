"""The promotion gate: a candidate configuration against the one in production, pair by pair.

It asks four things, all of them needed: more recall, hardly more false positives, hardly more
latency, and the agreement of people. Each is judged by a bound at the error rate of this
attempt, and the rate shrinks with each configuration that is tried on the same rows, so that
trying again and again does not pass by luck.

Reference:
    Fagerland, Lydersen and Laake 2013 (mid-p); Tango 1998 (paired differences); the rates
    6 alpha / (pi^2 k^2) of the k-th attempt sum to alpha.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.errors import UsageError
from nethical.gate import Verdict
from nethical.metrics.intervals import (
    Interval,
    cluster_sums,
    normal_quantile,
    quantile,
)
from nethical.metrics.paired import mid_p, paired_rate_difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from nethical.governance.agreement import Agreement
    from nethical.governance.latency import LatencyComparison

    Mask = NDArray[np.bool_]

__all__ = ["Evidence", "GateDecision", "GateLine", "Policy", "Slice", "alpha_of", "decide"]

ALPHA = 0.05
FEWEST_CLUSTERS = 30
POWER = 0.8
FEWEST_IN_A_SLICE = 2
FLOORS = {"Recall gain", "Human agreement"}


@dataclass(frozen=True)
class Policy:
    """What is asked of a candidate.

    Args:
        min_recall_gain: Recall of the candidate less that of the baseline.
        max_false_positive_increase: False positive rate, likewise.
        max_latency_increase_ms: Of p50 and of p95, in milliseconds.
        min_agreement: Share of reviewed cases that it decides as people did.
        strict: Ask the bound of the gain itself for ``min_recall_gain``, not only to be above 0.
        alpha: Error rate of all attempts on one gate part together.
        await_approval: Leave what passes to a person, instead of promoting it at once.
    """

    min_recall_gain: float = 0.03
    max_false_positive_increase: float = 0.02
    max_latency_increase_ms: float = 5.0
    min_agreement: float = 0.85
    strict: bool = False
    alpha: float = ALPHA
    await_approval: bool = False

    def to_document(self) -> dict[str, Any]:
        """Return the policy as JSON values."""
        return asdict(self)


def alpha_of(k: int, alpha: float = ALPHA) -> float:
    """Return the error rate of the k-th attempt on one gate part.

    Raises:
        UsageError: k is below 1.

    Example:
        >>> round(sum(alpha_of(k) for k in range(1, 10_000)), 3)
        0.05
    """
    if k < 1:
        raise UsageError(f"attempt {k}", mend="count attempts from 1")
    return 6 * alpha / (math.pi**2 * k**2)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What both sides decide about the same rows, that neither learnt from.

    Args:
        y_true: Labels, shape (n,), 0 or 1.
        baseline: Whether the baseline calls each row positive, shape (n,).
        candidate: Whether the candidate does.
        clusters: Codes of rows that belong together, shape (n,), or None.
        left_out: Rows of the gate part that a side learnt from.
        latency: How long both take; None where there is no row to time.
        agreement: With reviewed cases; None where there are none: it is then unknown.
        waiver: Why agreement is not asked for; empty if it is.
        fairness: The kind of each row as text, shape (n,), by column.
    """

    y_true: NDArray[np.int8]
    baseline: Mask
    candidate: Mask
    clusters: NDArray[np.int64] | None = None
    left_out: int = 0
    latency: LatencyComparison | None = None
    agreement: Agreement | None = None
    waiver: str = ""
    fairness: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)


@dataclass(frozen=True)
class Slice:
    """What changes for one kind of rows; reported, not judged.

    Args:
        column: The fairness column.
        value: The kind.
        positives: Rows of class 1.
        negatives: Rows of class 0.
        recall_gain: Recall of the candidate less that of the baseline, with bounds.
        false_positive_increase: Of the false positive rate, likewise.
    """

    column: str
    value: str
    positives: int
    negatives: int
    recall_gain: Interval
    false_positive_increase: Interval

    def to_document(self) -> dict[str, Any]:
        """Return the slice as JSON values, None where unknown."""
        return {
            "column": self.column,
            "value": self.value,
            "positives": self.positives,
            "negatives": self.negatives,
            "recall_gain": _told(self.recall_gain),
            "false_positive_increase": _told(self.false_positive_increase),
        }


def _told(interval: Interval) -> list[float | None]:
    bounds = (interval.estimate, interval.low, interval.high)
    return [bound if math.isfinite(bound) else None for bound in bounds]


@dataclass(frozen=True)
class GateLine:
    """One criterion, judged.

    Args:
        name: What is judged.
        estimate: What was measured; None if unknown.
        bound: The bound that decided; None if there is none.
        limit: What it is held against.
        n: What it rests on: positives, negatives, timed calls, reviewed cases.
        verdict: What the bound says.
        needed: About how many more of them would decide, if the estimate holds; None if unknown.
        note: What a reader should know.
    """

    name: str
    estimate: float | None
    bound: float | None
    limit: float
    n: int
    verdict: Verdict
    needed: int | None = None
    note: str = ""

    @property
    def is_at_least(self) -> bool:
        """Whether the limit is a floor."""
        return self.name in FLOORS

    def to_document(self) -> dict[str, Any]:
        """Return the line as JSON values."""
        return {**asdict(self), "verdict": self.verdict.value}


@dataclass(frozen=True)
class GateDecision:
    """The verdict and every criterion behind it, at the error rate of the attempt."""

    verdict: Verdict
    lines: tuple[GateLine, ...]
    alpha: float
    left_out: int = 0
    waiver: str = ""
    slices: tuple[Slice, ...] = ()


def decide(evidence: Evidence, policy: Policy, *, attempt: int) -> GateDecision:
    """Return the verdict on a candidate.

    Args:
        evidence: What was measured.
        policy: What is asked.
        attempt: Which configuration on this gate part it is, from 1.
    """
    alpha = alpha_of(attempt, policy.alpha)
    lines = (
        _recall(evidence, policy, alpha),
        _false_positives(evidence, policy, alpha),
        _latency(evidence, policy),
        _agreement(evidence, policy),
    )
    found = [line.verdict for line in lines]
    verdict = next(
        (v for v in (Verdict.FAIL, Verdict.INSUFFICIENT_EVIDENCE) if v in found), Verdict.PASS
    )
    slices = tuple(_slices(evidence, alpha))
    return GateDecision(verdict, lines, alpha, evidence.left_out, evidence.waiver, slices)


def _slices(evidence: Evidence, alpha: float) -> Iterator[Slice]:
    """Yield what changes for each kind of rows."""
    for column, values in evidence.fairness.items():
        for value in np.unique(values).tolist():
            rows = values == value
            y = evidence.y_true[rows]
            sides = (evidence.baseline[rows], evidence.candidate[rows])
            clusters = None if evidence.clusters is None else evidence.clusters[rows]
            yield Slice(
                column,
                value,
                int(np.sum(y == 1)),
                int(np.sum(y == 0)),
                _change(sides, clusters, y == 1, alpha),
                _change(sides, clusters, y == 0, alpha),
            )


def _change(
    sides: tuple[Mask, Mask], clusters: NDArray[np.int64] | None, rows: Mask, alpha: float
) -> Interval:
    """Return how much oftener the candidate calls some rows positive; NaN if it cannot be said."""
    of_rows = None if clusters is None else clusters[rows]
    few = not rows.any() or (of_rows is not None and len(np.unique(of_rows)) < FEWEST_IN_A_SLICE)
    if few:
        return Interval(math.nan, math.nan, math.nan)
    return _difference(sides[0][rows], sides[1][rows], of_rows, 1 - alpha)


def _difference(
    baseline: Mask, candidate: Mask, clusters: NDArray[np.int64] | None, level: float
) -> Interval:
    """Return how much oftener the candidate calls a row positive, with bounds."""
    both, only_a, only_b = _pairs(baseline, candidate)
    neither = len(baseline) - both - only_a - only_b
    if clusters is None:
        return paired_rate_difference(both, only_a, only_b, neither, level=level)
    effect, groups = _design_effect(candidate.astype(np.float64) - baseline, clusters)
    counts = (count / effect for count in (both, only_a, only_b, neither))
    from scipy.special import ndtr

    likewise = float(ndtr(quantile(level, groups)))  # whose normal quantile is Student's
    return paired_rate_difference(*counts, level=likewise)


def _design_effect(change: NDArray[np.float64], clusters: NDArray[np.int64]) -> tuple[float, int]:
    """Return for how many rows one stands, since rows of a cluster are alike, and the clusters.

    Where nothing changes no spread is seen, and each cluster is one observation: the mean's own
    spread would be 0 there, and passed a rise of .02 in half of all gate parts of 30 clusters.
    """
    n, mean = len(change), float(np.mean(change))
    sums = cluster_sums(change - mean, clusters)
    groups = len(sums)
    independent = float(np.mean(change**2)) - mean**2
    if independent <= 0:
        return n / groups, groups
    clustered = groups / (groups - 1) * float(np.sum(sums**2)) / n
    return max(clustered / independent, 1.0), groups


def _pairs(baseline: Mask, candidate: Mask) -> tuple[int, int, int]:
    both = int(np.sum(baseline & candidate))
    return both, int(np.sum(baseline)) - both, int(np.sum(candidate)) - both


def _too_few_clusters(clusters: NDArray[np.int64] | None) -> bool:
    return clusters is not None and len(np.unique(clusters)) < FEWEST_CLUSTERS


def _recall(evidence: Evidence, policy: Policy, alpha: float) -> GateLine:
    """Return whether the gain of recall is large, and no luck."""
    rows = evidence.y_true == 1
    baseline, candidate = evidence.baseline[rows], evidence.candidate[rows]
    clusters = None if evidence.clusters is None else evidence.clusters[rows]
    name, limit, n = "Recall gain", policy.min_recall_gain, len(baseline)
    undecided = Verdict.INSUFFICIENT_EVIDENCE
    if n == 0 or _too_few_clusters(clusters):
        note = "no positive row" if n == 0 else f"fewer than {FEWEST_CLUSTERS} groups"
        return GateLine(name, None, None, limit, n, undecided, None, note)
    gain = _difference(baseline, candidate, clusters, 1 - alpha)
    _, only_a, only_b = _pairs(baseline, candidate)
    is_no_luck = gain.low > 0 if clusters is not None else mid_p(only_a, only_b) <= alpha
    if policy.strict:
        is_no_luck = gain.low >= limit
    if gain.estimate >= limit and is_no_luck:
        return GateLine(name, gain.estimate, gain.low, limit, n, Verdict.PASS)
    if gain.high < limit:
        return GateLine(name, gain.estimate, gain.high, limit, n, Verdict.FAIL)
    target = limit if policy.strict else 0.0
    needed = _more(n, gain.estimate - gain.low, gain.estimate - target)
    if gain.estimate < limit:
        needed = None
    return GateLine(name, gain.estimate, gain.low, limit, n, undecided, needed)


def _false_positives(evidence: Evidence, policy: Policy, alpha: float) -> GateLine:
    """Return whether the false positive rate rose by no more than is allowed."""
    rows = evidence.y_true == 0
    baseline, candidate = evidence.baseline[rows], evidence.candidate[rows]
    clusters = None if evidence.clusters is None else evidence.clusters[rows]
    name, limit, n = "FP increase", policy.max_false_positive_increase, len(baseline)
    undecided = Verdict.INSUFFICIENT_EVIDENCE
    if n == 0 or _too_few_clusters(clusters):
        note = "no negative row" if n == 0 else f"fewer than {FEWEST_CLUSTERS} groups"
        return GateLine(name, None, None, limit, n, undecided, None, note)
    rise = _difference(baseline, candidate, clusters, 1 - alpha)
    if rise.high <= limit:
        return GateLine(name, rise.estimate, rise.high, limit, n, Verdict.PASS)
    if rise.low > limit:
        return GateLine(name, rise.estimate, rise.low, limit, n, Verdict.FAIL)
    needed = _more(n, rise.high - rise.estimate, limit - rise.estimate)
    return GateLine(name, rise.estimate, rise.high, limit, n, undecided, needed)


def _latency(evidence: Evidence, policy: Policy) -> GateLine:
    """Return whether a decision takes hardly longer, beyond what the clock itself does."""
    name, limit = "Latency increase", policy.max_latency_increase_ms
    undecided = Verdict.INSUFFICIENT_EVIDENCE
    found = evidence.latency
    if found is None:
        note = "no row to time: name a table with --data"
        return GateLine(name, None, None, limit, 0, undecided, None, note)
    both = (found.p50, found.p95)
    worst = max(both, key=lambda interval: interval.high)
    note = f"clock floor {found.floor_ms:.2g} ms"
    if found.floor_ms >= limit / 2:
        note += ": too coarse to judge by"
        return GateLine(
            name,
            worst.estimate,
            worst.high,
            limit,
            found.calls,
            undecided,
            None,
            note,
        )
    surest = max(both, key=lambda interval: interval.low)
    if worst.high <= limit:
        verdict, bound = Verdict.PASS, worst.high
    elif surest.low > limit + found.floor_ms:
        worst, verdict, bound = surest, Verdict.FAIL, surest.low
    else:
        verdict, bound = undecided, worst.high
    return GateLine(name, worst.estimate, bound, limit, found.calls, verdict, None, note)


def _agreement(evidence: Evidence, policy: Policy) -> GateLine:
    """Return whether people agree; without reviewed cases that is unknown."""
    name, limit, found = "Human agreement", policy.min_agreement, evidence.agreement
    if evidence.waiver:
        note = f"waived: {evidence.waiver}"
        estimate = None if found is None else found.estimate
        n = 0 if found is None else found.n
        return GateLine(name, estimate, None, limit, n, Verdict.PASS, None, note)
    if found is None or found.n == 0:
        undecided = Verdict.INSUFFICIENT_EVIDENCE
        note = found.note if found is not None and found.note else "0 reviewed"
        return GateLine(name, None, None, limit, 0, undecided, None, note)
    interval = found.interval
    if interval.low >= limit:
        verdict, bound, needed = Verdict.PASS, interval.low, None
    elif interval.high < limit:
        verdict, bound, needed = Verdict.FAIL, interval.high, None
    else:
        verdict, bound = Verdict.INSUFFICIENT_EVIDENCE, interval.low
        needed = _more(found.n, interval.estimate - interval.low, interval.estimate - limit)
    return GateLine(name, interval.estimate, bound, limit, found.n, verdict, needed)


def _more(n: int, margin: float, distance: float) -> int | None:
    """Return about how many more shrink the margin to the distance, or None if none do."""
    if distance <= 0 or not math.isfinite(margin):
        return None
    return max(math.ceil(n * ((margin / distance) ** 2 - 1)), 1)


def rows_for_gain(gain: float, discordance: float, *, alpha: float, power: float = POWER) -> int:
    """Return how many positives show a gain of recall with this power.

    Args:
        gain: The true gain, in (0, 1).
        discordance: Share of positives that exactly one side finds.
        alpha: One-sided.
        power: In (.5, 1).
    """
    z = normal_quantile(1 - alpha) * math.sqrt(discordance)
    z += normal_quantile(power) * math.sqrt(max(discordance - gain**2, 0.0))
    return math.ceil((z / gain) ** 2)
