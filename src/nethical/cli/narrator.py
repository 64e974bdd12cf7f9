"""The console as a sink: tells a person what happens in a run, fact by fact."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import singledispatchmethod
from typing import TYPE_CHECKING, Any

from nethical import facts
from nethical.cli.console import printable
from nethical.run import silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from nethical.cli.console import Console
    from nethical.data.events import EventLog
    from nethical.run import Progress, Receipt

__all__ = ["Narrator", "asked_of_people", "criterion_line", "metric_rows", "shorter_past"]

MARKS = {"PASS": "✓", "FAIL": "✗", "INSUFFICIENT_EVIDENCE": "?"}
GATE_WORDS = {
    "PASS": "PASSED",
    "FAIL": "FAILED",
    "INSUFFICIENT_EVIDENCE": "INSUFFICIENT_EVIDENCE",
}
ALL_TERMS = 4
SHOWN_ROLES = 40
HEADLINE = (
    *("accuracy", "precision", "recall", "f1", "roc_auc", "average_precision"),
    *("ece", "ece_debiased"),
)


class Narrator:
    """Prints each fact that a person wants to know.

    Args:
        console: Where to print.
        verbose: Print every other fact too, as JSON.
        only: Kinds of facts to tell; all if empty.
    """

    def __init__(
        self, console: Console, *, verbose: bool = False, only: tuple[type[facts.Fact], ...] = ()
    ) -> None:
        self._console = console
        self._verbose = verbose
        self._only = only or (facts.Fact,)

    def record(self, fact: facts.Fact, *, run_id: str, at: datetime) -> None:
        """Print a fact."""
        del run_id, at
        if not isinstance(fact, self._only):
            return
        self._say(fact)
        if self._verbose:
            import json

            self._console.line(f"  {json.dumps(fact.to_document(), ensure_ascii=False)}")

    def seal(self) -> Receipt | None:
        """Keep no log."""
        return None

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Give a progress bar on standard error, if that is a terminal."""
        if not sys.stderr.isatty():
            yield silent
            return
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Terminal(stderr=True), transient=True) as bar:
            tasks: dict[str, Any] = {}

            def report(step: str, done: int, total: int) -> None:
                if step not in tasks:
                    tasks[step] = bar.add_task(step, total=total)
                bar.update(tasks[step], completed=done, total=total)

            yield report

    @singledispatchmethod
    def _say(self, fact: facts.Fact) -> None:
        """Print nothing of facts that are for the record only."""

    @_say.register
    def _(self, fact: facts.RunStarted) -> None:
        self._console.info(
            f"Training {fact.model_type} model {fact.name!r} (seed {fact.seed}, {fact.run_id})"
        )

    @_say.register
    def _(self, fact: facts.SourceFellBack) -> None:
        self._console.warn(f"Using {fact.source} rows: {fact.reason}")

    @_say.register
    def _(self, fact: facts.DataLoaded) -> None:
        kind = "labelled rows" if fact.has_labels else "rows without a label"
        self._console.info(
            f"Loaded {fact.num_samples:,} {kind} x {fact.columns} columns "
            f"from {fact.source} ({fact.digest[:19]}...)"
        )
        if "best_accuracy" in fact.details:
            best = fact.details["best_accuracy"]
            self._console.info(f"Best possible accuracy on these rows: {best:.3f}")

    @_say.register
    def _(self, fact: facts.RolesInferred) -> None:
        if self._console.quiet:
            return
        columns = fact.roles["columns"]
        rows = [
            (
                c["name"],
                c["role"] if c["feature"] in {None, c["role"]} else f"{c['role']} ({c['feature']})",
                c["why"],
            )
            for c in columns[:SHOWN_ROLES]
        ]
        self._console.table(("Column", "Role", "Why"), rows)
        if len(columns) > SHOWN_ROLES:
            self._console.line(f"  ... and {len(columns) - SHOWN_ROLES} more")
        labelling = fact.roles["labelling"]
        if labelling and not labelling["positive"]:
            self._console.info(f"All labels are {_listed(labelling['negative'])}: normal rows")
        elif labelling:
            self._console.info(
                f"Positive label: {_listed(labelling['positive'])} ({labelling['why']}); "
                f"negative: {_listed(labelling['negative'])}"
            )

    @_say.register
    def _(self, fact: facts.DataSplit) -> None:
        parts = ", ".join(
            f"{name} {rows:,}"
            + (f" ({fact.positives[name] / rows:.1%} positive)" if name in fact.positives else "")
            for name, rows in fact.parts.items()
        )
        self._console.info(f"Split ({fact.strategy}): {parts}")
        if fact.duplicate_rows:
            self._console.info(
                f"{fact.duplicate_rows:,} rows repeat another; equal rows are in one part"
            )

    @_say.register
    def _(self, fact: facts.ModelFitted) -> None:
        used = "" if fact.epochs_run is None else f", {fact.epochs_run:g} of {fact.epochs} epochs"
        seconds = fact.training_duration_seconds
        self._console.info(f"Fitted {fact.model_type} in {seconds:.2f} s{used}")
        for note in fact.notes:
            self._console.info(note)

    @_say.register
    def _(self, fact: facts.PastDerived) -> None:
        windows = ", ".join(f"{days:g}" for days in fact.event_log["windows_days"])
        self._console.info(
            f"Looked back {windows} days from each of {fact.rows:,} events: "
            f"{fact.columns} columns (labels after {fact.event_log['label_delay_days']:g} days)"
        )

    @_say.register
    def _(self, fact: facts.Calibrated) -> None:
        block, rule = fact.thresholds["block"], fact.thresholds["rule"]
        self._console.info(
            f"Calibrated ({fact.method}, {fact.rows:,} rows); block at {block:.3g} ({rule})"
        )

    @_say.register
    def _(self, fact: facts.Evaluated) -> None:
        if self._console.quiet:
            return
        if all(value is None for value in fact.metrics.values()):
            self._console.info(f"Nothing to measure: the {fact.rows:,} gate rows lack a class")
            return
        rows = metric_rows(fact.metrics, fact.intervals)
        self._console.table(("Metric", "Value", "95 % interval"), rows)

    @_say.register
    def _(self, fact: facts.ReferenceEvaluated) -> None:
        told = ", ".join(
            f"{name} {_number(fact.metrics[name])}"
            for name in ("accuracy", "roc_auc", "ece_debiased")
        )
        self._console.info(f"Beside it, {fact.model_type} on the same rows: {told}")

    @_say.register
    def _(self, fact: facts.GateDecided) -> None:
        if fact.comparison:
            low, high = fact.comparison["difference"][1:]
            self._console.info(
                f"Beside the current model {fact.comparison['current']}: Brier difference "
                f"{_number(fact.comparison['difference'][0], '+.4f')} "
                f"{_interval([low, high], '+.4f')} on {fact.comparison['n']:,} unseen rows"
            )
        if fact.gate_readings > 1:
            self._console.info(
                f"These gate rows have judged {fact.gate_readings} models; each look makes "
                "passing by luck likelier"
            )
        self._console.line(f"[INFO] Promotion Gate: {fact.verdict}")
        for criterion in fact.criteria:
            self._console.line(f"  {criterion_line(criterion)}")
        becomes = "promote" if fact.cleared else "keep as a candidate"
        self._console.line(f"[INFO] Decision: {becomes}; {fact.reason}")

    @_say.register
    def _(self, fact: facts.ModelSaved) -> None:
        place = "current" if fact.promoted else "a candidate"
        self._console.line(f"[INFO] Model {fact.model_id} is {place}: {fact.model_path}")

    @_say.register
    def _(self, fact: facts.CohortAdded) -> None:
        label = "" if fact.label == fact.cohort_id else f" ({printable(fact.label)})"
        self._console.info(f"Cohort {fact.cohort_id}{label}: {fact.rows:,} predictions added")

    @_say.register
    def _(self, fact: facts.DriftReported) -> None:
        self._console.info("Generating ethical drift report")
        self._console.line(f"[INFO] Drift Report ID: {fact.report_id}")
        self._console.line(f"[INFO] Drift verdict: {fact.verdict}")
        self._console.line(f"  {fact.message}")
        self._console.info(f"Drift report: {fact.report_path} (and .html, .md beside it)")

    @_say.register
    def _(self, fact: facts.ConfigurationRecorded) -> None:
        self._console.info(f"Configuration ID: {fact.configuration_id}")
        score = _number(fact.fitness_score)
        missing = "" if fact.human_agreement is not None else ": agreement unknown"
        terms = "" if fact.terms == ALL_TERMS else f" ({fact.terms} of {ALL_TERMS} terms{missing})"
        self._console.info(f"Metrics recorded. Fitness score: {score}{terms}")

    @_say.register
    def _(self, fact: facts.ReviewsAsked) -> None:
        self._console.info(asked_of_people(fact.entered, fact.drawn, fact.most))

    @_say.register
    def _(self, fact: facts.SearchCompleted) -> None:
        self._console.info(f"Optimization completed. Evaluated {fact.trials} configurations")
        if fact.trials < fact.iterations:
            self._console.info(f"The grid has {fact.trials} points; {fact.iterations} were asked")
        if fact.failed:
            self._console.warn(f"{fact.failed} of them could not be trained")
        if self._console.quiet or not fact.top:
            return
        self._console.line()
        self._console.info(f"Top {len(fact.top)} Configurations:")
        for place, trial in enumerate(fact.top, 1):
            self._console.line(f"  {place}. {trial['name']}")
            self._console.line(f"     Fitness: {_number(trial['fitness'])}")
            recall, precision = _number(trial["recall"], ".3f"), _number(trial["precision"], ".3f")
            self._console.line(f"     Recall: {recall}, Precision: {precision}")
            self._console.line(f"     FP Rate: {_number(trial['false_positive_rate'], '.3f')}")
        self._console.info("(without agreement, which is asked of the best one only)")
        if fact.best is not None and fact.best["name"] != fact.top[0]["name"]:
            self._console.info(
                f"Most recall within the limits of the gate: {fact.best['name']} "
                f"(recall {_number(fact.best['recall'], '.3f')})"
            )

    @_say.register
    def _(self, fact: facts.PromotionDecided) -> None:
        self._console.line(f"[INFO] Promotion gate: {GATE_WORDS[fact.verdict]}")
        for line in fact.criteria:
            self._console.line(f"  - {gate_line(line)}")
        for one in fact.slices:
            gain, rise = (one[key][0] for key in ("recall_gain", "false_positive_increase"))
            self._console.info(
                f"{one['column']} = {one['value']}: recall {_number(gain, '+.3f')} "
                f"(n = {one['positives']:,}), FP rate {_number(rise, '+.3f')} "
                f"(n = {one['negatives']:,})"
            )
        if fact.left_out:
            self._console.info(f"{fact.left_out:,} rows that a side learnt from were left out")
        if fact.k > 1:
            self._console.info(
                f"Attempt {fact.k} on these rows or many of them, so each bound holds with "
                f"{1 - fact.alpha:.2%}"
            )

    @_say.register
    def _(self, fact: facts.ConfigurationMoved) -> None:
        if self._verbose:
            self._console.info(f"{fact.configuration_id} is {fact.status}: {fact.reason}")

    @_say.register
    def _(self, fact: facts.Warned) -> None:
        self._console.warn(fact.message)


