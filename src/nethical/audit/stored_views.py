"""What lies beside a log, compared with what the log says; writes nothing.

Views are never believed, but people read them. So each must be what the log gives, the links at
the top must lead to views of a run that the log knows, and no other file may look like a view.
A checkpoint in a view is a witness too: if a believed key signed it, the log must agree with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical.audit.checkpoint import Checkpoint, read_checkpoint
from nethical.audit.files import TEMPORARY, Folder
from nethical.audit.folder import CHUNK, LOCK, SUMMARY, AuditFolder, listed
from nethical.audit.proofs import TlogProof
from nethical.audit.rotation import open_log, signer
from nethical.audit.runs import LoggedRun, find_run, is_run_id
from nethical.audit.views import LARGE, RECEIPT, Head, receipt_event, views
from nethical.errors import IntegrityError, NethicalError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nethical.audit.faults import Examined
    from nethical.audit.notes import VerifierKey

__all__ = ["Span", "StoredViews"]

_LARGEST_VIEW = 1 << 28
_LARGEST_SUMMARY = 1 << 24
_LARGEST_RECEIPT = 1 << 20
_AGAIN = "it can be written again from the log"
_ASK = "ask for it: nethical audit prove"


@dataclass(frozen=True)
class Span:
    """Where a run stands in the log: its first and last index, and how it ended, if it did."""

    first: int
    last: int
    outcome: str | None


class StoredViews:
    """Compares what lies beside a log with it, once the log itself was found sound.

    Args:
        folder: The audit folder.
        keys: The believed keys of the log.
        found: Where faults are noted.

    Raises:
        IntegrityError: No key leads to the log's head.
        StorageError: The log cannot be read.
    """

    def __init__(self, folder: AuditFolder, keys: Sequence[VerifierKey], found: Examined) -> None:
        self._folder = folder
        self._keys = keys
        self._found = found
        self._asked = 0, b""
        # Opened after the examination, so that it holds whatever that saw of a log that grows.
        self._reader = open_log(folder.log_path, keys)

    def check(self, runs: Mapping[str, Span]) -> None:
        """Note what is not as the log says.

        Args:
            runs: The runs of the log, by id.

        Raises:
            StorageError: Something cannot be read.
        """
        stored = {path.name: path for path in self._folder.run_folders()}
        for run_id, span in runs.items():
            if span.outcome is None:
                continue
            logged = find_run(self._reader, run_id, first=span.first, last=span.last)
            if run_id in stored:
                self._check_run(stored[run_id], logged)
            else:
                self._found.warn(f"runs/{run_id}", span.first, "missing", _AGAIN)
            self._check_large(self._folder.runs / run_id, logged)
        for name, path in stored.items():
            if name not in runs or runs[name].outcome is None:
                self._check_stray(path, is_known=name in runs)
        self._check_links(runs)

    def _check_run(self, path: Path, run: LoggedRun) -> None:
        name, index = f"runs/{path.name}", run.events[0].index
        if path.is_symlink():
            self._found.fault(name, index, "not a file", "a link is in its place")
            return
        self._check_receipt(path, name, run)
        content = self._read(path, SUMMARY, _LARGEST_SUMMARY, index, _AGAIN)
        expected: Mapping[str, bytes] = {}
        if content is not None:
            expected = self._expected(content, f"{name}/{SUMMARY}", run)
        for file, right in expected.items():
            kept = self._read(path, file, len(right) + 1, index, _AGAIN)
            if kept is not None and kept != right:
                self._found.fault(f"{name}/{file}", index, "changed", "it is not what the log says")
        known = {*expected, SUMMARY, RECEIPT, LARGE, LOCK}
        for each in listed(path):
            if CHUNK.fullmatch(each.name) and each.name not in known and expected:
                what = "the log says nothing that belongs into it"
                self._found.fault(f"{name}/{each.name}", index, "changed", what)
            elif each.name not in known and not CHUNK.fullmatch(each.name):
                what = "it is no view of the run"
                if each.name.startswith(TEMPORARY):
                    what = "a write was interrupted"
                self._found.warn(f"{name}/{each.name}", index, "stray", what)

    def _expected(self, content: bytes, name: str, run: LoggedRun) -> Mapping[str, bytes]:
        """Return the views that follow from the log and the checkpoint in a summary."""
        index = run.events[0].index
        try:
            note = json.loads(content)["checkpoint"].encode()
            checkpoint = self._opened(note)
            expected = views(run, Head(checkpoint, note))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            told = str(error) or type(error).__name__
            self._found.fault(name, index, "changed", f"it holds no checkpoint: {told}")
            return {}
        except NethicalError as error:
            self._found.fault(name, index, "changed", f"it holds no checkpoint: {error.what}")
            return {}
        if checkpoint.tree_size <= run.events[-1].index:
            self._found.fault(name, index, "changed", "its checkpoint is before its end")
        self._check_witness(name, checkpoint)
        return expected

    def _check_receipt(self, path: Path, name: str, run: LoggedRun) -> None:
        event = receipt_event(run)
        content = self._read(path, RECEIPT, _LARGEST_RECEIPT, event.index, _ASK)
        if content is None:
            return
        try:
            proof = TlogProof.from_bytes(content)
            if proof.index != event.index or proof.extra != event.entry:
                raise IntegrityError("it is the receipt of another entry", mend="")
            checkpoint = self._opened(proof.checkpoint_note)
            key = signer(proof.checkpoint_note, self._keys)
            if key is not None:
                proof.verify(event.entry, key)
        except IntegrityError as error:
            self._found.fault(f"{name}/{RECEIPT}", event.index, "changed", error.what)
            return
        self._check_witness(f"{name}/{RECEIPT}", checkpoint)

    def _opened(self, note: bytes) -> Checkpoint:
        if signer(note, self._keys) is None:
            raise IntegrityError("no believed key signed it", mend="")
        return read_checkpoint(note)

    def _check_witness(self, name: str, checkpoint: Checkpoint) -> None:
        """Hold the log against a checkpoint of it that a believed key signed."""
        size = checkpoint.tree_size
        if size > self._reader.tree_size:  # it may have grown since it was opened
            self._reader = open_log(self._folder.log_path, self._keys)
        if size > self._reader.tree_size:
            what = f"it holds a signed checkpoint of {size} entries; the log says fewer"
            self._found.fault(name, None, "set back", what)
        elif size and self._root_at(size) != checkpoint.root_hash:
            what = f"it holds a signed checkpoint of {size} entries that the log does not fit"
            self._found.fault(name, None, "fork", what)

    def _root_at(self, size: int) -> bytes:
        """Return the root that the log had; the views of a run ask twice for the same one."""
        if self._asked[0] != size:
            self._asked = size, self._reader.root_at(size)
        return self._asked[1]

    def _check_large(self, path: Path, run: LoggedRun) -> None:
        """Check that what stands in an entry by its digest is there, and is of that digest."""
        name, place = f"runs/{path.name}/{LARGE}", path / LARGE
        named = {
            f"{str(value['digest']).removeprefix('sha256:')}.json": event.index
            for event in run.events
            for value in event.document.values()
            if isinstance(value, Mapping) and value.keys() == {"digest", "bytes"}
        }
        for file, index in named.items():
            content = self._stored(place, file, _LARGEST_VIEW, index)
            if content is None:
                if not os.path.lexists(place / file):
                    what = "the log has it by its digest alone"
                    self._found.fault(f"{name}/{file}", index, "missing", what)
            elif hashlib.sha256(content).hexdigest() != file.removesuffix(".json"):
                self._found.fault(f"{name}/{file}", index, "changed", "not of its digest")
        for each in listed(place) if os.path.isdir(place) else ():  # noqa: PTH112 - never raises
            if each.name not in named:
                what = "no entry of the run names it"
                self._found.warn(f"{name}/{each.name}", None, "stray", what)

    def _check_stray(self, path: Path, *, is_known: bool) -> None:
        """Check the folder of a run that the log does not have, or has no end of."""
        name = f"runs/{path.name}"
        if not is_known:
            self._found.warn(name, None, "stray", "the log holds no such run")
        if path.is_symlink():
            return
        for file, part in ((SUMMARY, _noted), (RECEIPT, _proved)):
            content = self._stored(path, file, _LARGEST_SUMMARY, None)
            try:
                checkpoint = self._opened(part(content)) if content is not None else None
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # it says nothing, and nothing leads to it
            except NethicalError:
                continue
            if checkpoint is not None:
                self._check_witness(f"{name}/{file}", checkpoint)

    def _check_links(self, runs: Mapping[str, Span]) -> None:
        """Note where what scripts read at the top is not a link to a view that was checked."""
        for path in listed(self._folder.path):
            if path.name == SUMMARY or CHUNK.fullmatch(path.name):
                if _target(path) != f"latest/{path.name}":
                    what = "it is not the link through latest that belongs there"
                    self._found.fault(path.name, None, "changed", what)
            elif path.name == "latest":
                self._check_latest(_target(path), runs)

    def _check_latest(self, target: str | None, runs: Mapping[str, Span]) -> None:
        run_id = (target or "").removeprefix("runs/")
        if target != f"runs/{run_id}" or not self._has_ended(run_id, runs):
            what = "it is not a link to a run of the log that has ended"
            self._found.fault("latest", None, "changed", what)
            return
        ends = {each: span for each, span in runs.items() if span.outcome not in (None, "aborted")}
        newest = max(ends, key=lambda each: ends[each].last, default=run_id)
        if run_id in ends and run_id != newest:
            what = f"it leads to {run_id}; {newest} ended after it"
            self._found.warn("latest", None, "old", what)

    def _has_ended(self, run_id: str, runs: Mapping[str, Span]) -> bool:
        if run_id in runs and runs[run_id].outcome is not None:
            return True
        if not is_run_id(run_id):
            return False
        try:  # it may have ended since
            reader = open_log(self._folder.log_path, self._keys)
            return find_run(reader, run_id, first=0).ended is not None
        except IntegrityError:
            return False

    def _read(self, folder: Path, file: str, limit: int, index: int, mend: str) -> bytes | None:
        """Return a view, None with a note of why when there is none."""
        content = self._stored(folder, file, limit, index)
        if content is None and not os.path.lexists(folder / file):
            self._found.warn(f"runs/{folder.name}/{file}", index, "missing", mend)
        return content

    def _stored(self, folder: Path, file: str, limit: int, index: int | None) -> bytes | None:
        try:
            return Folder(folder).read(file, limit)
        except IntegrityError:
            name = (folder / file).relative_to(self._folder.path)
            self._found.fault(str(name), index, "not a file", "a link or folder is in its place")
            return None


def _noted(content: bytes) -> bytes:
    note: bytes = json.loads(content)["checkpoint"].encode()
    return note


def _proved(content: bytes) -> bytes:
    return TlogProof.from_bytes(content).checkpoint_note


def _target(link: Path) -> str | None:
    """Return where a link leads, None when it is none."""
    if not link.is_symlink():
        return None
    try:
        return str(link.readlink())
    except OSError as error:
        raise StorageError(
            f"cannot read the link {link}: {error.strerror}", mend="check its permissions"
        ) from error
