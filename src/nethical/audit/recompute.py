"""The numbers of a run derived again from what its model keeps, beside those that were logged.

A bundle keeps the probability, the label and the groups of every gate row. From these, from the
cut in ``model.json`` and from the plan follow all metrics, their intervals, the criteria of the
gate and its verdict, by the functions that a run uses itself. A log that tells anything else was
written by a program that did something else.

What is not kept cannot be derived, and is called so: the rows of challenge sets, and what other
models said of the rows. What the probes for leaks found is taken as it was logged.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical import gate
from nethical.audit.agreement import Agreement, Item, Recomputed, compared, underivable
from nethical.canonical import canonical_json, digest
from nethical.errors import IntegrityError, UsageError
from nethical.gate import Verdict
from nethical.metrics.evaluation import Evaluation, evaluate, unknown
from nethical.models import catalog
from nethical.plan import Plan
from nethical.record import group_codes
from nethical.threads import one_blas_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nethical.audit.runs import LoggedRun
    from nethical.bundle import Bundle
    from nethical.gate import Decision

    Floats = NDArray[np.float64]
    Document = Mapping[str, Any]

__all__ = ["Agreement", "Item", "Recomputed", "recompute"]

NO_CHALLENGE_ROWS = "the rows of challenge sets are not kept"
NO_OTHER_MODEL = "what the other model said of the rows is not kept"
NO_SUCCESSION = "it also depends on the model that was current then"
NOT_LOGGED = "the log lacks it"
FAIRNESS = "fairness:"
FROM_WORST = (Verdict.FAIL, Verdict.INSUFFICIENT_EVIDENCE, Verdict.PASS)


@dataclass(frozen=True)
class _Kept:
    """What a bundle keeps of a model and of the gate rows that it was measured on.

    Args:
        model: Its model.json.
        y_proba: Probabilities of class 1, shape (n,).
        y_true: Labels, shape (n,); None without any.
        groups: Codes of rows that belong together, shape (n,), or None.
        fairness: Group of each row as text, shape (n,), by fairness column.
    """

    model: Document
    y_proba: Floats
    y_true: NDArray[np.int8] | None
    groups: NDArray[np.int64] | None
    fairness: Mapping[str, NDArray[Any]]

    @cached_property
    def scored(self) -> gate.ScoredSet | None:
        """The rows as the gate reads them; None where they are not of both classes."""
        if self.y_true is None or len(np.unique(self.y_true)) < 2:  # noqa: PLR2004 - two classes
            return None
        return gate.ScoredSet(self.y_true, self.y_proba, self.groups)

    @property
    def threshold(self) -> float:
        """A row is called positive from this probability on."""
        return float(self.model["thresholds"]["block"])

    @property
    def min_recall(self) -> float:
        """Share of positives that a model of this type must call."""
        return catalog.traits(self.model["model_type"]).min_recall


def recompute(run: LoggedRun, bundle: Bundle) -> Recomputed:
    """Return what was logged of a model's quality beside what its own scores say.

    Args:
        run: A run that published the model.
        bundle: The model, verified by its own signature.

    Raises:
        IntegrityError: The log tells of another signature than the bundle has.
        UsageError: The run published no model, or its type is not installed here.
    """
    logged = _told(run, "model_saved").get("signature_digest")
    if logged != bundle.signature_digest:
        raise IntegrityError(
            f"run {run.run_id} logged a model with the signature {logged}; "
            f"that of {bundle.path} is {bundle.signature_digest}",
            mend="name the model of this run, or restore it from a copy",
        )
    plan = Plan.from_document(
        _whole(_told(run, "training_start")["plan"], bundle.document("run.json")["plan"])
    )
    split = _told(run, "data_split")
    kept = _kept(bundle)
    decided = _told(run, "gate_decided")
    criteria = _whole(decided["criteria"], bundle.document("metrics.json")["criteria"])
    with one_blas_thread():
        evaluation = _evaluated(kept, plan)
        decision = _decided(kept, plan, _told(run, "leaks_probed"))
    items = [
        *_inputs(kept, split, _told(run, "calibrated")),
        *_metrics(evaluation, _told(run, "validation_metrics")),
        *_references(run),
        *_criteria(criteria, decision, kept, plan),
    ]
    items += _verdict(decided, criteria, items, decision)
    return Recomputed(run.run_id, bundle.model_id, tuple(items))


def _told(run: LoggedRun, event_type: str) -> Document:
    event = run.first(event_type)
    if event is None:
        raise UsageError(
            f"run {run.run_id} ({run.outcome}) has no {event_type} event: no model to derive from",
            mend="name a run that published a model",
        )
    return event.document


def _whole(logged: Any, stored: Any) -> Any:  # noqa: ANN401 - JSON values
    """Return a member of an event: as logged, or as the bundle has it where a digest was logged.

    Raises:
        IntegrityError: What the bundle has is not what was logged.
    """
    if not isinstance(logged, Mapping) or logged.keys() != {"digest", "bytes"}:
        return logged
    if digest(canonical_json(stored)) != logged["digest"]:
        raise IntegrityError(
            f"the bundle does not hold what the log has by its digest {logged['digest']}",
            mend="name the model of this run, or restore it from a copy",
        )
    return stored


def _kept(bundle: Bundle) -> _Kept:
    """Return what is derived from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(bundle.files["scores.parquet"]))
    label = table.column("label")
    groups = group_codes(table.column("group")) if "group" in table.column_names else None
    fairness = {
        name.removeprefix(FAIRNESS): np.array(
            table.column(name).cast(pa.large_string()).fill_null("(missing)").to_pylist(), object
        ).astype(str)
        for name in table.column_names
        if name.startswith(FAIRNESS)
    }
    return _Kept(
        bundle.document("model.json"),
        table.column("probability").to_numpy(),
        None if label.null_count else label.to_numpy(),
        groups,
        fairness,
    )


