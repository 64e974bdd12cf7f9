"""The folder of an audit: the log, and beside it what people and scripts read of each run.

    log/             the log itself: the only thing that is believed
    runs/{run_id}/   views of one run, and while it runs its lock
    latest           link to the run that ended last; training_summary.json and chunk_*.json
                     beside it are links through it
    format.json      what this is, and which version of it

A run holds an exclusive lock on ``runs/{run_id}/lock`` for its life and removes the file at its
end. A lock file that can be locked is that of a run that died.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nethical import durable
from nethical.audit.files import Folder
from nethical.audit.runs import is_run_id
from nethical.errors import IntegrityError, StorageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["LOCK", "AuditFolder", "Dead", "Held", "listed"]

FORMAT, VERSION = "nethical-audit", 1
SUMMARY = "training_summary.json"
CHUNK = re.compile(r"chunk_\d{8}_\d{6}_\d{1,6}\.json")
LOCK = "lock"
_LARGEST = 1 << 16


@dataclass(frozen=True)
class Held:
    """A run that is going on here: its folder, and the open file whose lock it holds."""

    path: Path
    descriptor: int

    def release(self, *, ended: bool) -> None:
        """Let go of the run.

        Args:
            ended: Whether its end is logged and its views are written. Otherwise the next run
                finds it dead, and does that.
        """
        try:
            if ended:
                (self.path / LOCK).unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)


@dataclass(frozen=True)
class Dead:
    """A run that died: its id, and an index of the log before which it wrote nothing."""

    run_id: str
    first_index: int


class AuditFolder:
    """The folder that ``--audit-path`` names.

    Args:
        path: The folder; ``make`` makes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log_path = path / "log"
        self.runs = path / "runs"

    def check_format(self) -> None:
        """Refuse what this release cannot read, or must not write into.

        Raises:
            IntegrityError: A newer release wrote it, or one before there was a log.
            StorageError: It cannot be read.
        """
        content = Folder(self.path).read("format.json", _LARGEST)
        if content is None:
            self._check_not_older()
            return
        try:
            found = json.loads(content)
            version = found["version"] if found["format"] == FORMAT else None
        except (ValueError, KeyError, TypeError, RecursionError):
            version = None
        if version != VERSION:
            told = f"version {version}" if isinstance(version, int) else "no version"
            raise IntegrityError(
                f"{self.path / 'format.json'} tells of {told} of an audit folder; this release "
                f"knows version {VERSION}",
                mend="upgrade nethical, or restore the file from a copy",
            )

    def _check_not_older(self) -> None:
        """Refuse the chunk files of releases that kept no log."""
        if self.log_path.exists() or not self.path.is_dir():
            return
        names = sorted(p.name for p in listed(self.path) if not p.is_symlink())
        older = [name for name in names if name == SUMMARY or name.startswith("chunk_")]
        if older:
            raise IntegrityError(
                f"{self.path} holds audit files of the older format ({older[0]}): they are not "
                "signed and prove nothing",
                mend="keep them as they are, and name another folder with --audit-path",
            )

    def make(self) -> None:
        """Make the folder, durably, if it is not there.

        Raises:
            IntegrityError: It holds another format.
            StorageError: It cannot be made.
        """
        self.check_format()
        durable.make_folder(self.runs)
        if not (self.path / "format.json").exists():
            document = {"format": FORMAT, "version": VERSION}
            with self.lock():
                durable.write(self.path / "format.json", f"{json.dumps(document)}\n".encode())

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder's lock in a ``with``: for the views, and to tell who is alive."""
        return durable.lock(self.path)

    def hold(self, run_id: str, first_index: int) -> Held:
        """Return a run that begins, its lock taken; hold the folder's lock.

        Args:
            run_id: The run.
            first_index: How many entries the log has so far.
        """
        path = self.runs / run_id
        durable.make_folder(path)
        try:
            durable.write(path / LOCK, f'{{"first_index": {first_index}}}\n'.encode())
        except StorageError:
            with contextlib.suppress(OSError):  # the error that brought us here counts
                path.rmdir()
            raise
        descriptor = _opened(path / LOCK)
        if not _taken(descriptor):
            os.close(descriptor)
            raise StorageError(
                f"another process holds {path / LOCK}", mend="end it, then run again"
            )
        return Held(path, descriptor)

    def dead(self) -> list[Dead]:
        """Return the runs whose lock nobody holds any more; hold the folder's lock."""
        found = []
        for path in self._locked_runs():
            descriptor = _opened(path / LOCK)
            try:
                if _taken(descriptor):
                    found.append(Dead(path.name, _first_index(descriptor)))
            finally:
                os.close(descriptor)
        return found

    def bury(self, dead: Dead) -> None:
        """Remove the lock of a dead run, and its folder if nothing else is in it."""
        path = self.runs / dead.run_id
        (path / LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # views of it are there to stay
            path.rmdir()

    def _locked_runs(self) -> list[Path]:
        runs = str(self.runs)  # as text, for there may be very many, nearly all of them ended
        found = [
            name
            for name in Folder(self.runs).names(".")
            if os.access(f"{runs}/{name}/{LOCK}", os.F_OK, follow_symlinks=False)
        ]
        return [self.runs / name for name in sorted(found) if is_run_id(name)]

    def link_latest(self, run_id: str, chunk: str) -> None:
        """Make ``latest`` and the links through it those of a run; hold the folder's lock."""
        durable.sweep(self.path)
        for old in self.path.glob("chunk_*.json"):
            if old.is_symlink() and old.name != chunk:
                old.unlink()
        durable.replace_link(self.path / "latest", f"runs/{run_id}")
        for name in (SUMMARY, chunk):
            durable.replace_link(self.path / name, f"latest/{name}")

    def run_folders(self) -> list[Path]:
        """Return the folders of runs, by name."""
        return [path for path in listed(self.runs) if os.path.isdir(path)]  # noqa: PTH112 - never raises


def listed(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name; nothing when it is not there.

    Raises:
        StorageError: It cannot be read.
    """
    return [folder / name for name in sorted(Folder(folder).names("."))]


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(
            f"cannot open {path}: {error.strerror or error}",
            mend="check its permissions, then run again",
        ) from error


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _first_index(descriptor: int) -> int:
    try:
        first = json.loads(os.pread(descriptor, _LARGEST, 0))["first_index"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return first if isinstance(first, int) and first >= 0 else 0
