"""Anchors: places outside a log where its signed checkpoints are kept.

A log alone cannot show that it was set back to an older state, or written anew by whoever holds
its key: both are what the key signed. A checkpoint that was kept elsewhere shows it. What is
kept first of a log at a size counts; nothing that comes to lie there later replaces it.

    file:PATH              a folder, or one note that somebody kept
    git:REPO               commits in a git work tree; outside only once they are pushed
    command:PROGRAM ARGS   a program of one's own
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from nethical.audit.anchor_files import FileAnchor, check_same_text, told
from nethical.audit.anchor_git import GitAnchor
from nethical.audit.anchor_programs import CommandAnchor
from nethical.audit.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from nethical.audit.notes import open_note
from nethical.errors import IntegrityError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nethical.audit.notes import VerifierKey

__all__ = ["Anchor", "anchor", "keep", "known"]


class Anchor(Protocol):
    """Keeps the signed checkpoints of logs, and gives them back as they were kept first.

    An anchor need not understand notes or know keys: ``keep`` and ``known`` of this module
    verify what it is given and what it gives. Others may add signature lines to a note that it
    keeps; the text above them stays. It may raise

    - StorageError when it cannot keep or give now, and
    - IntegrityError when it keeps another text than it is to keep, or lost what it kept.
    """

    @property
    def spec(self) -> str:
        """The anchor as the user wrote it."""
        ...

    def keep(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Keep a note durably; to keep the same text again is fine and changes nothing.

        Args:
            checkpoint: What the note says, verified.
            note: The signed note.
        """
        ...

    def give(self, origin: str, tree_size: int) -> bytes | None:
        """Return the note kept of a log at a size, None when there is none."""
        ...

    def kept(self, origin: str) -> list[bytes]:
        """Return every note kept of a log, in ascending order of size; none is no error."""
        ...


_KINDS: dict[str, Callable[[str, str], Anchor]] = {
    "file": FileAnchor,
    "git": GitAnchor,
    "command": CommandAnchor,
}


def anchor(spec: str) -> Anchor:
    """Return the anchor that a user named; nothing is opened or made yet.

    Args:
        spec: ``file:PATH``, ``git:REPO`` or ``command:PROGRAM ARGS``.

    Raises:
        UsageError: It is of no such kind, or names nothing.
    """
    kind, _, target = spec.partition(":")
    if kind not in _KINDS or not target.strip():
        raise UsageError(
            f"{spec!r} is no anchor",
            mend="write file:FOLDER, git:REPOSITORY or 'command:PROGRAM ARGUMENTS'",
        )
    return _KINDS[kind](spec, target)


def keep(anchor: Anchor, note: bytes, key: VerifierKey) -> Checkpoint:
    """Keep a checkpoint, read it back, and return what it says.

    Args:
        anchor: Where to keep it.
        note: The signed note of the checkpoint.
        key: The log's key.

    Raises:
        IntegrityError: The log did not sign it, the anchor keeps another checkpoint of that
            size, or gives something else back.
        StorageError: It cannot be kept, or not be read back.
    """
    checkpoint = open_checkpoint(note, key)
    anchor.keep(checkpoint, note)
    back = anchor.give(checkpoint.origin, checkpoint.tree_size)
    if back is None:
        raise StorageError(
            f"{anchor.spec} took {told(checkpoint)} but does not give it back",
            mend="look at that place and what may write to it, then keep the checkpoint again",
        )
    check_same_text(anchor.spec, back, checkpoint)
    _opened(anchor, checkpoint.origin, back, [key])
    return checkpoint


def known(anchor: Anchor, origin: str, keys: Sequence[VerifierKey]) -> list[Checkpoint]:
    """Return the checkpoints kept of a log, each verified, in ascending order of size.

    Args:
        anchor: Where they are kept.
        origin: The name of the log.
        keys: The keys that are believed to be the log's.

    Raises:
        IntegrityError: None is kept; or one is not signed by the log, or not in its place.
        StorageError: They cannot be read.
    """
    found = [_opened(anchor, origin, note, keys) for note in anchor.kept(origin)]
    if not found:
        raise IntegrityError(
            f"{anchor.spec} keeps no checkpoint of the log {origin}",
            mend="check the name of the anchor; if it is right, what was kept there is gone",
        )
    sizes = [checkpoint.tree_size for checkpoint in found]
    for size, following in pairwise(sizes):
        if following <= size:
            raise IntegrityError(
                f"{anchor.spec} gives a checkpoint of {following} entries of {origin} "
                f"after one of {size}: one of them is not in its place",
                mend="look at what changed there; an anchor keeps what it was given",
            )
    return found


def _opened(anchor: Anchor, origin: str, note: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
    """Return what a kept note says, once the log's signature on it holds."""
    named = ""
    try:
        claimed = read_checkpoint(note)
        named = f" of {claimed.tree_size} entries"
        open_note(note, [key for key in keys if key.name == origin])
    except IntegrityError as error:
        raise IntegrityError(
            f"{anchor.spec}: the checkpoint{named} kept of {origin}: {error.what}",
            mend="if --key names the log's key, the note was changed there; keep a copy of it",
        ) from error
    if claimed.origin != origin:
        raise IntegrityError(
            f"{anchor.spec}: {told(claimed)} is kept as one of {origin}",
            mend="look at what changed there; an anchor keeps what it was given",
        )
    return claimed
