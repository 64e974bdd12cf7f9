"""The flags of ``nethical train``: what they are called, what they mean, what is absent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nethical.cli.flags import (
    DEFAULT_WINDOW,
    TECHNIQUES,
    add_audit_flags,
    add_drift_dir,
    add_storage_flag,
)
from nethical.errors import UsageError
from nethical.models.catalog import names

if TYPE_CHECKING:
    import argparse

__all__ = ["ABSENT_PARTS", "add_flags", "columns", "flag_name", "parameters"]

# Flags of parts that are not in this release: taken, and answered with one clear line.
ABSENT_PARTS = {
    "the distributed engine": ("engine", "engine_address", "memory"),
}
# Flags whose name in the parsed arguments is another.
RENAMED = {
    "kaggle": "kaggle_dataset",
    "positive": "positive_label",
    "fairness": "fairness_column",
    "challenge": "challenge_data",
    "accept": "accept_leak",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add every flag of the command."""
    _training_flags(parser)
    _data_flags(parser.add_argument_group("data"))
    _gate_flags(parser.add_argument_group("gate and registry"))
    add_audit_flags(parser.add_argument_group("audit log"), anchors=True)
    _drift_flags(parser.add_argument_group("drift tracking"))
    _governance_flags(parser.add_argument_group("Phase 8-9 governance"))
    _absent_flags(parser.add_argument_group("parts that are not in this release"))
    _output_flags(parser.add_argument_group("output"))


def flag_name(name: str) -> str:
    """Return how a parsed argument is written on the command line."""
    return "--" + RENAMED.get(name, name).replace("_", "-")


def _training_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-type",
        metavar="TYPE",
        help=f"{', '.join(names())}; several with commas, or all (required)",
    )
    parser.add_argument("--epochs", type=int, default=10, help="training epochs")
    parser.add_argument("--batch-size", type=int, default=32, help="rows per gradient step")
    parser.add_argument(
        "--parameter",
        action="append",
        type=_parameter,
        metavar="NAME=VALUE",
        help="a training parameter of the model type (repeatable)",
    )
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


def _drift_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--enable-drift-tracking",
        action="store_true",
        help="add the gate rows to a cohort, compare cohorts, and report",
    )
    add_drift_dir(group)
    group.add_argument(
        "--cohort-id",
        metavar="ID",
        help="the cohort that this run joins (default: {model-type}_{timestamp})",
    )
    group.add_argument(
        "--cohort-column", metavar="COLUMN", help="one cohort for each value of a column instead"
    )
    group.add_argument(
        "--cohort-window",
        choices=("day", "week", "month"),
        default=DEFAULT_WINDOW,
        help="spans of the time column to show apart",
    )


def _governance_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--enable-phase89",
        action="store_true",
        help="store the configuration, and judge it against the one in production",
    )
    add_storage_flag(group)
    group.add_argument(
        "--optimize-config", action="store_true", help="search for a better configuration"
    )
    group.add_argument(
        "--optimization-technique",
        choices=TECHNIQUES,
        default=TECHNIQUES[0],
        help="how to search",
    )
    group.add_argument(
        "--optimization-iterations", type=int, default=20, help="how many configurations to try"
    )
    group.add_argument("--workers", type=int, default=1, help="processes that try configurations")
    group.add_argument(
        "--waive-agreement", metavar="REASON", help="promote without reviews by people"
    )
    group.add_argument(
        "--await-approval",
        action="store_true",
        help="leave what passes the promotion gate to an approver",
    )


def _absent_flags(group: argparse._ArgumentGroup) -> None:
    """Take the flags of parts that are still to come, so that none is ever silently ignored."""
    for part, flags in ABSENT_PARTS.items():
        for flag in flags:
            summary = f"{part}; not in this release"
            group.add_argument(flag_name(flag), metavar="...", help=summary)


def _output_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", action="store_true", help="one JSON document on stdout")
    group.add_argument("--quiet", action="store_true", help="warnings and the verdict only")
    group.add_argument("--verbose", action="store_true", help="every fact as it is recorded")


def _parameter(text: str) -> tuple[str, float | int | str]:
    """Read the name and the value of a parameter: a whole number, a number, or a word."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"--parameter is {text!r}", mend="write --parameter NAME=VALUE")
    for number in (int, float):
        try:
            return name, number(value)
        except ValueError:
            continue
    return name, value


def parameters(given: dict[str, Any]) -> dict[str, float | int | str]:
    """Return the parameters that were given.

    Raises:
        UsageError: One is given two values.
    """
    values: dict[str, float | int | str] = {}
    for name, value in given.get("parameter", ()):
        if name in values and values[name] != value:
            raise UsageError(
                f"the parameter {name!r} is given as {values[name]} and as {value}",
                mend="give it one value",
            )
        values[name] = value
    return values


def columns(given: dict[str, Any]) -> dict[str, str]:
    """Return the role of each column that a flag names.

    Raises:
        UsageError: One is given no role, or two.
    """
    roles: dict[str, str] = {}
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
        if roles.setdefault(name, role) != role:
            raise UsageError(
                f"column {name!r} is given as {roles[name]} and as {role}",
                mend="give it one role",
            )
    return roles


def _days(text: str) -> tuple[float, ...]:
    """Read days separated by commas."""
    try:
        return tuple(float(days) for days in text.split(","))
    except ValueError:
        raise UsageError(
            f"--windows is {text!r}", mend="give numbers of days separated by commas, as in 1,7,30"
        ) from None
