"""``nethical evaluate``: measure and judge a model on other data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import add_registry_flags

if TYPE_CHECKING:
    import argparse

    from nethical.cli.console import Console

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add the command and its flags."""
    parser = commands.add_parser(
        "evaluate",
        help="measure and judge a model on other data",
        description="Print metrics with intervals and the gate's verdict; nothing is published.",
    )
    parser.add_argument("model", metavar="MODEL", help="an id, a name in production, or a folder")
    parser.add_argument("data", metavar="DATA", type=Path, help="labelled rows, a file or folder")
    parser.add_argument(
        "--label-column", metavar="COLUMN", help="where the model learnt without labels"
    )
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="the past of an event log, only read"
    )
    parser.add_argument("--promotion-max-ece", type=float, default=0.08, help="default: 0.08")
    parser.add_argument("--promotion-min-accuracy", type=float, default=0.85, help="default: 0.85")
    parser.add_argument("--alert-budget", type=float, default=0.01, help="default: 0.01")
    parser.add_argument("--fail-on-refusal", action="store_true", help="exit 3 unless PASS")
    add_registry_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Evaluate as asked and print the metrics and the verdict."""
    from nethical.cli.narrator import criterion_line, metric_rows, shorter_past
    from nethical.errors import RefusedError
    from nethical.event_memory import History
    from nethical.gate import Limits, Verdict
    from nethical.record import learnt_by
    from nethical.scoring import examine
    from nethical.trained import TrainedModel, registry_of

    registry = registry_of(args.models_dir, args.key)
    bundle = registry.verify(args.model)
    model = TrainedModel.from_files(bundle.files)
    limits = Limits(args.promotion_max_ece, args.promotion_min_accuracy)
    found = examine(
        model,
        args.data,
        limits,
        budget=args.alert_budget,
        learnt=learnt_by(bundle, registry.keys.row_keys()),
        label_column=args.label_column,
        history=History(model, args.state) if args.state else None,
    )
    if model.event_log is not None and args.state is None:
        console.warn(shorter_past(model.event_log))
    metrics = found.evaluation.metrics_document()
    intervals = found.evaluation.intervals_document()
    criteria = [criterion.to_document() for criterion in found.decision.criteria]
    console.info(f"Evaluated {model.name} on {found.evaluation.rows:,} rows of {args.data}")
    if found.learnt:
        console.warn(f"{found.learnt:,} of these rows equal a row that the model learnt from")
    if found.unlabelled:
        console.warn(f"{found.unlabelled:,} rows have no label and are left out")
    console.table(("Metric", "Value", "95 % interval"), metric_rows(metrics, intervals))
    console.line(f"[INFO] Promotion Gate: {found.decision.verdict.value}")
    for criterion in criteria:
        console.line(f"  {criterion_line(criterion)}")
    if args.json:
        document: dict[str, Any] = {
            "rows": found.evaluation.rows,
            "unlabelled": found.unlabelled,
            "learnt": found.learnt,
        }
        document |= {"metrics": metrics, "intervals": intervals, "criteria": criteria}
        console.json(document | {"verdict": found.decision.verdict.value})
    if args.fail_on_refusal and found.decision.verdict != Verdict.PASS:
        raise RefusedError(
            f"the gate says {found.decision.verdict.value}",
            mend="read the criteria above; train again, or pass the limits that you stand for",
        )
    return 0
