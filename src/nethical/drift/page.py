"""A drift report as a page for people and as a summary for pull requests, from its JSON alone.

The same document gives the same bytes, so that anybody can render a stored report again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nethical import markdown as md
from nethical.drift.page_cohorts import cohorts_section, fairness_section, timeline_section
from nethical.drift.page_comparison import comparison_section, effect_name, effects_table
from nethical.drift.page_room import to_small_html
from nethical.drift.page_words import TONES, VERDICTS, joined, metric_words, named, short_ruling
from nethical.errors import DataError
from nethical.reports.blocks import (
    Bullets,
    Callout,
    Code,
    Facts,
    Folded,
    Paragraph,
    Report,
    Said,
    Section,
    Strong,
    Table,
    Tone,
    moment,
)
from nethical.reports.markdown import to_markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nethical.drift.page_words import Json
    from nethical.reports.blocks import Block, Piece, Words

__all__ = ["render"]

SCHEMA_VERSION = 1
MOST_DRAWN = 4
MOST_RUNS = 40
FIRST = ("drift", "inconclusive", "no_drift")
WITHOUT_COMPARISON = (
    "There is one cohort and nothing to compare it with, so whether anything drifted is not known."
)
MEANINGS = {
    "Margin": "The largest change that does not matter to you, set before looking.",
    "Drift": "At least one change is larger than its margin, even at the near end of its interval.",
    "No drift": "Every change is smaller than its margin, even at the far end of its interval.",
    "Inconclusive": "Neither: some interval reaches across its margin, or there are too few rows. "
    "It does not mean that all is well.",
    "Difference": "Now less the reference, with its interval in brackets.",
    "Rows needed": "If nothing changed, so many rows in each cohort show that in 4 of 5 cases.",
    "Calibration error": "How far probabilities lie from the shares that came true, on average, "
    "less what chance adds.",
    "Brier loss": "The mean squared gap between probability and outcome. It sees most changes "
    "first.",
    "Score distribution": "The largest change of the share called positive, whatever the "
    "threshold.",
}


def render(document: Json) -> dict[str, str]:
    """Return a report as a page and as a short summary, by the end of their file names.

    Args:
        document: A drift report, as its schema has it.

    Returns:
        ``.html``, self-contained and without script, and ``.md``, for a pull request.

    Raises:
        DataError: The document is of another version than this release reads.
    """
    if document.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"the drift report is of schema version {document.get('schema_version')!r}",
            mend=f"render it with a release that writes version {SCHEMA_VERSION}, or one between",
        )
    return {".html": to_small_html(_page(document)), ".md": to_markdown(_summary(document))}


def _page(document: Json) -> Report:
    compared, cohorts = _comparisons(document), _cohorts(document)
    sections = [
        Section("What was found", _found(document, compared)),
        Section("What to do", (_to_do(document),)),
        *(
            comparison_section(document, comparison, is_drawn=place < MOST_DRAWN)
            for place, comparison in enumerate(compared)
        ),
        fairness_section(cohorts),
        timeline_section(document, cohorts),
        cohorts_section(document, cohorts),
        Section("How to read this", _reading(document)),
        Section("How to compute it again", _again(document, cohorts)),
    ]
    told = (_opening(document, compared), " ", *_made(document))
    return Report(
        ("Drift report ", Code(document["report_id"])),
        _badges(document),
        tuple(
            piece for words in told for piece in (words if isinstance(words, tuple) else (words,))
        ),
        tuple(section for section in sections if section.blocks),
    )


def _summary(document: Json) -> Report:
    """Return what a pull request should show: verdict, numbers and what to do."""
    compared = _comparisons(document)
    sections = [
        *(
            Section(
                (named(one["current"]), " against ", named(one["reference"])),
                (
                    Callout((Strong(f"{VERDICTS[one['verdict']]}:"), " ", Said(one["message"]))),
                    effects_table(one),
                ),
            )
            for one in compared
        ),
        Section("What to do", (_to_do(document),)),
    ]
    title = ("Drift report ", Code(document["report_id"]))
    return Report(title, _badges(document), _opening(document, compared), tuple(sections))


def _comparisons(document: Json) -> list[Json]:
    """Return the comparisons, drift first."""
    found = document["drift_metrics"]["comparisons"]
    return sorted(found, key=lambda one: FIRST.index(one["verdict"]))


def _cohorts(document: Json) -> list[Json]:
    """Return the cohorts, the reference first and the others as they were compared."""
    told = document["drift_metrics"]["comparisons"]
    names = [document["comparison"]["reference"], *(one["current"] for one in told)]
    return [document["cohorts"][name] for name in names]


def _badges(document: Json) -> tuple[tuple[str, str], ...]:
    verdict = document["drift_metrics"]["verdict"]
    badges = [(VERDICTS[verdict], TONES[verdict])]
    cohorts = document["cohorts"].values()
    if any(cohort["groups"] is not None and cohort["groups"]["alarm"] for cohort in cohorts):
        badges.append(("Fairness alarm", Tone.BAD))
    broken = sum(cohort["violation_stats"]["total_count"] for cohort in cohorts)
    if broken:
        badges.append((f"Limits broken: {broken:,}", Tone.BAD))
    return tuple(badges)


def _opening(document: Json, compared: Sequence[Json]) -> Words:
    """Return the verdict as one plain sentence."""
    if not compared:
        return WITHOUT_COMPARISON
    names = {
        verdict: [named(one["current"]) for one in compared if one["verdict"] == verdict]
        for verdict in FIRST
    }
    parts: list[Words] = []
    if names["drift"]:
        parts.append((*joined(names["drift"]), " changed by more than the margins allow"))
    if names["inconclusive"]:
        open_ = names["inconclusive"]
        verb = "are" if len(open_) > 1 else "is"
        parts.append((*joined(open_), f" {verb} inconclusive"))
    if names["no_drift"]:
        parts.append((*joined(names["no_drift"]), " did not change by more than the margins allow"))
    reference = named(document["comparison"]["reference"])
    return ("Compared with ", reference, ", ", *joined(parts), ".")


def _made(document: Json) -> tuple[Words, ...]:
    """Return how much the report rests on, and when it was made."""
    rows = sum(cohort["action_count"] for cohort in document["cohorts"].values())
    count = len(document["cohorts"])
    cohorts = f"{count:,} cohorts" if count > 1 else "1 cohort"
    made = Code(moment(document["generated_at"]))
    return (f"From {rows:,} predictions in {cohorts}, made ", made, ".")


def _found(document: Json, compared: Sequence[Json]) -> tuple[Block, ...]:
    """Return what each comparison says in a few words; the numbers follow in its section."""
    if not compared:
        return (Callout((Said(document["drift_metrics"]["message"]), "."), Tone.OPEN),)
    items = tuple(
        (
            named(one["current"]),
            " ",
            Strong(f"{VERDICTS[one['verdict']]}:"),
            " ",
            *(_beyond(one) if one["verdict"] == "drift" else (Said(one["message"]),)),
            ".",
        )
        for one in compared
    )
    blocks: list[Block] = [Bullets(items)]
    if len(compared) > MOST_DRAWN:
        told = f"The first {MOST_DRAWN} comparisons below have charts, the others tables only."
        blocks.append(Paragraph(told))
    return tuple(blocks)


def _beyond(comparison: Json) -> Sequence[Piece]:
    """Return what is worse, what is better and what only moved, all beyond their margins."""
    parts: list[Piece] = []
    kind = comparison["kind"]
    beyond = [effect for effect in comparison["effects"] if effect["verdict"] == "beyond"]
    rulings = dict.fromkeys(short_ruling(effect, kind) for effect in beyond)
    for text in rulings:
        names = [effect_name(e, kind) for e in beyond if short_ruling(e, kind) == text]
        small = [name if name.startswith("Brier") else name.lower() for name in names]
        parts += ["; ", *joined(small), f" {text.replace('margin', 'the margin')}"]
    return parts[1:]


def _to_do(document: Json) -> Bullets:
    """Return what to do, each action once, and after it all that calls for it."""
    reasons: dict[str, list[str]] = {}
    for one in document["recommendation_details"]:
        reasons.setdefault(one["action"], []).append(one["evidence"])
    items = tuple(
        (*_action(action), " ", Said(". ".join(evidence)), ".")
        for action, evidence in reasons.items()
    )
    return Bullets(items, numbered=True)


def _action(text: str) -> list[Piece]:
    """Return what to do, with what is to be typed as code."""
    told: list[Piece] = []
    for place, piece in enumerate(text.split("`")):
        if piece.strip():
            told += [" "] if told else []
            told.append(Code(piece) if place % 2 else Strong(Said(piece)))
    return [*told, "."]


def _reading(document: Json) -> tuple[Block, ...]:
    """Return what the words mean, and what the error rate is."""
    settings = document["comparison"]
    alpha = md.given(settings["alpha"])
    rate = (
        f"{alpha}: the probability that any interval of this report misses its true value, and so "
        "the most by which drift is called where no change is beyond its margin."
    )
    facts: list[tuple[Words, Words]] = [*MEANINGS.items(), ("Error rate (alpha)", rate)]
    facts.append(("How it is shared", Said(settings["correction"])))
    if settings["look"] is not None:
        horizon = settings["horizon"]
        of = f" of {horizon:,} that are planned" if horizon is not None else ""
        told = (
            f"This is look {settings['look']:,} at the reference{of}. Looking often finds "
            "something by chance, so each look spends a part of one error rate; the alpha above "
            "is the part of this one."
        )
        facts.append(("Looks", told))
    rows = tuple(
        (metric_words(name), md.given(margin), md.given(settings["shares"].get(name)))
        for name, margin in settings["margins"].items()
    )
    return (Facts(tuple(facts)), Table(("What", "Margin", "Share of alpha"), rows, "lrr"))


def _again(document: Json, cohorts: Sequence[Json]) -> tuple[Block, ...]:
    """Return the digests that the report rests on."""
    told = (
        "Everything here follows from the settings above and from the counts and sums of each run, "
        "which the store of cohorts keeps by their digest. The same ones give the same report to "
        "the last digit, whoever computes it; this page follows from the JSON report beside it."
    )
    runs = [(cohort, run) for cohort in cohorts for run in cohort["runs"]]
    rows = tuple(
        (
            named(cohort["cohort_id"]),
            Code(run["run_id"]),
            Code(run["model"]),
            md.count(run["rows"]) + ("" if run["counted"] else ", held already"),
            Code(run["cells_digest"]),
        )
        for cohort, run in runs[:MOST_RUNS]
    )
    head = ("Cohort", "Run", "Model", "Rows", "Digest of its counts and sums")
    more = len(runs) - MOST_RUNS
    blocks: list[Block] = [Table(head, rows, "lllrl")]
    if more > 0:
        blocks.append(Paragraph(f"{more:,} more runs stand in the JSON report."))
    spans = (
        ("First run added", moment(document["start_time"])),
        ("Last run added", moment(document["end_time"])),
    )
    return (Paragraph(told), Facts(spans), Folded(f"Runs ({len(runs):,})", tuple(blocks)))
