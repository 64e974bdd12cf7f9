"""``nethical drift``: cohorts of scored rows, compared with a stated error rate."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.console import printable
from nethical.cli.flags import DEFAULT_WINDOW, add_audit_flags, add_drift_dir, audited
from nethical.errors import RefusedError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from nethical.cli.console import Console
    from nethical.drift.cohorts import Cohort, Cohorts
    from nethical.drift.compare import Analysis, Comparison
    from nethical.drift.effects import Effect, Settings
    from nethical.drift.report import Written
    from nethical.keys import Keys

__all__ = ["add_parser", "run"]

MARKS = {"within": "✓", "beyond": "✗", "undecided": "?", "not_assessable": "-"}
NOT_JUDGED = "-"
DEFAULT_HORIZON = 52


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add the command and its actions."""
    drift = commands.add_parser("drift", help="cohorts of scored rows: add, compare, report, watch")
    drift.set_defaults(run=run)
    actions = drift.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_flags(actions.add_parser("add", help="add a file of scored rows to a cohort"))
    actions.add_parser("list", help="show the cohorts")
    compare = actions.add_parser("compare", help="compare one cohort with another")
    compare.add_argument("reference", metavar="REFERENCE", help="what to compare with")
    compare.add_argument("cohort", metavar="COHORT", help="what is compared")
    report = actions.add_parser("report", help="compare cohorts and write a report")
    report.add_argument("cohorts", metavar="COHORT", nargs="*", help="default: all of them")
    report.add_argument(
        "--reference", metavar="COHORT", help="default: the one that is set, else the oldest"
    )
    watch = actions.add_parser("watch", help="compare what is new with the reference, by a budget")
    watch.add_argument("cohorts", metavar="COHORT", nargs="*", help="default: all that are new")
    reference = actions.add_parser("reference", help="show or set what others are compared with")
    reference.add_argument("what", metavar="show|set", choices=("show", "set"), help="show or set")
    reference.add_argument("cohort", metavar="COHORT", nargs="?", help="with set: the cohort")
    reference.add_argument(
        "--horizon",
        type=int,
        default=DEFAULT_HORIZON,
        metavar="LOOKS",
        help=f"how many looks share the error rate (default: {DEFAULT_HORIZON})",
    )
    for judging in (compare, report, watch):
        judging.add_argument(
            "--alpha",
            type=float,
            default=0.01,
            help="probability of any false alarm (default: 0.01)",
        )
        judging.add_argument(
            "--margin",
            action="append",
            default=[],
            metavar="EFFECT=CHANGE",
            help="a change that does not matter, as in recall=0.05 (repeatable)",
        )
        judging.add_argument("--fail-on-drift", action="store_true", help="exit 3 on drift")
    for parser in actions.choices.values():
        add_drift_dir(parser)
        add_audit_flags(parser)
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def _add_flags(add: argparse.ArgumentParser) -> None:
    """Add what describes a file of scored rows."""
    add.add_argument("scores", metavar="SCORES", type=Path, help="a table file, or a folder")
    add.add_argument("--cohort-id", "--cohort", metavar="ID", help="the cohort (required)")
    add.add_argument(
        "--cohort-column", metavar="COLUMN", help="one cohort for each value of a column instead"
    )
    add.add_argument(
        "--column",
        default="probability",
        metavar="probability=NAME",
        help="the column of probabilities (default: probability)",
    )
    add.add_argument(
        "--label-column", metavar="COLUMN", help="what was true (default: label, if it is there)"
    )
    add.add_argument(
        "--positive-label",
        action="append",
        default=[],
        metavar="VALUE",
        help="a label value that is positive (repeatable)",
    )
    add.add_argument("--group-column", metavar="COLUMN", help="rows that belong together")
    add.add_argument(
        "--fairness-column",
        action="append",
        default=[],
        metavar="COLUMN",
        help="kinds of rows to compare (repeatable)",
    )
    add.add_argument("--time-column", metavar="COLUMN", help="when a row happened")
    add.add_argument(
        "--cohort-window",
        choices=("day", "week", "month"),
        default=DEFAULT_WINDOW,
        help="spans of the time column to show apart (default: week)",
    )
    add.add_argument(
        "--model",
        metavar="NAME",
        default="unnamed model",
        help="the model that scored, by id or any name",
    )
    add.add_argument(
        "--threshold", type=float, default=0.5, help="called positive from here on (default: 0.5)"
    )
    add.add_argument("--promotion-max-ece", type=float, default=0.08, help="default: 0.08")
    add.add_argument("--promotion-min-accuracy", type=float, default=0.85, help="default: 0.85")


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what ``nethical drift ACTION`` asks, and return the exit code."""
    from nethical.drift.cohorts import Cohorts
    from nethical.keys import Keys, default_home

    keys = Keys(default_home())
    cohorts = Cohorts(Path(args.drift_report_dir), _now)
    with audited(args, keys, console) as results:
        has_drift = _ACTIONS[args.action](args, cohorts, keys, console, results)
    if has_drift and getattr(args, "fail_on_drift", False):
        raise RefusedError("drift was found", mend="read what is beyond its margin above")
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


def _add(
    args: argparse.Namespace,
    cohorts: Cohorts,
    keys: Keys,
    console: Console,
    results: dict[str, Any],
) -> bool:
    from nethical.drift.intake import Columns, from_file
    from nethical.drift.tracking import added
    from nethical.gate import Limits

    if (args.cohort_id is None) == (args.cohort_column is None):
        raise UsageError(
            "name the cohort, or the column that does, and not both",
            mend="pass --cohort ID or --cohort-column COLUMN",
        )
    columns = Columns(
        args.column.removeprefix("probability="),
        args.label_column,
        args.group_column,
        tuple(args.fairness_column),
        args.time_column,
        args.cohort_column,
    )
    additions = from_file(
        args.scores,
        columns,
        cohort_id=args.cohort_id,
        model=args.model,
        threshold=args.threshold,
        positive=tuple(args.positive_label),
        window=args.cohort_window,
        limits=Limits(args.promotion_max_ece, args.promotion_min_accuracy),
        key=keys.row_key(),
    )
    facts = [fact.to_document() for fact in added(cohorts, additions)]
    results["cohorts"] = facts
    for fact in facts:
        name = fact["cohort_id"]
        shown = name if fact["label"] == name else f"{name} ({printable(fact['label'])})"
        console.info(
            f"Cohort {shown}: {fact['rows']:,} predictions added, {fact['labelled']:,} with a label"
        )
    if console.json_output:
        console.json({"added": facts})
    return False


def _list(
    args: argparse.Namespace,
    cohorts: Cohorts,
    keys: Keys,
    console: Console,
    results: dict[str, Any],
) -> bool:
    del args, keys, results
    found, reference = cohorts.load(), cohorts.reference()
    base = reference[0] if reference else None
    if console.json_output:
        console.json({"reference": base, "cohorts": [_listed(cohort) for cohort in found]})
        return False
    if not found:
        console.line(f"no cohort in {cohorts.path}")
        return False
    rows = [
        (
            ("* " if cohort.cohort_id == base else "") + cohort.cohort_id,
            cohort.label if cohort.label != cohort.cohort_id else "",
            str(len(cohort.runs)),
            str(len(cohort.models)),
            f"{cohort.summary.whole.rows:,}",
            f"{cohort.summary.whole.labelled:,}",
            f"{cohort.summary.whole.mean_proba:.3f}",
            cohort.created_at[:16].replace("T", " "),
        )
        for cohort in found
    ]
    head = ("COHORT", "LABEL", "RUNS", "MODELS", "PREDICTIONS", "LABELLED", "MEAN", "SINCE (UTC)")
    console.table(head, rows)
    if base:
        console.line("  * the reference that others are compared with")
    return False


def _listed(cohort: Cohort) -> dict[str, Any]:
    whole = cohort.summary.whole
    return {
        "cohort_id": cohort.cohort_id,
        "label": cohort.label,
        "runs": len(cohort.runs),
        "models": len(cohort.models),
        "action_count": whole.rows,
        "n_labelled": whole.labelled,
        "avg_risk_score": whole.mean_proba,
        "created_at": cohort.created_at,
    }


def _settings(args: argparse.Namespace, alpha: float | None = None) -> Settings:
    from nethical.drift.effects import MARGINS, Settings

    margins = dict(MARGINS)
    for given in args.margin:
        name, sign, value = given.partition("=")
        try:
            margins[name] = float(value)
        except ValueError:
            sign = ""
        if not sign:
            raise UsageError(
                f"--margin {given!r} is no effect and change", mend="write it as in recall=0.05"
            )
    return Settings(args.alpha if alpha is None else alpha, margins)


def _compare(
    args: argparse.Namespace,
    cohorts: Cohorts,
    keys: Keys,
    console: Console,
    results: dict[str, Any],
) -> bool:
    from nethical.drift.compare import analyse

    del keys
    if args.reference == args.cohort:
        raise UsageError("a cohort is compared with itself", mend="name two cohorts")
    analysis = analyse(
        cohorts.load([args.reference, args.cohort]),
        folder=cohorts.folder,
        settings=_settings(args),
        reference=args.reference,
    )
    (comparison,) = analysis.comparisons
    told = comparison.to_document(analysis.settings.alpha)
    results["verdict"] = told["verdict"]
    _tell(analysis, console)
    if console.json_output:
        console.json(told)
    return bool(told["verdict"] == "drift")


def _report(
    args: argparse.Namespace,
    cohorts: Cohorts,
    keys: Keys,
    console: Console,
    results: dict[str, Any],
) -> bool:
    from nethical.drift.tracking import reported

    del keys
    everyone = cohorts.load(args.cohorts or None)
    held = cohorts.reference()
    base = args.reference or (held[0] if held else None)
    if base is not None and base not in {cohort.cohort_id for cohort in everyone}:
        everyone = [*cohorts.load([base]), *everyone]
    written, fact = reported(cohorts, everyone, reference=base, settings=_settings(args), at=_now())
    results["report"] = fact.to_document()
    return _told(written, fact.message, console)


def _told(written: Written, message: str, console: Console) -> bool:
    console.line(f"[INFO] Drift Report ID: {written.report_id}")
    console.line(f"[INFO] Drift verdict: {written.verdict.value}")
    console.line(f"  {message}")
    console.info(f"Drift report: {written.path} (and .html, .md beside it)")
    if console.json_output:
        console.json(
            {
                "report_id": written.report_id,
                "path": str(written.path),
                "verdict": written.verdict.value,
            }
        )
    return written.verdict.value == "drift"


def _watch(
    args: argparse.Namespace,
    cohorts: Cohorts,
    keys: Keys,
    console: Console,
    results: dict[str, Any],
) -> bool:
    from nethical.drift.tracking import watch

    del keys
    watched = watch(cohorts, args.cohorts or None, settings=_settings(args), at=_now())
    if watched is None:
        console.line("[INFO] Nothing new since the last look; no look was spent")
        if console.json_output:
            console.json({"report_id": None, "path": None, "verdict": None})
        return False
    written, fact, number, horizon = watched
    results["report"] = fact.to_document() | {"look": number, "horizon": horizon}
    console.info(f"Look {number} of {horizon} at the reference {fact.reference}")
    return _told(written, fact.message, console)


def _reference(
    args: argparse.Namespace,
    cohorts: Cohorts,
    keys: Keys,
    console: Console,
    results: dict[str, Any],
) -> bool:
    del keys
    if (args.what == "set") != (args.cohort is not None):
        raise UsageError(
            "set wants one cohort, show none",
            mend="write `nethical drift reference set COHORT`, or `... reference show`",
        )
    if args.what == "set":
        cohorts.set_reference(args.cohort, horizon=args.horizon)
        results["reference"] = args.cohort
    held = cohorts.reference()
    looks = len(cohorts.looks()) if held else 0
    if held is None:
        console.line("no reference is set; reports compare with the oldest cohort")
    else:
        console.line(f"[INFO] Reference: {held[0]}; {looks} of {held[1]} looks spent")
    if console.json_output:
        document = {"reference": held and held[0], "horizon": held and held[1], "looks": looks}
        console.json(document)
    return False


def _tell(analysis: Analysis, console: Console) -> None:
    """Print a comparison: verdict, effects, tests."""
    (one,) = analysis.comparisons
    console.line(f"[INFO] Drift verdict: {one.verdict.value}")
    console.line(f"  {one.message}")
    console.info(
        f"Compared as {one.kind.value.replace('_', ' ')}: {one.current} with {one.reference}"
    )
    console.table(
        ("", "Effect", "Reference", "Current", "Difference", "Interval", "Margin", "Rows needed"),
        [_effect_row(effect, is_judged=one.is_attributable) for effect in one.effects],
    )
    rows = [
        (t.metric, t.name, _number(t.p, ".2g"), _number(t.p_adjusted, ".2g"), f"{min(t.n):,}")
        for t in one.tests
    ]
    if not console.quiet:
        console.line()
        console.table(("Test of", "By", "p", "Adjusted p", "n"), rows)
    _tell_groups(one, console)


def _tell_groups(one: Comparison, console: Console) -> None:
    from nethical.drift.fairness import group_name

    alarms = [test for test in one.groups if test.is_alarm]
    if alarms:
        console.line()
        console.table(
            ("Changed in", "Rate", "Reference", "Current", "Adjusted p"),
            [
                (
                    group_name(test.group),
                    test.metric,
                    _number(test.other, ".3f"),
                    _number(test.value, ".3f"),
                    _number(test.p_adjusted, ".2g"),
                )
                for test in alarms
            ],
        )


def _effect_row(effect: Effect, *, is_judged: bool) -> tuple[str, ...]:
    gap, difference = effect.gap, effect.gap.difference
    unknown = difference.estimate != difference.estimate
    return (
        MARKS[effect.verdict.value] if is_judged else NOT_JUDGED,
        effect.name,
        _number(gap.reference, ".3f"),
        _number(gap.current, ".3f"),
        _number(difference.estimate, "+.3f"),
        "" if unknown else f"[{difference.low:+.3f}, {difference.high:+.3f}]",
        f"{effect.margin:g}",
        f"{effect.rows_needed:,}" if is_judged and effect.rows_needed is not None else "",
    )


def _number(value: float, form: str) -> str:
    return "" if value != value else f"{value:{form}}"  # noqa: PLR0124 - NaN


_ACTIONS: dict[
    str, Callable[[argparse.Namespace, Cohorts, Keys, Console, dict[str, Any]], bool]
] = {
    "add": _add,
    "list": _list,
    "compare": _compare,
    "report": _report,
    "watch": _watch,
    "reference": _reference,
}
