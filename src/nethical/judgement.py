"""The second half of a run: how good the model is, whether it passes, what it replaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical import gate
from nethical.data.roles import Role
from nethical.facts import Evaluated, GateDecided, ReferenceEvaluated
from nethical.metrics.calibration import reliability
from nethical.metrics.evaluation import Evaluation, evaluate, unknown
from nethical.models import catalog
from nethical.record import learnt_by
from nethical.trained import TrainedModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable
    from nethical.gate import Comparison, Decision
    from nethical.plan import Plan
    from nethical.preparation import Prepared
    from nethical.registry import Registry
    from nethical.run import Run

    Floats = NDArray[np.float64]

__all__ = ["Judged", "Measured", "judge", "measure", "metrics_document", "reads"]

HISTOGRAM_BINS = 20


@dataclass(frozen=True)
class Measured:
    """What was measured of a model.

    Args:
        y_proba: Probabilities of the gate part, shape (n,).
        evaluation: Its metrics.
        reference: The plainer model, with its probabilities of the same rows; None without one.
        reference_evaluation: Its metrics.
    """

    y_proba: Floats
    evaluation: Evaluation
    reference: gate.Reference | None
    reference_evaluation: Evaluation | None


@dataclass(frozen=True)
class Judged:
    """What came out of the gate.

    Args:
        y_proba: Probabilities of the gate part, shape (n,).
        evaluation: Its metrics.
        challenges: Metrics of the challenge sets, by name.
        reference: Metrics of the plainer model on the gate part, or None.
        decision: The verdict and its criteria.
        comparison: Beside the current model, or None.
        current: The id of the current model, or None.
        promote: Whether the model becomes the current one.
        reason: Why, or why not, in one sentence.
        gate_readings: How many models these gate rows have judged, this one included.
    """

    y_proba: Floats
    evaluation: Evaluation
    challenges: Mapping[str, Evaluation]
    reference: Evaluation | None
    decision: Decision
    comparison: Comparison | None
    current: str | None
    promote: bool
    reason: str
    gate_readings: int

    def comparison_document(self) -> dict[str, Any] | None:
        """Return the comparison as JSON values."""
        if self.comparison is None:
            return None
        difference = self.comparison.difference
        bounds = [difference.estimate, difference.low, difference.high]
        return {
            "current": self.current,
            "difference": [b if np.isfinite(b) else None for b in bounds],
            "n": self.comparison.n,
            "worse": self.comparison.worse,
        }


def measure(
    trained: TrainedModel, beside: TrainedModel | None, prepared: Prepared, plan: Plan, run: Run
) -> Measured:
    """Return the probabilities of the gate part and its metrics, recorded.

    Args:
        trained: The model.
        beside: A plainer model of the same rows, or None.
        prepared: The parts.
        plan: What to do.
        run: Who listens.
    """
    part = prepared.parts["gate"]
    y_proba = trained.probabilities(part)
    evaluation = unknown(len(part))
    if part.has_both_classes:
        evaluation = _evaluated(trained, part, y_proba, plan)
    plainer = evaluation_beside = None
    if beside is not None:
        plainer = gate.Reference(beside.model_type, beside.probabilities(part))
        evaluation_beside = _evaluated(beside, part, plainer.y_proba, plan)
    run.record(Evaluated(**_measured(evaluation)))
    if beside is not None and evaluation_beside is not None:
        run.record(ReferenceEvaluated(beside.model_type, **_measured(evaluation_beside)))
    return Measured(y_proba, evaluation, plainer, evaluation_beside)


def _evaluated(
    trained: TrainedModel, table: LabelledTable, y_proba: Floats, plan: Plan
) -> Evaluation:
    return evaluate(
        table.y,
        y_proba,
        table.groups,
        threshold=trained.thresholds.block,
        budget=plan.alert_budget,
    )


def judge(
    trained: TrainedModel,
    prepared: Prepared,
    measured: Measured,
    *,
    plan: Plan,
    run: Run,
    registry: Registry,
) -> Judged:
    """Return the verdict on a model and what becomes of it, recorded."""
    challenge_proba = {n: trained.probabilities(t) for n, t in prepared.challenges.items()}
    decision = _decided(trained, prepared, measured, challenge_proba, plan)
    comparison, current, promote, reason = _succession(
        trained, prepared, measured.y_proba, decision, plan, registry
    )
    judged = Judged(
        measured.y_proba,
        measured.evaluation,
        {
            name: _evaluated(trained, t, challenge_proba[name], plan)
            for name, t in prepared.challenges.items()
        },
        measured.reference_evaluation,
        decision,
        comparison,
        current,
        promote,
        reason,
        registry.gate_readings(prepared.split.gate_digest) + 1,
    )
    run.record(
        GateDecided(
            decision.verdict.value,
            [criterion.to_document() for criterion in decision.criteria],
            judged.comparison_document(),
            promote,
            reason,
            judged.gate_readings,
        )
    )
    return judged


def _decided(
    trained: TrainedModel,
    prepared: Prepared,
    measured: Measured,
    challenge_proba: Mapping[str, Floats],
    plan: Plan,
) -> Decision:
    """Return the verdict on what was measured."""
    table = prepared.parts["gate"]
    limits = gate.Limits(plan.max_ece, plan.min_accuracy)
    min_recall = catalog.traits(plan.model_type).min_recall
    if not table.has_both_classes:
        labelled = len(table) if table.is_labelled else 0
        return gate.undecided(limits, labelled, min_recall=min_recall)
    evidence = gate.Evidence(
        gate.ScoredSet(table.y, measured.y_proba, table.groups),
        trained.thresholds.block,
        prepared.unaccepted,
        {
            name: gate.ScoredSet(t.y, challenge_proba[name], t.groups)
            for name, t in prepared.challenges.items()
        },
        {
            name: np.array(table.codes(name)[1], dtype=object)[table.codes(name)[0]].astype(str)
            for name in table.roles.named(Role.FAIRNESS)
        },
        reference=measured.reference,
        min_recall=min_recall,
        is_calibrated=trained.calibrator.method != "percentile",
    )
    return gate.decide(evidence, limits)


def _succession(
    trained: TrainedModel,
    prepared: Prepared,
    y_proba: Floats,
    decision: Decision,
    plan: Plan,
    registry: Registry,
) -> tuple[Comparison | None, str | None, bool, str]:
    """Return how the newcomer does beside the current model, and whether it takes its place."""
    path = registry.current(plan.slot)
    if plan.as_candidate or path is None:
        passed = decision.verdict == gate.Verdict.PASS and not plan.as_candidate
        reason = "the first to pass" if passed else "the gate did not pass it"
        if plan.as_candidate:
            reason = "its configuration waits for the promotion gate"
        return None, None if path is None else path.name, passed, reason
    verified = registry.verify(path.name)
    incumbent = TrainedModel.from_files(verified.files)
    record = verified.document("run.json")
    if "configuration_id" in registry.installed(plan.slot) and not plan.replace:
        reason = (
            f"current {plan.slot} was installed by a configuration; "
            "`nethical govern gate` judges another one against it"
        )
        return None, path.name, False, reason
    if reads(incumbent) != reads(trained):
        reason = (
            f"current {plan.slot} was trained on other columns or another label; "
            "pass --name for a slot of its own"
        )
        return None, path.name, False, reason
    comparison = None
    table = prepared.parts["gate"]
    learnt = learnt_by(verified, registry.keys.row_keys())
    unseen = np.zeros(len(table), dtype=bool) if learnt is None else ~learnt(table)
    if unseen.sum() > 1 and table.is_labelled:
        rows = table.rows(unseen)
        groups = None if table.groups is None else table.groups[unseen]
        theirs = incumbent.probabilities(rows)
        comparison = gate.compare(rows.y, y_proba[unseen], theirs, groups)
    if decision.verdict != gate.Verdict.PASS:
        return comparison, path.name, False, "the gate did not pass it"
    if prepared.is_synthetic and not record["source"]["source"].startswith("synthetic:"):
        reason = "trained on synthetic rows; the current model was trained on real ones"
        return comparison, path.name, False, reason
    if plan.replace:
        return comparison, path.name, True, "--replace was given"
    if comparison is None:
        return None, path.name, True, "it passed; no row is known to be unseen by the current one"
    if comparison.worse:
        reason = f"significantly worse than the current model on {comparison.n:,} rows"
        return comparison, path.name, False, reason
    return comparison, path.name, True, "it passed and is not worse than the current model"


def reads(trained: TrainedModel) -> object:
    """Return what a model reads: columns, kinds and label values."""
    features = [(f.name, f.feature) for f in trained.roles.features]
    log = trained.event_log.to_document() if trained.event_log else None
    labelling = trained.roles.labelling
    label = (trained.roles.one(Role.LABEL), labelling and (labelling.positive, labelling.negative))
    return sorted(features), label, log


def metrics_document(
    judged: Judged, prepared: Prepared, trained: TrainedModel, plan: Plan
) -> dict[str, Any]:
    """Return metrics.json: the metrics, the verdict, and what their charts are drawn from."""
    table = prepared.parts["gate"]
    metrics = judged.evaluation.metrics_document()
    counts = [
        np.histogram(judged.y_proba[table.y == label], HISTOGRAM_BINS, (0.0, 1.0))[0].tolist()
        for label in (1, 0)
    ]
    return {
        **{name: metrics[name] for name in ("precision", "recall", "accuracy", "f1", "ece")},
        "metrics": metrics,
        "intervals": judged.evaluation.intervals_document(),
        "rows": len(table),
        "positives": int(table.y.sum()) if table.is_labelled else None,
        "verdict": judged.decision.verdict.value,
        "criteria": [criterion.to_document() for criterion in judged.decision.criteria],
        "limits": {"max_ece": plan.max_ece, "min_accuracy": plan.min_accuracy},
        "thresholds": trained.thresholds.to_document(),
        "reliability": _reliability(table, judged.y_proba),
        "histogram": {
            "edges": np.linspace(0, 1, HISTOGRAM_BINS + 1).round(4).tolist(),
            "positive": counts[0],
            "negative": counts[1],
        },
        "reference": {
            "model_type": catalog.traits(plan.model_type).beside,
            **_measured(judged.reference),
        }
        if judged.reference
        else None,
        "challenges": {
            name: _measured(evaluation) for name, evaluation in judged.challenges.items()
        },
    }


def _measured(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "metrics": evaluation.metrics_document(),
        "intervals": evaluation.intervals_document(),
        "rows": evaluation.rows,
    }


def _reliability(table: LabelledTable, y_proba: Floats) -> dict[str, Any]:
    """Return what the reliability diagram is drawn from; nothing without labels."""
    if not table.is_labelled:
        return {"n": [], "mean_proba": [], "share": [], "error": []}
    bins = reliability(table.y, y_proba, table.groups)
    return {
        "n": bins.n.tolist(),
        "mean_proba": _known(bins.mean_proba),
        "share": _known(bins.share),
        "error": _known(bins.error),
    }


def _known(values: Floats) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
