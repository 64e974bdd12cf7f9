"""One run told to an auditor, from its log alone, as Markdown and as a page.

The reader needs to know nothing of this project. Nothing is in a report that the log, its
checkpoint and the checks beside it do not say, not even the time when it is written: the report
of the same run and the same checkpoint is the same to the last byte. What is not logged is
called unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical import markdown as md
from nethical.audit.report_beside import beside_sections
from nethical.audit.report_proofs import (
    OUTCOME_TONES,
    OUTCOMES,
    course_sections,
    proof_sections,
    took,
)
from nethical.audit.report_quality import (
    VERDICT_TONES,
    crosscheck_words,
    quality_sections,
    recomputed_words,
)
from nethical.audit.report_training import is_synthetic, training_sections
from nethical.errors import IntegrityError
from nethical.reports.blocks import Code, Facts, Reading, Report, Said, Section, Tone, moment
from nethical.reports.html import to_html
from nethical.reports.markdown import to_markdown

if TYPE_CHECKING:
    from nethical.audit.agreement import Recomputed
    from nethical.audit.runs import Event, LoggedRun
    from nethical.reports.blocks import Words

__all__ = ["ReportSource", "render"]

OPENING = (
    "This page tells one training run of a machine learning model, from the entries of its audit "
    "log and from nothing else. Every entry is hashed into a tree whose root is signed, so that "
    "a change of any of them shows; how to check that yourself stands further below. Times are "
    "those of the machine's clock, in UTC. What was not logged is called unknown."
)


@dataclass(frozen=True)
class ReportSource:
    """All that a report is made from.

    Args:
        run: The run, as it was logged.
        origin: The name of the log.
        vkey: Its verifier key, as a line.
        note: The signed checkpoint that the proofs lead to.
        tree_size: How many entries that is over.
        root: Its root hash, hex.
        level: How much was proved of the log, in words.
        recomputed: The numbers of the run derived again; None if nobody asked for them.
        checked: The event by which the log tells of the model, once the two were held against
            each other, or why they do not fit; None if nobody asked.
    """

    run: LoggedRun
    origin: str
    vkey: str
    note: bytes
    tree_size: int
    root: str
    level: str
    recomputed: Recomputed | None = None
    checked: Event | IntegrityError | None = None


def render(source: ReportSource) -> tuple[str, str]:
    """Return the report of a run as a Markdown document and as a self-contained HTML page."""
    report = _report(source)
    return to_markdown(report), to_html(report)


def _report(source: ReportSource) -> Report:
    run = source.run
    verdict = str(_of(run, "gate_decided").get("verdict") or "")
    outcome = run.outcome if run.outcome in OUTCOMES else f"outcome {md.UNKNOWN}"
    badges = [(f"Run {outcome}", OUTCOME_TONES.get(outcome, Tone.OPEN))]
    if verdict in VERDICT_TONES:
        badges.append((f"Gate: {verdict.replace('_', ' ').lower()}", VERDICT_TONES[verdict]))
    if is_synthetic(run):
        badges.append(("Synthetic data", Tone.OPEN))
    if source.recomputed is not None and not source.recomputed.equal:
        badges.append(("Numbers do not follow from the scores", Tone.BAD))
    if isinstance(source.checked, IntegrityError):
        badges.append(("Model and log do not fit", Tone.BAD))
    sections = [
        Section("In short", (Facts(_summary(source)),)),
        *course_sections(run),
        *training_sections(run),
        *quality_sections(run, source.recomputed, source.checked),
        *beside_sections(run),
        *proof_sections(source),
    ]
    return Report(
        ("Training run ", Code(run.run_id)),
        tuple(badges),
        OPENING,
        tuple(section for section in sections if section.blocks),
    )


def _of(run: LoggedRun, event_type: str) -> Reading:
    event = run.first(event_type)
    return Reading(event.document if event else None)


def _summary(source: ReportSource) -> tuple[tuple[Words, Words], ...]:
    """Return what a reader in a hurry should know."""
    run = source.run
    started, loaded = _of(run, "training_start"), _of(run, "data_loaded")
    decided, saved = _of(run, "gate_decided"), _of(run, "model_saved")
    data: Words = "none was read"
    if loaded:
        data = (Code(loaded.get("source")), f", {md.count(loaded.get('num_samples'))} rows")
    verdict: Words = "it was not judged"
    if decided:
        verdict = (Said(decided.get("verdict")), ": ", Said(decided.get("reason")))
    model: Words = "none was published"
    if saved:
        model = Code(saved.get("model_id"))
    return (
        ("Began", moment(run.events[0].at)),
        ("Last event", f"{moment(run.events[-1].at)}, {took(run)} later"),
        ("Type of model", Code(started.get("model_type"))),
        ("For the name", Code(started.get("name"))),
        ("Data", data),
        ("Gate", verdict),
        ("Model", model),
        ("Proved of the log", Said(source.level)),
        ("Numbers derived again", recomputed_words(source.recomputed)),
        ("Model and log", crosscheck_words(source.checked)),
    )
