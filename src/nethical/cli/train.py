"""``nethical train``: the one flow from the command line.

The flags are the contract of the training scripts; ``training/train_any_model.py`` takes
exactly these.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import audit_path
from nethical.cli.governed import (
    GOVERNANCE,
    SEARCH,
    TOLD_OF_A_CANDIDATE,
    check_governance,
    check_store,
    govern,
    judge_candidate,
)
from nethical.cli.tracked import TRACKING, check_tracking, tracking_of
from nethical.cli.train_flags import ABSENT_PARTS, add_flags, columns, flag_name, parameters
from nethical.errors import DataError, NethicalError, RefusedError, UsageError
from nethical.models.catalog import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nethical.audit.sink import AuditSink, RunAudit
    from nethical.cli.console import Console
    from nethical.cli.governed import Governed
    from nethical.drift.report import Written
    from nethical.pipeline import Outcome
    from nethical.plan import Plan
    from nethical.run import Run, Sink

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add the command and its flags."""
    parser = commands.add_parser(
        "train",
        help="train, calibrate and judge a model, and publish it",
        description="Train a calibrated risk model, judge it, and publish it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Train as asked and print what came out."""
    given = vars(args)
    _refuse_absent(given)
    audit_path(given)
    check_tracking(given)
    check_governance(given)
    check_store(given)
    types = _types(given)
    if len(types) > 1:
        return _run_several(types, given, console)
    plan, original = _asked(given)
    data_digest = original.data_digest if original else None
    if given.get("dry_run"):
        with _listening(given, console) as listening:
            found = _dry_run(plan, listening, console, data_digest)
        if console.json_output:
            console.json(found)
        return 0
    trained = _train(plan, given, console, data_digest)
    if original is not None:
        _compare_with_original(trained.outcome, original.folder, console)
    if console.json_output:
        console.json(document(trained))
    _fail_on_refusal(given, [trained.outcome])
    return 0


@dataclass(frozen=True)
class Trained:
    """A run that came to its end: what it led to, and what stands beside it, if asked for."""

    outcome: Outcome
    drift: Written | None = None
    governed: Governed | None = None
    audit: RunAudit | None = None


@contextmanager
def _listening(
    given: dict[str, Any], console: Console, sinks: Sequence[Sink] = ()
) -> Iterator[Run]:
    """Give a run whose facts go to these sinks, and are told by the console."""
    from nethical.cli.narrator import Narrator
    from nethical.run import Run

    narrator = Narrator(console, verbose=given.get("verbose", False))
    with narrator.progress() as progress:
        yield Run([*sinks, narrator], progress=progress)


def _train(
    plan: Plan, given: dict[str, Any], console: Console, data_digest: str | None = None
) -> Trained:
    from nethical.pipeline import train

    with ExitStack() as stack:
        audit = _audit(given, console, stack)
        tracking = tracking_of(given, plan, console, _types(given))
        sinks = [sink for sink in (audit, tracking) if sink is not None]
        listening = stack.enter_context(_listening(given, console, sinks))
        outcome = train(
            plan,
            run=listening,
            data_digest=data_digest,
            resume=given.get("resume", False),
            check=tracking.check if tracking else None,
        )
        drift = tracking.finish(outcome, listening) if tracking else None
        governed = govern(outcome, given, listening, console)
    if governed is not None and governed.candidate is not None:
        governed, audit = _try_candidate(governed, given, console)
    if audit is None or audit.audit is None:
        return Trained(outcome, drift, governed)
    tell_audit(audit.audit, console)
    return Trained(outcome, drift, governed, audit.audit)


def _try_candidate(
    governed: Governed, given: dict[str, Any], console: Console
) -> tuple[Governed, AuditSink | None]:
    """Train the best configuration of a search in a run of its own, and judge it."""
    from nethical.cli.console import Console as Plain
    from nethical.cli.narrator import Narrator
    from nethical.run import Run

    silent = Plain(json_output=console.json_output, quiet=True)
    with ExitStack() as stack:
        audit = _audit(given, silent, stack)
        narrator = Narrator(console, only=TOLD_OF_A_CANDIDATE)
        listening = Run([*([audit] if audit else []), narrator])
        return judge_candidate(governed, given, listening, console), audit


def _audit(given: dict[str, Any], console: Console, stack: ExitStack) -> AuditSink | None:
    """Return what logs the run, None when that was not asked for."""
    path = audit_path(given)
    if path is None:
        return None
    from nethical.audit.anchors import anchor
    from nethical.audit.files import network_file_system
    from nethical.audit.sink import AuditSink
    from nethical.keys import Keys, default_home

    anchors = [anchor(spec) for spec in given.get("anchor", ())]
    audit = stack.enter_context(AuditSink(path, Keys(default_home()), anchors=anchors))
    console.info(f"Merkle audit logging enabled: {path} (log {audit.log.origin})")
    network = network_file_system(path)
    if network:
        console.warn(f"{path} lies on {network}: let one machine alone write to this log")
    return audit


def tell_audit(audit: RunAudit, console: Console) -> None:
    """Print where the audit of a run stands, and the checkpoint to keep elsewhere."""
    console.line(f"[INFO] Merkle root: {audit.merkle_root}")
    console.info(f"Audit log: {audit.path}, {audit.tree_size:,} entries")
    for spec in audit.anchors:
        console.info(f"Checkpoint kept and read back: {spec}")
    if not audit.anchors:
        console.info("Keep this checkpoint elsewhere; it shows if the log is ever set back:")
        if not console.quiet:
            console.line("  " + audit.note.decode().rstrip().replace("\n", "\n  "))


def _fail_on_refusal(given: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    refused = [o for o in outcomes if o.judged.decision.verdict != "PASS"]
    if given.get("fail_on_refusal") and refused:
        raise RefusedError(
            f"the gate says {refused[0].judged.decision.verdict}; the model is a candidate",
            mend=f"read {refused[0].published.path / 'card.md'}",
        )


def _run_several(types: Sequence[str], given: dict[str, Any], console: Console) -> int:
    """Train one model of each type; a type that fails does not keep the others from it."""
    if alone := [name for name in ("from_run", "name", "parameter") if name in given]:
        flag = flag_name(alone[0])
        raise UsageError(
            f"{flag} is for one model, and {len(types)} types were named",
            mend=f"leave {flag} out, or name one --model-type",
        )
    console.info(f"Training {len(types)} model types: {', '.join(types)}")
    plans = {model_type: _plan({**given, "model_type": model_type}) for model_type in types}
    outcomes: dict[str, Trained] = {}
    errors: dict[str, NethicalError] = {}
    shown: list[dict[str, Any]] = []
    for model_type, plan in plans.items():
        console.line()
        try:
            if given.get("dry_run"):
                with _listening(given, console) as listening:
                    shown.append(_dry_run(plan, listening, console, None))
            else:
                outcomes[model_type] = _train(plan, given, console)
        except NethicalError as error:
            errors[model_type] = error
            console.error(error)
    if not given.get("dry_run"):
        _summarise(types, outcomes, errors, console)
    elif console.json_output:
        console.json({"runs": shown})
    if errors:
        failed, first = next(iter(errors.items()))
        raise type(first)(f"{failed}: {first.what}", mend=first.mend)
    _fail_on_refusal(given, [trained.outcome for trained in outcomes.values()])
    return 0


def _summarise(
    types: Sequence[str],
    outcomes: dict[str, Trained],
    errors: dict[str, NethicalError],
    console: Console,
) -> None:
    """Print one line a type, and the JSON document of all."""
    console.line()
    console.line("[INFO] TRAINING SUMMARY")
    for model_type in types:
        if model_type in errors:
            console.line(f"  {model_type}: ✗ FAILED: {errors[model_type].what}")
            continue
        outcome = outcomes[model_type].outcome
        metrics = outcome.judged.evaluation.metrics_document()
        told = ", ".join(
            f"{name} {'unknown' if metrics[name] is None else format(metrics[name], '.4f')}"
            for name in ("accuracy", "roc_auc", "ece_debiased")
        )
        mark = "✓ PROMOTED" if outcome.published.promoted else "✓ SUCCESS, a candidate"
        console.line(f"  {model_type}: {mark} ({outcome.judged.decision.verdict}; {told})")
    console.line(f"[INFO] Total models trained: {len(outcomes)} of {len(types)}")
    if console.json_output:
        runs = [
            document(outcomes[model_type])
            if model_type in outcomes
            else {
                "model_type": model_type,
                "error": errors[model_type].what,
                "mend": errors[model_type].mend,
                "exit_code": errors[model_type].exit_code,
            }
            for model_type in types
        ]
        console.json({"runs": runs})


def _types(given: dict[str, Any]) -> tuple[str, ...]:
    """Return the model types that were named, in order, each once.

    Raises:
        UsageError: One of them does not exist.
    """
    named = [word.strip() for word in given.get("model_type", "").split(",")]
    if "all" in named:
        if len(named) > 1:
            raise UsageError(
                "--model-type all stands beside other types",
                mend="write all alone, or leave it out",
            )
        return names()
    for name in named:
        if name not in names() and "model_type" in given:
            raise UsageError(
                f"there is no model type {name!r}",
                mend=f"choose one of {', '.join(names())}; several with commas; or all",
            )
    return tuple(dict.fromkeys(named))


def _refuse_absent(given: dict[str, Any]) -> None:
    for part, flags in ABSENT_PARTS.items():
        for flag in flags:
            if flag in given:
                raise UsageError(
                    f"--{flag.replace('_', '-')}: {part} is not part of this release",
                    mend="leave the flag out",
                )


@dataclass(frozen=True)
class _Original:
    """A run to repeat: the folder of its bundle, and the digest of the rows that it read."""

    folder: Path
    data_digest: str


def _asked(given: dict[str, Any]) -> tuple[Plan, _Original | None]:
    """Return the plan, and the run that it repeats, if any."""
    if "from_run" in given:
        return _repeated(Path(given["from_run"]), given)
    return _plan(given), None


def _plan(given: dict[str, Any]) -> Plan:
    from nethical.plan import Plan

    if "model_type" not in given:
        raise UsageError("--model-type is missing", mend="pass --model-type logistic, for example")
    return Plan(
        model_type=_types(given)[0],
        data=given.get("data"),
        kaggle_datasets=tuple(given.get("kaggle", ())),
        synthetic_fallback=not given.get("no_synthetic_fallback", False),
        parameters=parameters(given),
        has_search=given.get("optimize_config", False),
        columns=columns(given),
        positive_labels=tuple(given.get("positive", ())),
        split=given.get("split", "auto"),
        challenge_data=tuple(given.get("challenge", ())),
        accept_leaks=tuple(given.get("accept", ())),
        max_ece=given["promotion_max_ece"],
        min_accuracy=given["promotion_min_accuracy"],
        **{key: given[key] for key in SAME_NAMES if key in given},
    )


SAME_NAMES = (
    "num_samples",
    "epochs",
    "batch_size",
    "seed",
    "threads",
    "use_fairness_columns",
    "split_column",
    "test_data",
    "drop_leaks",
    "threshold",
    "alert_budget",
    "windows",
    "label_delay",
    "name",
    "replace",
    "models_dir",
)


# With --from-run the plan is the stored one; these flags say nothing of it, or may differ.
BESIDE_A_STORED_PLAN = {
    *("command", "run", "from_run", "dry_run", "json", "quiet", "verbose", "fail_on_refusal"),
    *("models_dir", "name", "resume", "enable_audit", "audit_path", "anchor"),
    "enable_drift_tracking",
    *TRACKING,
    "enable_phase89",
    *GOVERNANCE,
    *SEARCH,
}
DEFAULTS = {
    "epochs": 10,
    "batch_size": 32,
    "seed": 42,
    "promotion_max_ece": 0.08,
    "promotion_min_accuracy": 0.85,
    "alert_budget": 0.01,
    "models_dir": "models",
}


def _repeated(path: Path, given: dict[str, Any]) -> tuple[Plan, _Original]:
    """Return the stored plan, and the run that it repeats."""
    from nethical import durable
    from nethical.plan import Plan

    for flag in given.keys() - BESIDE_A_STORED_PLAN:
        if flag not in DEFAULTS or given[flag] != DEFAULTS[flag]:
            raise UsageError(
                f"--from-run repeats a stored plan; {flag_name(flag)} would change it",
                mend=f"leave {flag_name(flag)} out, or train anew without --from-run",
            )
    changes: dict[str, Any] = {
        key: given[key]
        for key in ("models_dir", "name")
        if key in given and given[key] != DEFAULTS.get(key)
    }
    content = durable.read(path)
    try:
        record = json.loads(content)
        plan = Plan.from_document({**record["plan"], **changes})
        return plan, _Original(path.resolve().parent, str(record["source"]["digest"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no run.json of a model: {type(error).__name__}: {error}",
            mend="pass the run.json of a folder in models/versions",
        ) from error


def _compare_with_original(outcome: Outcome, folder: Path, console: Console) -> None:
    """Say which files of a repeated run are byte-equal."""
    from nethical import durable

    for name in ("model.json", "arrays.npz", "trees.txt", "metrics.json", "scores.parquet"):
        if (folder / name).exists():
            new = outcome.published.path / name
            same = new.exists() and durable.read(folder / name) == durable.read(new)
            console.info(f"{name}: {'byte-equal' if same else 'DIFFERENT'}")


def _dry_run(
    plan: Plan, listening: Run, console: Console, data_digest: str | None
) -> dict[str, Any]:
    """Return what ``--json`` prints of a run that stops before anything is fitted."""
    from nethical.preparation import prepare

    prepared = prepare(plan, listening, data_digest=data_digest)
    if plan.parameters:
        told = ", ".join(f"{name} {value}" for name, value in plan.parameters.items())
        console.info(f"Parameters: {told}")
    console.info("Dry run: nothing is trained, nothing is written")
    return {
        "plan": plan.to_document(),
        "source": prepared.loaded.source,
        "digest": prepared.loaded.digest,
        "roles": prepared.roles.to_document(),
        "leaks": prepared.leaks.to_document(),
        "splits": prepared.split.to_document(),
    }


def document(trained: Trained) -> dict[str, Any]:
    """Return what ``--json`` prints of a run."""
    outcome, drift, audit = trained.outcome, trained.drift, trained.audit
    governed = trained.governed
    judged = outcome.judged
    overtaken = judged.promote and not outcome.published.promoted
    return {
        "run_id": outcome.run_id,
        "model_id": outcome.published.model_id,
        "model_type": outcome.plan.model_type,
        "name": outcome.plan.slot,
        "verdict": judged.decision.verdict.value,
        "promoted": outcome.published.promoted,
        "reason": "another model became current meanwhile" if overtaken else judged.reason,
        "model_path": str(outcome.published.path),
        "metrics": judged.evaluation.metrics_document(),
        "intervals": judged.evaluation.intervals_document(),
        "criteria": [
            {
                key: value
                for key, value in criterion.to_document().items()
                if key in {"name", "estimate", "bound", "threshold", "n", "verdict"}
            }
            for criterion in judged.decision.criteria
        ],
        "comparison": judged.comparison_document(),
        "source": outcome.prepared.loaded.source,
        "splits": outcome.prepared.split.parts,
        "audit": audit
        and {
            "merkle_root": audit.merkle_root,
            "tree_size": audit.tree_size,
            "path": str(audit.path),
            "anchors": list(audit.anchors),
        },
        "drift": drift
        and {
            "report_id": drift.report_id,
            "path": str(drift.path),
            "verdict": drift.verdict.value,
        },
        "governance": governed and governed.to_document(),
    }
