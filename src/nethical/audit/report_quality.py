"""What a report says of a model's quality: measured, judged, published, and derived again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nethical import card, charts
from nethical import markdown as md
from nethical.audit.agreement import Agreement
from nethical.errors import IntegrityError
from nethical.metrics.evaluation import METRICS
from nethical.reports.blocks import (
    Bullets,
    Callout,
    Code,
    Facts,
    Figure,
    Paragraph,
    Reading,
    Said,
    Section,
    Strong,
    Table,
    Tone,
    marked,
)

if TYPE_CHECKING:
    from nethical.audit.agreement import Recomputed
    from nethical.audit.runs import Event, LoggedRun
    from nethical.reports.blocks import Block, Words

__all__ = ["VERDICT_TONES", "crosscheck_words", "quality_sections", "recomputed_words"]

CHARTED = {
    "precision": "Precision",
    "recall": "Recall",
    "accuracy": "Accuracy",
    "f1": "F1",
    "false_positive_rate": "False positive rate",
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "brier": "Brier loss",
    "ece_debiased": "ECE, debiased",
}
VERDICT_TONES = {"PASS": Tone.GOOD, "FAIL": Tone.BAD, "INSUFFICIENT_EVIDENCE": Tone.OPEN}
VERDICT_WORDS = {
    "PASS": "The model met every criterion.",
    "FAIL": "The model was shown to miss a criterion.",
    "INSUFFICIENT_EVIDENCE": "Nothing was shown to be wrong, but the rows are too few to say that "
    "all is right.",
}
SLIGHT = "lrll"


def quality_sections(
    run: LoggedRun, recomputed: Recomputed | None, checked: Event | IntegrityError | None
) -> list[Section]:
    """Return the sections from the metrics on; those without an event are empty."""
    decided = _of(run, "gate_decided")
    return [
        Section("How well it does", _metrics(run)),
        Section("What was demanded of it", _criteria(decided)),
        Section("What was published", _published(_of(run, "model_saved"), decided, checked)),
        Section("The numbers, derived again", _derived(recomputed)),
    ]


def recomputed_words(recomputed: Recomputed | None) -> Words:
    """Return in a line what deriving the numbers again has shown."""
    if recomputed is None:
        return "not asked for"
    wrong, unknown = (
        len(recomputed.having(a)) for a in (Agreement.DIFFERENT, Agreement.UNDERIVABLE)
    )
    right = len(recomputed.items) - wrong - unknown
    rest = f"; {unknown:,} cannot be derived" if unknown else ""
    if wrong:
        return (Strong(f"{wrong:,} differ from what was logged"), f", {right:,} do not{rest}")
    return f"all {right:,} that can be derived are as they were logged{rest}"


def crosscheck_words(checked: Event | IntegrityError | None) -> Words:
    """Return in a line whether the model and the log vouch for each other."""
    if checked is None:
        return "not checked"
    if isinstance(checked, IntegrityError):
        return (Strong("they do not"), ": ", Said(checked.what))
    return f"they vouch for each other, by entry {checked.index:,}"


def _of(run: LoggedRun, event_type: str) -> Reading:
    event = run.first(event_type)
    return Reading(event.document if event else None)


def _metrics(run: LoggedRun) -> tuple[Block, ...]:
    measured = _of(run, "validation_metrics")
    if not measured:
        return ()
    budget = md.finite(_of(run, "training_start").part("plan").get("alert_budget"))
    rows = md.count(measured.get("rows"))
    known = [value for value in measured.part("metrics").document.values() if value is not None]
    if not known:
        words = (
            Strong("Unknown."),
            (
                f" The {rows} rows of the gate part are not labelled, or all of one class, so "
                "nothing could be measured."
            ),
        )
        return (Callout(words),)
    says = (
        f"Measured on the {rows} rows of the gate part, which the model never learnt from. The "
        "intervals hold with 95 % confidence, for rows like these."
    )
    blocks: list[Block] = [
        Paragraph(says),
        Figure(_chart(measured)),
        _metric_table(measured, budget),
    ]
    beside = _of(run, "reference_metrics")
    if beside:
        told = " learnt from the same rows and was measured on the same rows:"
        who = "Beside it, a plainer model of the type "
        blocks += [
            Paragraph((who, Code(beside.get("model_type")), told)),
            _metric_table(beside, budget),
        ]
    return tuple(blocks)


def _chart(measured: Reading) -> str:
    """Return the metrics that lie between 0 and 1 as a chart."""
    rows = [
        charts.Measured(
            label,
            md.finite(measured.part("metrics").get(name)),
            *map(md.finite, [*measured.part("intervals").values(name), None, None][:2]),
        )
        for name, label in CHARTED.items()
        if name in measured.part("metrics").document
    ]
    return charts.forest(rows, title="Metrics with 95 % intervals")


def _metric_table(measured: Reading, budget: float | None) -> Table:
    metrics = measured.part("metrics").document
    rows = []
    for name in sorted(metrics, key=lambda n: METRICS.index(n) if n in METRICS else len(METRICS)):
        meaning = card.MEANINGS.get(name, "")
        if name == "recall_at_budget" and budget is not None:
            meaning += f" of {budget * 100:.4g} % of the rows"
        interval = md.interval(measured.part("intervals").values(name))
        rows.append((Code(name), md.number(metrics[name]), interval, marked(meaning)))
    return Table(("Metric", "Value", "95 % interval", "What it means"), tuple(rows), SLIGHT)


def _criteria(decided: Reading) -> tuple[Block, ...]:
    if not decided:
        return ()
    verdict = str(decided.get("verdict"))
    said = VERDICT_WORDS.get(verdict, "Nobody knows what this verdict means.")
    blocks: list[Block] = [
        Callout((Strong("Verdict:"), " ", Said(verdict), f". {said}"), _tone(verdict)),
    ]
    criteria = decided.parts("criteria")
    rows: tuple[tuple[Words, ...], ...] = tuple(
        (
            Said(c.get("name")),
            _weighed(c.get("verdict")),
            *(md.number(c.get(key), whole=True) for key in ("estimate", "bound")),
            md.given(c.get("threshold")),
            md.count(c.get("n")),
            _needed(c),
        )
        for c in criteria
    )
    if rows:
        head = ("Criterion", "Verdict", "Estimate", "Bound", "Limit", "n", "Rows still needed")
        blocks += [Table(head, rows, "llrrrrr"), Paragraph(card.HOW_JUDGED)]
    elif decided.part("criteria"):
        blocks.append(Paragraph("The criteria are too many for the log, which holds their digest."))
    notes = tuple(
        (Said(c.get("name")), ": ", Said(c.get("note"))) for c in criteria if c.get("note")
    )
    if notes:
        blocks.append(Bullets(notes))
    blocks.append(Paragraph(_readings(md.finite(decided.get("gate_readings")))))
    return tuple(blocks)


def _readings(readings: float | None) -> str:
    if readings is None:
        return "How many models these rows have judged is unknown."
    if readings <= 1:
        return "These rows have judged this model alone."
    return (
        f"These rows have judged {md.count(readings)} models, this one counted. Whoever chooses "
        "among models by the same rows makes the chosen one look better than it is."
    )


def _tone(verdict: str) -> str:
    return VERDICT_TONES.get(verdict, Tone.PLAIN)


def _weighed(verdict: object) -> Words:
    held_back = ("FAIL", "INSUFFICIENT_EVIDENCE")
    return Strong(str(verdict)) if verdict in held_back else Said(verdict)


def _needed(criterion: Reading) -> str:
    needed = criterion.get("rows_needed")
    if needed is not None:
        return f"about {md.count(needed)}"
    return md.UNKNOWN if criterion.get("verdict") == "INSUFFICIENT_EVIDENCE" else "none"


def _published(
    saved: Reading, decided: Reading, checked: Event | IntegrityError | None
) -> tuple[Block, ...]:
    if not saved:
        return ()
    rows: tuple[tuple[Words, Words], ...] = (
        ("Model", Code(saved.get("model_id"))),
        ("Folder", Code(saved.get("model_path"))),
        ("Digest of its signature", Code(saved.get("signature_digest"))),
        ("Into production", _place(saved.get("promoted"))),
        ("Why", Said(decided.get("reason"))),
        ("Beside the current model", _comparison(decided.part("comparison"))),
        ("Model and log", crosscheck_words(checked)),
    )
    says = (
        "The signature covers every file of the model, and says how the log stood just before. "
        "The log holds the digest of that signature. So neither can be exchanged without the "
        "other showing it."
    )
    return (Facts(rows), Paragraph(says))


def _place(promoted: object) -> str:
    if promoted is True:
        return "yes: it became the current version of its name"
    return "no: it was kept as a candidate" if promoted is False else md.UNKNOWN


def _comparison(beside: Reading) -> Words:
    if not beside:
        return "not compared"
    estimate, low, high = [*beside.values("difference"), None, None, None][:3]
    better = md.finite(high) is not None and high < 0
    worse = beside.get("worse") is True
    word = "worse than" if worse else "better than" if better else "not shown to differ from"
    return (
        Strong(word),
        " ",
        Code(beside.get("current")),
        (
            f" on {md.count(beside.get('n'))} rows that neither learnt from: Brier loss less the "
            f"other's {md.number(estimate)}, one-sided 95 % bounds {md.interval([low, high])}, "
            "below 0 is better"
        ),
    )


def _derived(recomputed: Recomputed | None) -> tuple[Block, ...]:
    """Return what was derived again, item by item."""
    if recomputed is None:
        return ()
    says = (
        "The model keeps the probability, the label and the groups of every gate row. From these "
        "the metrics, the criteria and the verdict were computed once more, and held beside what "
        "the log says: exact is equal to the last bit."
    )
    tone = Tone.GOOD if recomputed.equal else Tone.BAD
    summary = recomputed_words(recomputed)
    words = summary if isinstance(summary, tuple) else (summary,)
    rows = tuple(
        (
            Said(name),
            Said(logged),
            Said(derived) if derived else "",
            Strong(agreement) if item.agreement == Agreement.DIFFERENT else Said(agreement),
        )
        for item, (name, logged, derived, agreement) in zip(
            recomputed.items, recomputed.rows(), strict=True
        )
    )
    head = ("What", "Logged", "Derived", "Agreement")
    return (
        Paragraph(says),
        Callout(("Of the numbers, ", *words, "."), tone),
        Table(head, rows, "llll"),
    )
