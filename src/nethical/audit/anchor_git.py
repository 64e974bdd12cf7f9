"""The anchor that is a git work tree: each checkpoint is a file in a commit of its own.

What counts is the first version of a file in the history of HEAD: neither a later commit that
changes or removes it, nor what lies in the work tree, changes what is given. Pushing is left to
the user, and only a pushed commit is out of reach of who can write here.
"""

from __future__ import annotations

import io
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nethical.audit.anchor_files import (
    MAX_NOTE_BYTES,
    NoteFolder,
    check_same_text,
    expanded,
    place,
    refuse_link,
)
from nethical.audit.anchor_programs import Ran, printable, run
from nethical.errors import IntegrityError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nethical.audit.checkpoint import Checkpoint

__all__ = ["GitAnchor"]

_FOLDER = "checkpoints"
_TRIES = 200
_PAUSE_S = 0.1
_MAX_HISTORY_BYTES = 1 << 28
# What git sets for hooks and aliases would lead it to another repository than the one named.
_ELSEWHERE = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
}
_BUSY = re.compile(r"\.lock': File exists|cannot lock ref")


class GitAnchor:
    """An existing git work tree; keeps below its folder ``checkpoints``.

    What the user has staged stays staged, the hooks of the repository run, and nothing is
    pushed. Several processes may keep at once: one waits for the other, up to 20 seconds.

    Args:
        spec: The anchor as the user wrote it.
        repository: The top folder of the work tree.
    """

    def __init__(self, spec: str, repository: str) -> None:
        self.spec = spec
        self._path = expanded(repository)
        self._notes = NoteFolder(self._path / _FOLDER)

    def keep(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Write the note and commit it, unless it was committed ever before.

        Raises:
            UsageError: There is no git, or no work tree.
            IntegrityError: Another checkpoint of that size was committed, or lies there.
            StorageError: It cannot be written or committed.
        """
        if self._is_committed(checkpoint):
            return
        self._write(checkpoint, note)
        path = _path(checkpoint.origin, checkpoint.tree_size)
        message = f"Checkpoint of {checkpoint.origin} at {checkpoint.tree_size}"
        self._changed("add", "--force", "--", path)
        ran = self._changed("commit", "--quiet", "--only", "-m", message, "--", path, check=False)
        # Another process may have committed the same file in between: then there is nothing to.
        if ran.code and not self._is_committed(checkpoint):
            raise self._failed("commit", ran)

    def give(self, origin: str, tree_size: int) -> bytes | None:
        """Return the note first committed of a log at a size, None when there is none."""
        self._check_repository()
        return next(iter(self._notes_at(_path(origin, tree_size)).values()), None)

    def kept(self, origin: str) -> list[bytes]:
        """Return every note committed of a log, in ascending order of size."""
        self._check_repository()
        found = self._notes_at(f"{_FOLDER}/{place(origin)}")
        return [found[size] for size in sorted(found)]

    def _is_committed(self, checkpoint: Checkpoint) -> bool:
        found = self.give(checkpoint.origin, checkpoint.tree_size)
        if found is not None:
            check_same_text(self.spec, found, checkpoint)
        return found is not None

    def _write(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Write the note into the work tree; what lies there uncommitted may be from a kill."""
        refuse_link(self._path / _FOLDER)
        self._notes.make()
        found = self._notes.read(checkpoint.origin, checkpoint.tree_size)
        if found is None:
            self._notes.write(checkpoint, note)
        else:
            check_same_text(self.spec, found, checkpoint)

    def _notes_at(self, path: str) -> dict[int, bytes]:
        """Return, by size, the first version of each note at or below a path."""
        if self._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False).code:
            return {}  # no commit yet
        listed = self._git("rev-list", "--reverse", "--topo-order", "HEAD")
        changes = self._git(
            *("diff-tree", "--stdin", "--root", "-r", "-m", "-z", "--raw", "--no-renames"),
            *("--no-commit-id", "--full-index", "--", path),
            given=listed.output,
        )
        first: dict[int, str] = {}
        for name, blob in _added(changes.output):
            if re.fullmatch(r"0|[1-9][0-9]{0,18}", name):
                first.setdefault(int(name), blob)
        return dict(zip(first, self._blobs(list(first.values())), strict=True))

    def _blobs(self, ids: list[str]) -> list[bytes]:
        asked = "".join(f"{blob}\n" for blob in ids).encode()
        answer = io.BytesIO(self._git("cat-file", "--batch", given=asked).output if ids else b"")
        found = []
        for blob in ids:
            told = answer.readline().decode().split()
            if told[1] != "blob" or int(told[2]) > MAX_NOTE_BYTES:
                raise IntegrityError(
                    f"{self.spec}: the object {blob} is no checkpoint: {' '.join(told[1:])}",
                    mend="run `git fsck` there; a checkpoint that is lost may be had from a remote",
                )
            found.append(answer.read(int(told[2])))
            answer.readline()
        return found

    def _check_repository(self) -> None:
        ran = self._git("rev-parse", "--show-toplevel", check=False)
        if ran.code:
            raise UsageError(
                f"{self.spec} is no git work tree: {_complaint(ran)}",
                mend="name the top folder of one; `git init` makes it, `git clone` copies one",
            )
        top = Path(os.fsdecode(ran.output).removesuffix("\n"))
        if not top.samefile(self._path):
            raise UsageError(
                f"{self.spec} is a folder inside the git work tree {top}",
                mend=f"write git:{top} if that is the one you mean",
            )

    def _changed(self, *arguments: str, check: bool = True) -> Ran:
        """Run what changes the repository; wait for another process that does so."""
        for _ in range(_TRIES):
            ran = self._git(*arguments, check=False)
            if not ran.code or not _BUSY.search(ran.complaint):
                break
            time.sleep(_PAUSE_S)
        if ran.code and check:
            raise self._failed(arguments[0], ran)
        return ran

    def _git(self, *arguments: str, given: bytes = b"", check: bool = True) -> Ran:
        kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
        settings = {
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C.UTF-8",
        }
        ran = run(
            ["git", "-C", str(self._path), "-c", "core.fsync=all", *arguments],
            given=given,
            max_bytes=_MAX_HISTORY_BYTES,
            environment=kept | settings,
        )
        if check and ran.code:
            raise self._failed(arguments[0], ran)
        return ran

    def _failed(self, verb: str, ran: Ran) -> StorageError:
        mend = "see what it says; `git status` there may tell more"
        if _BUSY.search(ran.complaint):
            mend = "let the other git process end; if there is none, remove the file it names"
        elif "tell me who you are" in ran.complaint or "ident name" in ran.complaint:
            setting = f"git -C {self._path} config user."
            mend = f"run `{setting}email YOU@EXAMPLE` and `{setting}name YOU`"
        return StorageError(f"{self.spec}: git {verb} failed: {_complaint(ran)}", mend=mend)


def _path(origin: str, tree_size: int) -> str:
    return f"{_FOLDER}/{place(origin)}/{tree_size}"


def _added(raw: bytes) -> Iterator[tuple[str, str]]:
    """Give the file name and object of each version of a file, from raw changes."""
    parts = raw.decode(errors="surrogateescape").split("\0")[:-1]
    for change, path in zip(parts[::2], parts[1::2], strict=True):
        *_, blob, _kind = change.split(" ")
        if blob.strip("0"):  # all zeros: it was removed
            yield path.rpartition("/")[2], blob


def _complaint(ran: Ran) -> str:
    """Return the line in which git says what is wrong; hints come before and after it."""
    for line in ran.complaint.splitlines():
        if line.startswith(("fatal: ", "error: ")):
            return printable(line.partition(": ")[2])
    return ran.reason
