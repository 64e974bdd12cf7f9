"""The audit as a sink: every fact of a run is on the disk, in the log, before the run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from nethical.audit import anchors as outside
from nethical.audit.entries import decode_entry, encode_entry
from nethical.audit.folder import AuditFolder
from nethical.audit.log import Log
from nethical.audit.rotation import open_log
from nethical.audit.runs import Event, LoggedRun, events_digest, find_run
from nethical.audit.tiles import MAX_ENTRY_BYTES
from nethical.audit.views import chunk_name, keep_large, write_views
from nethical.canonical import canonical_json, digest
from nethical.errors import IntegrityError, StorageError
from nethical.facts import RunAborted, RunEnded, RunStarted
from nethical.run import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nethical.audit.anchors import Anchor
    from nethical.audit.folder import Held
    from nethical.audit.reading import LogReader
    from nethical.facts import Fact
    from nethical.keys import Keys

__all__ = ["AuditSink", "RunAudit", "timestamp"]


def timestamp(at: datetime) -> str:
    """Return a UTC time as it is logged: ISO 8601, to the microsecond."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"


@dataclass(frozen=True)
class RunAudit:
    """Where the audit of a run ended.

    Args:
        path: The audit folder.
        merkle_root: The log's root at the end of the run, hex.
        tree_size: How many entries it is over.
        note: The signed checkpoint that says so.
        anchors: Where that checkpoint was kept, each read back and verified.
    """

    path: Path
    merkle_root: str
    tree_size: int
    note: bytes
    anchors: tuple[str, ...]


class AuditSink:
    """Keeps the facts of one run in a log, to be used in a ``with``.

    Args:
        path: The audit folder; it and its log are made if they are not there.
        keys: The log key, which must lie outside the folder.
        anchors: Where the checkpoints of the run's start and end are kept as well.
        clock: Returns the current UTC time.

    Raises:
        IntegrityError: The log is not what was signed.
        StorageError: It cannot be written.
        UsageError: The keys lie inside the folder.
    """

    def __init__(
        self,
        path: Path,
        keys: Keys,
        *,
        anchors: Sequence[Anchor] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        keys.must_lie_outside(path)
        self.folder = AuditFolder(path)
        self.folder.make()
        self.log = Log(self.folder.log_path, keys.log_key(), earlier=keys.earlier_log_keys())
        self.log.follow(keys.log_keys)
        self.audit: RunAudit | None = None
        self._anchors = tuple(anchors)
        self._clock = clock
        self._held: Held | None = None
        self._events: list[Event] = []
        self._run_id = ""
        self._has_ended = False

    def __enter__(self) -> Self:
        """Return the sink."""
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Log how the run ended, and seal that; after an error of the log itself, nothing."""
        try:
            if self._held is None or self.log.stopped:
                return
            self._end(error)
        finally:
            if self._held is not None:
                self._held.release(ended=self._has_ended)

    def record(self, fact: Fact, *, run_id: str, at: datetime) -> None:
        """Log a fact; it is on the disk when this returns.

        Raises:
            StorageError: It cannot be written: the run must stop.
        """
        if isinstance(fact, RunStarted):
            self._begin(run_id)
        self._append({**fact.to_document(), "run_id": run_id, "timestamp": timestamp(at)})
        if isinstance(fact, RunStarted):
            self._keep_outside()

    def seal(self) -> Receipt:
        """Seal what was logged so far, and return where the log then stands."""
        checkpoint = self.log.seal().checkpoint
        return Receipt(checkpoint.origin, checkpoint.tree_size, checkpoint.root_hash.hex())

    def _begin(self, run_id: str) -> None:
        self._run_id = run_id
        with self.folder.lock():
            self._bury_the_dead()
            self._held = self.folder.hold(run_id, len(self.log))

    def _append(self, document: dict[str, Any]) -> None:
        try:
            entry = encode_entry(document)
        except StorageError:
            document = self._shortened(document)
            entry = encode_entry(document)
        self._events.append(Event(self.log.append(document), entry, decode_entry(entry)))

    def _shortened(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return a document whose largest members are there by digest, so that it fits.

        Their content is kept beside the views of the run.

        Raises:
            StorageError: A member is not canonical JSON.
        """
        try:
            members = {key: canonical_json(value) for key, value in document.items()}
        except (ValueError, RecursionError):
            return document  # what is wrong with it, the encoder says
        for key in sorted(members, key=lambda key: len(members[key]), reverse=True):
            if sum(map(len, members.values())) < MAX_ENTRY_BYTES // 2 or self._held is None:
                break
            content = members[key]
            keep_large(self._held.path, content)
            document = {**document, key: {"digest": digest(content), "bytes": len(content)}}
            members[key] = canonical_json(document[key])
        return document

    def _keep_outside(self) -> tuple[str, ...]:
        """Seal the log, keep its checkpoint at every anchor, and return where that was."""
        sealed = self.log.seal()
        for anchor in self._anchors:
            outside.keep(anchor, sealed.note, self.log.key)
        return tuple(anchor.spec for anchor in self._anchors)

    def _end(self, error: BaseException | None) -> None:
        told = None if error is None else f"{type(error).__name__}: {error}"
        count, hashes = len(self._events), [event.leaf_hash for event in self._events]
        ended = RunEnded(_outcome(error), told, count, events_digest(hashes))
        self.record(ended, run_id=self._run_id, at=self._clock())
        self.log.seal()
        run = LoggedRun(self._run_id, tuple(self._events))
        with self.folder.lock():
            reader = self._reader()
            write_views(self.folder.runs / self._run_id, run, reader)
            self.folder.link_latest(self._run_id, chunk_name(run))
        self._has_ended = True
        kept = []
        for anchor in self._anchors if error is None else ():
            outside.keep(anchor, reader.note, reader.key or self.log.key)
            kept.append(anchor.spec)
        root, size = reader.checkpoint.root_hash.hex(), reader.tree_size
        self.audit = RunAudit(self.folder.path, root, size, reader.note, tuple(kept))

    def _reader(self) -> LogReader:
        """Return a reader of the log, whose key may just have been replaced by another process."""
        return open_log(self.folder.log_path, [self.log.key])

    def _bury_the_dead(self) -> None:
        """Log the end of each run that died, and write its views; hold the folder's lock."""
        for dead in self.folder.dead():
            try:
                reader = self._reader()
                run = find_run(reader, dead.run_id, first=dead.first_index)
            except IntegrityError:
                self.folder.bury(dead)  # it died before it logged anything
                continue
            if run.ended is None:
                hashes = [event.leaf_hash for event in run.events]
                fact = RunAborted("aborted", self._run_id, len(hashes), events_digest(hashes))
                now = timestamp(self._clock())
                self.log.append({**fact.to_document(), "run_id": dead.run_id, "timestamp": now})
            self.log.seal()
            reader = self._reader()
            run = find_run(reader, dead.run_id, first=dead.first_index)
            write_views(self.folder.runs / dead.run_id, run, reader)
            self.folder.bury(dead)


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "completed"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