def _evaluated(kept: _Kept, plan: Plan) -> Evaluation:
    scored = kept.scored
    if scored is None:
        return unknown(len(kept.y_proba))
    return evaluate(
        scored.y_true,
        scored.y_proba,
        scored.groups,
        threshold=kept.threshold,
        budget=plan.alert_budget,
    )


def _decided(kept: _Kept, plan: Plan, leaks: Document) -> Decision:
    """Return what the gate says of all that is kept."""
    limits = gate.Limits(plan.max_ece, plan.min_accuracy)
    if kept.scored is None:
        labelled = 0 if kept.y_true is None else len(kept.y_true)
        return gate.undecided(limits, labelled, min_recall=kept.min_recall)
    suspects = dict.fromkeys(s["column"] for s in leaks["suspects"] if s["is_feature"])
    unaccepted = tuple(c for c in suspects if c not in {*leaks["dropped"], *plan.accept_leaks})
    evidence = gate.Evidence(
        kept.scored,
        kept.threshold,
        unaccepted if leaks["probed"] else None,
        fairness=kept.fairness,
        min_recall=kept.min_recall,
        is_calibrated=kept.model["calibrator"]["method"] != "percentile",
    )
    return gate.decide(evidence, limits)


def _inputs(kept: _Kept, split: Document, calibrated: Document) -> list[Item]:
    """Return what the numbers rest on: the rows, and the cut that the model decides by."""
    of_gate = {key: split[key].get("gate") for key in ("parts", "positives", "groups")}
    positives = None if kept.y_true is None else int(kept.y_true.sum())
    groups = None if kept.groups is None else len(np.unique(kept.groups))
    items = [
        compared("rows of the gate part", of_gate["parts"], len(kept.y_proba)),
        compared("positives of the gate part", of_gate["positives"], positives),
        compared("groups of the gate part", of_gate["groups"], groups),
    ]
    method = kept.model["calibrator"]["method"]
    return [
        *(item for item in items if (item.logged, item.derived) != (None, None)),
        compared("calibration", calibrated["method"], method),
        compared("thresholds", calibrated["thresholds"], kept.model["thresholds"]),
    ]


