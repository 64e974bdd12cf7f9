"""A log that grows, followed: read once, and from then on only what is new in it.

What is kept of an entry is its place, and what a list tells of its run; what is shown of one
is read again. Each time the signed head must begin with the one before it, the new entries
must lead to it, and an entry that is shown must stand under it: so what is told is what was
sealed, and a log that was set back or written anew since it was read is told as that.

Reference:
    RFC 9162, sections 2.1.3 and 2.1.4.
"""

from __future__ import annotations

from array import array
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from threading import Lock
from typing import TYPE_CHECKING

from nethical.audit import merkle
from nethical.audit.logged_operations import BESIDE, OPERATION, LoggedOperation, OperationPairs
from nethical.audit.reading import LogReader
from nethical.audit.rotation import open_log
from nethical.audit.runs import ENDS, Event, events, is_run_id
from nethical.audit.tiles import TILE_WIDTH, RightEdge
from nethical.audit.verification import believed, located
from nethical.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from nethical.audit.checkpoint import Checkpoint
    from nethical.audit.notes import VerifierKey
    from nethical.keys import Keys

__all__ = ["FollowedLog", "LogSoFar", "RunSummary"]

TYPED = (b'"event_type":',)
_MEND = (
    "run `nethical audit verify` on it, and restore it from a copy; a server that is started again "
    "reads it anew and cannot tell"
)


@dataclass
class RunSummary:
    """What a list tells of a run, and where its entries stand.

    Args:
        run_id: The run.
        began: When its first entry was logged (ISO 8601, UTC).
        last: When its last one was.
        model_type: As its start tells it.
        verdict: Of the gate; None while it has not decided.
        outcome: As ``LoggedRun.outcome``.
        model_id: What it saved first; None while it saved nothing.
        indices: Of its entries, in order.
    """

    run_id: str
    began: str
    last: str
    model_type: str
    verdict: str | None = None
    outcome: str = "not ended"
    model_id: str | None = None
    indices: array[int] = field(default_factory=lambda: array("Q"))

    @classmethod
    def begun(cls, event: Event) -> RunSummary:
        """Return what is known of a run before its first entry is taken in."""
        model_type = str(event.document.get("model_type", ""))
        return cls(str(event.document["run_id"]), event.at, event.at, model_type)

    def copy(self) -> RunSummary:
        """Return a summary that grows by itself."""
        return replace(self, indices=self.indices[:])

    def take(self, event: Event) -> None:
        """Take in the next entry of the run."""
        self.indices.append(event.index)
        self.last = event.at
        kind, told = event.event_type, event.document
        if kind == "gate_decided" and self.verdict is None:
            self.verdict = str(told.get("verdict", ""))
        elif kind == "model_saved" and self.model_id is None:
            self.model_id = str(told.get("model_id", ""))
        elif kind in ENDS and self.outcome == "not ended":
            self.outcome = str(told.get("outcome"))


@dataclass(frozen=True)
class _Told:
    """What entries up to some index tell; nothing in it changes once it is made.

    Args:
        runs: By id, in the order in which they began.
        beside: What belongs to no run, by its index; of an operation the index of its end, None
            while there is none.
    """

    runs: dict[str, RunSummary] = field(default_factory=dict)
    beside: dict[int, int | None] = field(default_factory=dict)

    def with_entries(self, entries: Iterable[Event]) -> _Told:
        """Return what is told when further entries are taken in; others may go on with this."""
        runs: dict[str, RunSummary] = {}
        beside: dict[int, int | None] = {}
        for event in entries:
            named = event.document.get("run_id")
            if is_run_id(named):
                run_id = str(named)
                if run_id not in runs:
                    known = self.runs.get(run_id)
                    runs[run_id] = known.copy() if known else RunSummary.begun(event)
                runs[run_id].take(event)
            if event.event_type == OPERATION and event.document.get("phase") != "begun":
                begun = event.document.get("begun_index")
                if isinstance(begun, int) and beside.get(begun, self.beside.get(begun, 0)) is None:
                    beside[begun] = event.index
            elif event.event_type in {OPERATION, *BESIDE}:
                beside[event.index] = None
        return _Told({**self.runs, **runs}, {**self.beside, **beside})


