"""Runs as a log tells them: the entries that carry the id of one run, and what must be there.

A run begins with ``training_start`` and ends with ``run_ended``, or with ``training_aborted``
where a later run found it dead. Its end counts the entries before it and holds their digest, so
an end that is known (by a receipt, say) vouches for every fact of its run, and a run from which
an entry is missing shows.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from nethical.audit.entries import decode_entry
from nethical.audit.merkle import leaf_hash
from nethical.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nethical.audit.reading import LogReader

__all__ = [
    "ENDS",
    "IN_ORDER",
    "Event",
    "LoggedRun",
    "all_runs",
    "events",
    "events_digest",
    "find_run",
    "is_run_id",
    "run_ids",
]

IN_ORDER = (
    *("training_start", "data_loaded", "data_split", "training_completed"),
    *("validation_metrics", "model_saved"),
)
ENDS = ("run_ended", "training_aborted")
LATEST = "latest"
_RUN_ID = re.compile(r"run_[0-9]{8}T[0-9]{6}Z_[0-9a-f]{6}")


@dataclass(frozen=True)
class Event:
    """One entry of a log that is a JSON object.

    Args:
        index: Where it stands in the log.
        entry: Its bytes.
        document: What they say.
    """

    index: int
    entry: bytes
    document: Mapping[str, Any]

    @property
    def event_type(self) -> str:
        """Return the kind of the event."""
        return str(self.document.get("event_type", ""))

    @property
    def at(self) -> str:
        """Return when it happened, as it was logged (ISO 8601, UTC)."""
        return str(self.document.get("timestamp", ""))

    @property
    def leaf_hash(self) -> bytes:
        """Return the hash under which it stands in the tree, 32 bytes."""
        return leaf_hash(self.entry)


@dataclass(frozen=True)
class LoggedRun:
    """The entries of one run, in the order of the log.

    Args:
        run_id: The run.
        events: Its entries.
    """

    run_id: str
    events: tuple[Event, ...]

    def first(self, event_type: str) -> Event | None:
        """Return the first event of a kind, None when there is none."""
        return next((event for event in self.events if event.event_type == event_type), None)

    @property
    def ended(self) -> Event | None:
        """Return the event that ends the run, None while it runs or when it died."""
        return next((event for event in self.events if event.event_type in ENDS), None)

    @property
    def outcome(self) -> str:
        """Return ``completed``, ``failed``, ``interrupted``, ``aborted``, or ``not ended``."""
        ended = self.ended
        return "not ended" if ended is None else str(ended.document.get("outcome"))


def events_digest(leaf_hashes: Iterable[bytes]) -> str:
    """Return the digest that the end of a run holds of the events before it."""
    return "sha256:" + hashlib.sha256(b"".join(leaf_hashes)).hexdigest()


def events(
    entries: Iterable[bytes], first: int, *, holding: Sequence[bytes] = ()
) -> Iterator[Event]:
    """Give the entries that are JSON objects, those only that hold some bytes.

    Args:
        entries: Entries of a log, in order.
        first: The index of the first.
        holding: Bytes that an entry must hold to be looked at: all of them.
    """
    for index, entry in enumerate(entries, first):
        if all(piece in entry for piece in holding):
            try:
                document = decode_entry(entry)
            except (ValueError, RecursionError):
                continue  # `examine` says so; a reader of runs passes over it
            if isinstance(document, dict):
                yield Event(index, entry, document)


def is_run_id(text: object) -> bool:
    """Return whether a value is the id of a run, as runs name themselves.

    Example:
        >>> is_run_id("run_20260101T000000Z_0a1b2c"), is_run_id("run_../x")
        (True, False)
    """
    return isinstance(text, str) and bool(_RUN_ID.fullmatch(text))


def run_ids(reader: LogReader) -> list[str]:
    """Return the ids of the runs in a log, in the order in which they began."""
    begun = events(reader.entries(), 0, holding=[b'"event_type":"training_start"'])
    found = [
        str(event.document["run_id"])
        for event in begun
        if event.event_type == IN_ORDER[0] and is_run_id(event.document.get("run_id"))
    ]
    return list(dict.fromkeys(found))


def find_run(
    reader: LogReader, reference: str = LATEST, *, first: int | None = None, last: int | None = None
) -> LoggedRun:
    """Return a run of a log.

    Args:
        reader: Reads the log.
        reference: Its id, the beginning of it, or ``latest``.
        first: Look from this index on, for a whole id only.
        last: Look up to this index.

    Raises:
        UsageError: There is no such run, or several.
        IntegrityError: Nothing of the run is there from ``first`` on.
    """
    run_id = reference
    if first is None:
        run_id = _named(run_ids(reader), reference)
    begin = first or 0
    entries = islice(reader.entries(begin), None if last is None else last - begin + 1)
    found = events(entries, begin, holding=[f'"{run_id}"'.encode()])
    of_run = tuple(event for event in found if event.document.get("run_id") == run_id)
    if not of_run:
        raise IntegrityError(
            f"the log holds nothing of run {run_id}", mend="run `nethical audit verify` on it"
        )
    return LoggedRun(run_id, of_run)


def all_runs(reader: LogReader) -> list[LoggedRun]:
    """Return the runs of a log in the order in which they began; reads the log once."""
    found: dict[str, list[Event]] = {}
    for event in events(reader.entries(), 0, holding=[b'"event_type":', b'"run_id":"run_']):
        if is_run_id(event.document.get("run_id")):  # an operation may tell of a run inside it
            found.setdefault(str(event.document["run_id"]), []).append(event)
    return [LoggedRun(run_id, tuple(of_run)) for run_id, of_run in found.items()]


def _named(known: list[str], reference: str) -> str:
    mend = "`nethical audit show` lists the runs of a log"
    if not known:
        raise UsageError("the log holds no run yet", mend="train with --enable-audit first")
    if reference == LATEST:
        return known[-1]
    if reference in known:
        return reference
    fitting = [run_id for run_id in known if run_id.startswith(reference)]
    if len(fitting) != 1:
        what = "is no run" if not fitting else f"is the beginning of {len(fitting)} runs"
        raise UsageError(f"{reference!r} {what} of this log", mend=mend)
    return fitting[0]
