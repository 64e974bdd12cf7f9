"""What a report says of the run as a whole: how it went and ended, and what proves that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nethical import markdown as md
from nethical.audit import report_beside
from nethical.audit.runs import events_digest
from nethical.reports.blocks import (
    Bullets,
    Callout,
    Code,
    Command,
    Facts,
    Paragraph,
    Reading,
    Said,
    Section,
    Strong,
    Table,
    Tone,
    Verbatim,
    marked,
    moment,
    seconds_between,
)

if TYPE_CHECKING:
    from nethical.audit.report import ReportSource
    from nethical.audit.runs import Event, LoggedRun
    from nethical.reports.blocks import Block, Words

__all__ = ["OUTCOMES", "OUTCOME_TONES", "course_sections", "proof_sections", "took"]

OUTCOME_TONES = {"completed": Tone.GOOD, "failed": Tone.BAD}
OUTCOMES = {
    "completed": "The run came to its end: it published a model, and logged all that it did.",
    "failed": "The run stopped with an error.",
    "interrupted": "A person, or the system, interrupted the run.",
    "aborted": "The run died without a word: its process was killed, or the machine went down. A "
    "later run found that and logged it, so when it died is not known, only that it was after the "
    "event before.",
    "not ended": "The end of the run is not in the log: it is still going on, or it died and no "
    "later run has noticed.",
}
UNCLEAR = "What this means is unknown."
STEPS = {
    "training_start": "It began",
    "data_loaded": "The data was read",
    "data_split": "The rows were divided",
    "training_completed": "The model had learnt",
    "validation_metrics": "The model was measured",
    "gate_decided": "The gate had judged",
    "model_saved": "The model was published",
    "run_ended": "It ended",
    "training_aborted": "A later run found it dead",
}
TITLES = {
    **STEPS,
    "source_fallback": "Other data was used than was asked for",
    "roles_inferred": "Each column got its role",
    "past_derived": "Columns were made of each event's past",
    "leaks_probed": "Columns were probed for leaks",
    "calibrated": "Scores became probabilities",
    "reference_metrics": "A plainer model was measured",
    "warning": "The user was warned",
    "stage_failed": "A stage failed",
    **report_beside.TITLES,
}
NOT_PROVED = """\
That what the program logged was true. The log shows that what it tells was not changed since; a \
program that was changed before the run can log what it likes. The numbers that were derived \
again, where this report has them, rest on the scores that it stored.
That nothing happened that was never logged, or that no other run took place without a log.
That the log was never set back or written anew by whoever holds its key. Only checkpoints that \
others keep can show that, up to the size that the level above names.
That the times are right: they are those of the machine's own clock.
That the data is what it is called, was lawfully had, or is like the rows to come. Its digest says \
only which data it was.
That the model is fair, safe or fit for a use beyond what was measured here.
That this page was not changed: it is not signed. Check the log, not the page.
""".splitlines()
TREE = """\
The log is a tree of hashes (RFC 9162): each event below is a leaf, and one root stands for all of \
them and their order. The log's key has signed that root. Whoever changes, removes or inserts an \
event gets another root, and has no signature for it."""
GET_THE_KEY = """\
Get the verifier key (KEY) from those who run the log, by another way than this page, and compare \
it with the one above. Get the audit folder (PATH), or a copy of it."""
CHECK_ALL = """\
Check the whole log, offline: every entry, hash and signature, and that each run is whole. Where \
checkpoints were kept elsewhere, name them too, with `--anchor`:"""
CHECK_ONE = """\
It proves the last event of the run, which holds the digest of all before it."""
CHECK_OTHERWISE = """\
Or trust no program of ours: the log is written as C2SP tlog-tiles, its head is a C2SP signed \
note, and a leaf hash is the SHA-256 of a zero byte and the bytes of the entry, so tools of others \
verify it."""
SAME_BYTES = (
    "Write this report again; by the same checkpoint, anchors and model it has the same bytes:"
)


def course_sections(run: LoggedRun) -> list[Section]:
    """Return how the run went and ended, and what its user was told meanwhile."""
    return [
        Section("How it went and ended", (*_ending(run), _steps(run))),
        Section("What the user was warned of", _warnings(run)),
    ]


def proof_sections(source: ReportSource) -> list[Section]:
    """Return what proves the run, how to check that, and what stays open."""
    return [
        Section("What proves this", _proofs(source)),
        Section("How to check it yourself", _checks(source)),
        Section("What this does not prove", (Bullets(tuple(NOT_PROVED)),)),
        Section("Every event", _events(source)),
    ]


def took(run: LoggedRun) -> str:
    """Return how many seconds lie between the first event and the last."""
    seconds = seconds_between(run.events[0].at, run.events[-1].at)
    return md.UNKNOWN if seconds is None else f"{seconds:,.1f} s"


