"""What changed between a reference and other cohorts, with a stated error rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.drift import fairness, measures, paired, process, statistics, unpaired
from nethical.drift.cells import EDGES
from nethical.drift.effects import Effect, EffectVerdict, Settings, Test, Verdict, known, verdict_of
from nethical.drift.questions import ROWS_NOT_KEPT, UNJUDGED, Kind, asked
from nethical.drift.rows import paired as paired_rows
from nethical.drift.rows import read_rows
from nethical.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nethical.drift.cells import Cells
    from nethical.drift.cohorts import Cohort
    from nethical.drift.fairness import Fairness, GroupTest

__all__ = ["Analysis", "Comparison", "analyse", "choose_reference"]

OF_PROBABILITIES = {"ece", "brier", "log_loss", "calibration_line"}
MOST_NAMED = 5
INSUFFICIENT = "Insufficient cohorts for drift analysis"
WORDS = {
    "accuracy": "accuracy",
    "recall": "recall",
    "false_positive_rate": "false positive rate",
    "ece": "calibration error",
    "brier": "Brier loss",
    "score_distribution": "score distribution",
}


@dataclass(frozen=True)
class Comparison:
    """A cohort beside the reference.

    Args:
        kind: Which question was answered.
        reference: Id of the reference.
        current: Id of the cohort.
        effects: The effects with their margins.
        tests: That both sides are alike; reported, not judged.
        verdict: What follows from the effects.
        message: The same in words.
        groups: In whom it changed.
        estimated: Of a cohort without labels, what would hold if only the mix of rows changed.
        distances: Of the scores: ``wasserstein``, ``psi``, ``psi_p``.
    """

    kind: Kind
    reference: str
    current: str
    effects: tuple[Effect, ...]
    tests: tuple[Test, ...]
    verdict: Verdict
    message: str
    groups: tuple[GroupTest, ...]
    estimated: dict[str, float]
    distances: dict[str, float]

    @property
    def is_attributable(self) -> bool:
        """Whether its verdict may be more than inconclusive."""
        return self.kind not in UNJUDGED

    @property
    def rows_needed(self) -> int | None:
        """Rows of each side from which on every undecided effect would be decided, or None.

        None as well where no number of rows decides, because nothing is judged.
        """
        if not self.is_attributable:
            return None
        wanted = [e.rows_needed for e in self.effects if e.verdict == EffectVerdict.UNDECIDED]
        told = [rows for rows in wanted if rows is not None]
        return max(told) if told else None

    def to_document(self, alpha: float) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {
            "kind": self.kind.value,
            "reference": self.reference,
            "current": self.current,
            "verdict": self.verdict.value,
            "message": self.message,
            "statistical_difference": any(t.p_adjusted < alpha for t in self.tests),
            "rows_needed": self.rows_needed,
            "effects": [effect.to_document() for effect in self.effects],
            "tests": [test.to_document() for test in self.tests],
            "groups": [test.to_document() for test in self.groups],
            "estimated": {name: known(value) for name, value in self.estimated.items()},
            "distances": {name: known(value) for name, value in self.distances.items()},
        }


@dataclass(frozen=True)
class Analysis:
    """Cohorts, compared.

    Args:
        cohorts: All of them, the reference first.
        settings: How it was judged; ``comparisons`` is how many share alpha.
        comparisons: Each other cohort beside the reference.
        homogeneity: p of one rate in all cohorts, by rate; empty for fewer than three.
        fairness: By cohort, how its newest model treats groups; of several models the same rows
            would count again.
        verdict: Drift if any comparison says so, no drift if all do.
        message: The same in words.
    """

    cohorts: tuple[Cohort, ...]
    settings: Settings
    comparisons: tuple[Comparison, ...]
    homogeneity: dict[str, float]
    fairness: dict[str, Fairness]
    verdict: Verdict
    message: str

    @property
    def reference(self) -> Cohort:
        """What the others are compared with."""
        return self.cohorts[0]


def choose_reference(cohorts: Sequence[Cohort], wanted: str | None = None) -> Cohort:
    """Return the cohort that the others are compared with.

    The one that was set or named; else the oldest, of those added at once the one with most rows.

    Raises:
        UsageError: The one that is named is not among them.
    """
    if wanted is not None:
        found = next((cohort for cohort in cohorts if cohort.cohort_id == wanted), None)
        if found is None:
            raise UsageError(
                f"the reference {wanted!r} is no cohort of this report",
                mend="name a cohort that `nethical drift list` shows",
            )
        return found
    return min(cohorts, key=lambda c: (c.created_at, -c.summary.whole.rows, c.cohort_id))


def analyse(
    cohorts: Sequence[Cohort], *, folder: Path, settings: Settings, reference: str | None = None
) -> Analysis:
    """Return every cohort beside the reference, judged together.

    Args:
        cohorts: At least one.
        folder: The folder of the drift reports, where added rows lie.
        settings: Margins and alpha, which all comparisons share.
        reference: Id of the cohort to compare with; None to choose.

    Raises:
        UsageError: There is no cohort, or the reference is none of them.
    """
    if not cohorts:
        raise UsageError(
            "there is no cohort yet", mend="train with --enable-drift-tracking, or add scored rows"
        )
    base = choose_reference(cohorts, reference)
    others = [cohort for cohort in cohorts if cohort.cohort_id != base.cohort_id]
    settings = replace(settings, comparisons=max(len(others), 1))
    compared = _adjusted([_compare(base, other, settings, folder) for other in others])
    verdict, message = _together(compared)
    everyone = (base, *others)
    grouped = [cohort for cohort in everyone if cohort.summary.groups]
    return Analysis(
        everyone,
        settings,
        compared,
        _homogeneity(everyone),
        {
            cohort.cohort_id: fairness.disparities(
                cohort.of_model(cohort.models[-1]).summary, alpha=settings.alpha / len(grouped)
            )
            for cohort in grouped
        },
        verdict,
        message,
    )


def _compare(reference: Cohort, current: Cohort, settings: Settings, folder: Path) -> Comparison:
    question = asked(reference, current)
    kind, told = question.kind, question.told
    reference, current = question.reference, question.current
    whole_a, whole_b = reference.summary.whole, current.summary.whole
    if kind == Kind.PROCESS:
        before, after = _one_a_model(reference), _one_a_model(current)
        effects, tests = process.effects(before, after, settings), process.tests(before, after)
    elif kind == Kind.SAME_ROWS and (sides := _sides(reference, current, folder)) is not None:
        effects, tests = paired.effects(sides, settings), paired.tests(sides)
    else:
        if kind == Kind.SAME_ROWS:
            kind, told = Kind.RETRAIN, ROWS_NOT_KEPT
        effects = unpaired.effects(whole_a, whole_b, settings)
        tests = unpaired.tests(whole_a, whole_b)
    if not (reference.is_calibrated and current.is_calibrated):
        effects = [effect for effect in effects if effect.name not in OF_PROBABILITIES]
        tests = [test for test in tests if test.metric not in OF_PROBABILITIES]
    verdict = None if kind in UNJUDGED else verdict_of(effects)
    groups: tuple[GroupTest, ...] = ()
    if kind == Kind.OTHER_ROWS:
        each = settings.alpha / settings.comparisons
        groups = fairness.changes(reference.summary, current.summary, alpha=each)
    return Comparison(
        kind,
        reference.cohort_id,
        current.cohort_id,
        tuple(effects),
        tuple(tests),
        Verdict.INCONCLUSIVE if verdict is None else verdict,
        told if kind in UNJUDGED else _message(effects) + told,
        groups,
        _estimated(reference, current),
        _distances(reference, current),
    )


def _estimated(reference: Cohort, current: Cohort) -> dict[str, float]:
    """Return estimates for a cohort without labels; none where nothing says what a score means."""
    a, b = reference.summary.whole, current.summary.whole
    if b.labelled or not (current.is_calibrated or a.labelled):
        return {}
    return measures.estimated(b, a)


def _one_a_model(cohort: Cohort) -> list[Cells]:
    """Return the cells of one run of each model."""
    return list({run.model_digest: run.summary.whole for run in reversed(cohort.runs)}.values())


def _sides(reference: Cohort, current: Cohort, folder: Path) -> paired.PairedSides | None:
    """Return the rows that both cohorts hold, side by side; None if they are not kept."""
    first, second = reference.runs[0], current.runs[0]
    both = paired_rows(read_rows(first, folder), read_rows(second, folder))
    if both is None:
        return None
    thresholds = (float(first.details["threshold"]), float(second.details["threshold"]))
    return paired.PairedSides(*both, thresholds)


def _distances(reference: Cohort, current: Cohort) -> dict[str, float]:
    a, b = reference.summary.whole, current.summary.whole
    psi, psi_p = statistics.scaled_psi(a.scores(10), b.scores(10))
    wasserstein = statistics.wasserstein(a.scores(), b.scores(), EDGES)
    return {"wasserstein": wasserstein, "psi": psi, "psi_p": psi_p}


def _message(effects: Sequence[Effect]) -> str:
    """Return what effects that are judged say, in one sentence."""
    beyond = [e for e in effects if e.verdict == EffectVerdict.BEYOND]
    if beyond:
        return "; ".join(_told(effect) for effect in beyond)
    if all(e.verdict == EffectVerdict.WITHIN for e in effects):
        return "all effects lie within their margins"
    undecided = [WORDS[e.name] for e in effects if e.verdict == EffectVerdict.UNDECIDED]
    unknown = [WORDS[e.name] for e in effects if e.verdict == EffectVerdict.NOT_ASSESSABLE]
    parts = []
    if undecided:
        parts.append(f"undecided: {', '.join(undecided)}")
    if unknown:
        parts.append(f"not assessable: {', '.join(unknown)}")
    return "; ".join(parts)


def _told(effect: Effect) -> str:
    """Return an effect beyond its margin in words."""
    d = effect.gap.difference
    if math.isnan(effect.gap.reference):
        change = f"differs by {d.estimate:.3f}"
    else:
        change = f"{'rose' if d.estimate > 0 else 'fell'} by {abs(d.estimate):.3f}"
    return (
        f"{WORDS[effect.name]} {change} "
        f"[{d.low:+.3f}, {d.high:+.3f}], beyond the margin of {effect.margin:g}"
    )


def _adjusted(compared: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the comparisons with p adjusted over all tests of all of them."""
    everything = [test.p for one in compared for test in one.tests]
    adjusted = iter(statistics.holm(everything))
    return tuple(
        replace(one, tests=tuple(replace(test, p_adjusted=next(adjusted)) for test in one.tests))
        for one in compared
    )


