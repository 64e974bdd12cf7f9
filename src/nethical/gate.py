"""The promotion gate: criteria that read bounds, and a verdict of three values.

A criterion passes when its one-sided 95 % bound lies on the right side of the limit, fails
when the opposite bound lies on the wrong side, and is INSUFFICIENT_EVIDENCE between. No
estimate decides anything, so nobody passes by luck more often than the level says, and a model
that is right is not refused because the data are few: it is told how many rows are missing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.errors import UsageError
from nethical.metrics.calibration import ece_debiased
from nethical.metrics.evaluation import brier_skill
from nethical.metrics.intervals import (
    UNDEFINED,
    Interval,
    clopper_pearson,
    effective_rows,
    mean_interval,
    quantile,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[Any]
    Groups = NDArray[np.int64] | None

__all__ = [
    "Comparison",
    "Criterion",
    "Decision",
    "Evidence",
    "Limits",
    "Reference",
    "ScoredSet",
    "Verdict",
    "compare",
    "decide",
    "undecided",
]

LEVEL = 0.95
FAIRNESS_ALPHA = 0.05
FEWEST_FAIRNESS_ROWS = 100
FEWEST_GROUPS = 30


class Verdict(StrEnum):
    """What a criterion, or the gate, says."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    FAIL = "FAIL"
    INSUFFICIENT_EVIDENCE = "INSUFFICIENT_EVIDENCE"


@dataclass(frozen=True)
class Limits:
    """What a model must reach.

    Args:
        max_ece: Largest expected calibration error.
        min_accuracy: Smallest accuracy.

    Raises:
        UsageError: A limit is not between 0 and 1.
    """

    max_ece: float = 0.08
    min_accuracy: float = 0.85

    def __post_init__(self) -> None:
        for flag, value in (("max-ece", self.max_ece), ("min-accuracy", self.min_accuracy)):
            if not 0 < value < 1:
                raise UsageError(
                    f"--promotion-{flag} is {value}", mend="give a number between 0 and 1"
                )


@dataclass(frozen=True)
class ScoredSet:
    """Rows that a model was scored on and never learnt from.

    Args:
        y_true: Labels, shape (n,), 0 or 1.
        y_proba: Probability of class 1, shape (n,).
        groups: Codes of rows that belong together, shape (n,), or None.
    """

    y_true: Labels
    y_proba: Floats
    groups: Groups = None


@dataclass(frozen=True)
class Evidence:
    """All that the gate reads.

    Args:
        gate: The gate part.
        threshold: A row is called positive from this probability on.
        unaccepted_leaks: Columns that nearly decide the label and nobody accepted; None where
            too few rows of a class were there to look for any.
        is_probed: Whether leaks are a question at all; not so on other data.
        reference: A plainer model to be held against, or None.
        min_recall: Share of positives to be called at the threshold; 0 for any above 0.
        is_calibrated: Whether y_proba are probabilities; percentiles are not.
        challenges: Further sets that must hold too, by name.
        fairness: Group of each gate row as text, shape (n,), by fairness column.
    """

    gate: ScoredSet
    threshold: float
    unaccepted_leaks: tuple[str, ...] | None = ()
    challenges: Mapping[str, ScoredSet] = field(default_factory=dict)
    fairness: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    is_probed: bool = True
    reference: Reference | None = None
    min_recall: float = 0.0
    is_calibrated: bool = True


@dataclass(frozen=True)
class Reference:
    """A plainer model of the same rows, that the model must not be worse than.

    Args:
        name: Its model type.
        y_proba: Its probabilities of the gate part, shape (n,).
    """

    name: str
    y_proba: Floats