@dataclass(frozen=True)
class LogSoFar:
    """What a log tells at one moment.

    Args:
        reader: Reads the entries that are shown, as of that moment.
        told: What is known without reading them.
    """

    reader: LogReader
    told: _Told

    def runs(self, limit: int, offset: int = 0) -> list[RunSummary]:
        """Return runs, the one that began last first."""
        return list(islice(reversed(self.told.runs.values()), offset, offset + limit))

    @property
    def n_runs(self) -> int:
        """How many runs there are."""
        return len(self.told.runs)

    @property
    def n_operations(self) -> int:
        """How many operations there are, with what the log noted of itself."""
        return len(self.told.beside)

    def run(self, run_id: str) -> RunSummary | None:
        """Return what is known of a run, None where there is no such run."""
        return self.told.runs.get(run_id)

    def events_of(self, run: RunSummary) -> list[Event]:
        """Return the entries of a run, in order.

        Raises:
            IntegrityError: One is not the one that was sealed.
        """
        return list(self._events(run.indices))

    def operations(self, limit: int, offset: int = 0) -> list[LoggedOperation]:
        """Return what belongs to no run, what began last first.

        Raises:
            IntegrityError: One is not what was sealed.
        """
        chosen = list(islice(reversed(self.told.beside.items()), offset, offset + limit))
        indices = sorted({index for pair in chosen for index in pair if index is not None})
        read = {event.index: event for event in self._events(indices)}
        return [_operation(read[begun], read.get(-1 if e is None else e)) for begun, e in chosen]

    def _events(self, indices: Iterable[int]) -> Iterator[Event]:
        """Give the entries at some places, in order; reads each bundle of entries once."""
        for _, group in groupby(indices, lambda index: index // TILE_WIDTH):
            wanted = list(group)
            entries = islice(self.reader.entries(wanted[0]), wanted[-1] - wanted[0] + 1)
            for index, entry in enumerate(entries, wanted[0]):
                if index in wanted:
                    self._check_sealed(index, entry)
                    yield from events([entry], index)

    def _check_sealed(self, index: int, entry: bytes) -> None:
        """Check that an entry stands under the signed head, if it is sealed."""
        reader = self.reader
        if index >= reader.tree_size:
            return
        proof = reader.inclusion_proof(index)
        leaf, root = merkle.leaf_hash(entry), reader.checkpoint.root_hash
        try:
            merkle.verify_inclusion(leaf, index, reader.tree_size, proof, root)
        except IntegrityError as error:
            raise IntegrityError(
                f"entry {index} of {reader.checkpoint.origin} is not the one that was sealed",
                mend="run `nethical audit verify` on the log; restore what it names from a copy",
            ) from error


def _operation(begun: Event, ended: Event | None) -> LoggedOperation:
    """Return an operation with its end, if that is its end."""
    if ended is not None:
        pairs = OperationPairs()
        pairs.take(begun)
        whole = pairs.take(ended)
        if isinstance(whole, LoggedOperation):
            return whole
    return LoggedOperation(begun)


class FollowedLog:
    """The log of an audit folder as one process knows it; many threads may look at once.

    Args:
        path: The audit folder; it may not be there yet.
        keys: By which its log is believed.
    """

    def __init__(self, path: Path, keys: Keys) -> None:
        self._path = path
        self._keys = keys
        self._looking = Lock()
        self._signed_by: VerifierKey | None = None
        self._head: Checkpoint | None = None
        self._edge = RightEdge()
        self._told = _Told()

    def look(self) -> LogSoFar | None:
        """Return what the log tells now, None where there never was one.

        Whoever looks while somebody reads what is new waits for that, and need not read it.

        Raises:
            IntegrityError: It is not what was signed, or no longer begins with what was read.
            StorageError: A file cannot be read.
        """
        with self._looking:
            reader = self._opened()
            if reader is None:
                return None
            self._check_goes_on(reader)
            self._read_new(reader)
            told, size = self._told, reader.tree_size
        if len(reader) > size:  # acknowledged, and not sealed: it is told, and not remembered
            told = told.with_entries(events(reader.entries(size), size, holding=TYPED))
        return LogSoFar(reader, told)

    def _opened(self) -> LogReader | None:
        if not (self._path / "log" / "checkpoint").exists():
            if self._head is None:
                return None
            raise IntegrityError(
                f"{self._path} holds no log any more; {self._head.tree_size:,} entries of "
                f"{self._head.origin} were read here before",
                mend=_MEND,
            )
        log_path = located(self._path)[1]
        if self._signed_by is not None:
            with suppress(IntegrityError):  # of another key, perhaps: what leads to it says which
                return LogReader(log_path, self._signed_by)
        return open_log(log_path, believed(log_path, self._keys, ()))

    def _check_goes_on(self, reader: LogReader) -> None:
        """Check that the head of the log begins with the one that was read before."""
        old, new = self._head, reader.checkpoint
        if old is None:
            return
        try:
            if new.origin != old.origin:
                raise IntegrityError(f"it is the log {new.origin}", mend=_MEND)
            if not old.tree_size:
                return
            is_longer = new.tree_size > old.tree_size
            proof = reader.consistency_proof(old.tree_size) if is_longer else ()
            merkle.verify_consistency(
                old.tree_size, new.tree_size, old.root_hash, new.root_hash, proof
            )
        except IntegrityError as error:
            raise IntegrityError(
                f"{self._path}: it does not go on from the {old.tree_size:,} entries of "
                f"{old.origin} that were read here before: {error.what}",
                mend=_MEND,
            ) from error

    def _read_new(self, reader: LogReader) -> None:
        """Take in the sealed entries that were not read yet, if they are those of the head."""
        edge, size = self._edge.copy(), reader.tree_size
        told = self._told
        if size > edge.tree_size:
            told = told.with_entries(_hashed(reader, edge))
        if edge.root() != reader.checkpoint.root_hash:
            raise IntegrityError(
                f"{self._path}: entries from {self._edge.tree_size:,} to {size:,} are not those "
                "that were sealed",
                mend="run `nethical audit verify` on it; restore what it names from a copy",
            )
        self._signed_by, self._head = reader.key, reader.checkpoint
        self._edge, self._told = edge, told


def _hashed(reader: LogReader, edge: RightEdge) -> Iterator[Event]:
    """Give the sealed entries from the end of an edge on, which grows with each that is given."""
    first, size = edge.tree_size, reader.tree_size
    entries = islice(reader.entries(first), size - first)
    while some := list(islice(entries, TILE_WIDTH)):
        edge.extend(b"".join(merkle.leaf_hashes(some)))
        yield from events(some, first, holding=TYPED)
        first += len(some)