def gate_line(line: dict[str, Any]) -> str:
    """Return a criterion of the promotion gate as one line, in the words that scripts know."""
    unit = "ms" if line["name"] == "Latency increase" else ""
    form = ".1f" if unit else ".3f"
    text = f"{MARKS[line['verdict']]} {line['name']}: "
    if line["estimate"] is None:
        return text + ("unknown" if not line["note"] else f"unknown ({line['note']})")
    sign = ">=" if line["name"] in {"Recall gain", "Human agreement"} else "<="
    limit = f"{line['limit']:.1f}ms" if unit else f"{line['limit']:g}"
    text += f"{_plain(line['estimate'], form)}{unit} {sign} {limit}"
    told = [f"n = {line['n']:,}"]
    if line["bound"] is not None:
        told.insert(0, f"bound {_plain(line['bound'], form)}{unit}")
    if line["needed"]:
        told.append(f"about {line['needed']:,} more needed")
    if line["note"]:
        told.append(line["note"])
    return f"{text} ({', '.join(told)})"


ASKED_OF = {
    "gray": "the gray zone",
    "audit": "automatic decisions",
    "disagreement": "those that the model in shadow decides otherwise",
    "critical": "critical severity",
}


def asked_of_people(entered: int, drawn: dict[str, dict[str, Any]], most: int) -> str:
    """Return how many rows went to people, and why so many."""
    told = []
    for kind, one in drawn.items():
        where = ASKED_OF[kind]
        share = "" if one["taken"] == one["seen"] else f", each with {_share(one)}"
        told.append(f"{one['taken']:,} of {one['seen']:,} rows of {where}{share}")
    text = f"Review queue: {entered:,} new cases ({'; '.join(told)})"
    if any(drawn[kind]["taken"] == most for kind in ("gray", "audit")):
        text += f"; {most:,} of a kind are enough to know the agreement"
    return text


