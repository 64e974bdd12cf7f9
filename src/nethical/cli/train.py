"""``nethical train``: the one flow from the command line.

The flags are the contract of the training scripts; ``training/train_any_model.py`` takes
exactly these.
"""

from __future__ import annotations

import argparse
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.errors import DataError, NethicalError, RefusedError, UsageError
from nethical.models.catalog import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nethical.cli.console import Console
    from nethical.pipeline import Outcome
    from nethical.plan import Plan
    from nethical.run import Run

__all__ = ["add_parser"]

# Flags of parts that are not in this release: taken, and answered with one clear line.
ABSENT_PARTS = {
    "the audit log": ("enable_audit", "audit_path", "anchor"),
    "drift tracking": (
        "enable_drift_tracking",
        "drift_report_dir",
        "cohort_id",
        "cohort_column",
    ),
    "Phase 8-9 governance": (
        "enable_phase89",
        "phase89_storage",
        "optimize_config",
        "optimization_technique",
        "optimization_iterations",
        "waive_agreement",
    ),
    "the distributed engine": ("engine", "engine_address", "workers", "memory"),
}
ABSENT_SWITCHES = (
    "enable_audit",
    "enable_drift_tracking",
    "enable_phase89",
    "optimize_config",
)


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add the command and its flags."""
    parser = commands.add_parser(
        "train",
        help="train, calibrate and judge a model, and publish it",
        description="Train a calibrated risk model, judge it, and publish it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    _training_flags(parser)
    _data_flags(parser.add_argument_group("data"))
    _gate_flags(parser.add_argument_group("gate and registry"))
    _absent_flags(parser.add_argument_group("parts that are not in this release"))
    _output_flags(parser.add_argument_group("output"))
    parser.set_defaults(run=run)


def _training_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-type",
        metavar="TYPE",
        help=f"{', '.join(names())}; several with commas, or all (required)",
    )
    parser.add_argument("--epochs", type=int, default=10, help="training epochs")
    parser.add_argument("--batch-size", type=int, default=32, help="rows per gradient step")
    parser.add_argument("--num-samples", type=int, help="rows to generate or draw (default: 10000)")
    parser.add_argument("--seed", type=int, default=42, help="decides everything random")
    parser.add_argument(
        "--threads", type=int, help="threads of the libraries (default: free cores)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the snapshot of an interrupted run"
    )
    parser.add_argument("--from-run", metavar="RUN.json", help="repeat a run exactly")
    parser.add_argument("--dry-run", action="store_true", help="show roles, leaks, splits; stop")


def _data_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data", help="a table, a folder, sklearn:NAME or synthetic:TASK")
    group.add_argument(
        "--kaggle-dataset",
        action="append",
        metavar="OWNER/NAME",
        dest="kaggle",
        help="a Kaggle set, OWNER/NAME[/versions/N][:FILE] (repeatable)",
    )
    group.add_argument("--no-synthetic-fallback", action="store_true", help="fail without data")
    group.add_argument("--label-column", metavar="COLUMN", help="what to predict")
    group.add_argument(
        "--positive-label",
        action="append",
        metavar="VALUE",
        dest="positive",
        help="a label value that is positive (repeatable)",
    )
    group.add_argument("--group-column", metavar="COLUMN", help="rows that are never split apart")
    group.add_argument(
        "--time-column", metavar="COLUMN", help="when a row happened; numbers count seconds"
    )
    group.add_argument(
        "--fairness-column",
        action="append",
        metavar="COLUMN",
        dest="fairness",
        help="kinds of rows to compare, kept out of the features (repeatable)",
    )
    group.add_argument("--use-fairness-columns", action="store_true", help="models may read them")
    group.add_argument(
        "--column",
        action="append",
        metavar="NAME=ROLE",
        dest="column",
        help="what a column is: numeric, categorical, text, sequence, id, ignore, ... (repeatable)",
    )
    group.add_argument(
        "--split",
        choices=("auto", "random", "grouped", "temporal"),
        help="how rows are split (default: auto)",
    )
    group.add_argument("--split-column", metavar="COLUMN", help="says train or test for each row")
    group.add_argument("--test-data", metavar="PATH", help="a table whose rows judge")
    group.add_argument(
        "--challenge-data",
        action="append",
        metavar="PATH",
        dest="challenge",
        help="a further table that must hold too (repeatable)",
    )
    group.add_argument(
        "--windows",
        type=_days,
        metavar="DAYS",
        help="how far back an event log is looked at (default: 1,7,30)",
    )
    group.add_argument(
        "--label-delay",
        type=float,
        metavar="DAYS",
        help="days until the label of an event is known (default: 7)",
    )
    group.add_argument("--drop-leaks", action="store_true", help="leave suspect columns out")
    group.add_argument(
        "--accept-leak",
        action="append",
        metavar="COLUMN",
        dest="accept",
        help="a suspect column that you stand for (repeatable)",
    )


def _gate_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--promotion-max-ece", type=float, default=0.08, help="calibration error")
    group.add_argument("--promotion-min-accuracy", type=float, default=0.85, help="accuracy")
    group.add_argument("--threshold", type=float, help="block from this probability on")
    group.add_argument("--alert-budget", type=float, default=0.01, help="share of rows alerted")
    group.add_argument("--name", help="production slot (default: the model type)")
    group.add_argument("--replace", action="store_true", help="replace a better current model")
    group.add_argument("--models-dir", default="models", help="where models are published")
    group.add_argument("--fail-on-refusal", action="store_true", help="exit 3 unless PASS")


def _absent_flags(group: argparse._ArgumentGroup) -> None:
    """Take the flags of parts that are still to come, so that none is ever silently ignored."""
    for part, flags in ABSENT_PARTS.items():
        for flag in flags:
            name, summary = _flag(flag), f"{part}; not in this release"
            if flag in ABSENT_SWITCHES:
                group.add_argument(name, action="store_true", help=summary)
            else:
                group.add_argument(name, metavar="...", help=summary)


def _output_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", action="store_true", help="one JSON document on stdout")
    group.add_argument("--quiet", action="store_true", help="warnings and the verdict only")
    group.add_argument("--verbose", action="store_true", help="every fact as it is recorded")


def run(args: argparse.Namespace, console: Console) -> int:
    """Train as asked and print what came out."""
    given = vars(args)
    _refuse_absent(given)
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
    outcome = _train(plan, given, console, data_digest)
    if original is not None:
        _compare_with_original(outcome, original.folder, console)
    if console.json_output:
        console.json(document(outcome))
    _fail_on_refusal(given, [outcome])
    return 0


@contextmanager
def _listening(given: dict[str, Any], console: Console) -> Iterator[Run]:
    """Give a run whose facts the console tells, with progress bars."""
    from nethical.cli.narrator import Narrator
    from nethical.run import Run

    narrator = Narrator(console, verbose=given.get("verbose", False))
    with narrator.progress() as progress:
        yield Run([narrator], progress=progress)


def _train(
    plan: Plan, given: dict[str, Any], console: Console, data_digest: str | None = None
) -> Outcome:
    from nethical.pipeline import train

    with _listening(given, console) as listening:
        return train(
            plan, run=listening, data_digest=data_digest, resume=given.get("resume", False)
        )


def _fail_on_refusal(given: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    refused = [o for o in outcomes if o.judged.decision.verdict != "PASS"]
    if given.get("fail_on_refusal") and refused:
        raise RefusedError(
            f"the gate says {refused[0].judged.decision.verdict}; the model is a candidate",
            mend=f"read {refused[0].published.path / 'card.md'}",
        )


def _run_several(types: Sequence[str], given: dict[str, Any], console: Console) -> int:
    """Train one model of each type; a type that fails does not keep the others from it."""
    if "from_run" in given or "name" in given:
        flag = "--from-run" if "from_run" in given else "--name"
        raise UsageError(
            f"{flag} is for one model, and {len(types)} types were named",
            mend=f"leave {flag} out, or name one --model-type",
        )
    console.info(f"Training {len(types)} model types: {', '.join(types)}")
    plans = {model_type: _plan({**given, "model_type": model_type}) for model_type in types}
    outcomes: dict[str, Outcome] = {}
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
    _fail_on_refusal(given, list(outcomes.values()))
    return 0


def _summarise(
    types: Sequence[str],
    outcomes: dict[str, Outcome],
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
        outcome = outcomes[model_type]
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
        columns=_columns(given),
        positive_labels=tuple(given.get("positive", ())),
        split=given.get("split", "auto"),
        challenge_data=tuple(given.get("challenge", ())),
        accept_leaks=tuple(given.get("accept", ())),
        max_ece=given["promotion_max_ece"],
        min_accuracy=given["promotion_min_accuracy"],
        **{key: given[key] for key in SAME_NAMES if key in given},
    )


# Flags whose name in the parsed arguments is another.
RENAMED = {
    "kaggle": "kaggle_dataset",
    "positive": "positive_label",
    "fairness": "fairness_column",
    "challenge": "challenge_data",
    "accept": "accept_leak",
}
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


def _days(text: str) -> tuple[float, ...]:
    """Read days separated by commas."""
    try:
        return tuple(float(days) for days in text.split(","))
    except ValueError:
        raise UsageError(
            f"--windows is {text!r}", mend="give numbers of days separated by commas, as in 1,7,30"
        ) from None


def _columns(given: dict[str, Any]) -> dict[str, str]:
    """Return the role of each column that a flag names."""
    columns: dict[str, str] = {}
    pairs = [pair.rpartition("=")[::2] for pair in given.get("column", ())]
    pairs += [
        (given[f"{role}_column"], role)
        for role in ("label", "group", "time")
        if f"{role}_column" in given
    ]
    pairs += [(name, "fairness") for name in given.get("fairness", ())]
    for name, role in pairs:
        if not name:
            raise UsageError(f"--column {role!r} has no role", mend="write --column NAME=ROLE")
        if columns.setdefault(name, role) != role:
            raise UsageError(
                f"column {name!r} is given as {columns[name]} and as {role}",
                mend="give it one role",
            )
    return columns


# With --from-run the plan is the stored one; these flags say nothing of it, or may differ.
BESIDE_A_STORED_PLAN = {
    *("command", "run", "from_run", "dry_run", "json", "quiet", "verbose", "fail_on_refusal"),
    *("models_dir", "name", "resume"),
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
                f"--from-run repeats a stored plan; {_flag(flag)} would change it",
                mend=f"leave {_flag(flag)} out, or train anew without --from-run",
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


def _flag(name: str) -> str:
    return "--" + RENAMED.get(name, name).replace("_", "-")


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
    console.info("Dry run: nothing is trained, nothing is written")
    return {
        "plan": plan.to_document(),
        "source": prepared.loaded.source,
        "digest": prepared.loaded.digest,
        "roles": prepared.roles.to_document(),
        "leaks": prepared.leaks.to_document(),
        "splits": prepared.split.to_document(),
    }


def document(outcome: Outcome) -> dict[str, Any]:
    """Return what ``--json`` prints of a run."""
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
        "audit": None,
        "drift": None,
        "governance": None,
    }