def _together(compared: Sequence[Comparison]) -> tuple[Verdict, str]:
    if not compared:
        return Verdict.INCONCLUSIVE, INSUFFICIENT
    found = {one.verdict for one in compared}
    if Verdict.DRIFT in found:
        drifted = [one for one in compared if one.verdict == Verdict.DRIFT]
        return Verdict.DRIFT, f"Compared with {compared[0].reference}, {_said(drifted)}"
    told = _said(compared)
    verdict = Verdict.NO_DRIFT if found == {Verdict.NO_DRIFT} else Verdict.INCONCLUSIVE
    return verdict, f"Compared with {compared[0].reference}, {told}"


def _said(compared: Sequence[Comparison]) -> str:
    """Return what comparisons say, each sentence once with the cohorts that it is said of."""
    said: dict[str, list[str]] = {}
    for one in compared:
        said.setdefault(one.message, []).append(one.current)
    return "; ".join(f"{_few(names)}: {message}" for message, names in said.items())


def _few(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _homogeneity(cohorts: Sequence[Cohort]) -> dict[str, float]:
    """Return p of all cohorts having one rate, by rate, where there are three or more.

    Each is represented by one model: the newest that all hold, else its own newest.
    """
    if len(cohorts) < 3:  # noqa: PLR2004 - two are compared directly
        return {}
    found = {}
    shared = set.intersection(*(set(cohort.models) for cohort in cohorts))
    newest = [m for m in cohorts[0].models if m in shared][-1:]
    wholes = [c.of_model((newest or c.models)[-1]).summary.whole for c in cohorts]
    for name in unpaired.TESTED_RATES:
        rates = [measures.rate(cells, name) for cells in wholes]
        table = [[r.hits / r.effect, (r.n - r.hits) / r.effect] for r in rates if r.n]
        found[name] = statistics.homogeneity(np.array(table).reshape(-1, 2)).p
    found["score_distribution"] = unpaired.scores_test(wholes)
    return found
