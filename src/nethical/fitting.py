"""What learns in a run: the model, its calibrator and thresholds, and the plainer model beside."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from nethical import calibrators, decisions
from nethical.data.roles import Role
from nethical.data.split import instants
from nethical.environment import versions
from nethical.errors import DataError
from nethical.facts import Calibrated, ModelFitted
from nethical.models import catalog
from nethical.models.base import Settings
from nethical.plan import Plan
from nethical.snapshots import StoredSnapshots
from nethical.trained import TrainedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable
    from nethical.models.base import Model
    from nethical.preparation import Prepared
    from nethical.registry import Registry
    from nethical.run import Run

__all__ = ["calibrate", "fit", "reference", "snapshots_of"]

BESIDE_THE_RESULT = ("models_dir", "threads", "name", "replace")
ENOUGH_POSITIVES = 30
FEWEST_RECENT = 1000


def snapshots_of(
    plan: Plan, prepared: Prepared, registry: Registry, *, resume: bool
) -> StoredSnapshots:
    """Return where the fit may leave snapshots of itself."""
    document = plan.to_document()
    decides = {key: document[key] for key in document if key not in BESIDE_THE_RESULT}
    identity = {"plan": decides, "data": prepared.loaded.digest, "versions": versions()}
    folder = registry.models_dir / "snapshots"
    return StoredSnapshots(folder, identity, registry.keys.row_key, resume=resume)


def fit(
    plan: Plan, table: LabelledTable, run: Run, snapshots: StoredSnapshots | None = None
) -> tuple[Model, ModelFitted]:
    """Return the model that learnt from the train part.

    Args:
        plan: What to do.
        table: The train part.
        run: Who listens.
        snapshots: Where a long fit leaves snapshots; None for nowhere.
    """
    settings = Settings(plan.epochs, plan.batch_size, plan.threads or 1, snapshots, plan.parameters)
    began = time.perf_counter()
    model = catalog.build(plan.model_type, settings).fit(
        table, rng=np.random.default_rng(plan.seed), progress=run.progress
    )
    fact = ModelFitted(
        plan.model_type,
        plan.epochs,
        model.fitting.epochs_run,
        time.perf_counter() - began,
        [*model.fitting.notes, *(snapshots.notes() if snapshots else []), *_advice(plan, table)],
        dict(model.fitting.details),
    )
    run.record(fact)
    return model, fact


def _advice(plan: Plan, table: LabelledTable) -> list[str]:
    """Return what had no effect, and what another type would do better here."""
    traits = catalog.traits(plan.model_type)
    looks_back = (plan.windows, plan.label_delay) != (Plan.windows, Plan.label_delay)
    if looks_back and not traits.reads_event_log:
        return ["--windows and --label-delay have no effect: this type reads no event log"]
    positives = int(table.y.sum())
    if not traits.learns_from_normals or positives < ENOUGH_POSITIVES:
        return []
    advice = (
        f"{positives:,} positive rows are not learnt from; from {ENOUGH_POSITIVES} on "
        "--model-type boosted, which learns from them, usually does better"
    )
    return [advice]


def calibrate(
    plan: Plan, prepared: Prepared, model: Model, run: Run
) -> tuple[TrainedModel, Calibrated]:
    """Return the model with its calibrator and thresholds, learnt from the calibrate part."""
    part = prepared.parts["calibrate"]
    keeps_budget = catalog.traits(plan.model_type).learns_from_normals
    scores = model.score(part)
    calibrator: calibrators.Calibrator
    if part.has_both_classes:
        calibrator = calibrators.fit(scores, part.y, strict=keeps_budget)
    else:
        calibrator = calibrators.fit_to_normals(scores)
        run.warn("no positive row to calibrate on: probability is the percentile among normal rows")
    thresholds = _thresholds(plan, part, calibrator.predict(scores), keeps_budget=keeps_budget)
    fact = Calibrated(calibrator.method, len(part), thresholds.to_document())
    run.record(fact)
    trained = TrainedModel(
        plan.slot,
        plan.model_type,
        prepared.roles,
        model,
        calibrator,
        thresholds,
        prepared.event_log,
    )
    return trained, fact


def _thresholds(
    plan: Plan, part: LabelledTable, y_proba: NDArray[np.float64], *, keeps_budget: bool
) -> decisions.Thresholds:
    """Return the thresholds that the plan gives, or those that its rule finds on this part."""
    if plan.thresholds is not None:
        return decisions.Thresholds.configured(plan.thresholds)
    if plan.threshold is None and keeps_budget:
        return decisions.within_budget(y_proba[_recent_normals(part)], plan.alert_budget)
    return decisions.choose(part.y, y_proba, min_accuracy=plan.min_accuracy, given=plan.threshold)


def _recent_normals(part: LabelledTable) -> NDArray[np.int64]:
    """Return the rows of class 0: where times are known the later half, or 1,000 if that is more.

    What is normal moves, so the alerts of tomorrow are those of lately.
    """
    normals = np.flatnonzero(part.y == 0)
    time_column = part.roles.one(Role.TIME)
    if time_column is None:
        return normals
    try:
        times = instants(part, time_column)
    except DataError:  # a split that asks for no time: then what is recent is not known
        return normals
    order = np.argsort(times[normals], kind="stable")
    return normals[order[-max(len(normals) // 2, FEWEST_RECENT) :]]


def reference(plan: Plan, prepared: Prepared, run: Run) -> TrainedModel | None:
    """Return the plainer model that the type must not be worse than, or None if it has none."""
    plainer = catalog.traits(plan.model_type).beside
    if plainer is None:
        return None
    settings = Settings(plan.epochs, plan.batch_size, plan.threads or 1)
    model = catalog.build(plainer, settings).fit(
        prepared.parts["train"], rng=np.random.default_rng(plan.seed), progress=run.progress
    )
    part = prepared.parts["calibrate"]
    scores = model.score(part)
    calibrator = calibrators.fit(scores, part.y)
    thresholds = _thresholds(plan, part, calibrator.predict(scores), keeps_budget=False)
    return TrainedModel(plan.slot, plainer, prepared.roles, model, calibrator, thresholds)