@dataclass(frozen=True)
class Criterion:
    """One criterion, judged.

    Args:
        name: What is judged, with its limit, as it is printed.
        estimate: The measured value; None if unknown.
        bound: The bound that decided: the passing one, or the opposite one on FAIL.
        threshold: The limit.
        n: Rows (or groups) measured.
        verdict: What the bounds say.
        rows_needed: About how many more such rows would let it pass if the estimate holds.
        note: What a reader should know.
    """

    name: str
    estimate: float | None
    bound: float | None
    threshold: float
    n: int
    verdict: Verdict
    rows_needed: int | None = None
    note: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return the criterion as JSON values."""
        return {**asdict(self), "verdict": self.verdict.value}


@dataclass(frozen=True)
class Decision:
    """The verdict and every criterion behind it."""

    verdict: Verdict
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True)
class Comparison:
    """A newcomer beside the current model on the same rows.

    Args:
        difference: Mean Brier loss of the newcomer less the current model's, with one-sided
            95 % bounds; below 0 the newcomer is better.
        n: Rows that neither model learnt from.
        worse: Whether the newcomer is significantly worse.
    """

    difference: Interval
    n: int
    worse: bool


def decide(evidence: Evidence, limits: Limits) -> Decision:
    """Return the verdict on a model.

    Args:
        evidence: Scored sets, leaks and groups.
        limits: What must be reached.
    """
    criteria = [
        *_held(evidence, evidence.gate, limits, ""),
        _recall(evidence.gate, evidence.threshold, evidence.min_recall),
    ]
    if evidence.is_probed:
        criteria.append(_leaks(evidence.unaccepted_leaks))
    for name, scored in evidence.challenges.items():
        held = _held(evidence, scored, limits, f"{name}: ")
        # A set of one class (red-team cases, say) has no base rate to beat.
        one_class = len(np.unique(scored.y_true)) == 1
        criteria += held[:-1] if one_class else held
    if evidence.fairness:
        criteria.append(_of_probabilities(evidence, _fairness(evidence, limits)))
    if evidence.reference is not None:
        criteria.append(_not_worse(evidence.gate, evidence.reference))
    if evidence.gate.groups is not None:
        criteria.append(_enough_groups(evidence.gate.groups))
    return _verdict(criteria)


def _of_probabilities(evidence: Evidence, criterion: Criterion) -> Criterion:
    """Return a criterion that asks for probabilities, undecided where there are none."""
    if evidence.is_calibrated:
        return criterion
    return Criterion(
        criterion.name,
        None,
        None,
        criterion.threshold,
        criterion.n,
        Verdict.INSUFFICIENT_EVIDENCE,
        note="percentiles are no probabilities: add positive rows to calibrate on",
    )


def undecided(limits: Limits, labelled: int, *, min_recall: float = 0.0) -> Decision:
    """Return the verdict where the gate part has not both classes: nothing can be told.

    Args:
        limits: What must be reached.
        labelled: Labelled rows of the gate part.
        min_recall: As in ``Evidence``.
    """
    note = "needs labelled rows of both classes in the gate part"
    names = (
        (f"ECE <= {limits.max_ece:g}", limits.max_ece),
        (f"Accuracy >= {limits.min_accuracy:g}", limits.min_accuracy),
        ("Skill over the base rate > 0", 0.0),
        (_recall_name(min_recall), min_recall),
    )
    return _verdict(
        [
            Criterion(name, None, None, limit, labelled, Verdict.INSUFFICIENT_EVIDENCE, note=note)
            for name, limit in names
        ]
    )


def _verdict(criteria: list[Criterion]) -> Decision:
    verdicts = {criterion.verdict for criterion in criteria}
    worst = (Verdict.FAIL, Verdict.INSUFFICIENT_EVIDENCE, Verdict.PASS)
    return Decision(next(v for v in worst if v in verdicts), tuple(criteria))


def compare(y_true: Labels, newcomer: Floats, current: Floats, groups: Groups) -> Comparison:
    """Return how a newcomer does beside the current model, paired on the same rows.

    Args:
        y_true: Labels, shape (n,).
        newcomer: Its probabilities, shape (n,).
        current: The current model's probabilities, shape (n,).
        groups: Codes of rows that belong together, or None.
    """
    losses = (newcomer - y_true) ** 2 - (current - y_true) ** 2
    difference = mean_interval(np.asarray(losses, dtype=np.float64), groups, level=LEVEL)
    return Comparison(difference, len(y_true), worse=difference.low > 0)


def _held(evidence: Evidence, scored: ScoredSet, limits: Limits, prefix: str) -> list[Criterion]:
    """Return the criteria that every set must hold."""
    y_true, y_proba, groups = scored.y_true, scored.y_proba, scored.groups
    if len(y_true) == 0 or not np.all(np.isfinite(y_proba)):
        calibration_error = right = gain = UNDEFINED
    else:
        calibration_error = ece_debiased(y_true, y_proba, groups, level=LEVEL)
        right = _exact((y_true == 1) == (y_proba >= evidence.threshold), groups)
        gain = brier_skill(y_true, y_proba, groups, level=LEVEL)
    n = len(y_true)
    error = _at_most(f"{prefix}ECE <= {limits.max_ece:g}", calibration_error, limits.max_ece, n)
    skill = _at_least(f"{prefix}Skill over the base rate > 0", gain, 0.0, n, strict=True)
    return [
        _of_probabilities(evidence, error),
        _at_least(f"{prefix}Accuracy >= {limits.min_accuracy:g}", right, limits.min_accuracy, n),
        _of_probabilities(evidence, skill),
    ]


def _not_worse(scored: ScoredSet, reference: Reference) -> Criterion:
    """Judge whether a model is shown to be no worse than a plainer one, paired row by row."""
    name = f"Brier loss less that of {reference.name} <= 0"
    if not np.all(np.isfinite(scored.y_proba)):
        return _unknown(name, UNDEFINED, 0.0, len(scored.y_true))
    found = compare(scored.y_true, scored.y_proba, reference.y_proba, scored.groups)
    return _at_most(name, found.difference, 0.0, found.n)


def _exact(hits: NDArray[np.bool_], groups: Groups) -> Interval:
    """Return a share with bounds that never miss more often than their level.

    With groups, the rows count as many as their design effect leaves, and the bounds widen as
    Student's quantile does beside the normal one.
    """
    successes, n, clusters = effective_rows(hits, groups)
    shrink = (quantile(LEVEL) / quantile(LEVEL, clusters)) ** 2
    found = clopper_pearson(successes * shrink, n * shrink, level=LEVEL)
    return Interval(float(hits.mean()), found.low, found.high)


def _at_least(
    name: str, value: Interval, limit: float, n: int, *, strict: bool = False
) -> Criterion:
    """Judge a value that must reach a limit (or exceed it, if strict)."""
    if math.isnan(value.low) or math.isnan(value.high):
        return _unknown(name, value, limit, n)
    if value.low > limit or (value.low == limit and not strict):
        return Criterion(name, value.estimate, value.low, limit, n, Verdict.PASS)
    if value.high < limit or (value.high == limit and strict):
        return Criterion(name, value.estimate, value.high, limit, n, Verdict.FAIL)
    needed = _needed(value.estimate - limit, value.estimate - value.low, n)
    return _undecided(name, value.estimate, value.low, limit, n, needed)


def _at_most(name: str, value: Interval, limit: float, n: int) -> Criterion:
    """Judge a value that must not exceed a limit."""
    if math.isnan(value.low) or math.isnan(value.high):
        return _unknown(name, value, limit, n)
    if value.high <= limit:
        return Criterion(name, value.estimate, value.high, limit, n, Verdict.PASS)
    if value.low > limit:
        return Criterion(name, value.estimate, value.low, limit, n, Verdict.FAIL)
    needed = _needed(limit - value.estimate, value.high - value.estimate, n)
    return _undecided(name, value.estimate, value.high, limit, n, needed)


def _unknown(name: str, value: Interval, limit: float, n: int) -> Criterion:
    estimate = value.estimate if math.isfinite(value.estimate) else None
    return Criterion(name, estimate, None, limit, n, Verdict.FAIL, note="cannot be measured")


def _undecided(
    name: str, estimate: float, bound: float, limit: float, n: int, needed: int | None
) -> Criterion:
    verdict = Verdict.INSUFFICIENT_EVIDENCE
    known = bound if math.isfinite(bound) else None
    note = "" if needed else "the estimate misses the limit: more rows alone would not help"
    return Criterion(name, estimate, known, limit, n, verdict, needed, note)


def _needed(distance: float, margin: float, n: int) -> int | None:
    """Return about how many more rows shrink the margin to the distance, or None if none do."""
    if distance <= 0 or not math.isfinite(margin):
        return None
    return max(math.ceil(n * ((margin / distance) ** 2 - 1)), 1)


def _recall_name(least: float) -> str:
    return f"Recall >= {least:g}" if least else "Recall > 0"


def _recall(scored: ScoredSet, threshold: float, least: float) -> Criterion:
    positive = scored.y_true == 1
    hits = (scored.y_proba >= threshold)[positive]
    name = _recall_name(least)
    if len(hits) == 0 or not np.all(np.isfinite(scored.y_proba)):
        return _unknown(name, UNDEFINED, least, len(hits))
    groups = None if scored.groups is None else scored.groups[positive]
    successes, n, _ = effective_rows(hits, groups)
    found = clopper_pearson(math.floor(successes), max(math.floor(n), 1), level=LEVEL)
    value = Interval(float(hits.mean()), found.low, found.high)
    judged = _at_least(name, value, least, len(hits), strict=not least)
    if judged.rows_needed is None:
        return judged
    rows = math.ceil(judged.rows_needed * len(positive) / len(hits))  # of which few are positive
    return replace(judged, rows_needed=rows)


def _leaks(columns: tuple[str, ...] | None) -> Criterion:
    if columns is None:
        undecided = Verdict.INSUFFICIENT_EVIDENCE
        note = "too few rows of a class to probe for leaks"
        return Criterion("No unaccepted leak", None, None, 0.0, 0, undecided, note=note)
    note = f"{', '.join(columns)} nearly decides the label alone" if columns else ""
    verdict = Verdict.FAIL if columns else Verdict.PASS
    count = float(len(columns))
    return Criterion("No unaccepted leak", count, count, 0.0, len(columns), verdict, note=note)


def _enough_groups(groups: NDArray[np.int64]) -> Criterion:
    n = len(np.unique(groups))
    verdict = Verdict.PASS if n >= FEWEST_GROUPS else Verdict.INSUFFICIENT_EVIDENCE
    missing = max(FEWEST_GROUPS - n, 0)
    note = f"{missing} more groups needed" if missing else ""
    return Criterion(
        f"Groups in the gate part >= {FEWEST_GROUPS}",
        float(n),
        float(n),
        FEWEST_GROUPS,
        n,
        verdict,
        note=note,
    )


def _fairness(evidence: Evidence, limits: Limits) -> Criterion:
    """Judge whether the calibration error of any group exceeds the limit, Holm-corrected.

    Groups of too few rows are named as not assessable and never withhold a PASS.
    """
    from scipy.special import ndtr

    gate = evidence.gate
    title = f"ECE of each fairness group <= {limits.max_ece:g}"
    tests: list[tuple[float, str, Interval]] = []
    small = []
    for column, values in evidence.fairness.items():
        for level in np.unique(values):
            rows = values == level
            if rows.sum() < FEWEST_FAIRNESS_ROWS:
                small.append(f"{column}={level}")
                continue
            groups = None if gate.groups is None else gate.groups[rows]
            error = ece_debiased(gate.y_true[rows], gate.y_proba[rows], groups, level=LEVEL)
            if math.isnan(error.low):
                return _unknown(title, error, limits.max_ece, int(rows.sum()))
            clusters = None if groups is None else len(np.unique(groups))
            spread = max((error.high - error.estimate) / quantile(LEVEL, clusters), 1e-12)
            p_value = float(ndtr((limits.max_ece - error.estimate) / spread))
            tests.append((p_value if error.low > 0 else 1.0, f"{column}={level}", error))
    tests.sort(key=lambda test: test[0])
    refused = []
    for rank, (p_value, name, _) in enumerate(tests):
        if p_value > FAIRNESS_ALPHA / (len(tests) - rank):
            break
        refused.append(name)
    notes = [f"exceeded by {', '.join(refused)}"] if refused else []
    notes += [f"not assessable (under {FEWEST_FAIRNESS_ROWS} rows): {', '.join(small)}"] * bool(
        small
    )
    worst = max((test[2] for test in tests), key=lambda i: i.estimate, default=None)
    return Criterion(
        title,
        worst.estimate if worst else None,
        worst.low if worst else None,
        limits.max_ece,
        len(tests),
        Verdict.FAIL if refused else Verdict.PASS,
        note="; ".join(notes),
    )