def _ending(run: LoggedRun) -> tuple[Block, ...]:
    tone = OUTCOME_TONES.get(run.outcome, Tone.OPEN)
    blocks: list[Block] = [
        Callout(
            (Strong("Outcome:"), " ", Said(run.outcome), f". {OUTCOMES.get(run.outcome, UNCLEAR)}"),
            tone,
        )
    ]
    told: list[str] = []
    for event in run.events:
        if event.event_type == "stage_failed":
            failed = Reading(event.document)
            told.append(f"{failed.get('error')}: {failed.get('message')}")
            said = (": ", Said(failed.get("message"))) if failed.get("message") else (".",)
            stage, error = Code(failed.get("stage")), Code(failed.get("error"))
            blocks.append(Paragraph(("The stage ", stage, " raised ", error, *said)))
    ended = Reading(run.ended.document if run.ended else None)
    if ended.get("error") and ended.get("error") not in told:
        blocks.append(Paragraph(("The run ended with: ", Said(ended.get("error")))))
    if ended.get("noticed_by"):
        blocks.append(Paragraph(("It was found dead by ", Code(ended.get("noticed_by")), ".")))
    return tuple(blocks)


def _steps(run: LoggedRun) -> Table:
    """Return when each step was reached, if it was."""
    begun = run.events[0].at
    rows: list[tuple[Words, ...]] = []
    for kind, title in STEPS.items():
        event = run.first(kind)
        if event is None and kind in ("run_ended", "training_aborted"):
            continue
        if event is None:
            rows.append((title, Strong("not reached"), ""))
        else:
            rows.append((title, moment(event.at), _since(begun, event.at)))
    return Table(("Step", "When", "Seconds"), tuple(rows), "llr")


def _since(begun: str, at: str) -> str:
    seconds = seconds_between(begun, at)
    return md.UNKNOWN if seconds is None else f"{seconds:,.2f}"


def _warnings(run: LoggedRun) -> tuple[Block, ...]:
    told = [event for event in run.events if event.event_type == "warning"]
    fallbacks = [event for event in run.events if event.event_type == "source_fallback"]
    says: list[Words] = [
        (
            Strong("Fallback:"),
            " instead of other data, ",
            Code(e.document.get("source")),
            " was used, because: ",
            Said(e.document.get("reason")),
        )
        for e in fallbacks
    ]
    says += [Said(event.document.get("message")) for event in told]
    if not says:
        return (Paragraph("Of nothing."),)
    return (Bullets(tuple(says)),)


def _proofs(source: ReportSource) -> tuple[Block, ...]:
    events = source.run.events
    first, last = events[0].index, events[-1].index
    unsealed = [event for event in events if event.index >= source.tree_size]
    blocks: list[Block] = [
        Paragraph(TREE),
        Facts(
            (
                ("Level that was proved", Said(source.level)),
                ("Log", Code(source.origin)),
                ("Entries of this run", f"{len(events):,}, between index {first:,} and {last:,}"),
                ("Complete", _whole(source.run)),
                ("Entries of the log that are signed", f"{source.tree_size:,}"),
                ("Root", Code(source.root)),
            )
        ),
    ]
    if unsealed:
        told = f" {len(unsealed):,} of these events are on the disk, but the signed root does not "
        more = "cover them. The next seal of the log takes them in."
        blocks.append(Callout((Strong("Not sealed yet:"), told, more)))
    return (
        *blocks,
        Paragraph("The signed checkpoint, byte for byte (C2SP tlog-checkpoint):"),
        Verbatim(source.note.decode(errors="replace")),
        Paragraph("The verifier key of the log:"),
        Verbatim(source.vkey),
    )


def _whole(run: LoggedRun) -> Words:
    """Return whether the end of a run vouches for the events that are here."""
    ended = run.ended
    if ended is None:
        return "unknown, as its end is not there"
    before = run.events[: run.events.index(ended)]
    said = ended.document.get("event_count"), ended.document.get("events_digest")
    if said == (len(before), events_digest(event.leaf_hash for event in before)):
        return f"yes: its end counts {len(before):,} events before it and holds their digest"
    counted = f": its end counts {md.count(said[0])} events before it, and other ones"
    if said[0] != len(before):
        counted = (
            f": its end counts {md.count(said[0])} events before it, and here are {len(before):,}"
        )
    return (Strong("no"), counted)


def _checks(source: ReportSource) -> tuple[Block, ...]:
    receipt = f"runs/{source.run.run_id}/run.tlog-proof"
    saved = source.run.first("model_saved")
    steps: list[Words] = [
        GET_THE_KEY,
        (*marked(CHECK_ALL), Command("nethical audit verify PATH --key KEY")),
    ]
    if source.run.ended is not None:
        told = "Check this run alone, without the log, by the small file "
        command = Command("nethical audit verify --proof FILE --key KEY")
        steps.append((told, Code(receipt), " of the folder (FILE):", command, CHECK_ONE))
    if saved is not None:
        verify = f"nethical models verify {saved.document.get('model_id')}"
        steps.append(("Check that the model's files are those that were signed:", Command(verify)))
    again = f"nethical audit report PATH --key KEY --run-id {source.run.run_id}"
    steps += [(SAME_BYTES, Command(again)), CHECK_OTHERWISE]
    return (Bullets(tuple(steps), numbered=True),)


def _events(source: ReportSource) -> tuple[Block, ...]:
    begun = source.run.events[0].at
    rows = tuple(_event(event, begun) for event in source.run.events)
    head = ("What happened", "Index", "Seconds", "Logged as", "Leaf hash")
    return (Table(head, rows, "lrrll"),)


def _event(event: Event, begun: str) -> tuple[Words, ...]:
    return (
        TITLES.get(event.event_type, md.UNKNOWN),
        f"{event.index:,}",
        _since(begun, event.at),
        Code(event.event_type),
        Code(event.leaf_hash.hex()),
    )
