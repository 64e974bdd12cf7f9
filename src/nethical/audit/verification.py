"""Verify an audit folder: the log, the runs in it, and the views beside it; writes nothing.

What comes out says how much was proved. A log by itself shows that it is what its key signed;
that it is all that was ever signed, only checkpoints that were kept elsewhere can show.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from nethical.audit.anchors import known
from nethical.audit.checkpoint import open_checkpoint, read_checkpoint
from nethical.audit.examine import examine
from nethical.audit.files import Folder
from nethical.audit.folder import CHUNK, SUMMARY, AuditFolder
from nethical.audit.merkle import leaf_hash
from nethical.audit.notes import VerifierKey
from nethical.audit.proofs import TlogProof
from nethical.audit.rotation import believed_keys, open_log, signer
from nethical.audit.runs import ENDS, IN_ORDER, LoggedRun, events
from nethical.audit.views import LARGE, RECEIPT, Head, receipt_event, views
from nethical.errors import IntegrityError, NethicalError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nethical.audit.anchors import Anchor
    from nethical.audit.faults import Examined
    from nethical.audit.reading import LogReader
    from nethical.keys import Keys

__all__ = ["Verified", "believed", "located", "verify", "vkey_of"]

_LARGEST_VIEW = 1 << 28


@dataclass
class _Run:
    """What is remembered of a run while the log goes by."""

    first: int
    last: int = 0
    count: int = 0
    kinds: list[str] = field(default_factory=list)
    hashed: Any = field(default_factory=hashlib.sha256)
    outcome: str | None = None
    at: str = ""


@dataclass(frozen=True)
class Verified:
    """What a verification found.

    Args:
        examined: The log itself, with every fault that was found anywhere.
        runs: How many runs it holds.
        anchors: How many checkpoints that were kept elsewhere fit it.
    """

    examined: Examined
    runs: int
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
    """
    if (path / "checkpoint").exists() and not (path / "log").exists():
        return None, path
    folder = AuditFolder(path)
    folder.check_format()
    return folder, folder.log_path


def vkey_of(text: str) -> VerifierKey:
    """Return the verifier key that a line, or a file with such a line, holds.

    Raises:
        UsageError: It is neither.
    """
    from pathlib import Path

    try:
        return VerifierKey.from_vkey(text)
    except UsageError:
        file = Path(text)
        if "\n" in text or not file.is_file():
            raise
        return VerifierKey.from_vkey(file.read_text(encoding="utf-8", errors="replace"))


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
        found += [VerifierKey.of(origin, key) for key in keys.log_keys()]
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
    if folder is not None and is_sound:
        _check_views(folder, reader, runs.runs, every, found)
    return Verified(found, len(runs.runs), len(kept))


class _Runs:
    """Checks that each run is whole, while the entries go by."""

    def __init__(self) -> None:
        self.runs: dict[str, _Run] = {}
        self._faults: list[tuple[int, str]] = []
        self._warnings: list[tuple[int, str]] = []

    def each(self, first: int, entries: Sequence[bytes]) -> None:
        """Take in entries from an index on."""
        for event in events(entries, first, holding=[b'"event_type":', b'"run_id":"run_']):
            run_id = str(event.document.get("run_id"))
            run = self.runs.setdefault(run_id, _Run(event.index))
            kind, at = event.event_type, event.at
            if run.outcome is not None:
                self._faults.append((event.index, f"{run_id} goes on after its end"))
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
                run.kinds.append(kind)  # each further table that is read is loaded too
            run.last, run.at = event.index, at

    def _check_end(self, run_id: str, run: _Run, ended: Any, index: int) -> None:  # noqa: ANN401
        digest = "sha256:" + run.hashed.hexdigest()
        if (ended.get("event_count"), ended.get("events_digest")) != (run.count, digest):
            what = f"{run_id} ended after {ended.get('event_count')} events; here are {run.count}"
            self._faults.append((index, f"{what}, or others than it had"))
        whole = IN_ORDER if run.outcome == "completed" else IN_ORDER[: len(run.kinds)]
        if tuple(run.kinds) != whole:
            what = f"{run_id}, {run.outcome}, has {', '.join(run.kinds)}"
            self._faults.append((index, f"{what} instead of {', '.join(whole)}"))

    def check(self, found: Examined) -> None:
        """Note what was found wrong with the runs."""
        for index, what in self._faults:
            found.fault("log", index, "incomplete", what)
        for index, what in self._warnings:
            found.warn("log", index, "clock", what)
        for run_id, run in self.runs.items():
            if run.outcome is None:
                what = f"{run_id} has not ended: it is going on, or the next run says it died"
                found.warn("log", run.last, "not ended", what)


