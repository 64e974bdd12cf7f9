"""The one flow: source > table > split > model > calibrated scores > metrics > gate > registry.

Read it from top to bottom. Each stage says what happened by ``run.record(fact)``; who listens
is nobody's business here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nethical.environment import environment
from nethical.facts import RunStarted
from nethical.fitting import calibrate, fit, reference, snapshots_of
from nethical.judgement import Judged, judge, measure
from nethical.keys import Keys, default_home
from nethical.preparation import Prepared, prepare
from nethical.publication import check_writable, publish
from nethical.registry import Registry
from nethical.run import Run
from nethical.threads import free_cores, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from nethical.plan import Plan
    from nethical.registry import Published
    from nethical.trained import TrainedModel

__all__ = ["Outcome", "train"]


@dataclass(frozen=True)
class Outcome:
    """What a run led to.

    Args:
        run_id: The run.
        plan: What it was asked to do.
        prepared: What it learnt from.
        model: The trained model, ready to use.
        judged: Metrics, verdict and promotion.
        published: Where the bundle is.
    """

    run_id: str
    plan: Plan
    prepared: Prepared
    model: TrainedModel
    judged: Judged
    published: Published


def train(
    plan: Plan,
    *,
    run: Run | None = None,
    registry: Registry | None = None,
    data_digest: str | None = None,
    resume: bool = False,
    check: Callable[[Prepared], None] | None = None,
) -> Outcome:
    """Train, judge and publish a model.

    Args:
        plan: What to do.
        run: Who listens; default: nobody.
        registry: Where to publish; default: the plan's folder, signed with the user's keys.
        data_digest: The digest that the rows must have, to repeat a run; None for any.
        resume: Go on from the snapshot that an interrupted run of this plan left.
        check: Called with the parts before anything is learnt; what it raises ends the run.

    Raises:
        NethicalError: Something cannot be done; nothing is then published.

    Example:
        >>> train(Plan("logistic", data="sklearn:breast_cancer"))  # doctest: +SKIP
    """
    run = run or Run()
    registry = registry or Registry(
        Path(plan.models_dir), Keys(default_home()), lambda: datetime.now(UTC)
    )
    check_writable(registry.models_dir)
    plan = replace(plan, threads=plan.threads or free_cores())
    start(plan, run)
    prepared = prepare(plan, run, data_digest=data_digest)
    if check is not None:
        check(prepared)
    snapshots = snapshots_of(plan, prepared, registry, resume=resume)
    with run.stage("fit"), one_blas_thread():
        model, fitted = fit(plan, prepared.parts["train"], run, snapshots)
    with run.stage("calibrate"), one_blas_thread():
        trained, calibrated = calibrate(plan, prepared, model, run)
    with run.stage("reference"), one_blas_thread():
        beside = reference(plan, prepared, run)
    with run.stage("evaluate"), one_blas_thread():
        measured = measure(trained, beside, prepared, plan, run)
    with run.stage("gate"), one_blas_thread():
        judged = judge(trained, prepared, measured, plan=plan, run=run, registry=registry)
    with run.stage("publish"):
        stages = (fitted, calibrated)
        published = publish(
            trained, prepared, stages, judged, plan=plan, run=run, registry=registry
        )
        snapshots.remove()
    return Outcome(run.run_id, plan, prepared, trained, judged, published)


def start(plan: Plan, run: Run) -> None:
    """Record what the run is asked to do."""
    run.record(
        RunStarted(
            run.run_id,
            plan.model_type,
            plan.slot,
            plan.epochs,
            plan.batch_size,
            plan.num_samples,
            plan.seed,
            plan.to_document(),
            environment(plan),
        )
    )