def _metrics(evaluation: Evaluation, logged: Document) -> list[Item]:
    """Return each metric with its interval."""
    items = [compared("rows measured", logged["rows"], evaluation.rows)]
    derived = _by_metric(evaluation.metrics_document(), evaluation.intervals_document())
    told = _by_metric(logged["metrics"], logged["intervals"])
    names = dict.fromkeys([*derived, *told])
    return items + [compared(name, told.get(name), derived.get(name)) for name in names]


def _by_metric(metrics: Document, intervals: Document) -> dict[str, dict[str, Any]]:
    return {
        name: {"estimate": value, **dict(zip(("low", "high"), intervals[name], strict=True))}
        for name, value in metrics.items()
    }


def _references(run: LoggedRun) -> list[Item]:
    """Return what was measured beside the model, none of which is kept."""
    plainer = run.first("reference_metrics")
    comparison = _told(run, "gate_decided")["comparison"]
    items = []
    if plainer is not None:
        name = f"metrics of {plainer.document['model_type']}"
        items.append(underivable(name, plainer.document["metrics"], NO_OTHER_MODEL))
    if comparison is not None:
        items.append(underivable("comparison with the current model", comparison, NO_OTHER_MODEL))
    return items


def _criteria(logged: list[Document], decision: Decision, kept: _Kept, plan: Plan) -> list[Item]:
    """Return each criterion that was logged, or should have been."""
    told = {criterion["name"]: criterion for criterion in logged}
    derived = {criterion.name: criterion.to_document() for criterion in decision.criteria}
    must, may = _underivable_names(kept, plan)
    reasons = {**may, **must}
    items = []
    for name in dict.fromkeys([*told, *derived, *must]):
        if name in reasons and name in told:
            items.append(underivable(name, told[name], reasons[name]))
        elif name in told:
            items.append(compared(name, told[name], derived.get(name)))
        else:
            items.append(Item(name, None, derived.get(name), Agreement.DIFFERENT, NOT_LOGGED))
    return items


def _underivable_names(kept: _Kept, plan: Plan) -> tuple[dict[str, str], dict[str, str]]:
    """Return the criteria that the gate must, and may, have judged by what is not kept, and why.

    The gate itself is asked how it calls them, on rows that stand in: a set of one class has no
    criterion of skill.
    """
    if kept.scored is None:
        return {}, {}
    limits = gate.Limits(plan.max_ece, plan.min_accuracy)
    y_proba = np.array([0.5, 0.5])
    rows, one_class = (gate.ScoredSet(np.array(y), y_proba) for y in ([0, 1], [1, 1]))
    beside = catalog.traits(kept.model["model_type"]).beside
    reference = None if beside is None else gate.Reference(beside, y_proba)

    def names(challenge: gate.ScoredSet | None, reference: gate.Reference | None) -> list[str]:
        sets = dict.fromkeys(plan.challenge_data, challenge) if challenge else {}
        evidence = gate.Evidence(rows, 0.5, challenges=sets, reference=reference)
        return [criterion.name for criterion in gate.decide(evidence, limits).criteria]

    plain = names(None, None)
    must = dict.fromkeys(names(one_class, None)[len(plain) :], NO_CHALLENGE_ROWS)
    may = dict.fromkeys(names(rows, None)[len(plain) :], NO_CHALLENGE_ROWS)
    must |= dict.fromkeys(names(None, reference)[len(plain) :], NO_OTHER_MODEL)
    return must, may


def _verdict(
    decided: Document, criteria: list[Document], items: list[Item], decision: Decision
) -> list[Item]:
    """Return the verdict that follows from the criteria, and what it allows."""
    taken = {item.name for item in items if item.agreement == Agreement.UNDERIVABLE}
    as_logged = [c["verdict"] for c in criteria if c["name"] in taken]
    own = [c.verdict for c in decision.criteria if c.name not in taken]
    verdict = next((v.value for v in FROM_WORST if v in own or v.value in as_logged), None)
    rests = f"with {len(as_logged)} criteria as they were logged" if as_logged else ""
    judged = compared("verdict", decided["verdict"], verdict, rests)
    if verdict == Verdict.PASS:
        return [judged, underivable("cleared for production", decided["cleared"], NO_SUCCESSION)]
    return [judged, compared("cleared for production", decided["cleared"], derived=False)]
