"""What to do about what was found: one rule for each thing that can fire."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING

from nethical.drift.effects import EffectVerdict, Verdict
from nethical.drift.fairness import group_name
from nethical.drift.process import FEWEST_RUNS
from nethical.drift.questions import Kind
from nethical.drift.rows import overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nethical.drift.cohorts import CohortRun
    from nethical.drift.compare import Analysis, Comparison
    from nethical.drift.fairness import GroupTest

__all__ = ["Recommendation", "recommendations"]

RIGHT_AND_WRONG = {"accuracy", "recall", "false_positive_rate"}
MOST_GROUPS_TOLD = 3
LEAST_SHARED = 0.05


@dataclass(frozen=True)
class Recommendation:
    """What to do.

    Args:
        code: Of the rule that fired.
        evidence: What fired it.
        action: What to do, as one imperative sentence.
    """

    code: str
    evidence: str
    action: str

    @property
    def text(self) -> str:
        """Both in one line."""
        return f"{self.action} ({self.evidence})"


def recommendations(analysis: Analysis) -> list[Recommendation]:
    """Return what every rule says of a report, each once, in the order of the rules."""
    if not analysis.comparisons:
        found = [
            Recommendation(
                "one_cohort",
                "there is one cohort, and nothing to compare it with",
                "Add a second cohort: train with another --cohort-id, or add scored rows with "
                "`nethical drift add`",
            )
        ]
    else:
        found = [
            one
            for rule in RULES
            for comparison in analysis.comparisons
            if (one := rule(comparison)) is not None
        ]
    found += _of_rows(analysis) + _of_groups(analysis) + _of_violations(analysis)
    if not found:
        found.append(
            Recommendation(
                "nothing_to_do", "no rule fired", "Go on, and compare again when there are new rows"
            )
        )
    return list(dict.fromkeys(found))


def _beyond(comparison: Comparison) -> set[str]:
    return {e.name for e in comparison.effects if e.verdict == EffectVerdict.BEYOND}


def _retrain(comparison: Comparison) -> Recommendation | None:
    if comparison.kind != Kind.RETRAIN:
        return None
    return Recommendation(
        "single_retrain",
        f"{comparison.current} holds another model than {comparison.reference}",
        f"Train {FEWEST_RUNS} or more times with different --seed into each cohort to compare the "
        "ways of training, or score new rows with the same model to see drift",
    )


def _same(comparison: Comparison) -> Recommendation | None:
    if comparison.kind != Kind.NOTHING_NEW:
        return None
    return Recommendation(
        "same_rows",
        f"{comparison.current} and {comparison.reference} hold the same rows and model",
        "Compare other rows or another model",
    )


def _calibration(comparison: Comparison) -> Recommendation | None:
    beyond = _beyond(comparison)
    if comparison.verdict != Verdict.DRIFT or "ece" not in beyond or beyond & RIGHT_AND_WRONG:
        return None
    return Recommendation(
        "recalibrate",
        f"{comparison.current}: the calibration error is beyond its margin, the decisions are not",
        "Recalibrate on these rows: by isotonic regression from 1,000 labelled rows on, by a "
        "sigmoid below",
    )


def _right_or_wrong(comparison: Comparison) -> tuple[list[str], list[str]]:
    """Return which of what a model gets right or wrong became worse, and which better."""
    found: tuple[list[str], list[str]] = ([], [])
    for one in comparison.effects:
        if one.name in _beyond(comparison) & (RIGHT_AND_WRONG | {"brier"}):
            rose = one.gap.difference.estimate > 0
            found[rose != (one.name in {"false_positive_rate", "brier"})].append(one.name)
    return found


def _worse(comparison: Comparison) -> Recommendation | None:
    worse, better = _right_or_wrong(comparison)
    if comparison.kind != Kind.OTHER_ROWS or not (worse or better):
        return None
    if not worse:
        return Recommendation(
            "find_out_why_better",
            f"{comparison.current}: {', '.join(better)} improved beyond the margin",
            "Find out why before you rely on it: labels, sampling and the mix of rows come first",
        )
    return Recommendation(
        "retrain",
        f"{comparison.current}: {', '.join(worse)} beyond the margin",
        "Look at rows that the model gets wrong, then train again with rows like these",
    )


def _which_model(comparison: Comparison) -> Recommendation | None:
    """Say which of two models, or ways of training, does better: no rows have drifted there."""
    worse, better = _right_or_wrong(comparison)
    if comparison.kind not in {Kind.SAME_ROWS, Kind.PROCESS} or not (worse or better):
        return None
    if not worse:
        return Recommendation(
            "better_than_reference",
            f"{comparison.current}: {', '.join(better)} better beyond the margin",
            "Prefer it to the reference, which does worse",
        )
    return Recommendation(
        "keep_reference",
        f"{comparison.current}: {', '.join(worse)} worse beyond the margin",
        "Prefer the reference, and look at rows that only this one gets wrong",
    )


def _scores(comparison: Comparison) -> Recommendation | None:
    if comparison.verdict != Verdict.DRIFT or _beyond(comparison) != {"score_distribution"}:
        return None
    if comparison.kind != Kind.OTHER_ROWS:
        return Recommendation(
            "other_scores",
            f"{comparison.current}: scores differ; that it gets less or more right is not shown",
            "Set the threshold of each model by itself before one replaces the other, because the "
            "same score means another load of alerts",
        )
    return Recommendation(
        "check_sampling",
        f"{comparison.current}: the scores moved; that it gets less or more right is not shown",
        "Check how these rows were sampled and whether their mix changed; then adjust the "
        "threshold to the load that reviewers can take",
    )


def _prevalence(comparison: Comparison) -> Recommendation | None:
    prevalence = next((t for t in comparison.tests if t.metric == "prevalence"), None)
    if comparison.verdict == Verdict.DRIFT or prevalence is None:
        return None
    if not prevalence.p_adjusted < 0.01:  # noqa: PLR2004 - or unknown
        return None
    return Recommendation(
        "prevalence",
        f"{comparison.current}: the share of positives differs (adjusted p "
        f"{prevalence.p_adjusted:.2g})",
        "Check how rows were sampled and labelled; adjust the threshold if the share is real",
    )


def _more_rows(comparison: Comparison) -> Recommendation | None:
    undecided = comparison.verdict == Verdict.INCONCLUSIVE and comparison.is_attributable
    if not undecided or comparison.rows_needed is None:
        return None
    unit = "runs" if comparison.kind == Kind.PROCESS else "rows"
    return Recommendation(
        "collect_rows",
        f"{comparison.current}: {comparison.message}",
        f"Collect about {comparison.rows_needed:,} {unit} in each cohort, then compare again",
    )


def _labels(comparison: Comparison) -> Recommendation | None:
    if not any(e.name == "accuracy" and e.gap.n[1] == 0 for e in comparison.effects):
        return None
    shown = "only scores are compared"
    if comparison.estimated:
        shown = "what is shown is estimated, and holds only if nothing but the mix of rows changed"
    return Recommendation(
        "label_rows",
        f"{comparison.current} has no labels: {shown}",
        "Label a random sample of these rows",
    )


def _of_rows(analysis: Analysis) -> list[Recommendation]:
    """Return what makes rows count for more, or for less, than they should."""
    found = []
    for cohort in analysis.cohorts:
        again = len(cohort.runs) - len(cohort.counted)
        if again:
            found.append(
                Recommendation(
                    "same_rows_again",
                    f"{cohort.cohort_id}: {again} of its {len(cohort.runs)} runs hold rows that "
                    "the same model had scored already; these count once",
                    "Add other rows, or train with another --seed, to learn more",
                )
            )
        found += _shared(combinations(cohort.counted, 2), f"two runs of {cohort.cohort_id}")
    by_id = {cohort.cohort_id: cohort for cohort in analysis.cohorts}
    for one in analysis.comparisons:
        if one.kind == Kind.OTHER_ROWS:
            pairs = product(by_id[one.reference].counted, by_id[one.current].counted)
            found += _shared(pairs, f"{one.current} and {one.reference}")
    return found + _of_clusters(analysis)


def _shared(pairs: Iterable[tuple[CohortRun, CohortRun]], where: str) -> list[Recommendation]:
    """Return that runs of one model share rows, by the pair that shares most."""
    most = max(
        (
            overlap(one.details.get("rows_sketch"), other.details.get("rows_sketch"))
            for one, other in pairs
            if one.model_digest == other.model_digest
        ),
        default=0.0,
    )
    if most < LEAST_SHARED:
        return []
    return [
        Recommendation(
            "shared_rows",
            f"{where} share about {most:.0%} of the rows of the smaller of them",
            "Add each row once: rows that count twice make intervals too narrow, and what cohorts "
            "share makes their differences too small",
        )
    ]


def _of_clusters(analysis: Analysis) -> list[Recommendation]:
    runs = [run for cohort in analysis.cohorts for run in cohort.counted]
    plain = [run for run in runs if run.summary.whole.clusters is None]
    if not plain or len(plain) == len(runs):
        return []
    return [
        Recommendation(
            "groups_missing",
            f"{len(plain)} of {len(runs)} runs do not tell which rows belong together; all rows "
            "of a cohort with such a run count as independent",
            "Name the groups with --group-column for every run or for none, because without them "
            "alarms come too often",
        )
    ]


def _of_groups(analysis: Analysis) -> list[Recommendation]:
    """Return where to look: the groups that changed most, and those that differ most."""
    found = []
    for comparison in analysis.comparisons:
        alarms = [test for test in comparison.groups if test.is_alarm]
        if alarms:
            found.append(
                Recommendation(
                    "group_changed",
                    f"{comparison.current}: {_largest(alarms, 'changed by')}",
                    "Collect and label rows of these groups, then train again",
                )
            )
    for cohort_id, fairness in analysis.fairness.items():
        if fairness.alarms:
            found.append(
                Recommendation(
                    "group_differs",
                    f"{cohort_id}: {_largest(fairness.alarms, 'differs from all others by')}",
                    "Collect more rows of these groups and check their labels; equal error rates "
                    "and equal shares of alerts cannot both hold where the share of positives "
                    "differs",
                )
            )
    return found


def _largest(tests: Sequence[GroupTest], verb: str) -> str:
    """Return the largest differences in words, plain groups before crossed ones."""
    ordered = sorted(tests, key=lambda t: (len(t.group), -abs(t.difference.estimate)))
    told = [
        f"{test.metric} {verb} {test.difference.estimate:+.3f} where {group_name(test.group)}"
        for test in ordered[:MOST_GROUPS_TOLD]
    ]
    more = len(ordered) - len(told)
    return ", ".join(told) + (f", and {more} more" if more else "")


def _of_violations(analysis: Analysis) -> list[Recommendation]:
    found = []
    for cohort in analysis.cohorts:
        kinds = {v["type"] for run in cohort.runs for v in run.details.get("violations", ())}
        found += [
            Recommendation(
                f"violation_{kind}",
                f"{cohort.cohort_id}: {kind} in one of its runs, at 95 % confidence",
                "Do not promote this model; read its card for the criterion that failed",
            )
            for kind in sorted(kinds)
        ]
    return found


RULES: tuple[Callable[[Comparison], Recommendation | None], ...] = (
    _retrain,
    _same,
    _calibration,
    _worse,
    _which_model,
    _scores,
    _prevalence,
    _more_rows,
    _labels,
)