def _check_views(
    folder: AuditFolder,
    reader: LogReader,
    runs: dict[str, _Run],
    keys: Sequence[VerifierKey],
    found: Examined,
) -> None:
    """Compare the views of each run with what the log says."""
    for path in folder.run_folders():
        name = f"runs/{path.name}"
        run = runs.get(path.name)
        if run is None:
            found.warn(name, None, "stray", "the log holds no such run")
            continue
        if run.outcome is None:
            continue
        entries = islice(reader.entries(run.first), run.last - run.first + 1)
        holding = [f'"{path.name}"'.encode()]
        told = events(entries, run.first, holding=holding)
        logged = LoggedRun(
            path.name, tuple(e for e in told if e.document.get("run_id") == path.name)
        )
        _check_run(path, name, logged, keys, found)
    _check_links(folder, found)


def _check_run(
    path: Path, name: str, run: LoggedRun, keys: Sequence[VerifierKey], found: Examined
) -> None:
    index = run.events[0].index
    content = _read(path / SUMMARY)
    if content is None:
        found.warn(f"{name}/{SUMMARY}", index, "missing", "it can be written again from the log")
        return
    try:
        note = json.loads(content)["checkpoint"].encode()
        head = Head(_opened(note, keys), note)
        expected = views(run, head)
    except (ValueError, KeyError, TypeError, AttributeError, NethicalError) as error:
        found.fault(f"{name}/{SUMMARY}", index, "changed", f"it holds no checkpoint: {error}")
        return
    if head.checkpoint.tree_size <= run.events[-1].index:
        found.fault(f"{name}/{SUMMARY}", index, "changed", "its checkpoint is before its end")
    for file, right in expected.items():
        stored = _read(path / file)
        if stored is None:
            found.warn(f"{name}/{file}", index, "missing", "it can be written again from the log")
        elif stored != right:
            found.fault(f"{name}/{file}", index, "changed", "it is not what the log says")
    _check_receipt(path, name, run, keys, found)
    for large in sorted((path / LARGE).glob("*")):
        stored = _read(large)
        if stored is None or hashlib.sha256(stored).hexdigest() != large.name.split(".")[0]:
            found.fault(f"{name}/{LARGE}/{large.name}", index, "changed", "not of its digest")


def _check_receipt(
    path: Path, name: str, run: LoggedRun, keys: Sequence[VerifierKey], found: Examined
) -> None:
    content = _read(path / RECEIPT)
    event = receipt_event(run)
    if content is None:
        found.warn(f"{name}/{RECEIPT}", event.index, "missing", "ask for it: nethical audit prove")
        return
    try:
        proof = TlogProof.from_bytes(content)
        if proof.index != event.index or proof.extra != event.entry:
            raise IntegrityError("it is the receipt of another entry", mend="")
        errors = [error for key in keys if (error := _refusal(proof, event.entry, key))]
        if len(errors) == len(keys):
            raise errors[0]
    except IntegrityError as error:
        found.fault(f"{name}/{RECEIPT}", event.index, "changed", error.what)


def _refusal(proof: TlogProof, entry: bytes, key: VerifierKey) -> IntegrityError | None:
    try:
        proof.verify(entry, key)
    except IntegrityError as error:
        return error
    return None


def _opened(note: bytes, keys: Sequence[VerifierKey]) -> Any:  # noqa: ANN401 - a checkpoint
    key = signer(note, keys)
    if key is None:
        raise IntegrityError("no believed key signed it", mend="")
    return open_checkpoint(note, key)


def _check_links(folder: AuditFolder, found: Examined) -> None:
    """Warn where what scripts read at the top is not a link to a view that was checked."""
    for path in sorted(folder.path.iterdir()):
        if path.name == SUMMARY or CHUNK.fullmatch(path.name):
            if not path.is_symlink() or str(path.readlink()) != f"latest/{path.name}":
                what = "it is not the link through latest that belongs there"
                found.fault(path.name, None, "changed", what)
        elif path.name == "latest" and (
            not path.is_symlink() or not str(path.readlink()).startswith("runs/")
        ):
            found.fault(path.name, None, "changed", "it is not a link to a run")


def _read(path: Path) -> bytes | None:
    return Folder(path.parent).read(path.name, _LARGEST_VIEW)
