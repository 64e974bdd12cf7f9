"""Anchors that are files, and how kept notes are named and compared everywhere.

The name of a log comes out of the log, so a folder is never named by it alone: a readable part
without anything that leads elsewhere, and the beginning of its SHA-256.
"""

from __future__ import annotations

import hashlib
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from nethical import durable
from nethical.audit.checkpoint import read_checkpoint
from nethical.audit.files import Folder
from nethical.audit.notes import split_note
from nethical.errors import IntegrityError, StorageError, UsageError

if TYPE_CHECKING:
    from nethical.audit.checkpoint import Checkpoint

__all__ = [
    "MAX_NOTE_BYTES",
    "FileAnchor",
    "NoteFolder",
    "check_same_text",
    "place",
    "sizes",
    "told",
]

MAX_NOTE_BYTES = 1 << 20
_READABLE = 40


def told(checkpoint: Checkpoint) -> str:
    """Return a checkpoint in words."""
    return f"the checkpoint of {checkpoint.tree_size} entries of {checkpoint.origin}"


def check_same_text(spec: str, kept: bytes, checkpoint: Checkpoint) -> None:
    """Refuse a kept note whose signed text is not that of the checkpoint.

    Raises:
        IntegrityError: It says something else, or is no note.
    """
    try:
        if split_note(kept)[0] == checkpoint.to_text():
            return
        why = f"keeps another one than {told(checkpoint)}"
    except IntegrityError as error:
        why = f"keeps something else in the place of {told(checkpoint)}: {error.what}"
    raise IntegrityError(
        f"{spec} {why}",
        mend="keep both as evidence: the log was written anew, or the anchor was changed",
    )


def place(origin: str) -> str:
    """Return the name of the folder for the checkpoints of a log.

    Example:
        >>> place("example.com/log")
        'example.com-log-4d3203c8'
        >>> place("../..")
        'log-0cfd1c96'
    """
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", origin[:_READABLE]).strip("-.") or "log"
    return f"{readable}-{hashlib.sha256(origin.encode()).hexdigest()[:8]}"


def sizes(names: list[str]) -> list[int]:
    """Return the sizes among names, ascending; others are left alone."""
    return sorted({int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]{0,18}", name)})


def refuse_link(path: Path) -> None:
    """Refuse a path that is a link, which would lead out of the anchor.

    Raises:
        IntegrityError: It is one.
        StorageError: It cannot be looked at.
    """
    if stat.S_ISLNK(_mode(path, follow=False)):
        raise IntegrityError(
            f"{path} is a link, which is not followed",
            mend="remove it, and put what it leads to in its place",
        )


def _mode(path: Path, *, follow: bool) -> int:
    """Return what is at a path, 0 when nothing is."""
    try:
        return path.stat(follow_symlinks=follow).st_mode
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError(
            f"cannot read {path}: {error.strerror}", mend="check the path and its permissions"
        ) from error


class NoteFolder:
    """A folder with a folder for each log, and in it a file for each size; follows no link.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.files = Folder(path)

    def make(self) -> None:
        """Make the folder and its parents, durably; an existing one is left as it is."""
        durable.make_folder(self._path)

    def sizes(self, origin: str) -> list[int]:
        """Return the sizes at which a note of a log is kept, ascending."""
        self._refuse_link(origin)
        return sizes(self.files.names(place(origin)))

    def read(self, origin: str, tree_size: int) -> bytes | None:
        """Return a note, None when there is none.

        Raises:
            IntegrityError: A link or a folder is in its place.
            StorageError: It cannot be read.
        """
        self._refuse_link(origin)
        return self.files.read(f"{place(origin)}/{tree_size}", MAX_NOTE_BYTES)

    def write(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Write a note that is not there yet, durably; it appears whole or not at all."""
        self._refuse_link(checkpoint.origin)
        files = Folder(self._path)  # one remembers what is to be synced: threads have their own
        files.create(f"{place(checkpoint.origin)}/{checkpoint.tree_size}", note)
        files.sync_folders()

    def _refuse_link(self, origin: str) -> None:
        refuse_link(self._path / place(origin))


class FileAnchor:
    """A folder, made when something is kept; for reading also one note that somebody kept.

    A signature line that others add to a kept note is left there. Any number of processes may
    keep at once; they hold a lock in the folder.

    Args:
        spec: The anchor as the user wrote it.
        path: The folder or file.
    """

    def __init__(self, spec: str, path: str) -> None:
        self.spec = spec
        self._path = expanded(path)
        self._notes = NoteFolder(self._path)

    def keep(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Write the note, unless it is there.

        Raises:
            UsageError: The anchor is a file.
            IntegrityError: Another checkpoint of that size is there.
            StorageError: It cannot be written.
        """
        if self._is_one_note():
            raise UsageError(
                f"{self.spec} is one note, to which nothing is added",
                mend="name a folder to keep checkpoints in",
            )
        self._notes.make()
        with self._notes.files.lock():
            self._notes.files.sweep()
            found = self._notes.read(checkpoint.origin, checkpoint.tree_size)
            if found is None:
                self._notes.write(checkpoint, note)
            else:
                check_same_text(self.spec, found, checkpoint)

    def give(self, origin: str, tree_size: int) -> bytes | None:
        """Return the note kept of a log at a size, None when there is none."""
        if self._is_one_note():
            found = self._one_note(origin)
            return next((n for n in found if read_checkpoint(n).tree_size == tree_size), None)
        return self._notes.read(origin, tree_size)

    def kept(self, origin: str) -> list[bytes]:
        """Return every note kept of a log, in ascending order of size."""
        if self._is_one_note():
            return self._one_note(origin)
        found = [self._notes.read(origin, size) for size in self._notes.sizes(origin)]
        return [note for note in found if note is not None]

    def _is_one_note(self) -> bool:
        return stat.S_ISREG(_mode(self._path, follow=True))

    def _one_note(self, origin: str) -> list[bytes]:
        """Return the note that the file is, if it is of that log."""
        path = self._path.resolve()
        note = Folder(path.parent).read(path.name, MAX_NOTE_BYTES) or b""
        try:
            return [note] if read_checkpoint(note).origin == origin else []
        except IntegrityError as error:
            raise IntegrityError(
                f"{self.spec}: {error.what}",
                mend="name the file of one signed checkpoint, or a folder that holds some",
            ) from error


def expanded(path: str) -> Path:
    """Return a path that may begin with ``~``, which no shell expands after a colon.

    Raises:
        UsageError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: {error}", mend="write the path out") from error
