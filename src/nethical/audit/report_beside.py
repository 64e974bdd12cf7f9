"""What stood beside a run in its report: cohorts that it joined, and what governed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nethical import markdown as md
from nethical.reports.blocks import (
    Callout,
    Code,
    Facts,
    Paragraph,
    Reading,
    Said,
    Section,
    Strong,
    Table,
    Tone,
)

if TYPE_CHECKING:
    from nethical.audit.runs import LoggedRun
    from nethical.reports.blocks import Block, Words

__all__ = ["TITLES", "beside_sections"]

TITLES = {
    "cohort_added": "Its rows joined a cohort",
    "drift_reported": "Cohorts were compared",
    "configuration_recorded": "Its configuration was stored",
    "reviews_asked": "Rows went to people for review",
    "search_completed": "Other configurations were tried",
    "promotion_decided": "The promotion gate had judged",
    "configuration_moved": "A configuration was put to another use",
}
ASKED = {
    "gray": "Of the gray zone",
    "audit": "Of the other rows",
    "disagreement": "Decided otherwise in shadow",
    "critical": "Of critical severity",
}
DRIFT_TONES = {"drift": Tone.BAD, "no_drift": Tone.GOOD}
GATE_TONES = {"PASS": Tone.GOOD, "FAIL": Tone.BAD}


def beside_sections(run: LoggedRun) -> list[Section]:
    """Return what was logged of drift and governance; nothing where there is nothing."""
    return [
        Section("Compared with other cohorts", _drift(run)),
        Section("Configurations", _governed(run)),
    ]


def _each(run: LoggedRun, event_type: str) -> list[Reading]:
    return [Reading(e.document) for e in run.events if e.event_type == event_type]


def _drift(run: LoggedRun) -> tuple[Block, ...]:
    blocks: list[Block] = []
    joined = _each(run, "cohort_added")
    if joined:
        rows: tuple[tuple[Words, ...], ...] = tuple(
            (
                Code(one.get("cohort_id")),
                md.count(one.get("rows")),
                md.count(one.get("labelled")),
                Code(one.get("cells_digest")),
            )
            for one in joined
        )
        head = ("Cohort", "Predictions", "Labelled", "Digest of its counts")
        blocks.append(Table(head, rows, "lrrl"))
    for report in _each(run, "drift_reported"):
        verdict = str(report.get("verdict"))
        words = (
            Strong(Said(verdict.replace("_", " "))),
            ": ",
            Said(report.get("message")),
        )
        blocks += [
            Callout(words, DRIFT_TONES.get(verdict, Tone.OPEN)),
            Facts(
                (
                    ("Report", Code(report.get("report_id"))),
                    ("Compared with", Code(report.get("reference"))),
                    ("Digest of the report", Code(report.get("report_digest"))),
                )
            ),
        ]
    return tuple(blocks)


def _governed(run: LoggedRun) -> tuple[Block, ...]:
    blocks: list[Block] = [_recorded(one) for one in _each(run, "configuration_recorded")]
    blocks += [_asked(one) for one in _each(run, "reviews_asked")]
    for one in _each(run, "search_completed"):
        best = one.part("best")
        found: Words = "none could be trained"
        if best:
            found = (Code(best.get("name")), f", recall {md.number(best.get('recall'))}")
        blocks.append(
            Facts(
                (
                    ("Searched by", Code(one.get("technique"))),
                    ("Configurations tried", md.count(one.get("trials"))),
                    ("Most recall within the limits", found),
                )
            )
        )
    for one in _each(run, "promotion_decided"):
        blocks += _judged(one)
    moves = _each(run, "configuration_moved")
    if moves:
        rows: tuple[tuple[Words, ...], ...] = tuple(
            (
                Code(one.get("configuration_id")),
                Code(one.get("status")),
                Said(one.get("actor")),
                Said(one.get("reason")),
            )
            for one in moves
        )
        blocks.append(Table(("Configuration", "Is now", "By", "Why"), rows, "llll"))
    return tuple(blocks)


def _asked(one: Reading) -> Facts:
    """Return how many rows went to people, and how they were drawn."""
    drawn = one.part("drawn")
    told: list[tuple[str, Words]] = [("New cases for people", md.count(one.get("entered")))]
    for kind, where in ASKED.items():
        if kind not in drawn.document:
            continue
        part = drawn.part(kind)
        taken, seen = md.count(part.get("taken")), md.count(part.get("seen"))
        share = md.number(part.get("inclusion_probability"))
        told.append((where, f"{taken} of {seen} rows, each with probability {share}"))
    return Facts(tuple(told))


def _recorded(one: Reading) -> Facts:
    """Return what was measured of a configuration."""
    return Facts(
        (
            ("Configuration", Code(one.get("configuration_id"))),
            ("Of the model", Code(one.get("model_id"))),
            ("Fitness score", md.number(one.get("fitness_score"))),
            ("Terms of it that are known", f"{md.count(one.get('terms'))} of 4"),
            ("Human agreement", md.number(one.get("human_agreement"))),
        )
    )


def _judged(one: Reading) -> list[Block]:
    """Return what the promotion gate said."""
    verdict = str(one.get("verdict"))
    words = (
        Strong(Said(verdict.replace("_", " ").lower())),
        ": ",
        Code(one.get("candidate")),
        " against ",
        Code(one.get("baseline")),
        f", attempt {md.count(one.get('k'))} on these rows or many of them",
    )
    rows: tuple[tuple[Words, ...], ...] = tuple(
        (
            Said(line.get("name")),
            md.number(line.get("estimate")),
            md.number(line.get("bound")),
            md.number(line.get("limit")),
            md.count(line.get("n")),
            Said(str(line.get("verdict")).replace("_", " ").lower()),
        )
        for line in one.parts("criteria")
    )
    head = ("Criterion", "Measured", "Bound", "Limit", "n", "Verdict")
    blocks: list[Block] = [
        Callout(words, GATE_TONES.get(verdict, Tone.OPEN)),
        Table(head, rows, "lrrrrl"),
    ]
    if one.get("waiver"):
        blocks.append(
            Paragraph((Strong("Agreement of people was waived:"), " ", Said(one.get("waiver"))))
        )
    return blocks
