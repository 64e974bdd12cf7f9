"""What a report says of the making of a model: what was asked, of which data, and how it learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nethical import card
from nethical import markdown as md
from nethical.plan import Plan
from nethical.reports.blocks import (
    Bullets,
    Callout,
    Code,
    Facts,
    Paragraph,
    Reading,
    Said,
    Section,
    Strong,
    Table,
    plain,
    shown,
)

if TYPE_CHECKING:
    from nethical.audit.runs import LoggedRun
    from nethical.reports.blocks import Block, Piece, Words

__all__ = ["is_synthetic", "training_sections"]

STUB = {"digest", "bytes"}
GENERATED = ("synthetic", "legacy")
PURPOSES = {**card.PURPOSES, "gate": "judged the model"}
STRATEGIES = {
    "random": "each row by a keyed hash of its content, so equal rows are in one part",
    "grouped": "rows that belong together stay together, by a keyed hash of their group",
    "temporal": "by time: the latest rows judge the model",
    "given": "as the user gave it",
}
METHODS = {
    "sigmoid": "one S-shaped curve, as for few rows",
    "isotonic": "rising steps, as for many rows",
    "percentile": "no positive row was there to learn from, so the number is a percentile among "
    "rows that are taken for normal, and no probability",
}


def training_sections(run: LoggedRun) -> list[Section]:
    """Return the sections from the plan to the thresholds; those without an event are empty."""
    return [
        Section("What was asked", _plan(_of(run, "training_start"))),
        Section("Where it ran", _environment(_of(run, "training_start").part("environment"))),
        Section("The data", _data(run)),
        Section("What gives the label away", _leaks(run)),
        Section("How the rows were divided", _split(_of(run, "data_split"))),
        Section("What was learnt", _learnt(_of(run, "training_completed"))),
        Section("From scores to decisions", _decisions(_of(run, "calibrated"))),
    ]


def is_synthetic(run: LoggedRun) -> bool:
    """Return whether a program made up the rows."""
    source = _of(run, "data_loaded").get("source")
    return str(source).lower().startswith(GENERATED)


def _of(run: LoggedRun, event_type: str) -> Reading:
    event = run.first(event_type)
    return Reading(event.document if event else None)


def _plan(started: Reading) -> tuple[Block, ...]:
    """Return every setting, and which of them are not as by default."""
    if not started:
        return ()
    settings = started.part("plan").document
    if settings.keys() == STUB:
        return (Paragraph(("The plan is ", *_tuple(_logged(settings)), ".")),)
    default = {
        key: value for key, value in Plan("any").to_document().items() if key != "model_type"
    }
    usual = [key for key, value in settings.items() if key in default and value == default[key]]
    rows = tuple(
        (Code(key), _setting(value), _setting(default[key]) if key in default else "none")
        for key, value in settings.items()
        if key not in usual
    )
    rest = ", ".join(f"{key} {_inline(settings[key])}" for key in usual)
    return (
        Paragraph(
            "Every choice that decides the result; the command line reference says what each "
            "does. These were set:"
        ),
        Table(("Setting", "Value", "Default"), rows, "lll"),
        Paragraph(("These were left as they are by default: ", Said(rest), ".")),
    )


def _setting(value: object) -> Words:
    return "not set" if value in (None, [], {}) else _logged(value)


def _inline(value: object) -> str:
    return "not set" if value in (None, [], {}) else plain(value)


def _logged(value: object) -> Words:
    """Return a member of the log as words; of one too large for it there is a digest only."""
    if not isinstance(value, Mapping) or value.keys() != STUB:
        return shown(value)
    size = md.count(value.get("bytes"))
    return (
        f"too large for the log, which holds the digest of its {size} bytes: ",
        Code(value.get("digest")),
    )


def _tuple(words: Words) -> tuple[Piece, ...]:
    return words if isinstance(words, tuple) else (words,)


def _environment(environment: Reading) -> tuple[Block, ...]:
    if not environment:
        return ()
    names = {
        "nethical": "Nethical",
        "python": "Python",
        "platform": "Platform",
        "libc": "C library",
        "threads": "Threads",
    }
    rows: list[tuple[Words, Words]] = [(names[key], _logged(environment.get(key))) for key in names]
    rows.append(("Libraries", _logged(environment.get("libraries"))))
    return (Facts(tuple(rows)),)


def _data(run: LoggedRun) -> tuple[Block, ...]:
    tables = [Reading(event.document) for event in run.events if event.event_type == "data_loaded"]
    if not tables:
        return ()
    first = tables[0]
    fallback = _of(run, "source_fallback")
    labelling = _of(run, "roles_inferred").part("roles").part("labelling")
    blocks: list[Block] = []
    if fallback:
        what = " Other data was to be used, but synthetic rows were: "
        blocks.append(Callout((Strong("Fallback."), what, Said(fallback.get("reason")))))
    elif is_synthetic(run):
        what = " A program made up all rows; none is real."
        blocks.append(Callout((Strong("Synthetic data."), what)))
    rows: list[tuple[Words, Words]] = [
        ("Source", Code(first.get("source"))),
        ("Rows used", md.count(first.get("num_samples"))),
        ("Rows left out, having no label", md.count(first.get("unlabelled"))),
        ("Columns", md.count(first.get("columns"))),
        ("Digest of the content", Code(first.get("digest"))),
        ("Positive label", _labels(labelling, "positive")),
        ("Negative label", _labels(labelling, "negative")),
        *((Said(key), _logged(value)) for key, value in first.part("details").document.items()),
    ]
    if first.get("has_labels") is False:
        rows.insert(3, ("Labels", "none: every row is taken for a normal one"))
        rows = [row for row in rows if row[0] not in ("Positive label", "Negative label")]
    digest = (
        "The digest is SHA-256 over columns, types and values in order. The same table in "
        "another file format has the same digest; any other table has another."
    )
    return (*blocks, Facts(tuple(rows)), Paragraph(digest), *_others(tables[1:]), *_columns(run))


def _labels(labelling: Reading, side: str) -> Words:
    names = labelling.values(side)
    return _logged(names) if names else md.UNKNOWN


def _others(tables: list[Reading]) -> tuple[Block, ...]:
    """Return the further tables, that judge the model."""
    if not tables:
        return ()
    rows = tuple(
        (
            Code(table.get("source")),
            md.count(table.get("num_samples")),
            md.count(table.get("unlabelled")),
            Code(table.get("digest")),
        )
        for table in tables
    )
    head = ("Further table", "Rows used", "Without a label", "Digest of the content")
    return (
        Paragraph("Further tables were read, to judge the model by."),
        Table(head, rows, "lrrl"),
    )


def _columns(run: LoggedRun) -> tuple[Block, ...]:
    roles = _of(run, "roles_inferred")
    columns = roles.part("roles").parts("columns")
    if not columns:
        told = roles.get("roles")
        return (
            (Paragraph(("The roles of the columns: ", *_tuple(_logged(told)), ".")),)
            if roles
            else ()
        )
    alike: dict[tuple[str, str, str], list[object]] = {}
    for column in columns:
        read_as = column.get("feature") or "not read"
        kind = (str(column.get("role")), str(read_as), str(column.get("why")))
        alike.setdefault(kind, []).append(column.get("name"))
    rows = tuple((*map(Said, kind), _names(names)) for kind, names in alike.items())
    blocks: list[Block] = [Table(("Role", "Read as", "Why", "Columns"), rows, "llll")]
    past = _of(run, "past_derived")
    if past:
        n, rows_seen = md.count(past.get("columns")), md.count(past.get("rows"))
        words = f"{n} columns were made of what the {rows_seen} events say of each one's past."
        blocks.append(Paragraph(words))
    return tuple(blocks)


def _names(names: list[object]) -> Words:
    """Return names as code, the first few of them and how many there are."""
    listed = [piece for name in names[: card.MOST_COLUMNS] for piece in (", ", Code(name))][1:]
    more = len(names) - card.MOST_COLUMNS
    return (*listed, f", and {more:,} more") if more > 0 else tuple(listed)


def _leaks(run: LoggedRun) -> tuple[Block, ...]:
    found = _of(run, "leaks_probed")
    if not found:
        return ()
    suspects = found.parts("suspects")
    what = (
        "A column that nearly decides the label by itself (area under its ROC curve alone of at "
        "least 0.995) often says what is known only afterwards."
    )
    if found.get("probed") is not True:
        is_labelled = _of(run, "data_loaded").get("has_labels") is not False
        why = "a class has too few rows" if is_labelled else "there is no label that could leak"
        return (Paragraph(what), Callout((Strong("Not probed:"), f" {why}.")))
    rows = tuple(
        (
            Code(suspect.get("column")),
            Said(suspect.get("what")),
            md.number(suspect.get("roc_auc")),
            _fate(suspect, found),
        )
        for suspect in suspects
    )
    blocks: list[Block] = [Paragraph(what)]
    if rows:
        head = ("Column", "What of it", "ROC AUC alone", "What became of it")
        blocks.append(Table(head, rows, "llrl"))
    else:
        blocks.append(Paragraph("Each column was probed alone, and none stood out."))
    if found.get("sorted_by_label") is True:
        blocks.append(Paragraph("The rows came sorted by their label."))
    return tuple(blocks)


def _fate(suspect: Reading, found: Reading) -> Words:
    column = suspect.get("column")
    if column in found.values("dropped"):
        return "left out of the model"
    if column in found.values("accepted"):
        return "accepted by the user"
    if suspect.get("is_feature") is not True:
        return "not read by the model"
    return Strong("nobody accepted it")


def _split(split: Reading) -> tuple[Block, ...]:
    if not split:
        return ()
    positives, groups = split.part("positives"), split.part("groups")
    parts = split.part("parts").document
    rows = tuple(
        (
            Said(name),
            md.count(n),
            md.count(positives.get(name)),
            *((md.count(groups.get(name)),) if groups else ()),
            PURPOSES.get(name, ""),
        )
        for name, n in sorted(parts.items(), key=lambda part: _place(part[0]))
    )
    head = ("Part", "Rows", "Positives", *(("Groups",) if groups else ()), "Used for")
    strategy = str(split.get("strategy"))
    how = STRATEGIES.get(strategy, "")
    facts: tuple[tuple[Words, Words], ...] = (
        ("How", (Said(strategy), f": {how}" if how else "")),
        ("Rows that repeat another row", md.count(split.get("duplicate_rows"))),
        ("Digest of the gate part", Code(split.get("gate_digest"))),
    )
    says = "Parts share no row. The gate part is never learnt from: it judges the model."
    return (Paragraph(says), Table(head, rows, "lrrrl" if groups else "lrrl"), Facts(facts))


def _place(part: str) -> int:
    return list(PURPOSES).index(part) if part in PURPOSES else len(PURPOSES)


def _learnt(learnt: Reading) -> tuple[Block, ...]:
    if not learnt:
        return ()
    ran, asked = learnt.get("epochs_run"), md.count(learnt.get("epochs"))
    epochs = f"{md.given(ran)} of {asked} asked for"
    rows: list[tuple[Words, Words]] = [
        ("Type of model", Code(learnt.get("model_type"))),
        ("Epochs", "this type has none" if ran is None else epochs),
        ("Seconds of fitting", md.number(learnt.get("training_duration_seconds"))),
        *((Said(key), _logged(value)) for key, value in learnt.part("details").document.items()),
    ]
    notes = tuple(Said(note) for note in learnt.values("notes"))
    return (Facts(tuple(rows)), *([Bullets(notes)] if notes else []))


def _decisions(calibrated: Reading) -> tuple[Block, ...]:
    if not calibrated:
        return ()
    cut, method = calibrated.part("thresholds"), str(calibrated.get("method"))
    meaning = METHODS.get(method, "")
    low, high = (md.given(cut.get(key)) for key in ("gray_low", "gray_high"))
    rows: tuple[tuple[Words, Words], ...] = (
        ("How scores became probabilities", (Said(method), f": {meaning}" if meaning else "")),
        ("Rows that this was learnt from", md.count(calibrated.get("rows"))),
        ("Counted as positive", f"from {md.given(cut.get('block'))} on"),
        ("How that was set", Said(cut.get("rule"))),
        ("Allowed", f"below {low}"),
        ("Reviewed by a person", f"from {low} to {high}"),
        ("Blocked", f"above {high}"),
        (
            "Also queued for review",
            f"if the likelier answer has less than {md.given(cut.get('confidence'))}",
        ),
    )
    return (Facts(rows),)