def _share(drawn: dict[str, Any]) -> str:
    return f"probability {drawn['inclusion_probability']:.2g}"


def _plain(value: float, form: str) -> str:
    """Return a number without the sign of a negative zero."""
    text = f"{value:{form}}"
    return text.removeprefix("-") if float(text) == 0 else text


def shorter_past(event_log: EventLog) -> str:
    """Return what to say where a log is scored without its state."""
    days = event_log.windows_days[-1]
    return (
        f"nothing is known before the first event: those of the first {days:g} days see less of a "
        "past than in training; keep it with --state FILE"
    )


def metric_rows(
    metrics: dict[str, float | None], intervals: dict[str, list[float | None]]
) -> list[tuple[str, str, str]]:
    """Return the metrics that a person looks at first, with their intervals, as text."""
    return [(name, _number(metrics[name]), _interval(intervals[name])) for name in HEADLINE]


def criterion_line(criterion: dict[str, Any]) -> str:
    """Return a criterion as one line: mark, name, estimate, bound, rows, what is missing."""
    text = f"{MARKS[criterion['verdict']]} {criterion['name']}"
    if criterion["estimate"] is not None and criterion["threshold"] is not None:
        estimate = criterion["estimate"]
        text += f": {estimate:g}" if float(estimate).is_integer() else f": {_number(estimate)}"
        if criterion["bound"] is not None and criterion["bound"] != criterion["estimate"]:
            text += f" (bound {_number(criterion['bound'])}, n = {criterion['n']:,})"
    if criterion["rows_needed"]:
        text += f"; about {criterion['rows_needed']:,} more gate rows needed"
    return text + (f"; {criterion['note']}" if criterion["note"] else "")


def _number(value: float | None, form: str = ".4f") -> str:
    return "unknown" if value is None else f"{value:{form}}"


def _interval(bounds: list[float | None], form: str = ".4f") -> str:
    if None in bounds:
        return "unknown"
    return f"[{_number(bounds[0], form)}, {_number(bounds[1], form)}]"


def _listed(values: list[str]) -> str:
    return ", ".join(map(repr, values[:5])) + (" ..." if len(values) > 5 else "")  # noqa: PLR2004
