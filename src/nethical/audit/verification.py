"""Verify an audit folder: the log, the runs in it, and the views beside it; writes nothing.

What comes out says how much was proved. A log by itself shows that it is what its key signed;
that it is all that was ever signed, only checkpoints that were kept elsewhere can show.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from nethical.audit.anchors import known
from nethical.audit.checkpoint import read_checkpoint
from nethical.audit.examine import examine
from nethical.audit.files import Folder
from nethical.audit.folder import AuditFolder
from nethical.audit.logged_operations import OperationPairs, operation_events
from nethical.audit.merkle import leaf_hash
from nethical.audit.notes import VerifierKey
from nethical.audit.rotation import believed_keys, open_log
from nethical.audit.runs import ENDS, IN_ORDER, events, is_run_id
from nethical.audit.stored_views import Span, StoredViews
from nethical.errors import IntegrityError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nethical.audit.anchors import Anchor
    from nethical.audit.faults import Examined
    from nethical.audit.runs import Event
    from nethical.keys import Keys

__all__ = ["Verified", "believed", "located", "verify", "vkey_of"]

_LARGEST_KEY_FILE = 1 << 16


@dataclass(slots=True)
class _Run:
    """What is remembered of a run while the log goes by: little, once it has ended."""

    first: int
    last: int = 0
    count: int = 0
    kinds: tuple[str, ...] = ()
    hashed: Any = field(default_factory=hashlib.sha256)
    outcome: str | None = None
    at: str = ""


@dataclass(frozen=True)
class Verified:
    """What a verification found.

    Args:
        examined: The log itself, with every fault that was found anywhere.
        runs: How many runs it holds.
        operations: How many operations beside them.
        anchors: How many checkpoints that were kept elsewhere fit it.
    """

    examined: Examined
    runs: int
    operations: int
    anchors: int

    @property
    def level(self) -> str:
        """Return in words how much was proved."""
        found = self.examined
        if not found.sound or found.checkpoint is None:
            return "not sound"
        if found.anchored_size is None:
            return "self-consistent: nothing outside shows whether it was set back or rewritten"
        if found.anchored_size == found.checkpoint.tree_size and not found.unsealed:
            return f"fully anchored: all {found.anchored_size:,} entries"
        times = "1 anchor" if self.anchors == 1 else f"{self.anchors} anchors"
        return f"consistent with {times} up to {found.anchored_size:,} entries"


def located(path: Path) -> tuple[AuditFolder | None, Path]:
    """Return the audit folder, None when a bare log was named, and the folder of the log.

    Raises:
        IntegrityError: It is a folder of another format.
        StorageError: It cannot be read.
    """
    if os.path.lexists(path / "checkpoint") and not os.path.lexists(path / "log"):
        return None, path
    folder = AuditFolder(path)
    folder.check_format()
    return folder, folder.log_path


def vkey_of(text: str) -> VerifierKey:
    """Return the verifier key that a line, or a file with such a line, holds.

    Raises:
        UsageError: It is neither.
        StorageError: The file cannot be read.
    """
    from pathlib import Path

    try:
        return VerifierKey.from_vkey(text)
    except UsageError:
        if not os.path.isfile(text):  # noqa: PTH113 - of what is no path at all, too
            raise
    try:
        with Path(text).open(encoding="utf-8", errors="replace") as file:
            return VerifierKey.from_vkey(file.read(_LARGEST_KEY_FILE))
    except OSError as error:
        raise StorageError(
            f"cannot read the key file {text}: {error.strerror or error}",
            mend="check its permissions, or give the key itself",
        ) from error


def believed(log_path: Path, keys: Keys, named: Sequence[str]) -> list[VerifierKey]:
    """Return the keys by which a log is believed: those named, else one's own and the trusted.

    Raises:
        IntegrityError: There is no log.
        UsageError: What was named is no verifier key, or nobody's key is believed.
    """
    if named:
        return [vkey_of(text) for text in named]
    note = Folder(log_path).read("checkpoint", 1 << 20)
    origin = read_checkpoint(note).origin if note else ""
    trusted = [VerifierKey.from_vkey(line) for line in keys.trusted_log_keys()]
    found = [key for key in trusted if key.name == origin]
    if origin:
        try:
            found += [VerifierKey.of(origin, key) for key in keys.log_keys()]
        except UsageError as error:  # what stands in the log is nobody's wrong usage
            raise IntegrityError(
                f"{log_path / 'checkpoint'}: {error.what}",
                mend="restore the file from a copy of the log",
            ) from error
    if note and not found:
        raise IntegrityError(
            f"no key of the log {origin} is believed here, so nothing says that it is that log",
            mend="name it with --key: the line that `nethical audit key` prints where the log is "
            "written; or believe it from now on with `nethical keys trust FILE`",
        )
    return found


def verify(path: Path, keys: Sequence[VerifierKey], anchors: Sequence[Anchor] = ()) -> Verified:
    """Return what is wrong with an audit folder, or a bare log, and how much was proved.

    Args:
        path: The folder, which may be read-only.
        keys: By which the log is believed.
        anchors: Where checkpoints of it were kept.

    Raises:
        IntegrityError: There is no log, no key leads to its head, or an anchor keeps what the
            log never signed.
        StorageError: A file, or an anchor, cannot be read.
    """
    folder, log_path = located(path)
    reader = open_log(log_path, keys)
    every = believed_keys(log_path, keys)
    kept = [each for a in anchors for each in known(a, reader.checkpoint.origin, every)]
    runs = _Runs()
    found = examine(log_path, reader.key, known=kept, each=runs.each)
    is_sound = found.sound
    runs.check(found)
    if is_sound:
        _check_handed_over(log_path, every, runs.handed_over, found)
    if folder is not None and is_sound:
        spans = {name: Span(run.first, run.last, run.outcome) for name, run in runs.runs.items()}
        StoredViews(folder, every, found).check(spans)
    return Verified(found, len(runs.runs), runs.operations.count, len(kept))


def _check_handed_over(
    path: Path, keys: Sequence[VerifierKey], handed_over: Sequence[Event], found: Examined
) -> None:
    """Note where the head is signed by a key that had handed the log over before its end."""
    reader = open_log(path, keys)
    signed_by = None if reader.key is None else reader.key.to_vkey()
    for event in handed_over:
        if event.document.get("old_key") != signed_by:
            continue
        begin = event.index + 1
        entries = islice(reader.entries(begin), max(0, reader.tree_size - begin))
        for after in events(entries, begin):
            # A hand-over that was interrupted is told again.
            if after.event_type not in ("key_rotated", "recovered"):
                what = f"the key that signed it was replaced at entry {event.index}"
                found.fault("checkpoint", after.index, "signature", what)
                return


class _Runs:
    """Checks that each run and each operation is whole, while the entries go by."""

    def __init__(self) -> None:
        self.runs: dict[str, _Run] = {}
        self.operations = OperationPairs()
        self.handed_over: list[Event] = []
        self._faults: list[tuple[int, str]] = []
        self._warnings: list[tuple[int, str]] = []

    def each(self, first: int, entries: Sequence[bytes]) -> None:
        """Take in entries from an index on."""
        for event in operation_events(entries, first):
            told = self.operations.take(event)
            if isinstance(told, str):
                self._faults.append((event.index, told))
        rotations = events(entries, first, holding=[b'"event_type":"key_rotated"'])
        self.handed_over += (event for event in rotations if event.event_type == "key_rotated")
        for event in events(entries, first, holding=[b'"event_type":', b'"run_id":"run_']):
            run_id = event.document.get("run_id")
            if not isinstance(run_id, str):
                continue  # an operation that tells of a run
            if not is_run_id(run_id):
                self._faults.append((event.index, f"{run_id[:80]!r} is not the id of a run"))
                continue
            run = self.runs.get(run_id)
            if run is None:
                run = self.runs[run_id] = _Run(event.index)
            kind, at = event.event_type, event.at
            if run.outcome is not None:
                self._faults.append((event.index, f"{run_id} goes on after its end"))
                run.last = event.index
                continue
            if run.count == 0 and kind != IN_ORDER[0]:
                self._faults.append((event.index, f"{run_id} begins with {kind}"))
            if at < run.at:
                self._warnings.append((event.index, f"the clock went back to {at}"))
            if kind in ENDS:
                run.outcome = str(event.document.get("outcome"))
                self._check_end(run_id, run, event.document, event.index)
            else:
                run.count += 1
                run.hashed.update(leaf_hash(event.entry))
            if kind in IN_ORDER and kind not in run.kinds[-1:]:
                run.kinds = (*run.kinds, kind)  # each further table that is read is loaded too
            run.last, run.at = event.index, at

    def _check_end(self, run_id: str, run: _Run, ended: Any, index: int) -> None:  # noqa: ANN401
        digest = "sha256:" + run.hashed.hexdigest()
        if (ended.get("event_count"), ended.get("events_digest")) != (run.count, digest):
            what = f"{run_id} ended after {ended.get('event_count')} events; here are {run.count}"
            self._faults.append((index, f"{what}, or others than it had"))
        whole = IN_ORDER if run.outcome == "completed" else IN_ORDER[: len(run.kinds)]
        if run.kinds != whole:
            what = f"{run_id}, {run.outcome}, has {', '.join(run.kinds)}"
            self._faults.append((index, f"{what} instead of {', '.join(whole)}"))
        run.kinds, run.hashed = (), None

    def check(self, found: Examined) -> None:
        """Note what was found wrong with the runs and the operations."""
        for index, what in self._faults:
            found.fault("log", index, "incomplete", what)
        for index, what in self._warnings:
            found.warn("log", index, "clock", what)
        for run_id, run in self.runs.items():
            if run.outcome is None:
                what = f"{run_id} has not ended: it is going on, or the next run says it died"
                found.warn("log", run.last, "not ended", what)
        for index, begun in self.operations.open.items():
            what = f"{begun.document.get('command')} has not ended: it is going on, or was killed"
            found.warn("log", index, "not ended", what)
