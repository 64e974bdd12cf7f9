"""The cohorts of a drift report: what they hold, how their groups fare, and how time went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nethical import charts
from nethical import markdown as md
from nethical.drift.page_comparison import MOST_LISTED, group_label, largest
from nethical.drift.page_words import (
    METRICS,
    difference,
    group_words,
    measured,
    metric_words,
    named,
    p_value,
)
from nethical.drift.windows import NO_TIME
from nethical.reports.blocks import (
    Bullets,
    Callout,
    Code,
    Figure,
    Folded,
    Gallery,
    Heading,
    Paragraph,
    Said,
    Section,
    Strong,
    Table,
    Tone,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nethical.drift.page_words import Json
    from nethical.reports.blocks import Block, Words

__all__ = ["cohorts_section", "fairness_section", "timeline_section"]

TIERS = ("low", "normal", "high", "elevated")
QUALITIES = ("accuracy", "recall", "false_positive_rate", "ece_debiased")
COMPARED = ("recall", "false_positive_rate", "accuracy", "flag_rate")
MOST_FAIRNESS_CHARTS = 8
MOST_TIMELINES = 8
MOST_NOT_ASSESSABLE = 20
NOT_BOTH = (
    "Where the share of positives differs between groups, equal shares of alerts and equal error "
    "rates cannot both hold. Which of the two is owed is a decision for people, and no chart "
    "makes it."
)
HOW_GROUPS = (
    "Each group is held against all other rows of its cohort. An alarm is a difference that "
    "chance does not explain, with one error rate over all groups and metrics of a cohort; a gap "
    "without an alarm proves nothing. The lines of the charts hold together in the same way. Where "
    "there is no room for all charts, the measures with most alarms are drawn; the JSON report "
    "holds every group."
)


def cohorts_section(document: Json, cohorts: Sequence[Json]) -> Section:
    """Return what each cohort holds and how well its model does, the reference first."""
    blocks: list[Block] = [_held(document, cohorts), _quality(cohorts)]
    blocks.append(Paragraph("Values stand with their 95 % interval, each by itself."))
    blocks += [Heading("Where the probabilities lie"), _risks(cohorts)]
    metrics = document["drift_metrics"]
    broken = {**metrics["violation_type_drift"], **metrics["severity_drift"]}
    if broken:
        blocks += [Heading("Limits that were broken"), _violations(cohorts, broken)]
    if metrics["homogeneity"]:
        rows = tuple((metric_words(m), p_value(p)) for m, p in metrics["homogeneity"].items())
        told = Paragraph("Whether all cohorts could be alike; reported, not judged.")
        blocks.append(Folded("All cohorts at once", (told, Table(("What", "p"), rows, "lr"))))
    return Section("The cohorts", tuple(blocks))


def _cell(cohort: Json) -> Words:
    """Return a cohort by its id, and by its label where that says more."""
    if cohort["label"] in (cohort["cohort_id"], ""):
        return named(cohort["cohort_id"])
    return named(cohort["cohort_id"]), " ", Said(cohort["label"])


def _held(document: Json, cohorts: Sequence[Json]) -> Table:
    rows: list[tuple[Words, ...]] = []
    for cohort in cohorts:
        name = _cell(cohort)
        if cohort["cohort_id"] == document["comparison"]["reference"]:
            name = (*(name if isinstance(name, tuple) else (name,)), " (reference)")
        rows.append(
            (
                name,
                md.count(len(cohort["runs"])),
                md.count(cohort["agent_count"]),
                md.count(cohort["action_count"]),
                md.count(cohort["n_labelled"]) if cohort["n_labelled"] else "none",
                md.number(cohort["avg_risk_score"]),
                md.count(cohort["violation_stats"]["total_count"]),
            )
        )
    head = ("Cohort", "Runs", "Models", "Predictions", "Labelled", "Mean probability")
    return Table((*head, "Limits broken"), tuple(rows), "lrrrrrr")


def _quality(cohorts: Sequence[Json]) -> Table:
    rows: tuple[tuple[Words, ...], ...] = tuple(
        (named(cohort["cohort_id"]), *(measured(cohort["metrics"][name]) for name in QUALITIES))
        for cohort in cohorts
    )
    head = ("Cohort", "Accuracy", "Recall", "False positive rate", "Calibration error")
    return Table(head, rows, "lrrrr")


def _risks(cohorts: Sequence[Json]) -> Table:
    rows: list[tuple[Words, ...]] = []
    for cohort in cohorts:
        held, total = cohort["risk_distribution"], cohort["action_count"]
        shares = (f"{md.number(held.get(t, 0) / total)} ({held.get(t, 0):,})" for t in TIERS)
        rows.append((named(cohort["cohort_id"]), *shares))
    head = ("Cohort", "Low: below 0.25", "Normal: to 0.5", "High: to 0.75", "Elevated: above")
    return Table(head, tuple(rows), "lrrrr")


def _violations(cohorts: Sequence[Json], broken: Json) -> Table:
    """Return in what share of its runs each cohort breaks a limit."""
    names = [cohort["cohort_id"] for cohort in cohorts]
    rows: list[tuple[Words, ...]] = []
    for kind, found in broken.items():
        rates = [f"{name} {md.number(found['cohort_rates'].get(name))}" for name in names]
        rows.append((Code(kind), Said(", ".join(rates)), p_value(found["p_adjusted"])))
    return Table(("What", "Share of runs", "Adjusted p"), tuple(rows), "llr")


def fairness_section(cohorts: Sequence[Json]) -> Section:
    """Return how the groups of each cohort fare; without groups there is no section."""
    grouped = [cohort for cohort in cohorts if cohort["groups"] is not None]
    if not grouped:
        return Section("Fairness", ())
    # Those with an alarm get their charts first, as there is room for a few.
    ordered = sorted(grouped, key=lambda cohort: not cohort["groups"]["alarm"])
    each = max(MOST_FAIRNESS_CHARTS // len(grouped), 1)
    blocks: list[Block] = [Paragraph(HOW_GROUPS)]
    for place, cohort in enumerate(ordered):
        room = min(each, len(COMPARED)) if place < MOST_FAIRNESS_CHARTS else 0
        blocks += _fairness(cohort, room)
    return Section("Fairness", (*blocks, Callout(NOT_BOTH, Tone.PLAIN)))


def _fairness(cohort: Json, room: int) -> list[Block]:
    found = cohort["groups"]
    alarms = [test for test in found["tests"] if test["alarm"]]
    blocks: list[Block] = [Heading(named(cohort["cohort_id"]))]
    if alarms:
        shown = largest(alarms)[:MOST_LISTED]
        more = f"; the {len(shown)} largest are below" if len(alarms) > len(shown) else ""
        told = f" {len(alarms):,} of {len(found['tests']):,} rates of groups differ{more}."
        blocks += [Callout((Strong("Alarm:"), told), Tone.BAD), _alarm_table(shown)]
    else:
        told = f" none of {len(found['tests']):,} rates of groups differs beyond chance."
        blocks.append(Callout((Strong("No alarm:"), told), Tone.GOOD))
    drawn = _group_charts(cohort, room)
    if drawn:
        blocks.append(Gallery(drawn))
    if found["not_assessable"]:
        blocks.append(_not_assessable(found["not_assessable"]))
    return blocks


def _alarm_table(tests: Sequence[Json]) -> Table:
    rows = tuple(
        (
            group_words(test["group"]),
            metric_words(test["metric"]),
            md.number(test["value"]),
            md.number(test["other"]),
            difference(test),
            p_value(test["p_adjusted"]),
            md.count(test["n"][0]),
        )
        for test in tests
    )
    head = ("Group", "What", "In it", "All others", "Difference", "Adjusted p")
    return Table((*head, "Rows"), rows, "llrrrrr")


def _group_charts(cohort: Json, room: int) -> tuple[Figure, ...]:
    """Return charts of the groups, those of the metrics with most alarms.

    Crossed groups are drawn where they raised an alarm: there are many, and each is small.
    """
    tests = [t for t in cohort["groups"]["tests"] if t["alarm"] or len(t["group"]) == 1]
    held = {m: [test for test in tests if test["metric"] == m] for m in COMPARED}
    alarms = {m: sum(test["alarm"] for test in held[m]) for m in COMPARED}
    wanted = sorted((m for m in COMPARED if held[m]), key=lambda metric: -alarms[metric])
    drawn = []
    for place, metric in enumerate(wanted[:room]):
        rows = [_measured(test) for test in largest(held[metric])]
        more = f", {len(rows)} of {len(held[metric]):,}" if len(held[metric]) > len(rows) else ""
        title, whole = f"{METRICS[metric]} of groups{more}", cohort["metrics"][metric]["value"]
        rank = (2 if place == 0 else 4) if alarms[metric] else 5
        drawn.append(Figure(charts.groups(rows, title=title, whole=whole), rank))
    return tuple(drawn)


def _measured(test: Json) -> charts.Measured:
    """Return a group with the interval of its difference, laid around what the others have."""
    ends = [
        None if bound is None else min(max(test["other"] + bound, 0.0), 1.0) for bound in test["ci"]
    ]
    return charts.Measured(group_label(test), test["value"], *ends)


def _not_assessable(tests: Sequence[Json]) -> Folded:
    """Return the groups that have too few rows to say anything of them."""
    metrics: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for test in tests:
        metrics.setdefault(tuple(test["group"].items()), []).append(test["metric"])
    items: list[Words] = [
        (group_words(dict(group)), ": ", _listed(of)) for group, of in metrics.items()
    ]
    more = len(items) - MOST_NOT_ASSESSABLE
    if more > 0:
        items = [*items[:MOST_NOT_ASSESSABLE], f"and {more:,} more groups"]
    title = f"Groups with too few rows to be assessed ({len(metrics):,})"
    told = Paragraph("Of these nothing is known, neither good nor bad.")
    return Folded(title, (told, Bullets(tuple(items))))


def _listed(metrics: Sequence[str]) -> Said:
    return Said(", ".join(METRICS.get(metric, metric).lower() for metric in metrics))


def timeline_section(document: Json, cohorts: Sequence[Json]) -> Section:
    """Return the course of each cohort that has two or more spans of time."""
    reference = document["cohorts"][document["comparison"]["reference"]]
    drawn: list[Figure] = []
    names = []
    for cohort in cohorts:
        windows = {n: w for n, w in cohort["windows"].items() if n != NO_TIME}
        if len(windows) > 1 and len(drawn) + 2 <= MOST_TIMELINES:
            drawn += _timelines(cohort, windows, reference)
        elif len(windows) > 1:
            names.append(cohort["cohort_id"])
    if not drawn:
        return Section("Over time", ())
    told = (
        "Dashed: the reference as a whole. Intervals hold at 95 % for each span of time by itself, "
        "so that of many a few lie beside it by chance."
    )
    blocks: list[Block] = [Paragraph(told), Gallery(tuple(drawn))]
    if names:
        more = (f"Not drawn, but in the JSON report: {len(names):,} more cohorts.",)
        blocks.append(Paragraph(more))
    return Section("Over time", tuple(blocks))


def _timelines(cohort: Json, windows: Json, reference: Json) -> list[Figure]:
    """Return two charts: of right and wrong, or without labels of what the model says."""
    has_labels = cohort["n_labelled"] > 0
    found: list[Figure] = []
    for metric in ("accuracy", "recall") if has_labels else ("flag_rate", None):
        if metric is None:
            title, level = "Mean probability", reference["avg_risk_score"]
            points = [charts.Point(name, w["avg_risk_score"]) for name, w in windows.items()]
        else:
            title, level = METRICS[metric], reference["metrics"][metric]["value"]
            points = [
                charts.Point(name, w["metrics"][metric]["value"], *w["metrics"][metric]["ci"])
                for name, w in windows.items()
            ]
        drawn = charts.timeline(
            points,
            title=f"{title}: {cohort['cohort_id']}",
            reference=level,
            reference_name=reference["cohort_id"],
        )
        found.append(Figure(drawn, rank=4 if found else 2))
    return found
