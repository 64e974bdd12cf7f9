"""One comparison of a drift report: what changed, by how much, and in whom."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nethical import charts
from nethical import markdown as md
from nethical.drift.page_words import (
    METRICS,
    QUESTIONS,
    TONES,
    UNJUDGED,
    VERDICTS,
    difference,
    group_words,
    metric_words,
    named,
    p_value,
    rows_needed,
    ruling,
    short_ruling,
)
from nethical.reports.blocks import (
    Callout,
    Facts,
    Figure,
    Folded,
    Gallery,
    Heading,
    Paragraph,
    Said,
    Section,
    Strong,
    Table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nethical.drift.page_words import Json
    from nethical.reports.blocks import Block, Words

__all__ = [
    "MOST_LISTED",
    "comparison_section",
    "effect_name",
    "effects_table",
    "group_label",
    "largest",
]

MOST_GROUPS = 12
MOST_LISTED = 8
EDGES = [place / 20 for place in range(21)]
ESTIMATES = {
    "estimated_accuracy": "Accuracy, estimated",
    "estimated_recall": "Recall, estimated",
    "estimated_false_positive_rate": "False positive rate, estimated",
}
ASSUMED = (
    " There are no labels, so right and wrong were not seen. The estimates below hold only if "
    "nothing but the mix of rows changed; whether that is so, nothing here can tell."
)


def comparison_section(document: Json, comparison: Json, *, is_drawn: bool) -> Section:
    """Return the section of one comparison.

    Args:
        document: The report.
        comparison: One of its comparisons.
        is_drawn: Whether it gets charts, or tables only.
    """
    kind, current = comparison["kind"], comparison["current"]
    verdict = VERDICTS[comparison["verdict"]]
    said = (Strong(f"{verdict}:"), " ", Said(comparison["message"]), ".")
    blocks: list[Block] = [
        Paragraph(QUESTIONS[kind]),
        Callout(said, TONES[comparison["verdict"]]),
    ]
    if is_drawn:
        blocks.append(Gallery(_charts(document, comparison)))
    blocks += [effects_table(comparison), *_estimates(comparison), *_in_whom(document, comparison)]
    blocks.append(_details(comparison))
    title = (named(current), " against ", named(comparison["reference"]))
    return Section(title, tuple(blocks))


def effects_table(comparison: Json) -> Table:
    """Return every effect beside its margin."""
    kind = comparison["kind"]
    rows = tuple(
        (
            effect_name(effect, kind),
            "" if _is_distance(effect) else md.number(effect["reference"]),
            "" if _is_distance(effect) else md.number(effect["current"]),
            difference(effect),
            md.given(effect["margin"]),
            ruling(effect, kind),
            "" if kind in UNJUDGED else rows_needed(effect),
        )
        for effect in comparison["effects"]
    )
    needed = "Models needed" if kind == "training_process" else "Rows needed"
    head = ("What", "Reference", "Now", "Difference", "Margin", "Verdict", needed)
    return Table(head, rows, "lrrrrlr")


def _is_distance(effect: Json) -> bool:
    """Whether an effect is a distance of two distributions, which have no value by themselves."""
    return effect["metric"] == "score_distribution" and effect["reference"] is None


def effect_name(effect: Json, kind: str) -> str:
    """Return what an effect is; over models, their mean probability stands for their scores."""
    if effect["metric"] == "score_distribution" and kind == "training_process":
        return "Mean probability"
    return METRICS[effect["metric"]]


def _charts(document: Json, comparison: Json) -> tuple[Figure, ...]:
    """Return the differences, in whom, the scores of both cohorts and whether these hold."""
    kind = comparison["kind"]
    rows = [
        charts.Effect(
            effect_name(effect, kind),
            effect["effect"],
            low=effect["ci"][0],
            high=effect["ci"][1],
            margin=effect["margin"],
            verdict=short_ruling(effect, kind),
            mark=effect["verdict"] == "beyond" and kind not in UNJUDGED,
        )
        for effect in comparison["effects"]
    ]
    found = [Figure(charts.effects(rows, title="What changed, in margins"))]
    changed = _alarms(comparison)
    if changed:
        found.append(_changed_chart(comparison, changed))
    rank = 1 if comparison["verdict"] == "drift" else 4
    return (*found, *_score_charts(document, comparison, rank))


def _score_charts(document: Json, comparison: Json, rank: int) -> list[Figure]:
    """Return where the scores of both cohorts lie, and whether they are to be believed."""
    names = comparison["reference"], comparison["current"]
    both = [document["cohorts"][name] for name in names]
    cuts = {run["threshold"] for cohort in both for run in cohort["runs"]}
    drawn = charts.two_scores(
        EDGES,
        *(cohort["scores"] for cohort in both),
        reference_name=names[0],
        current_name=names[1],
        threshold=cuts.pop() if len(cuts) == 1 else None,
    )
    found = [Figure(drawn, rank)]
    # Scores that are no probabilities have no calibration error, and nothing to be relied on.
    are_probabilities = any(effect["metric"] == "ece" for effect in comparison["effects"])
    if are_probabilities and all(cohort["n_labelled"] for cohort in both):
        bins = [_bins(cohort["calibration"]["bins"]) for cohort in both]
        drawn = charts.two_reliabilities(*bins, reference_name=names[0], current_name=names[1])
        found.append(Figure(drawn, rank))
    return found


def _bins(bins: Sequence[Json]) -> charts.Bins:
    columns = ([each[key] for each in bins] for key in ("n", "mean_proba", "share", "error"))
    return charts.Bins(*columns)


def _estimates(comparison: Json) -> list[Block]:
    if not comparison["estimated"]:
        return []
    rows = tuple(
        (ESTIMATES[name], md.number(value)) for name, value in comparison["estimated"].items()
    )
    return [Callout((Strong("Not labelled."), ASSUMED)), Facts(rows)]


def _alarms(comparison: Json) -> list[Json]:
    return [test for test in comparison["groups"] if test["alarm"]]


def largest(tests: Sequence[Json]) -> list[Json]:
    """Return the groups worth showing: alarms, plain groups and large differences first."""

    def order(test: Json) -> tuple[bool, int, float, str, str]:
        size = abs(test["effect"] or 0.0)
        return not test["alarm"], len(test["group"]), -size, test["metric"], str(test["group"])

    return sorted(tests, key=order)[:MOST_GROUPS]


def group_label(test: Json) -> str:
    """Return a group for a chart, where there is little room: crossed ones by their values."""
    group = test["group"]
    if len(group) == 1:
        return ": ".join(*group.items())
    return ", ".join(group.values())


def _changed_chart(comparison: Json, changed: Sequence[Json]) -> Figure:
    """Return in whom the rate changed that raised most alarms."""
    counted = Counter(test["metric"] for test in changed)
    metric = max(counted, key=lambda name: (counted[name], name == "recall", name))
    of_metric = [test for test in changed if test["metric"] == metric]
    rows = [
        charts.Measured(group_label(test), test["effect"], *test["ci"])
        for test in largest(of_metric)[:MOST_LISTED]
    ]
    whole = next((e["effect"] for e in comparison["effects"] if e["metric"] == metric), None)
    title = f"{METRICS.get(metric, metric)}: in whom"
    return Figure(charts.groups(rows, title=title, whole=whole), rank=1)


def _in_whom(document: Json, comparison: Json) -> list[Block]:
    """Return the groups that changed, and how many did not."""
    tests = comparison["groups"]
    if not tests:
        return []
    changed, alpha = _alarms(comparison), md.given(document["comparison"]["alpha"])
    others = len(tests) - len(changed)
    if not changed:
        told = f"In no group: of {others:,} rates of groups, none changed beyond chance."
        return [Heading("In whom it changed"), Paragraph(told)]
    shown = largest(changed)[:MOST_LISTED]
    rows = tuple(
        (
            group_words(test["group"]),
            metric_words(test["metric"]),
            md.number(test["other"]),
            md.number(test["value"]),
            difference(test),
            p_value(test["p_adjusted"]),
        )
        for test in shown
    )
    more = f"; the {len(shown)} largest are shown" if len(changed) > len(shown) else ""
    told = (
        f"{len(changed):,} of {len(tests):,} rates of groups changed beyond chance (adjusted p "
        f"below {alpha}){more}; {others:,} did not. Where all rows changed, most of their groups "
        "did: look for those that changed more than the rest."
    )
    head = ("Group", "What", "Reference", "Now", "Difference", "Adjusted p")
    return [Heading("In whom it changed"), Paragraph(told), Table(head, rows, "llrrrr")]


def _details(comparison: Json) -> Folded:
    """Return tests and distances, which are reported and decide nothing."""
    rows = tuple(
        (
            metric_words(test["metric"]),
            Said(test["test"]),
            p_value(test["p"]),
            p_value(test["p_adjusted"]),
            " / ".join(map(md.count, test["n"])),
        )
        for test in comparison["tests"]
    )
    unit = "models" if comparison["kind"] == "training_process" else "rows"
    told = (
        "Whether both sides could be alike. A small p says that something differs, however "
        "little; the verdict above asks whether it differs by more than matters."
    )
    distances = comparison["distances"]
    facts: tuple[tuple[Words, Words], ...] = (
        ("Mean shift of the scores (Wasserstein distance)", md.number(distances["wasserstein"])),
        (
            "Population stability index, scaled",
            f"{md.number(distances['psi'])}, p {p_value(distances['psi_p'])}",
        ),
    )
    seen = tuple(
        (effect_name(effect, comparison["kind"]), md.number(effect["detectable_effect"]))
        for effect in comparison["effects"]
    )
    smallest = f"Smallest change that so many {unit} show to be beyond the margin"
    blocks = (
        Paragraph(told),
        Table(("What", "Test", "p", "Adjusted p", f"Compared {unit}"), rows, "llrrr"),
        Table(("What", smallest), seen, "lr"),
        Facts(facts),
    )
    return Folded("Tests and distances", blocks)
