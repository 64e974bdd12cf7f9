"""The end of a run: the bundle's files, signed and published."""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING, Any

from nethical import card
from nethical.environment import environment
from nethical.errors import StorageError
from nethical.facts import ModelSaved
from nethical.judgement import metrics_document
from nethical.record import rows_file, scores_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nethical.facts import Calibrated, ModelFitted
    from nethical.judgement import Judged
    from nethical.plan import Plan
    from nethical.preparation import Prepared
    from nethical.registry import Published, Registry
    from nethical.run import Run
    from nethical.trained import TrainedModel

__all__ = ["check_writable", "publish"]

REGISTRY_FOLDERS = ("versions", "current", "candidates")


def check_writable(models_dir: Path) -> None:
    """Refuse a folder that could not be published to, before anything is trained.

    Raises:
        StorageError: It cannot be made or written.
    """
    try:
        places = [p for p in (models_dir / name for name in REGISTRY_FOLDERS) if p.exists()]
        nearest = models_dir.absolute()
        while not os.path.lexists(nearest):
            nearest = nearest.parent
    except OSError as error:
        raise StorageError(
            f"cannot publish to {models_dir}: {error.strerror}", mend="name another --models-dir"
        ) from error
    for place in (nearest, *places):
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            why = "it cannot be written" if place.is_dir() else "it is no folder"
            raise StorageError(
                f"cannot publish to {models_dir}: {place}: {why}",
                mend="mend its permissions, or name another folder with --models-dir",
            )


def publish(  # noqa: PLR0913 - all that a bundle says
    trained: TrainedModel,
    prepared: Prepared,
    fitted: tuple[ModelFitted, Calibrated],
    judged: Judged,
    *,
    plan: Plan,
    run: Run,
    registry: Registry,
) -> Published:
    """Return the published version: a signed bundle, current or candidate, recorded."""
    model_id = f"{plan.slot}_{run.clock():%Y%m%dT%H%M%SZ}_{secrets.token_hex(3)}"
    key = registry.keys.row_key()
    receipt = run.seal()
    files = trained.to_files()
    metrics = metrics_document(judged, prepared, trained, plan)
    record = {
        "run_id": run.run_id,
        "model_id": model_id,
        "started_at": f"{run.started_at:%Y-%m-%dT%H:%M:%SZ}",
        **_record(prepared, fitted, judged, plan, run),
        "row_key": registry.keys.row_fingerprint(),
        "gate_readings": judged.gate_readings,
        "receipt": vars(receipt) if receipt else None,
    }
    files |= {
        "metrics.json": _json(metrics),
        "run.json": _json(record),
        "scores.parquet": scores_file(prepared.parts["gate"], judged.y_proba, key),
        "rows.parquet": rows_file(prepared.parts, key),
        "card.md": card.render(json.loads(files["model.json"]), metrics, record).encode(),
        **{name: svg.encode() for name, svg in card.figures(metrics).items()},
    }
    claims = {"run_id": run.run_id} | (vars(receipt) if receipt else {})
    published = registry.publish(
        model_id=model_id,
        name=plan.slot,
        files=files,
        claims=claims,
        promote=judged.promote,
        baseline=judged.current,
        details={
            "run_id": run.run_id,
            "verdict": judged.decision.verdict.value,
            "gate_digest": prepared.split.gate_digest,
            "reason": judged.reason,
        },
    )
    run.record(
        ModelSaved(
            model_id,
            str(published.path),
            str(published.path / "metrics.json"),
            published.promoted,
            published.signature_digest,
        )
    )
    return published


def _record(
    prepared: Prepared,
    fitted: tuple[ModelFitted, Calibrated],
    judged: Judged,
    plan: Plan,
    run: Run,
) -> dict[str, Any]:
    """Return what run.json says of each stage."""
    loaded, split, leaks = prepared.loaded, prepared.split, prepared.leaks
    learnt, calibrated = fitted
    return {
        "plan": plan.to_document(),
        "source": {
            "source": loaded.source,
            "digest": loaded.digest,
            "rows": loaded.num_samples,
            "columns": loaded.columns,
            "unlabelled": loaded.unlabelled,
            "details": loaded.details,
        },
        "splits": {
            "strategy": split.strategy,
            "parts": split.parts,
            "positives": split.positives,
            "groups": split.groups,
            "notes": list(prepared.notes),
            "gate_digest": split.gate_digest,
        },
        "leaks": {
            "suspects": leaks.suspects,
            "dropped": leaks.dropped,
            "accepted": leaks.accepted,
            "duplicate_rows": split.duplicate_rows,
            "sorted_by_label": leaks.sorted_by_label,
            "probed": leaks.probed,
        },
        "fitting": {
            "epochs": learnt.epochs,
            "epochs_run": learnt.epochs_run,
            "seconds": round(learnt.training_duration_seconds, 4),
            "notes": learnt.notes,
            "details": learnt.details,
        },
        "calibration": {"method": calibrated.method, "rows": calibrated.rows},
        "environment": environment(plan),
        "warnings": list(run.warnings),
        "comparison": judged.comparison_document(),
        "cleared": judged.promote,
        "reason": judged.reason,
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
